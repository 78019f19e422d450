//! The program `hume`: the first word decides whether one event is reported, a command watched or lines are read.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;

use crate::args::{self, Asked};
use crate::delivery::say;
use crate::exec;
use crate::pipe;
use crate::report::report;

/// The program that does what is too large for this one.
const ELSEWHERE: &str = "humeconfig";
/// Wrong use of the command itself, after sysexits(3).
pub(crate) const USAGE: u8 = 64;

/// `hume watch` is done by `humeconfig watch`, which lies beside this program or in `PATH`: the times are read there, and `hume` is
/// loaded for every event.
fn elsewhere(rest: &[OsString]) -> u8 {
    let beside = std::env::current_exe().unwrap_or_default().with_file_name(ELSEWHERE);
    for program in [beside.as_os_str(), OsStr::new(ELSEWHERE)] {
        // Comes back only if it cannot be run.
        let _ = std::process::Command::new(program).args(rest).exec();
    }
    say("hume: `hume watch` is done by humeconfig, which is neither beside hume nor in PATH");
    USAGE
}

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
        if first == OsStr::new("watch") {
            return elsewhere(rest);
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
