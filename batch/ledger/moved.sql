-- Images that left images/: what was last seen at a row's place, and what was known of a saved job that is made again.

ALTER TABLE rows ADD COLUMN kept_size INTEGER;      -- of the file at the row's place when it was last read; NULL: never …
ALTER TABLE rows ADD COLUMN kept_mtime_ns INTEGER;  -- … -1: the image was in no file, -2: look for it again
ALTER TABLE rows ADD COLUMN kept_changed INTEGER NOT NULL DEFAULT 0;  -- that file has other bytes than were saved
ALTER TABLE jobs ADD COLUMN former TEXT;            -- while it is made again: its facts as they were when it was saved
CREATE INDEX rows_nowhere ON rows (kept_size) WHERE kept_size < 0;

-- The version before fetched or made a saved image again when its file was missing, and could end as failed. A job that
-- has a sha256 was saved; on the local service its last event but one says so. Such a job is saved again.
CREATE TEMP TABLE saved_once AS
SELECT job FROM jobs WHERE state <> 'saved' AND sha256 IS NOT NULL
UNION
SELECT job FROM jobs WHERE state <> 'saved' AND state = 'planned' AND attempts > 0
AND (SELECT event FROM events e WHERE e.job = jobs.job ORDER BY seq DESC LIMIT 1) = 'restart'
AND (SELECT state FROM events e WHERE e.job = jobs.job ORDER BY seq DESC LIMIT 1 OFFSET 1) = 'saved';
UPDATE jobs SET state='saved', error=NULL, error_class=NULL,
    request_id=coalesce(request_id, (SELECT e.request_id FROM events e WHERE e.job = jobs.job AND e.request_id IS NOT NULL
                                     ORDER BY seq DESC LIMIT 1)),
    cost=coalesce(cost, (SELECT e.cost FROM events e WHERE e.job = jobs.job AND e.cost IS NOT NULL ORDER BY seq DESC LIMIT 1))
WHERE job IN (SELECT job FROM saved_once);
INSERT INTO events (job, attempt, event, state, at, detail)
SELECT job, attempts, 'keep', 'saved', (SELECT max(at) FROM events e WHERE e.job = j.job), 'was saved before'
FROM jobs j WHERE job IN (SELECT job FROM saved_once);
DROP TABLE temp.saved_once;
