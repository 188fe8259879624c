-- Several images for one row (--candidates), each of another seed. The jobs of a series are members alike, the row's first
-- one too; the row has that of its `job`. What was chosen while a run held the folder waits in `choices`.
CREATE TABLE candidates (
    row    INTEGER NOT NULL REFERENCES rows,
    series INTEGER NOT NULL,                  -- the job that the row had when the series was begun
    job    INTEGER NOT NULL REFERENCES jobs,
    PRIMARY KEY (row, job)
) WITHOUT ROWID;
CREATE INDEX candidates_job ON candidates (job);

CREATE TABLE choices (                        -- append-only
    seq     INTEGER PRIMARY KEY,
    row     INTEGER NOT NULL REFERENCES rows,
    job     INTEGER NOT NULL REFERENCES jobs,
    by      TEXT    NOT NULL,
    at      REAL    NOT NULL
);
CREATE TRIGGER choices_no_update BEFORE UPDATE ON choices BEGIN SELECT RAISE(ABORT, 'choices are append-only'); END;
CREATE TRIGGER choices_no_delete BEFORE DELETE ON choices BEGIN SELECT RAISE(ABORT, 'choices are append-only'); END;
