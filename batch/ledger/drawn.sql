-- What was drawn for rows that ask for any seed (-1) and were given other work since, by a redo or an edit: it is theirs
-- when they ask for the same once more.
CREATE TABLE drawn (
    id        TEXT    NOT NULL,
    asked_key TEXT    NOT NULL,               -- as rows.asked_key was
    job       INTEGER NOT NULL REFERENCES jobs,
    PRIMARY KEY (id, asked_key)
) WITHOUT ROWID;
CREATE INDEX drawn_job ON drawn (job);
