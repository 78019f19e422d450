//! Storms at the master's door: a crowd that never finishes its handshake, no file descriptors, everybody back at once.

use std::io::Write as _;
use std::net::TcpStream;

use hume_tests::events::{messages, text};
use hume_tests::{Agent, SOON, Site, tls, wait_until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::version;
use serde_json::json;

/// Peers that open a connection and say nothing. The master has fewer places for handshakes under way than one would need for
/// all of them to be harmless if each held one.
const SILENT: usize = 1_200;
/// Peers that begin a handshake and do not go on.
const STUCK: usize = 100;
/// File descriptors of a master that has few.
const FEW_DESCRIPTORS: usize = 150;
/// Agents of the storm.
const AGENTS: usize = 8;
/// Kills of their master.
const KILLS: usize = 3;
/// Events of each agent around each kill.
const EVENTS: usize = 50;

/// The soft limit is 1,024 in most places, and the crowd is larger.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Connections that say these words and no more.
fn crowd(site: &Site, count: usize, words: &[u8]) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect(site.master().grpc()).unwrap();
        stream.write_all(words).unwrap();
        stream
    };
    (0..count).map(connect).collect()
}

/// Fault 34.
#[test]
fn a_crowd_that_never_finishes_its_handshake_does_not_keep_agents_out() {
    raise_open_files();
    let site = Site::new();
    let words = tls::first_words(tls::relay(&site.master().ca(), None, &version::TLS13));
    let (silent, stuck) = (crowd(&site, SILENT, b""), crowd(&site, STUCK, &words));
    let agents: Vec<Agent> = ["web1", "web2", "web3"].iter().map(|host| site.agent(host)).collect();
    for agent in &agents {
        agent.hume(&["--strict", "-t", "CROWD", "-m", agent.host()]).ok();
    }
    for agent in &agents {
        agent.wait_until_drained(SOON);
    }
    assert_eq!(site.master().count(&["-t", "CROWD"]), 3);
    drop((silent, stuck));
}

/// Fault 16.
#[test]
fn without_file_descriptors_sessions_go_on_and_newcomers_get_in_for_silent_peers() {
    raise_open_files();
    let site = Site::without_master();
    site.master().within(&["sh", "-c", "ulimit -n 150; exec \"$@\"", "sh"]);
    site.master().start();
    let first = site.agent("web1");
    first.hume(&["--strict", "-t", "FEW", "-m", "before"]).ok();
    first.wait_until_drained(SOON);
    let silent = crowd(&site, 2 * FEW_DESCRIPTORS, b"");
    site.master().wait_for_log("could not accept a connection");
    first.hume(&["--strict", "-t", "FEW", "-m", "meanwhile"]).ok();
    first.wait_until_drained(SOON);
    let second = site.agent("web2");
    second.hume(&["--strict", "-t", "FEW", "-m", "a newcomer"]).ok();
    second.wait_until_drained(SOON);
    drop(silent);
    wait_until("all are there", SOON, || site.master().count(&["-t", "FEW"]) == 3);
    let log = site.master().log();
    let complaints = log.lines().filter(|line| line.contains("could not accept a connection")).count();
    assert!(complaints <= 2, "one line of each port for the same trouble, not one for each try:\n{log}");
    assert!(!log.contains("session ended"), "a session that went on was hurt:\n{log}");
}

/// Fault 47, and 36 for all of them at once.
#[test]
fn after_each_kill_of_the_master_all_agents_are_back_with_everything_once_and_in_order() {
    let site = Site::new();
    let agents: Vec<Agent> = (0..AGENTS).map(|number| site.agent(&format!("web{number}"))).collect();
    let mut expected = Vec::new();
    for round in 0..KILLS {
        for when in ["before", "after"] {
            let told: Vec<String> =
                (0..EVENTS).map(|number| format!("{when} kill {round}: {number}")).collect();
            let line = |message: &String| format!("{}\n", json!({"task": "STORM", "message": message}));
            let lines: String = told.iter().map(line).collect();
            for agent in &agents {
                let answers = agent.socket_lines(lines.as_bytes());
                assert!(answers.iter().all(|answer| answer["ok"] == true), "{answers:?}");
            }
            expected.extend(told);
            if when == "before" {
                assert!(site.master().kill9(), "it was alive");
            }
        }
        site.master().start();
        for agent in &agents {
            agent.wait_until_drained(SOON);
        }
    }
    for agent in &agents {
        let events =
            site.master().query_lines(&["-t", "STORM", "--hostname", agent.host(), "--limit", "1000"]);
        let found: Vec<&str> = messages(&events).into_iter().rev().collect();
        assert_eq!(found, expected, "of {}", agent.host());
        assert!(events.iter().all(|event| text(event, "host") == agent.host()));
    }
}
