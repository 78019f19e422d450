//! The agent's spool under power losses and a failing disk: what was answered is there once, at its place, with its bytes.
//!
//! The spool is the real one, opened as the agent opens it; only the file system below SQLite is another.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is test code, also what stands outside of a test function"
)]

mod events;
mod failing;
mod full;
mod judge;
mod ledger;
mod power;
mod site;
