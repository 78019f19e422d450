//! `humequery --follow`: whoever is killed, stopped or away meanwhile, each event is shown once and in order.

use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use hume_tests::events::text;
use hume_tests::process::Output;
use hume_tests::{Agent, SOON, Site, process, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The task whose events are followed.
const TASK: &str = "FOLLOWED";

/// A running `humequery --follow --format ndjson`, and what it has shown until now.
struct Follower {
    child: Option<Child>,
    lines: Receiver<Value>,
    shown: Vec<String>,
}

impl Follower {
    fn start(connection: &[String]) -> Follower {
        let mut command = process::command("humequery");
        command.args(["--follow", "-t", TASK, "--format", "ndjson"]).args(connection);
        let mut child = process::start(&mut command);
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Who has seen enough listens no more.
                let _ = send.send(serde_json::from_str(&line).unwrap());
            }
        });
        Follower { child: Some(child), lines, shown: Vec::new() }
    }

    fn read(&mut self) {
        self.shown.extend(self.lines.try_iter().map(|event| text(&event, "message").to_owned()));
    }

    /// Waits until this was shown.
    #[track_caller]
    fn until_shown(&mut self, message: &str) {
        wait_until(&format!("{message:?} is shown"), SOON, || {
            self.read();
            self.shown.iter().any(|shown| shown == message)
        });
    }

    /// Waits until what is reported is shown: from then on nothing is missed.
    fn until_it_follows(&mut self, agent: &Agent) {
        let mut number = 0;
        wait_until("something is shown", SOON, || {
            number += 1;
            report(agent, &format!("first {number}"));
            self.read();
            !self.shown.is_empty()
        });
    }

    /// Ends it by a signal.
    fn end(&mut self) -> Output {
        let child = self.child.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        process::finish(child, "humequery --follow")
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A test that failed leaves nothing running.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn report(agent: &Agent, message: &str) {
    agent.hume(&["--strict", "-t", TASK, "-m", message]).ok();
}

/// What is kept, from the first event that was shown on, in the order of its arrival.
fn kept_since(first: &str, listed: &[Value]) -> Vec<String> {
    let messages = listed.iter().rev().map(|event| text(event, "message").to_owned());
    messages.skip_while(|message| message != first).collect()
}

#[test]
fn whoever_follows_the_master_sees_every_event_once_although_it_is_killed_and_stopped() {
    let site = Site::new();
    let (agent, master) = (site.agent("web1"), site.master());
    let mut follower = Follower::start(&master.connection());
    follower.until_it_follows(&agent);
    for round in 0..3 {
        for number in 0..5 {
            report(&agent, &format!("round {round} before {number}"));
        }
        // In the middle of what comes, or when all of it is there.
        if round != 1 {
            follower.until_shown(&format!("round {round} before 4"));
        }
        if round == 2 {
            assert_eq!(master.stop(), 0, "one who follows does not hold up the stop");
        } else {
            assert!(master.kill9());
        }
        for number in 0..5 {
            report(&agent, &format!("round {round} away {number}"));
        }
        master.start();
        report(&agent, &format!("round {round} after"));
        follower.until_shown(&format!("round {round} after"));
    }
    let output = follower.end();
    output.ok();
    agent.wait_until_drained(SOON);
    let listed = master.query_lines(&["-t", TASK]);
    assert_eq!(follower.shown, kept_since(&follower.shown[0], &listed));
    let said: Vec<&str> = output.stderr.lines().collect();
    assert_eq!(said.len(), 6, "each loss is said once, and each return: {said:#?}");
    assert!(said.iter().skip(1).step_by(2).all(|line| *line == "humequery: connected again"), "{said:#?}");
}

#[test]
fn whoever_follows_the_agent_sees_every_event_once_although_it_is_killed() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    agent.start();
    let url = format!("unix:{}", agent.dir().join("run/api.sock").display());
    let mut follower = Follower::start(&["--url".to_owned(), url]);
    follower.until_it_follows(&agent);
    for round in 0..3 {
        report(&agent, &format!("round {round} before"));
        assert!(agent.kill9());
        // Into the drop folder.
        report(&agent, &format!("round {round} away"));
        agent.start();
        report(&agent, &format!("round {round} after"));
        follower.until_shown(&format!("round {round} after"));
    }
    follower.end().ok();
    assert_eq!(follower.shown, kept_since(&follower.shown[0], &agent.query_lines(&["-t", TASK])));
}

#[test]
fn what_was_since_comes_first_and_a_limit_ends_it() {
    let site = Site::new();
    let agent = site.agent("web1");
    for number in 1..=4 {
        report(&agent, &format!("event {number}"));
    }
    agent.wait_until_drained(SOON);
    let words = ["--follow", "--since", "1h", "--limit", "3", "-t", TASK, "--format", "ndjson"];
    for output in [site.query(&words), agent.query(&words), site.master().query_socket(&words)] {
        let shown: Vec<Value> = output.ok().json_lines();
        let messages: Vec<&str> = shown.iter().map(|event| text(event, "message")).collect();
        assert_eq!(messages, ["event 1", "event 2", "event 3"]);
    }
}

#[test]
fn a_check_of_a_real_script_says_how_it_went_on_both_ends() {
    let site = Site::new();
    let agent = site.agent("web1");
    agent.configure(|toml| {
        let runs = "[[runs]]\nmax_runtime = \"10m\"\nhard_runtime = \"20m\"".parse::<toml::Table>().unwrap();
        toml.extend(runs);
    });
    assert_eq!(agent.stop(), 0);
    agent.start();
    let script =
        agent.script("job.sh", "hume -c counter-start -t JOB; hume -t JOB $1; hume -c counter-stop -t JOB");
    let check = |words: &[&str], code: i32| {
        let words: Vec<&str> = ["check", "-t", "JOB"].into_iter().chain(words.iter().copied()).collect();
        agent.wait_until_drained(SOON);
        for output in [site.query(&words), agent.query(&words)] {
            let text = output.with_code(code).stdout.clone();
            assert!(text.starts_with("HUME ") && text.is_ascii() && output.stderr.is_empty(), "{output:#?}");
        }
        agent.query(&words).stdout
    };
    check(&[], 3);
    process::run(&mut agent.shell(&["bash", &script, "-m ok"])).ok();
    let ok = check(&["--hostname", "web1", "--max-age", "1h"], 0);
    assert!(ok.contains("3/3 events") && ok.contains(";600;1200;0 ") && ok.contains(";3600\n"), "{ok}");
    check(&["--hostname", "web1", "--hostname", "nowhere"], 3);
    process::run(&mut agent.shell(&["bash", &script, "-Lerror -m no"])).ok();
    check(&[], 2);
    let latest = site.query(&["-t", "JOB", "--latest", "--exit-status"]);
    assert!(latest.with_code(2).stdout.contains("JOB on web1: failed"), "{latest:#?}");
    // A run that goes on within its limits is fine, unless the one before it decides.
    agent.hume(&["--strict", "-c", "counter-start", "-t", "JOB", "--run-id", "goes-on"]).ok();
    check(&[], 0);
    check(&["--finished"], 2);
}
