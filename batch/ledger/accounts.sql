-- Whose the folder is. A folder belongs to one service and account (meta: service), and an account has keys: here stands
-- each one by its fingerprint, with how it is known, and each run that worked with it. The account's keys are those from
-- the last 'bound' on: before it, nothing was ever accepted in this folder.

CREATE TABLE keys (                           -- append-only
    seq         INTEGER PRIMARY KEY,
    host        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    how         TEXT NOT NULL,                -- bound: the folder was free · used: by a run · history: it lists a request
                                              -- of this folder · said: by a person
    at          REAL NOT NULL,
    run_id      TEXT
);
CREATE TRIGGER keys_no_update BEFORE UPDATE ON keys BEGIN SELECT RAISE(ABORT, 'keys are append-only'); END;
CREATE TRIGGER keys_no_delete BEFORE DELETE ON keys BEGIN SELECT RAISE(ABORT, 'keys are append-only'); END;

-- An earlier texbatch wrote "host with key fingerprint", the host as it was spelt.
INSERT INTO keys (host, fingerprint, how, at)
SELECT CASE WHEN host LIKE '%:443' THEN substr(host, 1, length(host) - 4)
            WHEN host LIKE '%:80' THEN substr(host, 1, length(host) - 3) ELSE host END,
       fingerprint, 'bound', coalesce((SELECT min(started_at) FROM runs), 0)
FROM (SELECT lower(substr(value, 1, instr(value, ' with key ') - 1)) AS host,
             substr(value, instr(value, ' with key ') + 10) AS fingerprint
      FROM meta WHERE name = 'service' AND instr(value, ' with key ') > 0);
INSERT INTO keys (host, fingerprint, how, at)
SELECT host, fingerprint, 'used', (SELECT max(started_at) FROM runs) FROM keys WHERE (SELECT count(*) FROM runs) > 1;
UPDATE meta SET value = (SELECT host FROM keys ORDER BY seq LIMIT 1)
WHERE name = 'service' AND instr(value, ' with key ') > 0;
