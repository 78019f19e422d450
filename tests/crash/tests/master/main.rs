//! The master's store under power losses and a failing disk: what was acknowledged is there once, at its place, and an agent that
//! sends again doubles nothing.
//!
//! The store is the real one, opened as the master opens it; only the file system below SQLite is another.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is test code, also what stands outside of a test function"
)]

mod failing;
mod judge;
mod power;
mod sender;
