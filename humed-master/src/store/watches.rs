//! What the watchdog keeps in the store, and gets back from it: watches, their courses on hosts, and slots.
//!
//! A [`Note`] is one step of the watchdog: what it found and what follows from it, in one transaction, so that nothing is
//! told twice or never.

use std::collections::BTreeMap;

use hume_core::course::{Kept, Wake};
use hume_core::name::{Tag, WatchName};
use hume_core::page::EventCursor;
use hume_core::scope::Scope;
use hume_core::slot::Slot;
use hume_core::{AgentId, Event, HostName, Timestamp};
use hume_proto::event::EventBytes;

use super::types::{RunRecord, SessionNo};

/// This store's number of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchNo(pub i64);

/// This store's number of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostNo(pub i64);

/// A host of a watch, and in which zone its course there is read; none where that of the host changes nothing.
pub type CourseOn = (HostNo, Option<String>);

/// A watch on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CourseKey {
    /// The watch.
    pub watch: WatchNo,
    /// The host.
    pub host: HostNo,
}

/// A watch that courses are kept for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRow {
    /// Its number.
    pub no: WatchNo,
    /// Its name.
    pub name: WatchName,
    /// By what its slots come and are judged.
    pub meaning: String,
    /// The task that it is told under.
    pub task: String,
    /// Its lines.
    pub schedule: String,
}

/// A watch that is new, or means something else than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchDeclared {
    /// Its name.
    pub name: WatchName,
    /// By what its slots come and are judged.
    pub meaning: String,
    /// The task that it is told under.
    pub task: String,
    /// Its lines.
    pub schedule: String,
}

/// A watch, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRecord {
    /// Its name.
    pub name: String,
    /// The task that it is told under.
    pub task: String,
    /// Its lines.
    pub schedule: String,
    /// Hosts that it is for, of those that may be seen.
    pub hosts: u64,
    /// When a run is expected next, on any of them.
    pub next_at: Option<Timestamp>,
}

/// Which slots are asked for. Everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotFilter {
    /// Exactly this watch.
    pub watch: Option<WatchName>,
    /// Exactly this host.
    pub host: Option<HostName>,
    /// Of what the asker may see.
    pub scope: Scope,
}

/// A slot, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRecord {
    /// Of this watch.
    pub watch: String,
    /// On this host.
    pub host: String,
    /// The slot.
    pub slot: Slot,
}

/// A host, and the agent that reports for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedHost {
    /// Its number.
    pub no: HostNo,
    /// Its name.
    pub name: HostName,
    /// The agent.
    pub agent: AgentId,
    /// Its zone, by the word of its agent.
    pub zone: Option<String>,
    /// Its tags, likewise; none of a host that is not the agent's own.
    pub tags: Vec<Tag>,
}

/// What is known of an agent's host while the agent is not connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachRow {
    /// The agent.
    pub agent: AgentId,
    /// Its host.
    pub host: HostName,
    /// When something was last heard of it.
    pub seen_at: Timestamp,
    /// When it said goodbye, if that was the last it said.
    pub goodbye_at: Option<Timestamp>,
    /// When people were told that the host cannot be reached, if nothing else was told since.
    pub told_at: Option<Timestamp>,
}

/// A course as it was kept, with its slots that are not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CourseRecord {
    /// Which.
    pub key: CourseKey,
    /// In which zone it is read; none where that of the host changes nothing.
    pub zone: Option<String>,
    /// What was kept beside the slots.
    pub kept: Kept,
    /// Some run was seen on the host.
    pub has_run: bool,
    /// In their order.
    pub open: Vec<Slot>,
}

/// Courses whose time has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueCourses {
    /// At most as many as were asked for.
    pub courses: Vec<CourseRecord>,
    /// When the next one is due by the wall clock, of all.
    pub next: Option<Timestamp>,
}

/// Runs to which something was added.
#[derive(Clone, Debug, PartialEq)]
pub struct RunsAfter {
    /// As they are now, each once.
    pub runs: Vec<RunRecord>,
    /// The border above everything that was looked at.
    pub next: EventCursor,
    /// Nothing was left above it.
    pub at_end: bool,
}

/// A live session, as the watchdog sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSeen {
    /// Of this agent.
    pub agent: AgentId,
    /// Which.
    pub session: SessionNo,
    /// When something was last heard of it.
    pub seen_at: Timestamp,
    /// Everything that happened on the host until then was delivered, by the clock of the agent; none before its first word on that.
    pub watermark: Option<Timestamp>,
    /// By how many microseconds that clock is behind this one.
    pub behind_us: i64,
}

/// What changed of a course in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CourseChange {
    /// Which.
    pub key: CourseKey,
    /// In which zone it is read; none where that of the host changes nothing.
    pub zone: Option<String>,
    /// What is kept beside the slots.
    pub kept: Kept,
    /// Some run was seen on the host.
    pub has_run: bool,
    /// When to look again.
    pub wake: Wake,
    /// By their instant: what to write, and none for what to forget. The flag says that it is settled.
    pub slots: BTreeMap<Timestamp, Option<(Slot, bool)>>,
}

/// One step of the watchdog.
#[derive(Clone, Debug, Default)]
pub struct Note {
    /// Watches that are new or mean something else.
    pub declared: Vec<WatchDeclared>,
    /// Watches that are no more: their courses and slots go with them.
    pub dropped: Vec<WatchNo>,
    /// Courses that are no more, with their slots: the watch is not for their host any longer.
    pub ended: Vec<CourseKey>,
    /// What changed.
    pub courses: Vec<CourseChange>,
    /// Of which agents' hosts people think since when that they cannot be reached; none when no more.
    pub reach: Vec<(AgentId, Option<Timestamp>)>,
    /// What was found, in order, and the bytes that say so.
    pub found: Vec<(Event, EventBytes)>,
    /// The log was seen up to here.
    pub cursor: Option<EventCursor>,
    /// Now.
    pub at: Timestamp,
}
