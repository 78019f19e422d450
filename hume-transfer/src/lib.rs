//! Telling others: Slack, syslog, mail and so on, any number at once, on the agent and on the master alike.
//!
//! Each transfer is a consumer of the daemon's log with a durable cursor: one that is down falls behind, never loses and never
//! holds up another. What is told is told at least once, in order; twice only what lies between two cursors when the daemon
//! is killed. To add a kind, write one file in `kinds/` and one line in its list.

pub mod kinds;
pub mod notice;
pub mod options;
pub mod transfer;

#[cfg(test)]
mod testing;

pub use kinds::Options;
pub use notice::{About, Digest, Notice, RunNotice};
pub use options::{Common, Transfers};
pub use transfer::{Delivery, Manner, OpenError, Setting, Trail, Transfer, Trouble};
