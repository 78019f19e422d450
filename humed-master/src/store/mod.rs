//! What the master knows, and the only room that keeps anything.
//!
//! Events are a log; runs, latest runs and the registry of agents are its consequences, written in the same transaction.
//! Rooms hold the narrow traits of `traits.rs`, never a backend. The meaning of a question is
//! [`EventFilter::matches`](hume_core::filter::EventFilter::matches); SQL only makes it fast.

mod block;
#[cfg(test)]
mod contract;
mod error;
mod keeper;
mod predicate;
mod presence;
mod retention;
mod sqlite;
mod traits;
mod types;
mod watches;

pub use error::StoreError;
pub use keeper::Keeper;
pub use retention::{Bounds, Forgotten, RetentionConfig, Round};
pub use sqlite::{
    BackupError, CopyReport, Restored, SqliteStore, StoreConfig, Taken, Writer, backup, restore, set_aside,
};
pub use traits::{
    BoxFuture, EventReader, EventWriter, Expectations, Inventory, Reader, Retention, RunReader, Sessions,
    Slots, Watching,
};
pub use types::{
    Admission, AgentRecord, CommitOutcome, Content, Cursor, Departure, Entered, Entrance, Entry, EpochClaim,
    EventPage, EventStretch, Expected, Gap, HostRecord, HostWord, QueueStatus, Roll, RunEvents, RunPage,
    RunRecord, SessionNo, Sighting, StoreSize, TaskRecord,
};

pub use watches::{
    CourseChange, CourseKey, CourseOn, CourseRecord, DueCourses, HostNo, Note, ReachRow, RunsAfter,
    SessionSeen, SlotFilter, SlotRecord, WatchDeclared, WatchNo, WatchRecord, WatchRow, WatchedHost,
};

/// Events answered with one run. Few in tests, so that the suite meets it.
pub const RUN_EVENTS_MAX: usize = if cfg!(test) { 100 } else { 10_000 };
/// Items of a list that has no pages: tasks, hosts, agents. Likewise.
pub const LIST_ITEMS_MAX: usize = if cfg!(test) { 12 } else { hume_proto::rest::LIST_ITEMS_MAX };
