-- What this host reported and the master may not have yet. The number of a row is its place: the number of its epoch above
-- 40 bits, its seq in them. It grows, is never used again, and needs no index of its own.
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;

CREATE TABLE epoch (
    no          INTEGER PRIMARY KEY,
    epoch       BLOB    NOT NULL UNIQUE,
    next_seq    INTEGER NOT NULL,
    acked_seq   INTEGER NOT NULL,
    acked_event BLOB,
    created_us  INTEGER NOT NULL,
    -- The epoch it took over from, and through which place its events stood there before, right after what was acknowledged.
    -- To an epoch with a successor nothing is added.
    predecessor BLOB,
    restamped   INTEGER NOT NULL,
    reason      INTEGER NOT NULL,
    -- Through this place, what is missing was given up by an administrator.
    purged      INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE event (
    row         INTEGER PRIMARY KEY,
    epoch_no    INTEGER GENERATED ALWAYS AS (row >> 40) VIRTUAL,
    seq         INTEGER GENERATED ALWAYS AS (row & 0xffffffffff) VIRTUAL,
    id          BLOB    NOT NULL,
    received_us INTEGER NOT NULL,
    time_us     INTEGER NOT NULL,
    kind        INTEGER NOT NULL,
    run_no      INTEGER,
    crc         INTEGER NOT NULL,       -- CRC-32 of the body
    body        BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_by_id ON event (id);
CREATE INDEX event_by_run ON event (run_no) WHERE run_no IS NOT NULL;

-- Derived from the events: the fold of each run, kept in the transaction that stores them.
CREATE TABLE run (
    no         INTEGER PRIMARY KEY,
    id         BLOB    NOT NULL UNIQUE,
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
