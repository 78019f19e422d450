-- One row per transfer that ever ran, by the name it has in the configuration.
CREATE TABLE transfer (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    -- Border in the log of the daemon: everything below it is settled.
    cursor INTEGER NOT NULL,
    -- Of what is above it, everything up to this event is settled too.
    settled BLOB,
    delivered INTEGER NOT NULL DEFAULT 0,
    folded INTEGER NOT NULL DEFAULT 0,
    retried INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    last_success_us INTEGER,
    -- Why the last try failed, when that began, and when the next one is due.
    trouble TEXT,
    trouble_since_us INTEGER,
    next_try_us INTEGER,
    -- What waits, as it was last counted: at least so many if `waiting_more`; the oldest came then.
    waiting INTEGER NOT NULL DEFAULT 0,
    waiting_more INTEGER NOT NULL DEFAULT 0,
    waiting_since_us INTEGER,
    seen_at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Open runs of transfers that tell of runs: the fold of the events below the cursor.
CREATE TABLE run (
    transfer TEXT NOT NULL REFERENCES transfer(name) ON DELETE CASCADE,
    id BLOB NOT NULL,
    told INTEGER NOT NULL,
    fold TEXT NOT NULL,
    PRIMARY KEY (transfer, id)
) STRICT, WITHOUT ROWID;

-- What a peer will never take.
CREATE TABLE dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    transfer TEXT NOT NULL REFERENCES transfer(name) ON DELETE CASCADE,
    at_us INTEGER NOT NULL,
    reason TEXT NOT NULL,
    agent BLOB,
    epoch BLOB NOT NULL,
    seq INTEGER NOT NULL,
    arrived_at_us INTEGER,
    body BLOB NOT NULL,
    -- 1 when an administrator wants it to be tried again.
    retry INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX dead_transfer ON dead (transfer, id);

-- What an administrator asked for and the daemon has not done yet: `one` or `all` is to be skipped.
CREATE TABLE skip (
    transfer TEXT PRIMARY KEY REFERENCES transfer(name) ON DELETE CASCADE,
    what TEXT NOT NULL CHECK (what IN ('one', 'all'))
) STRICT, WITHOUT ROWID;
