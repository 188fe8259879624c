-- The ledger. Times are seconds since the epoch (UTC), money is integer micro-dollars, JSON is canonical text.
-- A job is a piece of paid work, known by its payload_key; a row is a line of the manifest. Several rows may
-- want the same work: they share one job and are paid once. The index jobs_key is what forbids two live
-- submissions of one payload.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE jobs (
    job          INTEGER PRIMARY KEY,
    payload_key  TEXT    NOT NULL,
    parameters   TEXT    NOT NULL,            -- every parameter; local images as sha256:<hex>
    state        TEXT    NOT NULL DEFAULT 'planned',
    attempts     INTEGER NOT NULL DEFAULT 0,  -- POSTs reserved
    request_id   TEXT,
    submitted_at REAL,
    completed_at REAL,
    output_url   TEXT,
    estimate     INTEGER,                     -- what it was expected to cost when it was last reserved
    sent         TEXT,                        -- image URLs as they were last sent, by parameter
    skew         REAL,                        -- our clock minus the service's, when it was last sent
    cost         INTEGER,
    http_status  INTEGER,
    error_class  TEXT,
    error        TEXT,
    queue_s      REAL,
    inference_s  REAL,
    total_s      REAL,
    sha256       TEXT,                        -- of the finished picture
    width        INTEGER,
    height       INTEGER,
    run_id       TEXT
);
CREATE UNIQUE INDEX jobs_key ON jobs (payload_key);
CREATE UNIQUE INDEX jobs_request ON jobs (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX jobs_open ON jobs (state, submitted_at) WHERE state <> 'saved';

CREATE TABLE rows (
    row         INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    position    INTEGER,                      -- order in the current manifest; NULL: no longer in it
    job         INTEGER NOT NULL REFERENCES jobs,
    asked_key   TEXT    NOT NULL,             -- as payload_key, but with a seed of -1 left as it was asked
    output      TEXT    NOT NULL,             -- path below images/
    cells       TEXT    NOT NULL,             -- the row's own columns
    files       TEXT    NOT NULL,             -- sha256:<hex> -> local file
    selected    INTEGER NOT NULL DEFAULT 1,   -- wanted by the current command
    kept_job    INTEGER,                      -- whose picture lies on disk for this row …
    kept_output TEXT                          -- … and where below images/
);
CREATE INDEX rows_position ON rows (position) WHERE position IS NOT NULL;
CREATE INDEX rows_job ON rows (job);
CREATE INDEX rows_kept_job ON rows (kept_job) WHERE kept_job IS NOT NULL;
CREATE UNIQUE INDEX rows_kept ON rows (kept_output) WHERE kept_output IS NOT NULL;

CREATE TABLE events (                         -- append-only
    seq     INTEGER PRIMARY KEY,
    job     INTEGER NOT NULL REFERENCES jobs,
    attempt INTEGER NOT NULL,
    event   TEXT    NOT NULL,
    state   TEXT    NOT NULL,                 -- the state it led to
    at      REAL    NOT NULL,
    detail  TEXT,
    request_id TEXT,
    estimate INTEGER,
    cost    INTEGER,
    run_id  TEXT
);
CREATE INDEX events_job ON events (job);
CREATE INDEX events_request ON events (request_id) WHERE request_id IS NOT NULL;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

CREATE TABLE uploads (
    sha256      TEXT PRIMARY KEY,
    url         TEXT NOT NULL,
    uploaded_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE pictures (                       -- content hashes of input files, so that they are read once
    path     TEXT    PRIMARY KEY,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256   TEXT    NOT NULL
) WITHOUT ROWID;

CREATE TABLE looked (                         -- the input files of the manifest adopted last, as they were when it was read
    path     TEXT    PRIMARY KEY,
    inode    INTEGER,
    size     INTEGER,
    mtime_ns INTEGER
) WITHOUT ROWID;

CREATE TABLE runs (
    run          INTEGER PRIMARY KEY,         -- their order, whatever the wall clock does
    run_id       TEXT    NOT NULL UNIQUE,
    pid          INTEGER NOT NULL,
    started_at   REAL    NOT NULL,
    ended_at     REAL,
    max_cost     INTEGER,                     -- --max-cost in micro-dollars
    cap_from     INTEGER NOT NULL DEFAULT 0,  -- events.seq from which spending counts against it
    already_done INTEGER NOT NULL DEFAULT 0,  -- micro-dollars of selected work that was done before this run
    rows_saved   INTEGER NOT NULL DEFAULT 0,
    status_calls INTEGER NOT NULL DEFAULT 0,
    http_429     INTEGER NOT NULL DEFAULT 0,
    exit_code    INTEGER
);
