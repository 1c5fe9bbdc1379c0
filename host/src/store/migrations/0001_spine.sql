-- Times are milliseconds since 1970.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE events (
    seq      INTEGER PRIMARY KEY,
    kind     TEXT NOT NULL,
    time     INTEGER NOT NULL,
    received INTEGER NOT NULL,
    source   TEXT NOT NULL,
    -- 0 accepted, 1 routed, 2 joined: another event turned out to be the same
    state    INTEGER NOT NULL,
    -- id of the task, for filters
    task     TEXT,
    -- the claimed keys, one a line, so that they go when the event goes
    keys     TEXT NOT NULL,
    -- JSON (the Data of the plugin API)
    data     TEXT NOT NULL
);
CREATE INDEX events_accepted ON events (seq) WHERE state = 0;

-- One table of unique keys for all roads by which an event may arrive.
CREATE TABLE keys (
    key   TEXT PRIMARY KEY,
    event INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE deliveries (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    event         INTEGER NOT NULL,
    instance      TEXT NOT NULL,
    -- 0 pending, 1 leased, 2 delivered, 3 dead, 4 suppressed, 5 parked
    state         INTEGER NOT NULL,
    order_key     TEXT,
    throttle_key  TEXT,
    -- earlier events of the throttle key that this one stands for as well
    suppressed    INTEGER NOT NULL DEFAULT 0,
    -- path of a condition on a fact that was not known
    unknown       TEXT,
    attempt       INTEGER NOT NULL DEFAULT 0,
    first_attempt INTEGER,
    due           INTEGER NOT NULL,
    token         INTEGER,
    lease_until   INTEGER,
    progress      TEXT,
    error         TEXT,
    created       INTEGER NOT NULL,
    updated       INTEGER NOT NULL
);
CREATE INDEX deliveries_due ON deliveries (instance, due, id) WHERE state = 0;
CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE state = 1;
CREATE INDEX deliveries_order ON deliveries (instance, order_key, id) WHERE state IN (0, 1) AND order_key IS NOT NULL;
CREATE INDEX deliveries_throttle ON deliveries (throttle_key, id) WHERE state = 4;
CREATE INDEX deliveries_dead ON deliveries (instance, id) WHERE state = 3;
CREATE INDEX deliveries_event ON deliveries (event);

CREATE TABLE throttles (
    key        TEXT PRIMARY KEY,
    -- the delivery that holds the key, and since when
    delivery   INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    -- suppressed since then
    suppressed INTEGER NOT NULL
) WITHOUT ROWID;

-- When `delivery.dead` was last said of an instance, and how many deaths were not said since.
CREATE TABLE dead_notices (
    instance TEXT PRIMARY KEY,
    at       INTEGER NOT NULL,
    unsaid   INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE storage (
    instance TEXT NOT NULL,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    expires  INTEGER,
    PRIMARY KEY (instance, key)
) WITHOUT ROWID;
CREATE INDEX storage_expires ON storage (expires) WHERE expires IS NOT NULL;

CREATE TABLE script_logs (
    reference TEXT PRIMARY KEY,
    at        INTEGER NOT NULL,
    -- zstd
    text      BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX script_logs_at ON script_logs (at);
