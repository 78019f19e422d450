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
//! | which options are there | `args`, `help` |
//! | what do they and the environment say about the event, and about the way | `draft`, `fitter`, `settings` |
//! | how does the event reach the agent | [`submit()`] |
//! | where does it go when the agent is away, and who called | `drop_folder`, `ancestors` |
//! | what is said about it, and with which exit code | `report` |

mod ancestors;
mod args;
mod draft;
mod drop_folder;
mod fitter;
mod help;
mod report;
mod settings;
mod submit;

pub use draft::stamped;
pub use hume_proto::intake::{CallerLine, DraftLine, Pairs};
pub use report::run;
pub use submit::{ANSWER_BYTES_MAX, Receipt, SOCKET_PATH_BYTES_MAX, SubmitError, submit};
