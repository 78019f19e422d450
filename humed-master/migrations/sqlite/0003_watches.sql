-- What is expected, and what became of it. Never changed once released: a later version is a later file.

-- Every watch that courses are kept for.
CREATE TABLE watch(
    no INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,                   -- who declared it: 'config'
    meaning TEXT NOT NULL,                  -- by what its slots come and are judged: with another one they begin anew
    began_us INTEGER NOT NULL
) STRICT;

-- A watch on one host. Its next slot opens and is due at these times; null when none will come any more.
CREATE TABLE course(
    watch_no INTEGER NOT NULL REFERENCES watch(no),
    host_no INTEGER NOT NULL REFERENCES host(no),
    next_opens_us INTEGER,
    next_at_us INTEGER,
    last_start_us INTEGER,
    has_run INTEGER NOT NULL,
    wake_clock_us INTEGER,                  -- when to look again, by the wall clock
    wake_watermark_us INTEGER,              -- and by the watermark of the host
    PRIMARY KEY(watch_no, host_no)
) STRICT, WITHOUT ROWID;
CREATE INDEX course_clock ON course(wake_clock_us) WHERE wake_clock_us IS NOT NULL;
CREATE INDEX course_host ON course(host_no, wake_watermark_us);

-- One expected run. Rows go with their course, and beyond a number for each course the oldest.
CREATE TABLE slot(
    watch_no INTEGER NOT NULL,
    host_no INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    opens_us INTEGER NOT NULL,
    closes_us INTEGER,
    due_us INTEGER NOT NULL,
    wanted_from_us INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    is_settled INTEGER NOT NULL,            -- time alone changes nothing of it any more
    run_id BLOB,                            -- the first run in its time, and how that went
    run_started_us INTEGER,
    run_ended_us INTEGER,
    run_ending TEXT,
    run_paused_us INTEGER,
    run_is_paused INTEGER,
    success_id BLOB,                        -- the first success in its time
    success_us INTEGER,
    is_reported_late INTEGER NOT NULL,
    is_overdue INTEGER NOT NULL,
    PRIMARY KEY(watch_no, host_no, at_us)
) STRICT, WITHOUT ROWID;
CREATE INDEX slot_open ON slot(watch_no, host_no) WHERE is_settled = 0;

-- What the watchdog has seen of the log: the border above it.
CREATE TABLE watchdog(
    one INTEGER PRIMARY KEY CHECK(one = 1),
    log_cursor INTEGER NOT NULL
) STRICT;
