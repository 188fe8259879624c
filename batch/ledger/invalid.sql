-- The rows of the manifest adopted last that cannot be sent: no job is made for them.
CREATE TABLE invalid (
    position INTEGER PRIMARY KEY,              -- order in the manifest, counted together with rows.position
    number   INTEGER NOT NULL,                 -- its line or number there
    id       TEXT    NOT NULL,
    error    TEXT    NOT NULL,                 -- its problems: place, reason and remedy
    cells    TEXT    NOT NULL,                 -- the row's own columns
    texts    TEXT    NOT NULL,                 -- its parameters as a manifest writes them, local paths absolute
    given    TEXT    NOT NULL,                 -- hash of cells and texts as the manifest has them, whatever was merged since
    selected INTEGER NOT NULL DEFAULT 1        -- wanted by the current command
);
CREATE INDEX invalid_id ON invalid (id);

-- Its invalid rows that have an image, or work that may be paid: they stay what they are, in `rows`.
CREATE TABLE kept_invalid (
    id    TEXT PRIMARY KEY,
    error TEXT    NOT NULL,
    given TEXT    NOT NULL,
    fixed INTEGER NOT NULL DEFAULT 0           -- a person had other work made since: nothing is said of it while `given` is the same
);
