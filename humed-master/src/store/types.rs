//! What rooms hand to the store and get back from it.

use hume_core::name::{BootId, Tag};
use hume_core::page::{EventCursor, Page, RunCursor, Stretch};
use hume_core::run::RunState;
use hume_core::{AgentId, Epoch, Event, EventId, HostName, Seq, StoredEvent, TaskName, Timestamp};
use hume_proto::event::EventBytes;
use hume_proto::relay::{EpochCursor, GapReason};

/// Tells one session of an agent from all others; grows with every Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNo(pub u64);

/// How far the store has one epoch: everything through `seq` is there, declared missing, or in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The place.
    pub seq: Seq,
    /// The event there, if there is one.
    pub event: Option<EventId>,
}

/// Consecutive places of one epoch, to be written in one transaction with all their consequences.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// Whose they are, by the certificate.
    pub agent: AgentId,
    /// The session they came by.
    pub session: SessionNo,
    /// Their epoch.
    pub epoch: Epoch,
    /// The first place.
    pub first: Seq,
    /// When they came.
    pub arrived_at: Timestamp,
    /// What stands there.
    pub content: Content,
}

/// What stands at consecutive places.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// One entry each; never empty.
    Entries(Vec<Entry>),
    /// Nothing, through this place.
    Gap {
        /// The last one.
        through: Seq,
        /// Why.
        reason: GapReason,
    },
}

/// What stands at one place.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// An event, and the bytes that say so.
    Event {
        /// Decoded.
        event: Box<Event>,
        /// Exactly as the agent encoded it.
        body: EventBytes,
    },
    /// Bytes that are no event.
    Quarantined {
        /// A word for programs.
        code: &'static str,
        /// What is wrong with them.
        detail: String,
        /// The bytes.
        body: EventBytes,
    },
}

/// What became of an [`Admission`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Written, in whole or (when its beginning was there already) in part.
    Stored {
        /// The cursor now.
        cursor: Cursor,
        /// Events written.
        events: u64,
        /// Entries put into quarantine.
        quarantined: u64,
    },
    /// All of it was there already.
    Known {
        /// The cursor, as before.
        cursor: Cursor,
    },
    /// It begins beyond the cursor: what lies between was never received.
    Beyond {
        /// The cursor, as before.
        cursor: Cursor,
    },
    /// A newer session of the agent exists.
    Superseded,
    /// The agent never said Hello with this epoch.
    UnknownEpoch,
}

/// An agent that says Hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// Who, by the certificate.
    pub agent: AgentId,
    /// Its host, by its own word.
    pub host: HostName,
    /// Its version.
    pub version: String,
    /// Where it connects from.
    pub address: String,
    /// When its certificate ends.
    pub certificate_expires_at: Timestamp,
    /// Its epochs, oldest first.
    pub epochs: Vec<EpochClaim>,
    /// Its queue.
    pub queue: QueueStatus,
    /// What it says of its host.
    pub about: HostWord,
    /// By how many microseconds its clock is behind this one.
    pub behind_us: i64,
    /// Now.
    pub at: Timestamp,
}

/// What an agent says of its host when it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostWord {
    /// Which boot of the machine this is; another one means that it was off in between.
    pub boot: Option<BootId>,
    /// Its time zone by the IANA name, not checked.
    pub zone: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// What an agent says of one of its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochClaim {
    /// Which.
    pub epoch: Epoch,
    /// Highest place that it gave out.
    pub last_assigned: Seq,
    /// The epoch it took over from.
    pub predecessor: Option<Epoch>,
    /// Events through this place may stand in the predecessor, right after what was acknowledged there.
    pub restamped: Seq,
}

#[cfg(test)]
impl EpochClaim {
    /// An epoch of which nothing was given out yet.
    pub(crate) fn fresh(epoch: Epoch) -> EpochClaim {
        EpochClaim { epoch, last_assigned: Seq::ZERO, predecessor: None, restamped: Seq::ZERO }
    }
}

/// What an agent says of its queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStatus {
    /// Events not acknowledged.
    pub events: u64,
    /// Since when the oldest waits.
    pub since: Option<Timestamp>,
    /// What last went wrong.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<Timestamp>,
    /// Events that it refused for want of room, since its start.
    pub refused_events: u64,
    /// Events that it had accepted and that are gone before they came here, since its start.
    pub lost_events: u64,
}

/// The store's answer to an [`Entrance`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// The number of the new session.
    pub session: SessionNo,
    /// One cursor per epoch of the entrance, in its order.
    pub cursors: Vec<Cursor>,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Of this agent.
    pub agent: AgentId,
    /// In this session.
    pub session: SessionNo,
    /// Its queue, if it spoke of it.
    pub queue: Option<QueueStatus>,
    /// Highest places that it gave out, if it spoke of them.
    pub tails: Vec<EpochCursor>,
    /// By how many microseconds its clock is behind this one, if it told the time.
    pub behind_us: Option<i64>,
    /// By the agent's clock: all that happened on the host until then was delivered, if it spoke of that. 1970 means
    /// that it claims nothing now. May lie before what was claimed earlier.
    pub watermark: Option<Timestamp>,
    /// Now.
    pub at: Timestamp,
}

/// The end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Of this agent.
    pub agent: AgentId,
    /// The session.
    pub session: SessionNo,
    /// What was wrong, if anything was.
    pub error: Option<String>,
    /// The agent said goodbye: it stopped on purpose.
    pub goodbye: bool,
    /// Now.
    pub at: Timestamp,
}

/// Places of an epoch without events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The epoch.
    pub epoch: Epoch,
    /// First place.
    pub from: Seq,
    /// Last place.
    pub to: Seq,
    /// Why.
    pub reason: String,
}

/// When a host expects one of its tasks, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Whose word.
    pub host: HostName,
    /// Of which task.
    pub task: TaskName,
    /// As it was said: see [`Expectation`](hume_core::watch::Expectation).
    pub text: String,
    /// When.
    pub said_at: Timestamp,
}

/// A run and what is known around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// The fold of its events.
    pub state: RunState,
    /// Gaps among its events.
    pub gaps: Vec<Gap>,
    /// Its events of every kind, in order of position, when they were asked for: at most
    /// [`RUN_EVENTS_MAX`](super::RUN_EVENTS_MAX).
    pub events: Vec<StoredEvent>,
    /// So many more there are.
    pub more_events: u64,
    /// When its agent was last heard.
    pub agent_seen_at: Timestamp,
    /// By how many microseconds the agent's clock is behind this one; zero while that is not known.
    pub agent_behind_us: i64,
}

/// Whether runs are wanted with their events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEvents {
    /// Without.
    Omit,
    /// With.
    Include,
}

/// A page of events.
pub type EventPage = Page<StoredEvent, EventCursor>;
/// A piece of the log.
pub type EventStretch = Stretch<StoredEvent>;
/// A page of runs.
pub type RunPage = Page<RunRecord, RunCursor>;

/// A list without pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roll<T> {
    /// At most [`LIST_ITEMS_MAX`](super::LIST_ITEMS_MAX).
    pub items: Vec<T>,
    /// True when there are more.
    pub truncated: bool,
}

/// A task on a host, by its latest run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRecord {
    /// The task.
    pub task: TaskName,
    /// The host.
    pub host: HostName,
    /// The latest started run there.
    pub latest: RunRecord,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRecord {
    /// Its name.
    pub host: HostName,
    /// Who reports for it.
    pub agent: AgentRecord,
    /// Tasks that ran there.
    pub tasks: u64,
    /// Events kept of it.
    pub events: u64,
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRecord {
    /// Who it is.
    pub agent: AgentId,
    /// Its host.
    pub host: String,
    /// Since when it is connected, if it is.
    pub connected_since: Option<Timestamp>,
    /// When its latest session ended, if that is known.
    pub left_at: Option<Timestamp>,
    /// When it was last heard.
    pub seen_at: Timestamp,
    /// Its version.
    pub version: String,
    /// Where it connects from.
    pub address: String,
    /// When its certificate ends.
    pub certificate_expires_at: Timestamp,
    /// Its queue, by its latest word.
    pub queue: QueueStatus,
    /// What it last said of its host.
    pub about: HostWord,
    /// When it said goodbye, if that was the last it said.
    pub goodbye_at: Option<Timestamp>,
    /// By its clock: all that happened on its host until then was delivered, by its latest word.
    pub watermark: Option<Timestamp>,
    /// By how many microseconds its clock is behind this one; zero while it is not connected.
    pub behind_us: i64,
    /// Events stored of it.
    pub stored_events: u64,
    /// Events of it that never came and never will, by the gaps that stand for them.
    pub missing_events: u64,
}

/// How large the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSize {
    /// Events.
    pub events: u64,
    /// Bytes on disk, the write-ahead log included.
    pub bytes: u64,
}
