-- Times are milliseconds since 1970 by the wall clock: what is planned, is planned by it.

CREATE TABLE schedules (
    -- in the order in which they were made
    place  INTEGER PRIMARY KEY,
    id     TEXT NOT NULL UNIQUE,
    -- planned times up to here are dealt with
    since  INTEGER NOT NULL,
    -- JSON
    record TEXT NOT NULL
);

-- One row for each planned time that was claimed or missed, so that none is started twice; the last ones of each schedule.
CREATE TABLE schedule_runs (
    schedule TEXT NOT NULL,
    planned  INTEGER NOT NULL,
    -- 0 claimed, 1 started, 2 failed, 3 skipped, 4 missed
    state    INTEGER NOT NULL,
    claimed  INTEGER NOT NULL,
    message  TEXT,
    PRIMARY KEY (schedule, planned)
) WITHOUT ROWID;
CREATE INDEX schedule_runs_claimed ON schedule_runs (claimed) WHERE state = 0;

-- The last times that schedules of plugins were handed out.
CREATE TABLE plugin_ticks (
    instance TEXT NOT NULL,
    name     TEXT NOT NULL,
    planned  INTEGER NOT NULL,
    PRIMARY KEY (instance, name)
) WITHOUT ROWID;
