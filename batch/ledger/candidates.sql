-- Several images for one row (--candidates), each of another seed. The jobs of a series are members alike, the row's first
-- one too; the row has that of its `job`. Series of the same number are the same work: rows that share a job share them.
CREATE TABLE candidates (
    row    INTEGER NOT NULL REFERENCES rows,
    series INTEGER NOT NULL,                  -- the job that the row had when the series was begun
    job    INTEGER NOT NULL REFERENCES jobs,
    wanted INTEGER NOT NULL DEFAULT 0,        -- asked for by the current command, beside the row's own job
    PRIMARY KEY (row, job)
) WITHOUT ROWID;
CREATE INDEX candidates_job ON candidates (job);
CREATE INDEX candidates_series ON candidates (series);
CREATE INDEX candidates_wanted ON candidates (job) WHERE wanted;

-- Whatever gives a row other work, its earlier work can be chosen again: a series of its own, unless it is in one.
CREATE TRIGGER rows_other_job AFTER UPDATE OF job ON rows
WHEN OLD.job <> NEW.job AND (SELECT attempts FROM jobs WHERE job = OLD.job)
BEGIN
    INSERT INTO candidates (row, series, job) SELECT OLD.row, OLD.job, OLD.job  -- not OR IGNORE: the outer statement's rule wins
    WHERE NOT EXISTS (SELECT 1 FROM candidates WHERE row = OLD.row AND job = OLD.job);
END;

CREATE TABLE choices (                        -- append-only; `chosen` in meta is the last that was applied
    seq     INTEGER PRIMARY KEY,
    row     INTEGER NOT NULL REFERENCES rows,
    job     INTEGER NOT NULL REFERENCES jobs, -- the chosen one
    had     INTEGER NOT NULL,                 -- the row's job at that moment: a choice is void once it has other work
    by      TEXT    NOT NULL,
    at      REAL    NOT NULL
);
CREATE INDEX choices_row ON choices (row, seq);
CREATE TRIGGER choices_no_update BEFORE UPDATE ON choices BEGIN SELECT RAISE(ABORT, 'choices are append-only'); END;
CREATE TRIGGER choices_no_delete BEFORE DELETE ON choices BEGIN SELECT RAISE(ABORT, 'choices are append-only'); END;
