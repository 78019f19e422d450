-- What the master keeps. Never changed once released: a later version is a later file.
-- Times are microseconds since 1970 (UTC). Ids are 16 bytes. `no` is this store's own short number for a longer name.

CREATE TABLE meta(
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Every agent that ever said Hello.
CREATE TABLE agent(
    no INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK(length(id) = 16),
    host TEXT NOT NULL,
    session_no INTEGER NOT NULL,            -- grows with every Hello; a commit must name the newest
    version TEXT NOT NULL,
    address TEXT NOT NULL,
    certificate_expires_us INTEGER NOT NULL,
    first_seen_us INTEGER NOT NULL,
    last_seen_us INTEGER NOT NULL,
    left_us INTEGER,                        -- when its latest session ended; null while it goes on
    queued_events INTEGER NOT NULL,
    queued_since_us INTEGER,
    last_error TEXT,
    last_error_us INTEGER
) STRICT;

-- Every sequence space of every agent. Numbers grow in the order in which the epochs were born, so (no, seq) orders
-- the events of a run. Rows outlive the events: the cursor is what makes a retry harmless.
CREATE TABLE epoch(
    no INTEGER PRIMARY KEY,
    agent_no INTEGER NOT NULL REFERENCES agent(no),
    epoch BLOB NOT NULL CHECK(length(epoch) = 16),
    acked INTEGER NOT NULL,                 -- all through this seq is here, declared a gap, or in quarantine
    acked_event_id BLOB,                    -- id of the event there; null after a gap or a quarantined event
    stored INTEGER NOT NULL,                -- events of it that were stored
    UNIQUE(agent_no, epoch)
) STRICT;

CREATE TABLE task(
    no INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE host(
    no INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    agent_no INTEGER NOT NULL REFERENCES agent(no),  -- who reports for it
    events INTEGER NOT NULL
) STRICT;

-- One execution of a task. An agent speaks only of its own runs, so its number is part of their name.
CREATE TABLE run(
    no INTEGER PRIMARY KEY,
    id BLOB NOT NULL CHECK(length(id) = 16),
    agent_no INTEGER NOT NULL REFERENCES agent(no),
    task_no INTEGER NOT NULL REFERENCES task(no),
    host_no INTEGER NOT NULL REFERENCES host(no),
    started_us INTEGER NOT NULL,
    ended_us INTEGER,
    state TEXT NOT NULL,                    -- the fold of its events, as JSON; can be made anew from them
    UNIQUE(id, agent_no)
) STRICT;
CREATE INDEX run_started ON run(started_us, id);
CREATE INDEX run_task ON run(task_no, started_us, id);
CREATE INDEX run_host ON run(host_no, started_us, id);
CREATE INDEX run_task_host ON run(task_no, host_no, started_us, id);

-- The latest started run of each task on each host.
CREATE TABLE latest(
    task_no INTEGER NOT NULL REFERENCES task(no),
    host_no INTEGER NOT NULL REFERENCES host(no),
    run_no INTEGER NOT NULL REFERENCES run(no),
    started_us INTEGER NOT NULL,
    run_id BLOB NOT NULL,
    PRIMARY KEY(task_no, host_no)
) STRICT, WITHOUT ROWID;

-- The log. `body` is exactly what the agent encoded; the other columns are copies to search by. There is no unique index
-- on (epoch_no, seq): it costs several times the insert, and the cursor of the epoch is the authority.
CREATE TABLE event(
    id INTEGER PRIMARY KEY,
    epoch_no INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    arrived_us INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    level_rank INTEGER NOT NULL,
    task_no INTEGER NOT NULL,
    host_no INTEGER NOT NULL,
    run_no INTEGER,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX event_run ON event(run_no, epoch_no, seq) WHERE run_no IS NOT NULL;
CREATE INDEX event_task ON event(task_no, id);
CREATE INDEX event_host ON event(host_no, id);

-- Places that hold no event and never will.
CREATE TABLE gap(
    epoch_no INTEGER NOT NULL REFERENCES epoch(no),
    from_seq INTEGER NOT NULL,
    to_seq INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    PRIMARY KEY(epoch_no, from_seq)
) STRICT, WITHOUT ROWID;

-- Bytes that came in an event's place and are none that this version understands.
CREATE TABLE quarantine(
    no INTEGER PRIMARY KEY,
    epoch_no INTEGER NOT NULL REFERENCES epoch(no),
    seq INTEGER NOT NULL,
    arrived_us INTEGER NOT NULL,
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
