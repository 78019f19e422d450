-- What this host reported and the master may not have yet. `row` grows and is never used again; (epoch_no, seq) is the place.
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;

CREATE TABLE epoch (
    no          INTEGER PRIMARY KEY,
    epoch       BLOB    NOT NULL UNIQUE,
    next_seq    INTEGER NOT NULL,
    acked_seq   INTEGER NOT NULL,
    acked_event BLOB,
    created_us  INTEGER NOT NULL
) STRICT;

CREATE TABLE event (
    row         INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch_no    INTEGER NOT NULL REFERENCES epoch (no),
    seq         INTEGER NOT NULL,
    id          BLOB    NOT NULL,
    received_us INTEGER NOT NULL,
    time_us     INTEGER NOT NULL,
    kind        INTEGER NOT NULL,
    run         BLOB,
    body        BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_by_id ON event (id);
CREATE UNIQUE INDEX event_by_place ON event (epoch_no, seq);
CREATE INDEX event_by_run ON event (run, row) WHERE run IS NOT NULL;

-- Derived from the events: the fold of each run, kept in the transaction that stores them.
CREATE TABLE run (
    id         BLOB    PRIMARY KEY,
    task       TEXT    NOT NULL,
    host       TEXT    NOT NULL,
    uid        INTEGER,
    started_us INTEGER NOT NULL,
    ended      INTEGER NOT NULL,
    state      TEXT    NOT NULL
) STRICT;
CREATE INDEX run_by_start ON run (started_us, id);
CREATE INDEX run_by_task ON run (task, host, started_us, id);

-- Runs that later events may join: what correlation needs to know of them.
CREATE TABLE open_run (
    id    BLOB PRIMARY KEY,
    task  TEXT NOT NULL,
    host  TEXT NOT NULL,
    state TEXT NOT NULL
) STRICT;
