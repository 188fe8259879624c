-- An image may lie under another name than its row asks for: in another format than asked it has its own suffix, and
-- another number where that name was taken.
ALTER TABLE rows ADD COLUMN kept_for TEXT;  -- the `output` that kept_output stands for; NULL: they are the same
