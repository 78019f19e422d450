//! Daemons as processes: stopped while they start, without descriptors, at their limit of files, and put to sleep (faults 5,
//! 16, 18). What was confirmed is there once, and they go on when they may.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use hume_tests::events::messages;
use hume_tests::{Daemon, SOON, Site, process, wait_for, wait_until};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value, json};

/// A limit that a log of SQLite soon meets, and the files of a start do not.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Descriptors that a daemon holds when it is ready are fewer; a crowd of connections needs more.
const DESCRIPTORS_MAX: u64 = 48;
const CROWD: usize = 60;

/// True when the process sleeps until somebody wakes it.
fn is_stopped(daemon: &Daemon) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid().unwrap())).unwrap();
    stat.rsplit(") ").next().unwrap().starts_with('T')
}

/// Sets a limit of a process that runs, or lifts it to where it was.
fn limit(daemon: &Daemon, resource: Resource, current: Option<u64>) {
    let pid = Pid::from_raw(daemon.pid().unwrap().cast_signed()).unwrap();
    let maximum = getrlimit(resource).maximum;
    prlimit(Some(pid), resource, Rlimit { current: current.or(maximum), maximum }).unwrap();
}

fn line(task: &str, number: usize, bytes: usize) -> Value {
    json!({"task": task, "message": format!("{number} {}", "x".repeat(bytes))})
}

/// The first words of the messages, each of which is there once.
fn once(events: &[Value]) -> BTreeSet<String> {
    let all = messages(events);
    let once: BTreeSet<String> =
        all.iter().map(|message| message.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(once.len(), all.len(), "something is there twice");
    once
}

#[test]
fn a_stop_while_the_agent_starts_is_a_clean_one() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    agent.hume(&["-t", "EARLY", "-m", "before the agent"]).ok();
    // It stops itself while it reads the folder, before it listens anywhere for scripts.
    agent.ask_for("agent.before_remove=stop");
    agent.spawn();
    wait_until("the agent has put itself to sleep", SOON, || is_stopped(&agent));
    assert!(!agent.socket().exists());
    agent.signal(Signal::TERM);
    agent.signal(Signal::CONT);
    let status = wait_for("the agent has ended", SOON, || agent.ended());
    assert_eq!(status.code(), Some(0), "{status}");
    agent.ask_for("");
    agent.start();
    assert_eq!(agent.count(&["-t", "EARLY"]), 1);
}

#[test]
fn an_agent_at_its_limit_of_files_refuses_and_goes_on_when_it_is_lifted() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    agent.start();
    limit(&agent, Resource::Fsize, Some(FILE_BYTES_MAX));
    let mut confirmed = 0;
    let refused = (0..200).find_map(|number| {
        let answer = agent.submit(&line("LIMITED", number, 8000));
        confirmed += u64::from(answer["ok"] == true);
        (answer["ok"] != true).then_some(answer)
    });
    assert!(refused.is_some(), "a file over the limit takes no event");
    assert!(agent.is_running());
    assert!(agent.count(&["-t", "LIMITED"]) >= confirmed, "questions are answered");
    limit(&agent, Resource::Fsize, None);
    wait_until("the agent takes events again", SOON, || {
        agent.submit(&line("AFTERWARDS", 0, 1))["ok"] == true
    });
    agent.kill9();
    agent.start();
    assert_eq!(agent.count(&["-t", "LIMITED"]), confirmed);
}

#[test]
fn a_master_at_its_limit_of_files_takes_nothing_and_catches_up_when_it_is_lifted() {
    let site = Site::new();
    let agent = site.agent("web1");
    agent.submit(&line("LIMITED", 0, 10));
    agent.wait_until_drained(SOON);
    limit(site.master(), Resource::Fsize, Some(FILE_BYTES_MAX));
    for number in 1..200 {
        assert_eq!(agent.submit(&line("LIMITED", number, 4000))["ok"], true);
    }
    wait_until("the master says what is wrong", SOON, || {
        site.master().query_json(&["status"])["state"] != "ready"
    });
    assert!(site.master().is_running());
    limit(site.master(), Resource::Fsize, None);
    agent.wait_until_drained(SOON);
    assert_eq!(once(&site.master().query_lines(&["-t", "LIMITED"])).len(), 200);
}

#[test]
fn an_agent_that_was_put_to_sleep_goes_on_without_a_loss_or_a_double() {
    let site = Site::new();
    let agent = site.agent("web1");
    for number in 0..20 {
        agent.submit(&line("ASLEEP", number, 10));
    }
    agent.signal(Signal::STOP);
    wait_until("the agent sleeps", SOON, || is_stopped(&agent));
    // Each is in the queue of the socket, and in the drop folder when its caller waits no longer.
    for number in 20..25 {
        let mut hume = agent.reporting(process::command("hume"));
        hume.env("HUME_RECVTIMEOUT", "100").args(["--strict", "-t", "ASLEEP", "-m", &number.to_string()]);
        process::run(&mut hume).ok();
    }
    // Its session is gone when it wakes up.
    site.master().kill9();
    site.master().start();
    agent.signal(Signal::CONT);
    wait_until("the master has all of them", SOON, || site.master().count(&["-t", "ASLEEP"]) >= 25);
    agent.wait_until_drained(SOON);
    let expected: BTreeSet<String> = (0..25).map(|number| number.to_string()).collect();
    assert_eq!(once(&site.master().query_lines(&["-t", "ASLEEP"])), expected);
}

#[test]
fn without_descriptors_the_agent_serves_who_is_there_and_takes_the_others_later() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    agent.start();
    let mut early = agent.connect();
    let mut answers = BufReader::new(early.try_clone().unwrap());
    let mut ask = |number| {
        writeln!(early, "{}", line("CROWD", number, 1)).unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert!(answer.contains("\"ok\":true"), "{answer}");
    };
    ask(0);
    limit(&agent, Resource::Nofile, Some(DESCRIPTORS_MAX));
    let mut crowd: Vec<UnixStream> = (0..CROWD).map(|_| agent.connect()).collect();
    for (number, stream) in crowd.iter_mut().enumerate() {
        writeln!(stream, "{}", line("CROWD", number + 2, 1)).unwrap();
    }
    agent.wait_for_log("could not take a connection");
    ask(1);
    limit(&agent, Resource::Nofile, None);
    for stream in &crowd {
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert!(answer.contains("\"ok\":true"), "{answer}");
    }
    assert_eq!(agent.count(&["-t", "CROWD"]), CROWD as u64 + 2);
}
