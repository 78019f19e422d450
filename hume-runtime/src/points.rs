//! Fail points: named places where a daemon of a debug build kills, stops, delays or fails itself, as `HUME_FAULTS` says.
//!
//! Release builds have none of this: every call is empty, and the variable is not read. [`Point::ALL`] is the one list of
//! names; docs/RELIABILITY.md says how to use them. What is said of a point happens once, at the reach that is asked for.

#[cfg(debug_assertions)]
mod armed;
#[cfg(debug_assertions)]
mod faults;

/// The variable that says what happens where: `name=action[@count]`, several with `;` between them.
pub const VARIABLE: &str = "HUME_FAULTS";

macro_rules! points {
    ($($(#[$text:meta])* $variant:ident = $name:literal,)*) => {
        /// A place that a fault can be asked for at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point { $($(#[$text])* $variant,)* }

        impl Point {
            /// Every place.
            pub const ALL: &[Point] = &[$(Point::$variant,)*];

            /// How the variable calls it.
            pub const fn name(self) -> &'static str {
                match self { $(Point::$variant => $name,)* }
            }
        }
    };
}

points! {
    /// The agent's writer has begun a transaction and inserts the first event of an append.
    AgentBeforeInsert = "agent.before_insert",
    /// All of the group is inserted. May fail.
    AgentBeforeCommit = "agent.before_commit",
    /// It is on disk, and nobody was told.
    AgentAfterCommit = "agent.after_commit",
    /// The answers are written to the caller's connection.
    AgentAfterReply = "agent.after_reply",
    /// An event of the drop folder is on disk, and its file is still there.
    AgentBeforeRemove = "agent.before_remove",
    /// What the master has is about to be noted.
    AgentBeforeCursor = "agent.before_cursor",
    /// It is noted, and not committed.
    AgentAfterCursor = "agent.after_cursor",
    /// A step of the retention has deleted rows, and not committed. May fail.
    AgentInTrim = "agent.in_trim",
    /// A new epoch has taken over, and that is not committed.
    AgentBeforeSuccession = "agent.before_succession",
    /// It is committed, and the master does not know.
    AgentAfterSuccession = "agent.after_succession",
    /// Batches have come, and their commit is not asked for.
    MasterReceived = "master.received",
    /// Batches are written. May fail.
    MasterBeforeCommit = "master.before_commit",
    /// Batches are on disk, and nobody was told.
    MasterAfterCommit = "master.after_commit",
    /// The Ack is about to be sent. To fail here cuts the connection.
    MasterBeforeAck = "master.before_ack",
    /// A step of the retention has deleted, and not committed.
    MasterInRetention = "master.in_retention",
    /// The log is about to be copied into the database, at either daemon.
    Checkpoint = "sqlite.checkpoint",
    /// It is copied.
    AfterCheckpoint = "sqlite.after_checkpoint",
}

/// A place where nothing can fail: whoever asks for an error here gets none.
#[inline]
pub fn reach(point: Point) {
    let _ = fails(point);
}

/// A place that can fail; true when it must.
#[inline]
pub fn fails(point: Point) -> bool {
    #[cfg(debug_assertions)]
    return armed::fails(point);
    #[cfg(not(debug_assertions))]
    {
        let _ = point;
        false
    }
}

/// A place that fails as a write to a full or failing disk does.
/// # Errors
/// That of a failed sync, when the variable asks for it.
#[inline]
pub fn statement(point: Point) -> rusqlite::Result<()> {
    if fails(point) {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        return Err(rusqlite::Error::SqliteFailure(code, None));
    }
    Ok(())
}

/// By how many microseconds the wall clock is to be wrong: `clock=shift(SECONDS)`.
#[inline]
pub fn clock_shift_us() -> i64 {
    #[cfg(debug_assertions)]
    return armed::clock_shift_us();
    #[cfg(not(debug_assertions))]
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_points_have_one_name() {
        let names: std::collections::BTreeSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }

    #[test]
    fn without_the_variable_nothing_happens() {
        for point in Point::ALL {
            reach(*point);
            assert!(!fails(*point) && statement(*point).is_ok());
        }
        assert_eq!(clock_shift_us(), 0);
    }
}
