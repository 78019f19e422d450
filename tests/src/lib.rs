//! A whole site in a short temporary folder: real processes, real TLS, real SQLite, and nothing left behind.
//!
//! [`Site`] makes a CA and a master by `humeconfig`, [`Agent`]s come from it. The programs are those beside the test's own
//! executable: `cargo build --workspace` makes them. Nothing here sleeps; [`wait_until`] looks for a condition until a
//! deadline. Every process is ended by its own id when its owner is dropped, and when a test fails the end of each
//! daemon's log is printed.

mod agent;
pub mod chaos;
mod daemon;
pub mod disk;
pub mod events;
pub mod evidence;
pub mod http;
pub mod http2;
mod join;
pub mod ledger;
pub mod manager;
mod master;
pub mod oracle;
pub mod process;
pub mod proxy;
pub mod reporter;
mod site;
mod skip;
pub mod tls;
mod wait;
pub mod wire;

pub use agent::Agent;
pub use daemon::{Daemon, LogTo};
pub use disk::Disk;
pub use evidence::Evidence;
pub use http::HttpAnswer;
pub use ledger::Ledger;
pub use master::{Master, Token};
pub use process::Output;
pub use site::{Folder, Site};
pub use skip::skip;
pub use wait::{SOON, let_pass, wait_for, wait_until};
pub use wire::Wire;
