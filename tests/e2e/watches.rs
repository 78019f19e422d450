//! What did not happen is found: by the clock of the master, and only when the agent has said that nothing is left to deliver.

use std::thread;
use std::time::Duration;

use hume_runtime::clock;
use hume_tests::proxy::{Proxy, Weather};
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
    let now = || clock::now().to_string();
    let began = now();
    let until = clock::now().plus_micros(25_000_000);
    while clock::now() < until {
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
    // Expected against actual, with the reason of each.
    let list = master.query_lines(&["watch", "list"]);
    assert_eq!((list[0]["name"].as_str(), list[0]["hosts"].as_u64()), (Some("SYNC"), Some(1)), "{list:?}");
    assert_eq!(list[0]["schedule"].as_str(), Some("*-*-* *:*:0/10"));
    let slots = master.query_lines(&["watch", "show", "SYNC", "--hostname", "web1"]);
    let of = |slot: &Value| slot["at"].as_str().unwrap_or_default().to_owned();
    let good = slots.iter().filter(|slot| of(slot) > began && of(slot) < ended && slot["state"] == "ok");
    assert!(good.clone().count() >= 2 && good.clone().all(|slot| slot["run"].is_string()), "{slots:#?}");
    let shown = slots.iter().find(|one| of(one) == slot(&missed)).expect("the missed slot is shown");
    assert_eq!((shown["state"].as_str(), shown["reason"].as_str()), (Some("missed"), Some("not_started")));
    let table = &master.query(&["watch", "show", "SYNC", "--limit", "3"]).ok().stdout.clone();
    assert!(table.contains("EXPECTED") && table.lines().count() == 4, "{table}");
    assert!(master.query(&["watch", "show", "NOTHING"]).ok().stderr.contains("humequery watch list"));
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

/// A master that calls a host lost after half a minute, and an agent behind a network that can be cut.
fn cuttable(watches: &str) -> (Site, Proxy, Agent) {
    let site = Site::without_master();
    expect(site.master(), watches);
    site.master().configure(|config| {
        let watchdog: toml::Table = "agent_down_after = \"30s\"\nreconnect_grace = \"15s\"".parse().unwrap();
        config.insert("watchdog".to_owned(), watchdog.into());
    });
    site.master().start();
    let proxy = Proxy::to(site.master().grpc());
    let agent = site.prepare_agent("web1");
    agent.configure(|config| {
        let master = config.get_mut("master").and_then(toml::Value::as_table_mut).unwrap();
        master.insert("address".to_owned(), proxy.address().to_string().into());
    });
    agent.start();
    (site, proxy, agent)
}

/// What was said of hosts, oldest first.
fn of_hosts(master: &Master) -> Vec<String> {
    let mut events = master.query_lines(&["--kind", "host", "--limit", "1000"]);
    events.reverse();
    events.iter().map(|event| reason(event).to_owned()).collect()
}

#[test]
fn a_link_that_is_cut_over_three_slots_is_one_alert_and_no_missed_run() {
    let (site, proxy, agent) = cuttable("[SYNC]\nschedule = \"*-*-* *:*:0/10\"\nstart_grace = \"5s\"");
    let master = site.master();
    let work = |until: &mut dyn FnMut() -> bool| {
        while !until() {
            run_once(&agent, "SYNC");
            thread::park_timeout(Duration::from_millis(500));
        }
    };
    let since = |moment| clock::now().micros_since(moment);
    let began = clock::now();
    work(&mut || since(began) > 12_000_000);
    proxy.set(Weather::Refusing);
    proxy.cut();
    let cut = clock::now();
    work(&mut || since(cut) > 30_000_000 && of_hosts(master) == ["unreachable"]);
    // The master is killed in the middle: it knows what it told.
    master.kill9();
    master.start();
    let restarted = clock::now();
    work(&mut || since(restarted) > 18_000_000);
    assert_eq!(of_hosts(master), ["unreachable"], "told once, whoever starts anew");
    proxy.set(Weather::Clear);
    work(&mut || of_hosts(master) == ["unreachable", "back"]);
    agent.wait_until_drained(SOON);
    let ended = clock::now().to_string();
    // Once a later slot is missed, all before it were judged.
    wait_until("SYNC is missed when it does not run any more", SOON, || {
        found(master, "SYNC").iter().any(|event| slot(event) > ended.as_str())
    });
    let began = began.plus_micros(5_000_000).to_string();
    let all = found(master, "SYNC");
    let wrong: Vec<&Value> =
        all.iter().filter(|event| slot(event) > began.as_str() && slot(event) < ended.as_str()).collect();
    assert!(wrong.is_empty(), "it ran all the time between {began} and {ended}: {wrong:#?}");
}

#[test]
fn a_master_that_is_killed_around_a_finding_tells_it_once() {
    let site = Site::without_master();
    let master = site.master();
    expect(master, "[BACKUP]\nschedule = \"*-*-* *:*:0/10\"\nstart_grace = \"2s\"");
    master.ask_for("master.before_commit=kill@1");
    master.start();
    let _agent = site.agent("web1");
    for faults in ["master.after_commit=kill@1", "master.before_commit=kill@2", ""] {
        assert!(master.wait_until_killed(SOON), "a finding is the first that is committed here");
        master.ask_for(faults);
        master.start();
    }
    wait_until("four slots are found", Duration::from_mins(2), || found(master, "BACKUP").len() >= 4);
    let all = found(master, "BACKUP");
    let mut slots: Vec<&str> = all.iter().map(slot).collect();
    let told = slots.len();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), told, "each slot once: {all:#?}");
    // `2026-11-28T14:30:40.000000Z`
    let part = |slot: &str, from: usize| slot[from..from + 2].parse::<i64>().unwrap();
    let seconds: Vec<i64> = slots.iter().map(|slot| part(slot, 14) * 60 + part(slot, 17)).collect();
    let has_hole = seconds.windows(2).any(|pair| (pair[1] - pair[0]).rem_euclid(3600) != 10);
    assert!(!has_hole, "no slot is left out, whenever the master died: {slots:?}");
}
