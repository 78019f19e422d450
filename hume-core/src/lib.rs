//! The vocabulary of hume and its rules: what an event is, which run it belongs to, how that run went.
//!
//! Pure: no I/O, no clock, no tasks. Agent, master, client and tests use the same functions, so the same rules answer everywhere.
//!
//! | question | module |
//! |---|---|
//! | what is an event, and within which bounds | [`event`], [`name`], [`level`] |
//! | how does any value fit those bounds | [`fit`] |
//! | who called, and which process owns a run | [`process`] |
//! | which run does an event belong to | [`correlate`] |
//! | how long did a run take, how did it end | [`run`] |
//! | how is a duration written | [`duration`] |
//! | when should a task run | [`schedule`] |
//! | what is expected of a task on its hosts | [`watch`] |
//! | did a run come when it should have | [`slot`], [`course`] |
//! | can a host be reached | [`reach`] |
//! | when are people told | [`board`] |
//! | how long does a run usually take | [`band`] |
//! | which events are asked for, and may be | [`filter`], [`page`], [`scope`] |
//! | what is a monitoring system told | [`check`] |
//! | what can a caller do about a failure | [`error`] |

pub mod band;
pub mod board;
pub mod check;
pub mod correlate;
pub mod course;
pub mod duration;
pub mod error;
pub mod event;
pub mod filter;
pub mod fit;
pub mod host_patterns;
pub mod level;
pub mod name;
pub mod page;
pub mod policy;
pub mod process;
pub mod reach;
pub mod run;
#[cfg(test)]
mod run_tests;
pub mod schedule;
pub mod scope;
pub mod slot;
pub mod status;
pub mod time;
pub mod varint;
pub mod watch;

pub use error::{BoundError, ErrorClass};
pub use event::{Draft, Event, Position, StoredEvent};
pub use level::Level;
pub use name::{AgentId, BootId, Epoch, EventId, HostName, RunId, Seq, Tag, TaskName};
pub use time::Timestamp;
