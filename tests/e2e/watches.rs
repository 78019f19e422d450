//! What did not happen is found: by the clock of the master, and only when the agent has said that nothing is left to deliver.

use std::thread;
use std::time::Duration;

use hume_tests::{Agent, Master, SOON, Site, process, wait_for, wait_until};
use serde_json::Value;

/// A master that expects this.
fn expect(master: &Master, watches: &str) {
    let watches: toml::Table = watches.parse().unwrap();
    master.configure(|config| {
        config.insert("watch".to_owned(), watches.into());
    });
}

/// What was found of a task, oldest first.
fn found(master: &Master, task: &str) -> Vec<Value> {
    let mut events = master.query_lines(&["-t", task, "--kind", "watchdog", "--limit", "1000"]);
    events.reverse();
    events
}

fn reason(event: &Value) -> &str {
    event["reason"].as_str().unwrap_or_default()
}

/// The expected instant that a finding is about.
fn slot(event: &Value) -> &str {
    event["extra"]["slot"].as_str().unwrap_or_default()
}

fn run_once(agent: &Agent, task: &str) {
    agent.hume(&["-c", "counter-start", "-t", task, "-m", "start"]).ok();
    agent.hume(&["-c", "counter-stop", "-t", task, "-m", "done"]).ok();
}

#[test]
fn a_task_that_never_ran_is_found_and_told_like_any_other_event() {
    let site = Site::without_master();
    let master = site.master();
    let file = site.folder().path().join("told");
    expect(
        master,
        "[BACKUP]\nschedule = \"*-*-* *:*:0/5\"\nstart_grace = \"1s\"\nhosts = [\"web*\"]\nuntil = \"2100-01-01T00:00:00Z\"",
    );
    let transfer = format!("[all.file]\npath = {:?}\nkinds = [\"watchdog\"]", file.to_str().unwrap());
    master.configure(|config| {
        config.insert("transfer".to_owned(), transfer.parse::<toml::Table>().unwrap().into());
    });
    master.start();
    let _web = site.agent("web1");
    let _other = site.agent("db1");
    let first = wait_for("the master finds that BACKUP never ran", SOON, || {
        found(master, "BACKUP").into_iter().next()
    });
    assert_eq!((reason(&first), first["host"].as_str()), ("never_ran", Some("web1")), "{first}");
    assert_eq!((first["level"].as_str(), first["extra"]["watch"].as_str()), (Some("error"), Some("BACKUP")));
    let told = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_until("the transfer tells it", SOON, || told().contains("never ran on this host"));
    let slots: Vec<String> = found(master, "BACKUP").iter().map(|event| slot(event).to_owned()).collect();
    let mut once = slots.clone();
    once.dedup();
    assert_eq!(slots, once, "each slot once");
    assert_eq!(master.count(&["-t", "BACKUP", "--kind", "run"]), 0);
    let agents = master.query_json(&["agents"])["agents"].take();
    let hosts: Vec<&str> =
        agents.as_array().unwrap().iter().filter_map(|agent| agent["host"].as_str()).collect();
    assert_eq!(hosts, ["db1", "web1"], "the master is no agent of its own: {agents}");
}

#[test]
fn a_task_that_runs_in_time_is_not_found_and_found_once_it_stops() {
    let site = Site::without_master();
    let master = site.master();
    expect(master, "[SYNC]\nschedule = \"*-*-* *:*:0/10\"\nstart_grace = \"5s\"");
    master.start();
    let agent = site.agent("web1");
    run_once(&agent, "SYNC");
    let now = || hume_runtime::clock::now().to_string();
    let began = now();
    let until = hume_runtime::clock::now().plus_micros(25_000_000);
    while hume_runtime::clock::now() < until {
        run_once(&agent, "SYNC");
        thread::park_timeout(Duration::from_millis(500));
    }
    let ended = now();
    let missed = wait_for("the master finds that SYNC does not run any more", SOON, || {
        found(master, "SYNC").into_iter().find(|event| slot(event) > ended.as_str())
    });
    assert_eq!((reason(&missed), missed["level"].as_str()), ("missed", Some("error")), "{missed}");
    let all = found(master, "SYNC");
    let wrong: Vec<&Value> =
        all.iter().filter(|event| slot(event) > began.as_str() && slot(event) < ended.as_str()).collect();
    assert!(wrong.is_empty(), "ran between {began} and {ended}: {wrong:?}");
}

#[test]
fn a_watch_that_cannot_be_is_refused_with_its_key_and_an_example() {
    let site = Site::without_master();
    let master = site.master();
    for (keys, told) in [
        ("schedule = \"0 0 30 2 *\"", "such as `30 2 28 2 *`"),
        ("schedule = \"0 0 0 30 2 *\"", "such as"),
        ("schedule = \"daily\"\nzone = \"Mars/Olympus\"", "Europe/Berlin"),
        ("schedule = \"30 2 * * *\"\nmax_runtime = \"2h\"\nhard_runtime = \"1h\"", "max_runtime"),
        ("schedule = \"30 2 * * *\"\nstart_grcae = \"1h\"", "start_grace"),
    ] {
        expect(master, &format!("[BACKUP]\n{keys}"));
        let config = master.dir().join("master.toml");
        let checked =
            process::run(process::command("humed-master").args(["check-config", "--config"]).arg(&config));
        assert!(checked.with_code(78).stderr.contains(told), "{keys}: {}", checked.stderr);
    }
}
