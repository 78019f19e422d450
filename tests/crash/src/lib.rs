//! A disk that loses power and fails on demand, under the real stores of the agent and the master.
//!
//! ```text
//!  Spool, SqliteStore ── SQLite ── vfs ──→ the default file system of SQLite
//!                                   └─ disk ─→ record ─→ image: what a power loss leaves ─→ opened afresh
//!                                        └ fault: what goes wrong meanwhile
//! ```
//!
//! All that is unsafe is in `vfs` and `calls`.
//!
//! | room | promise |
//! |---|---|
//! | [`record`] | what happened, in order: pure |
//! | [`image`] | what a power loss makes of it: pure |
//! | [`loss`] | every loss that a record could have met: pure |
//! | [`fault`] | which operation fails: pure |
//! | [`disk`] | one folder under watch: it is recorded, it can be made to fail |
//! | `vfs` | SQLite uses it as its default file system, so nothing of a daemon is changed |
//! | `calls` | what hume does to these files by itself is seen as well |
//! | [`seed`] | chance that can be repeated |
//!
//! Nothing in such a process is ever synced for real, watched or not: the power is lost only in the record.

#![deny(unsafe_code)]

#[allow(unsafe_code, reason = "functions of the C library are called, and take the place of others")]
mod calls;
pub mod disk;
pub mod fault;
pub mod image;
pub mod loss;
pub mod record;
pub mod seed;
#[allow(unsafe_code, reason = "a file system of SQLite is a table of C functions")]
mod vfs;

pub use disk::{Disk, Held};
pub use fault::{Failure, Fault, Kind, Operation, Times};
pub use image::{Image, Replay, Way};
pub use loss::{Loss, losses};
pub use record::Record;
