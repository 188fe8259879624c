-- A run that came to an end of its own has its reports on disk: the next one begins a new cap. Any other is continued.
ALTER TABLE runs ADD COLUMN by_itself INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET by_itself = 1 WHERE exit_code IN (0, 1, 3, 4, 7, 8);
