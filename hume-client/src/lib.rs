//! Tells the agent of this host what a program does: the program `hume`, and [`submit`] for programs in Rust.
//!
//! ```no_run
//! use std::{path::Path, time::Duration};
//!
//! use hume_client::{DraftLine, stamped, submit};
//!
//! let line = stamped(DraftLine { task: "BACKUP".into(), message: "started".into(), ..DraftLine::default() });
//! match submit(&line, Path::new("/run/hume/hume.sock"), Duration::from_millis(250)) {
//!     Ok(receipt) => println!("stored at {:?}", receipt.seq),
//!     Err(error) => eprintln!("not stored: {error}"),
//! }
//! ```
//!
//! | question | module |
//! |---|---|
//! | what does the first word ask for | `program` |
//! | which options are there | `options`, `args`, `help` |
//! | what do they and the environment say about the event, and about the way | `draft`, `fitter`, `settings` |
//! | how does the event reach the agent | [`submit()`] |
//! | where does it go when the agent is away, and who called | `drop_folder`, `ancestors` |
//! | what became of it, what is said about that, and with which exit code | `delivery` |
//! | one event, all the way | `report` |
//! | a command between its two events | `exec`, with `signals` and `outlet` |
//! | every line as an event | `pipe`, with the same |

mod ancestors;
mod args;
mod delivery;
mod draft;
mod drop_folder;
mod exec;
mod fitter;
mod help;
mod options;
mod outlet;
mod pipe;
mod program;
mod report;
mod settings;
mod signals;
mod submit;

pub use draft::stamped;
pub use hume_proto::intake::{CallerLine, DraftLine, Pairs};
pub use program::run;
pub use submit::{ANSWER_BYTES_MAX, Receipt, SOCKET_PATH_BYTES_MAX, SubmitError, submit};
