-- The tables of steplog.db, schema version 3. sdk/FORMAT.md says what readers may rely on.
-- Times are microseconds since the epoch. JSON texts are in the spool's value encoding.

CREATE TABLE store (                    -- one row: of the file as a whole
    state TEXT NOT NULL                 -- new: nobody has held it yet; open; closed, in good order
);
INSERT INTO store VALUES ('new');

CREATE TABLE run (
    run_no INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    tag TEXT NOT NULL,
    status TEXT NOT NULL,               -- PROCESSING, SUCCESS, FAIL
    killed INTEGER NOT NULL,            -- 1: somebody vanished from it without leaving
    message TEXT NOT NULL,
    start_ts INTEGER NOT NULL,
    end_ts INTEGER,
    parameters TEXT NOT NULL,           -- JSON object
    config TEXT NOT NULL,               -- JSON object: what ran
    position INTEGER NOT NULL,          -- of its last observation; also how many there are
    revision INTEGER NOT NULL,          -- counts the changes of the columns above
    lost INTEGER NOT NULL,              -- calls that writers said they could not record
    gaps INTEGER NOT NULL,              -- sequence numbers that are missing
    repeated INTEGER NOT NULL,          -- lines that came twice, and count once
    unknown INTEGER NOT NULL,           -- lines of kinds that this version does not know
    malformed INTEGER NOT NULL          -- pieces of the spool that are no event
);
CREATE INDEX run_open ON run (run_no) WHERE status = 'PROCESSING';

CREATE TABLE checkpoint (
    run_no INTEGER PRIMARY KEY REFERENCES run,
    offset INTEGER NOT NULL,            -- bytes of the spool that are folded
    last_ts INTEGER NOT NULL,           -- of the event folded last
    mark BLOB NOT NULL DEFAULT x''      -- what the spool is known by at that offset; or empty
);

CREATE TABLE task (
    run_no INTEGER NOT NULL REFERENCES run,
    task_no INTEGER NOT NULL,           -- from 0, in the order of appearance in the run
    path TEXT NOT NULL,                 -- JSON array: the names from the outermost task to it
    status TEXT NOT NULL,
    message TEXT NOT NULL,
    step_type TEXT NOT NULL,            -- task, success, fail, …
    mock INTEGER NOT NULL,              -- 1: it was skipped on purpose
    PRIMARY KEY (run_no, task_no)
) WITHOUT ROWID;

CREATE TABLE attempt (
    run_no INTEGER NOT NULL REFERENCES run,
    task_no INTEGER NOT NULL,
    number INTEGER NOT NULL,            -- from 1
    start_ts INTEGER NOT NULL,
    end_ts INTEGER,
    status TEXT NOT NULL,
    message TEXT NOT NULL,
    parameters TEXT NOT NULL,           -- JSON object
    PRIMARY KEY (run_no, task_no, number)
) WITHOUT ROWID;

CREATE TABLE writer (
    run_no INTEGER NOT NULL REFERENCES run,
    w TEXT NOT NULL,
    next_n INTEGER NOT NULL,            -- the sequence number that comes next
    presence TEXT NOT NULL,             -- visitor, in, left, vanished
    status TEXT NOT NULL,               -- how it left
    of TEXT NOT NULL,                   -- the writer whose presence counts for it; itself mostly
    worker INTEGER NOT NULL,            -- 1: another process answers for it
    inside TEXT NOT NULL,               -- JSON: [[task_no, times entered], …]
    PRIMARY KEY (run_no, w)
) WITHOUT ROWID;

CREATE TABLE series (
    run_no INTEGER NOT NULL REFERENCES run,
    series_no INTEGER NOT NULL,         -- from 0, in the order of appearance in the run
    task_no INTEGER NOT NULL,
    attempt INTEGER NOT NULL,           -- 0: tracked while nobody was in the task
    key TEXT NOT NULL,
    PRIMARY KEY (run_no, series_no)
) WITHOUT ROWID;

CREATE TABLE observation (
    run_no INTEGER NOT NULL REFERENCES run,
    position INTEGER NOT NULL,          -- from 1 without gaps, in the order of the spool
    series_no INTEGER NOT NULL,
    step INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    value NOT NULL,                     -- REAL, INTEGER; all else as TEXT, in JSON
    PRIMARY KEY (run_no, position)
) WITHOUT ROWID;

CREATE TABLE code (
    run_no INTEGER NOT NULL REFERENCES run,
    task_no INTEGER NOT NULL,           -- -1: of the whole run
    identity TEXT NOT NULL,             -- JSON object, as in the run log
    PRIMARY KEY (run_no, task_no, identity)
) WITHOUT ROWID;

CREATE TABLE catalog (
    run_no INTEGER NOT NULL REFERENCES run,
    task_no INTEGER NOT NULL,
    name TEXT NOT NULL,
    entry TEXT NOT NULL,                -- JSON object, as in the run log
    PRIMARY KEY (run_no, task_no, name)
) WITHOUT ROWID;

CREATE TABLE set_aside (
    run_no INTEGER NOT NULL REFERENCES run,
    offset INTEGER NOT NULL,            -- where it begins in the spool
    size INTEGER NOT NULL,              -- 0: the spool itself was truncated or replaced there
    reason TEXT NOT NULL,
    excerpt BLOB NOT NULL,              -- its first bytes
    PRIMARY KEY (run_no, offset)
) WITHOUT ROWID;

CREATE TABLE gap (                      -- sequence numbers that are missing; a run's first ones
    run_no INTEGER NOT NULL REFERENCES run,
    w TEXT NOT NULL,                    -- whose
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (run_no, w, first)
) WITHOUT ROWID;

CREATE TABLE document (                 -- runs/<run_id>.json, as it was last written
    run_no INTEGER PRIMARY KEY REFERENCES run,
    position INTEGER NOT NULL,
    revision INTEGER NOT NULL
);

CREATE TABLE cursor (
    backend TEXT NOT NULL,
    run_no INTEGER NOT NULL REFERENCES run,
    position INTEGER NOT NULL,          -- of the last observation that was acknowledged
    revision INTEGER NOT NULL,          -- of the run, as it was last settled
    replay INTEGER NOT NULL,            -- counts how often it was set back to the start
    PRIMARY KEY (backend, run_no)
) WITHOUT ROWID;

CREATE TABLE doubt (                    -- runs of which a tracker may hold more than its cursor says
    run_id TEXT PRIMARY KEY,
    size INTEGER NOT NULL,              -- of the spool, in bytes, when that became so
    position INTEGER                    -- of its last observation; NULL until that much is folded
) WITHOUT ROWID;

CREATE TABLE dead_letter (
    backend TEXT NOT NULL,
    run_no INTEGER NOT NULL REFERENCES run,
    position INTEGER NOT NULL,          -- of the observation; 0: of the run's own state
    reason TEXT NOT NULL,
    ts INTEGER NOT NULL,
    is_due INTEGER NOT NULL,            -- 1: somebody asked for it to be sent once more
    PRIMARY KEY (backend, run_no, position)
) WITHOUT ROWID;

CREATE TABLE counterpart (              -- where a client in a task finds the run in the tracker
    backend TEXT NOT NULL,
    run_no INTEGER NOT NULL REFERENCES run,
    address TEXT NOT NULL,              -- JSON object of texts, as the backend's client takes it
    PRIMARY KEY (backend, run_no)
) WITHOUT ROWID;

CREATE TABLE backend (
    name TEXT PRIMARY KEY,
    type TEXT NOT NULL,                 -- as in the configuration
    place INTEGER,                      -- in the configuration, from 0; NULL when it is not there
    failing_since INTEGER,              -- NULL while it answers
    error TEXT NOT NULL                 -- the last one, "" while it answers
) WITHOUT ROWID;
