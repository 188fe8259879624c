-- When a submit was lost, in time that no change of the wall clock moves: which start of the machine, and the seconds since it.
-- NULL for what was lost before this column was there: it is given its time from the beginning of the run.

ALTER TABLE jobs ADD COLUMN lost_boot TEXT;
ALTER TABLE jobs ADD COLUMN lost_counter REAL;
-- How much of the cost of an event is our estimate, in micro-dollars, because the service named none.
ALTER TABLE events ADD COLUMN estimated INTEGER;
