-- What people decided of rows' images. A decision is about one image, known by its hash: another one of the same row is
-- undecided.
CREATE TABLE decisions (                      -- append-only
    seq      INTEGER PRIMARY KEY,
    row      INTEGER NOT NULL REFERENCES rows,
    decision TEXT    NOT NULL,                -- accepted · rejected · cleared
    reason   TEXT,                            -- of a rejection: a word of `REASONS`
    note     TEXT,
    by       TEXT    NOT NULL,                -- who said so
    at       REAL    NOT NULL,
    sha256   TEXT    NOT NULL                 -- of the image that was judged
);
CREATE INDEX decisions_row ON decisions (row, seq);
CREATE TRIGGER decisions_no_update BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END;
CREATE TRIGGER decisions_no_delete BEFORE DELETE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END;

ALTER TABLE rows ADD COLUMN kept_sha256 TEXT; -- of the file at the row's place where kept_changed says that it has other bytes
