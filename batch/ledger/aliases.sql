-- Work under the names that another reading of its links gives it: a key as it is stored, and what it would be now.
-- Filled when a link with a query is looked for (see matching.py); `plain` leaves out signatures, `stem` whole queries.
CREATE TABLE aliases (
    key   TEXT PRIMARY KEY,                   -- of jobs.payload_key or rows.asked_key
    plain TEXT NOT NULL,
    stem  TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX aliases_plain ON aliases (plain);
CREATE INDEX aliases_stem ON aliases (stem);

CREATE TABLE kept_readings (                  -- rows that stay as an earlier version read them, listed once
    id TEXT PRIMARY KEY
) WITHOUT ROWID;
