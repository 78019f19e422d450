//! Manners of a hume process: what every program does the same way, written once.
//!
//! Tasks have a name, an owner and an end; configuration errors name file, line and key; TLS, `SQLite` and Unix sockets
//! are opened in exactly one way; the wall clock is read in one place. Holds no rules about events.

pub mod accept;
pub mod activation;
pub mod alarm;
pub mod backoff;
pub mod clock;
pub mod config;
pub mod exit;
pub mod files;
pub mod follow;
pub mod http;
pub mod limits;
pub mod log;
pub mod notify;
pub mod pinned;
pub mod pki;
pub mod points;
pub mod random;
pub mod recovery;
pub mod renewal;
pub mod secret;
#[cfg(feature = "web")]
pub mod serve;
pub mod signal;
pub mod socket;
pub mod sqlite;
pub mod task_group;
pub mod tls;
mod turns;
