-- Events in blocks of those that came together: see block.rs. The number of a block is that of its first event's place: the
-- number of its epoch above 40 bits, its seq in them. Places grow and are never given out again. The rows of `event` move into
-- blocks: see upgrade.rs.
CREATE TABLE block (
    row    INTEGER PRIMARY KEY,
    last   INTEGER NOT NULL,        -- the place of its last event
    events INTEGER NOT NULL,
    bytes  INTEGER NOT NULL,        -- of the bodies together
    marks  BLOB    NOT NULL,
    bodies BLOB    NOT NULL
) STRICT;

-- Derived from the marks: in which blocks there are ids that begin with this millisecond ...
CREATE TABLE block_by_millis (
    millis INTEGER NOT NULL,
    row    INTEGER NOT NULL,
    PRIMARY KEY (millis, row)
) STRICT, WITHOUT ROWID;

-- ... and in which ones there are so many events of this run.
CREATE TABLE block_by_run (
    run_no INTEGER NOT NULL,
    row    INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (run_no, row)
) STRICT, WITHOUT ROWID;
