-- The rows of the manifest adopted last that cannot be sent: no job is made for them.
CREATE TABLE invalid (
    position INTEGER PRIMARY KEY,              -- order in the manifest, counted together with rows.position
    number   INTEGER NOT NULL,                 -- its line or number there
    id       TEXT    NOT NULL,
    error    TEXT    NOT NULL,                 -- its problems: place, reason and remedy
    cells    TEXT    NOT NULL,                 -- the row's own columns
    texts    TEXT    NOT NULL,                 -- its parameters as a manifest writes them, local paths absolute
    selected INTEGER NOT NULL DEFAULT 1        -- wanted by the current command
);
CREATE INDEX invalid_id ON invalid (id);
