//! What an agent that says nothing costs a script: the time limit once, and a command that need not wait nothing at all.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use crate::support::{Manner, Site};

/// What `hume` waits for an answer, unless told otherwise.
const LIMIT: Duration = Duration::from_millis(250);
/// More than that is allowed for starting a program.
const AT_MOST: Duration = Duration::from_millis(500);
/// The machine may be busy with something else: one try of so many must be in time.
const TRIES: usize = 5;

/// The shortest of some tries, each at least as long as the limit when it has to be waited for.
#[track_caller]
fn assert_in_time(expected: Duration, at_most: Duration, mut attempt: impl FnMut() -> Duration) {
    let mut took = Vec::new();
    for _ in 0..TRIES {
        let time = attempt();
        assert!(time >= expected, "an answer was not waited for: {time:?}");
        took.push(time);
        if time < at_most {
            return;
        }
    }
    unreachable!("never within {at_most:?}: {took:?}");
}

/// `hume` with its own time limit.
fn hume(site: &Site, words: &[&str]) -> Command {
    let mut command = site.command(env!("CARGO_BIN_EXE_hume"));
    command.env_remove("HUME_RECVTIMEOUT").args(words);
    command
}

fn report(site: &Site) -> Duration {
    let begun = Instant::now();
    let output = hume(site, &["-t", "X", "hi"]).output().unwrap();
    let took = begun.elapsed();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    took
}

#[test]
fn an_agent_that_never_answers_costs_the_script_no_more_than_its_time_limit() {
    let site = Site::new(Manner::Silence);
    assert_in_time(LIMIT, AT_MOST, || report(&site));
    assert!(!site.dropped().is_empty(), "what was not answered is kept");
}

#[test]
fn an_agent_that_accepts_nobody_costs_the_script_no_more_than_its_time_limit() {
    let site = Site::without_agent();
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(site.socket()).unwrap()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    // Connections that are not accepted fill the queue, until one has to wait.
    let mut waiting = Vec::new();
    loop {
        let client =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        if rustix::net::connect(&client, &SocketAddrUnix::new(site.socket()).unwrap()).is_err() {
            break;
        }
        waiting.push(client);
        assert!(waiting.len() < 1000, "the queue never filled");
    }
    assert_in_time(LIMIT, AT_MOST, || report(&site));
    assert!(!site.dropped().is_empty(), "what nobody took is kept");
}

/// How long after its call `hume exec` with these words is told of by its command.
fn begins_after(site: &Site, words: &[&str]) -> Duration {
    let called = Instant::now();
    let mut exec = hume(site, &["exec", "-t", "X"]);
    let mut exec = exec.args(words).args(["--", "echo", "begun"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(exec.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let took = called.elapsed();
    assert_eq!((line.as_str(), exec.wait().unwrap().code()), ("begun\n", Some(0)));
    took
}

#[test]
fn a_command_begins_at_once_or_when_the_agent_had_its_time_to_refuse_it() {
    let site = Site::new(Manner::Silence);
    for words in [&[][..], &["--overlap", "forbid"]] {
        assert_in_time(LIMIT, AT_MOST, || begins_after(&site, words));
    }
    for words in [["--overlap", "warn"], ["--overlap", "allow"]] {
        assert_in_time(Duration::ZERO, LIMIT, || begins_after(&site, &words));
    }
}
