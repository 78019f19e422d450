//! What a store is: one narrow trait per customer, so a room's constructor says what the room can do.
//!
//! Every backend passes the suite in `contract.rs`. The traits can be made into objects: a boxed future costs nothing
//! next to a transaction.

use std::pin::Pin;

use hume_core::Timestamp;
use hume_core::filter::{EventFilter, RunFilter};
use hume_core::page::{After, EventCursor, RunCursor};
use hume_core::scope::Scope;
use hume_core::slot::Slot;
use tokio::sync::watch;

use super::error::StoreError;
use super::retention::{Bounds, Forgotten, Round};
use super::types::{
    Admission, AgentRecord, CommitOutcome, Departure, Entered, Entrance, EventPage, EventStretch, Expected,
    HostRecord, Roll, RunEvents, RunPage, Sighting, StoreSize, TaskRecord,
};

use super::watches::{
    CourseKey, CourseOn, CourseRecord, DueCourses, HostNo, Note, ReachRow, RunsAfter, SessionSeen,
    SlotFilter, SlotRecord, WatchNo, WatchRecord, WatchRow, WatchedHost,
};

/// A future that can be named.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// For the room that lets events in.
pub trait EventWriter: Send + Sync {
    /// Writes each admission whole or not at all, in this order; answers one outcome each, after they are on disk.
    /// # Errors
    /// Nothing of this call was kept: the same admissions can be given again.
    fn commit(&self, admissions: Vec<Admission>) -> BoxFuture<'_, Result<Vec<CommitOutcome>, StoreError>>;
}

/// For the room that knows who is connected.
pub trait Sessions: Send + Sync {
    /// Names this store; another name means that it was created or restored.
    fn store_id(&self) -> [u8; 16];

    /// Enters the agent into the registry, numbers the session, and begins the epochs it did not know.
    fn enter(&self, entrance: Entrance) -> BoxFuture<'_, Result<Entered, StoreError>>;

    /// Notes a sign of life; cheap, and on disk only now and then. Ignored for a session that is not the newest.
    fn seen(&self, sighting: Sighting);

    /// Notes the end of a session. Ignored for a session that is not the newest.
    fn leave(&self, departure: Departure) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// For the one who decides what is forgotten.
pub trait Retention: Send + Sync {
    /// The time by which the retention last went, before this process; else when the newest event had come.
    fn last_look(&self) -> Option<Timestamp>;

    /// One small step of a round, oldest first: what may go by `bounds` goes, with all its consequences. With `looked_at` that
    /// is noted as the time by which the retention goes.
    fn forget(
        &self,
        bounds: Bounds,
        round: Round,
        looked_at: Option<Timestamp>,
    ) -> BoxFuture<'_, Result<Forgotten, StoreError>>;
}

/// For rooms that list events.
pub trait EventReader: Send + Sync {
    /// At most `limit` events, newest first. A short page with a `next` is legal: it was long to search for.
    fn events(
        &self,
        filter: EventFilter,
        limit: usize,
        after: Option<EventCursor>,
    ) -> BoxFuture<'_, Result<EventPage, StoreError>>;

    /// Events in the order of the log, at most `limit`, and where to go on. A short piece that is not at the end is legal.
    /// # Errors
    /// [`StoreError::Beyond`] for a border that the store has not reached.
    fn events_after(
        &self,
        filter: EventFilter,
        limit: usize,
        after: After,
    ) -> BoxFuture<'_, Result<EventStretch, StoreError>>;

    /// The end of the log, as it grows: changed by every commit of events, after it.
    fn end(&self) -> watch::Receiver<EventCursor>;

    /// How many events match.
    fn count_events(&self, filter: EventFilter) -> BoxFuture<'_, Result<u64, StoreError>>;
}

/// For rooms that list runs.
pub trait RunReader: Send + Sync {
    /// At most `limit` runs, newest start first. A short page with a `next` is legal.
    fn runs(
        &self,
        filter: RunFilter,
        limit: usize,
        after: Option<RunCursor>,
        events: RunEvents,
    ) -> BoxFuture<'_, Result<RunPage, StoreError>>;

    /// How many runs match.
    fn count_runs(&self, filter: RunFilter) -> BoxFuture<'_, Result<u64, StoreError>>;
}

/// For the room that finds what did not happen.
pub trait Watching: Send + Sync {
    /// All watches that courses are kept for.
    fn watches(&self) -> BoxFuture<'_, Result<Vec<WatchRow>, StoreError>>;

    /// All hosts.
    fn watched_hosts(&self) -> BoxFuture<'_, Result<Vec<WatchedHost>, StoreError>>;

    /// What is known of all agents' hosts.
    fn reach(&self) -> BoxFuture<'_, Result<Vec<ReachRow>, StoreError>>;

    /// On which hosts a watch has courses, and in which zone each is read.
    fn hosts_of(&self, watch: WatchNo) -> BoxFuture<'_, Result<Vec<CourseOn>, StoreError>>;

    /// These courses, as far as there are any.
    fn courses(&self, keys: Vec<CourseKey>) -> BoxFuture<'_, Result<Vec<CourseRecord>, StoreError>>;

    /// At most `limit` courses that are to be looked at by now, or by the watermark of their host.
    fn due(
        &self,
        now: Timestamp,
        watermarks: Vec<(HostNo, Timestamp)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<DueCourses, StoreError>>;

    /// The settled slot of a course in whose time this moment lies.
    fn slot_at(&self, key: CourseKey, moment: Timestamp) -> BoxFuture<'_, Result<Option<Slot>, StoreError>>;

    /// Where the watchdog is in the log; none before its first step.
    fn cursor(&self) -> BoxFuture<'_, Result<Option<EventCursor>, StoreError>>;

    /// Runs to which something was added after this border, at most `limit` and a few more.
    fn runs_after(&self, after: EventCursor, limit: usize) -> BoxFuture<'_, Result<RunsAfter, StoreError>>;

    /// Writes one step of the watchdog, whole or not at all, with what it found at the end of the log.
    /// # Errors
    /// Nothing of it was kept.
    fn note(&self, note: Note) -> BoxFuture<'_, Result<(), StoreError>>;

    /// All live sessions.
    fn sessions(&self) -> Vec<SessionSeen>;

    /// Changes with every session that begins or ends, and with every watermark.
    fn heard(&self) -> watch::Receiver<u64>;
}

/// For the one who knows all watches.
pub trait Expectations: Send + Sync {
    /// What hosts say of when they expect their tasks: the last word on each.
    fn expectations(&self) -> BoxFuture<'_, Result<Vec<Expected>, StoreError>>;

    /// Changes with every word that is news, after its commit.
    fn expected(&self) -> watch::Receiver<u64>;
}

/// For rooms that show what is expected.
pub trait Slots: Send + Sync {
    /// Every watch that may be seen, by name.
    fn watch_list(&self, scope: Scope) -> BoxFuture<'_, Result<Roll<WatchRecord>, StoreError>>;

    /// At most `limit` slots, the newest first.
    fn slots(&self, filter: SlotFilter, limit: usize) -> BoxFuture<'_, Result<Roll<SlotRecord>, StoreError>>;
}

/// For rooms that show what there is.
pub trait Inventory: Send + Sync {
    /// Every task on every host that may be seen, by name.
    fn tasks(&self, scope: Scope) -> BoxFuture<'_, Result<Roll<TaskRecord>, StoreError>>;

    /// Every host that may be seen, by name. With a scope of tasks, those that ran one of them, and what is counted is theirs.
    fn hosts(&self, scope: Scope) -> BoxFuture<'_, Result<Roll<HostRecord>, StoreError>>;

    /// Every agent whose host may be seen, by host.
    fn agents(&self, scope: Scope) -> BoxFuture<'_, Result<Roll<AgentRecord>, StoreError>>;

    /// How large it is. Answers only if the store does.
    fn size(&self) -> BoxFuture<'_, Result<StoreSize, StoreError>>;
}

/// All that the web room asks.
pub trait Reader: EventReader + RunReader + Inventory + Slots {}

impl<T: EventReader + RunReader + Inventory + Slots> Reader for T {}
