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
    last_error_us INTEGER,
    refused_events INTEGER NOT NULL,        -- by its own word, as the next one
    lost_events INTEGER NOT NULL
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
    assigned INTEGER NOT NULL,              -- highest place that the agent was ever known to have given out
    predecessor_no INTEGER,                 -- the epoch it took over from, and the place there after which its first
    forked_after INTEGER NOT NULL,          -- `restamped` events stood before: some may be here already
    restamped INTEGER NOT NULL,
    UNIQUE(agent_no, epoch)
) STRICT;

CREATE TABLE task(
    no INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE tag(
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
    events INTEGER NOT NULL,                -- of every kind, as far as they are still here
    state BLOB NOT NULL,                    -- the fold of its events, packed; can be made anew from them
    UNIQUE(id, agent_no)
) STRICT;
-- Runs of one start are put in order by their id while they are read. Those of one task on one host are found among the
-- host's: an index of (task, host) has a page for nearly every row that a batch changes.
CREATE INDEX run_started ON run(started_us);
CREATE INDEX run_task ON run(task_no, started_us);
CREATE INDEX run_host ON run(host_no, started_us, task_no);

-- The latest started run of each task on each host. Narrow, because a batch changes rows all over it.
CREATE TABLE latest(
    task_no INTEGER NOT NULL REFERENCES task(no),
    host_no INTEGER NOT NULL REFERENCES host(no),
    run_no INTEGER NOT NULL,                -- no reference: it is never forgotten, and a run that is would be looked for here
    PRIMARY KEY(task_no, host_no)
) STRICT, WITHOUT ROWID;
-- The latest runs of one host, and how many tasks a host has.
CREATE INDEX latest_host ON latest(host_no, task_no);

-- The log, in blocks: a few dozen events that follow each other in one epoch and came together. Ids count events: a block has
-- the id of its first event, and the next one begins where it ends. Holes are where the retention has forgotten blocks, and where
-- a restore broke the log off; the newest block always stays. There is no unique index on places: the cursor of the epoch is the
-- authority. This table is narrow, so that looking for the right blocks reads few pages.
CREATE TABLE block(
    id INTEGER PRIMARY KEY,
    events INTEGER NOT NULL,
    epoch_no INTEGER NOT NULL,
    seq INTEGER NOT NULL,                   -- the place of its first event
    arrived_us INTEGER NOT NULL,
    from_us INTEGER NOT NULL,               -- earliest and latest time of its events
    to_us INTEGER NOT NULL,
    rank_max INTEGER NOT NULL               -- of their levels
) STRICT;

-- What a block holds. `bodies` is exactly what the agent encoded, each event behind its length; `marks` are copies to search by,
-- so that only what is asked for is decoded.
CREATE TABLE content(
    block_id INTEGER PRIMARY KEY,
    marks BLOB NOT NULL,
    bodies BLOB NOT NULL
) STRICT;

-- The same bounds for all blocks that begin within 4096 ids: what lies in another time, or is not bad enough, is passed over at once.
CREATE TABLE zone(
    no INTEGER PRIMARY KEY,                 -- id of a block / 4096
    from_us INTEGER NOT NULL,
    to_us INTEGER NOT NULL,
    rank_max INTEGER NOT NULL
) STRICT;

-- Which blocks have an event of a task (0), a host (1), a tag (2) or a run (3): the index of the log, a row for a block and not for
-- an event.
CREATE TABLE mention(
    field INTEGER NOT NULL,
    no INTEGER NOT NULL,
    block_id INTEGER NOT NULL,
    PRIMARY KEY(field, no, block_id)
) STRICT, WITHOUT ROWID;

-- Events of a run that the retention has forgotten while the run itself is still here: between these two places.
CREATE TABLE forgotten(
    run_no INTEGER NOT NULL,
    epoch_no INTEGER NOT NULL,
    from_seq INTEGER NOT NULL,
    to_seq INTEGER NOT NULL,
    PRIMARY KEY(run_no, epoch_no, from_seq)
) STRICT, WITHOUT ROWID;

-- Where a restore broke the log off: it goes on with the second id. Borders between the two are of the store that was replaced.
CREATE TABLE restored(
    end_id INTEGER PRIMARY KEY,
    next_id INTEGER NOT NULL
) STRICT;

-- Places that hold no event and never will. Those of `lost_spool` may lie beyond the cursor: should their agent find them
-- again after all, it may still bring them. Those of `restamped` hold an event that stands in the predecessor.
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
