//! The program `hume`: the first word decides whether one event is reported, a command watched or lines are read.

use std::ffi::{OsStr, OsString};

use crate::args::{self, Asked};
use crate::delivery::say;
use crate::exec;
use crate::pipe;
use crate::report::report;

/// Wrong use of the command itself, after sysexits(3).
pub(crate) const USAGE: u8 = 64;

/// Runs the program `hume` with these words, its own name first. Returns the exit code.
pub fn run(words: impl IntoIterator<Item = OsString>) -> u8 {
    let words: Vec<OsString> = words.into_iter().collect();
    if let Some(rest @ [first, ..]) = words.get(1..) {
        if first == OsStr::new("exec") {
            return exec::run(rest);
        }
        if first == OsStr::new("pipe") {
            return pipe::run(rest);
        }
    }
    match args::parse(&words) {
        Ok(Asked::Report(args)) => report(&args),
        Ok(Asked::Show(page)) => {
            page.print();
            0
        }
        Err(error) => {
            say(&error.to_string());
            USAGE
        }
    }
}
