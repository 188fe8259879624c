-- Work that a person had made for a row, by a redo, a fix or a choice: it stays the row's until that row of the manifest is
-- edited. `asked_key` is what the manifest asks for, as before; `job` is what it was given.
ALTER TABLE rows ADD COLUMN redone INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rows ADD COLUMN manifest_seed INTEGER;  -- as the manifest's row says; NULL: adopted by an earlier version
CREATE INDEX rows_redone ON rows (redone) WHERE redone;
