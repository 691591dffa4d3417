-- What came to the tables of version 3 with retention; a store that has none of it gets it when it
-- is opened. Readers of that version need none of it.

-- Whether anything in spool/ is of a run, and folded.
ALTER TABLE run ADD COLUMN spooled INTEGER NOT NULL DEFAULT 1;

CREATE INDEX run_ended ON run (end_ts) WHERE spooled AND end_ts IS NOT NULL;

CREATE TABLE archived (                 -- spools that were taken out of spool/, of runs that ended
    run_no INTEGER NOT NULL REFERENCES run,
    number INTEGER NOT NULL,            -- from 1, in the order in which they were folded
    offset INTEGER NOT NULL,            -- bytes of it that are folded
    mark BLOB NOT NULL,                 -- what it is known by at that offset; or empty
    size INTEGER NOT NULL,              -- of the file in bytes, when it was looked at last
    state TEXT NOT NULL,                -- unread: not folded whole; resting, compressed, removed
    PRIMARY KEY (run_no, number)
) WITHOUT ROWID;

CREATE INDEX archived_state ON archived (state, run_no, number);
