//! Rules for every Rust file: its first line promises, it is no novel, and nothing unfinished or careless is in it.

use crate::none_of;
use crate::source::{self, Line, Source, has_word};

/// A file longer than this hides something (docs/STYLE.md, section 10).
const LINES_MAX: usize = 700;

/// A shorter first line promises nothing.
const PROMISE_CHARACTERS_MIN: usize = 20;

/// Openings that say what the reader sees anyway.
const EMPTY_OPENINGS: [&str; 2] = ["This module", "This file"];

/// Crates that talk to a person at a terminal.
const TALKERS: [&str; 5] = ["hume-client", "humequery", "humeconfig", "xtask", "tests"];

#[test]
fn every_file_begins_with_a_promise() {
    none_of(&source::all().iter().filter_map(no_promise).collect::<Vec<_>>());
}

#[test]
fn no_file_is_longer_than_700_lines() {
    none_of(&source::all().iter().filter_map(too_long).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_unfinished() {
    let unfinished = ["todo!", "unimplemented!", "dbg!"];
    none_of(&uses(&source::all(), &unfinished, "is for drafts", |_, _| true));
}

#[test]
fn no_test_is_ignored() {
    none_of(&uses(&source::all(), &["#[ignore"], "a test that nobody runs proves nothing", |_, _| true));
}

#[test]
fn no_thread_sleeps_and_no_test_sleeps_at_all() {
    let why = "wait for a condition with a deadline";
    let mut violations = uses(&source::all(), &["thread::sleep"], why, |_, _| true);
    // Where time is virtual, letting it pass costs nothing.
    let in_tests = |source: &Source, line: &Line| line.is_test && !source.path.starts_with("tests/sim/");
    violations.extend(uses(&source::all(), &["time::sleep", "sleep_until"], why, in_tests));
    none_of(&violations);
}

#[test]
fn daemons_and_libraries_print_nothing() {
    let words = ["println!", "eprintln!", "print!", "eprint!"];
    let is_silent = |source: &Source, line: &Line| {
        let is_build_script = source.path.ends_with("/build.rs");
        !line.is_test && !is_build_script && !TALKERS.contains(&source.crate_folder())
    };
    none_of(&uses(&source::all(), &words, "daemons log, libraries return", is_silent));
}

fn no_promise(source: &Source) -> Option<String> {
    let first = source.raw.lines().next().unwrap_or_default();
    let wrong = match first.strip_prefix("//! ") {
        None => "the first line is not `//! ` and a promise",
        Some(promise) if promise.chars().count() <= PROMISE_CHARACTERS_MIN => {
            "the first line promises nothing"
        }
        Some(promise) if EMPTY_OPENINGS.iter().any(|opening| promise.starts_with(opening)) => {
            "the first line says what the reader sees anyway"
        }
        Some(_) => return None,
    };
    Some(format!("{}:1: {wrong}", source.path))
}

fn too_long(source: &Source) -> Option<String> {
    let count = source.lines.len();
    (count > LINES_MAX).then(|| format!("{}:{count}: more than {LINES_MAX} lines", source.path))
}

/// Lines that hold one of the words, where `applies` says that it matters.
fn uses(
    sources: &[Source],
    words: &[&str],
    why: &str,
    applies: impl Fn(&Source, &Line) -> bool,
) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources {
        for line in source.lines.iter().filter(|line| applies(source, line)) {
            for word in words.iter().filter(|word| has_word(&line.code, word)) {
                violations.push(format!("{}: {word}: {why}", source.at(line)));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_line_that_promises_nothing_is_found() {
        let is_found = |text| no_promise(&Source::new("a/src/b.rs", text)).is_some();
        assert!(is_found(""));
        assert!(is_found("use std::fs;\n"));
        assert!(is_found("//! .\n"));
        assert!(is_found("//! This module contains the spool and its methods.\n"));
        assert!(is_found("/// Events kept on this host until they are acked.\n"));
        assert!(!is_found("//! Events kept on this host until they are acked.\n"));
    }

    #[test]
    fn a_novel_is_found() {
        assert!(too_long(&Source::new("a/src/b.rs", &"\n".repeat(LINES_MAX))).is_none());
        assert!(too_long(&Source::new("a/src/b.rs", &"\n".repeat(LINES_MAX + 1))).is_some());
    }

    #[test]
    fn a_word_is_found_where_the_rule_applies_and_only_there() {
        let text = "fn a() { tokio::time::sleep(b) }\n#[cfg(test)]\nmod tests {\n    fn c() { tokio::time::sleep(d) }\n}\n";
        let sources = [Source::new("a/src/b.rs", text)];
        assert_eq!(
            uses(&sources, &["time::sleep"], "no", |_, line| line.is_test),
            ["a/src/b.rs:4: time::sleep: no"]
        );
        assert_eq!(uses(&sources, &["time::sleep"], "no", |_, _| true).len(), 2);
    }
}
