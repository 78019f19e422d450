//! Telling others: Slack, syslog, mail and so on, any number at once, on the agent and on the master alike.
//!
//! Each transfer is a consumer of the daemon's log with a durable cursor: one that is down falls behind, never loses and never
//! holds up another. What is told is told at least once, in order; twice only what lies between two cursors when the daemon
//! is killed. To add a kind, write one file in `kinds/` and one line in its list.

mod board;
mod child;
pub mod command;
mod compose;
mod facts;
mod http;
pub mod kinds;
mod log;
pub mod net;
pub mod notice;
pub mod options;
mod pace;
mod pump;
mod room;
mod sample;
mod state;
mod syslog_text;
pub mod template;
pub mod text;
pub mod transfer;

#[cfg(test)]
mod testing;

pub use board::{Board, Entry, RETENTION_WAITS};
pub use compose::RUNS_MAX;
pub use kinds::Options;
pub use log::{Growth, Log, LogError};
pub use notice::{About, Digest, Notice, RunNotice};
pub use options::{Common, TransferName, Transfers};
pub use pump::RETRY_AFTER_MAX;
pub use room::{Room, WISHES_EVERY};
pub use state::{DEAD_MAX, DeadLetter, Figures, Known, Setback, Skip, State, StateError, Waiting};
pub use transfer::{Delivery, Manner, OpenError, Setting, Trail, Transfer, Trouble};
