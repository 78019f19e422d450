//! Transfers of real daemons: several at once, killed, reloaded, looked at by their commands.

use std::path::Path;

use hume_tests::events::json_lines;
use hume_tests::process::{self, Output};
use hume_tests::{Agent, SOON, Site, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

fn report(agent: &Agent, numbers: std::ops::Range<usize>) {
    let lines =
        numbers.map(|number| json!({"task": "JOB", "level": "warning", "message": number.to_string()}));
    let answers = agent.socket_lines(json_lines(lines).as_bytes());
    assert!(answers.iter().all(|answer| answer["ok"] == true), "{answers:?}");
}

fn add_file(config: &mut toml::Table, name: &str, keys: &[(&str, &str)]) {
    let mut options = toml::Table::new();
    for (key, value) in keys {
        options.insert((*key).to_owned(), toml::Value::String((*value).to_owned()));
    }
    let transfers = config.entry("transfer").or_insert_with(|| toml::Table::new().into());
    let kind = toml::Table::from_iter([("file".to_owned(), options.into())]);
    transfers.as_table_mut().expect("a table").insert(name.to_owned(), kind.into());
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn numbers(path: &Path) -> Vec<usize> {
    lines(path).iter().map(|line| line["event"]["message"].as_str().unwrap().parse().unwrap()).collect()
}

fn transfer(agent: &Agent, words: &[&str]) -> Output {
    process::run(
        process::command("humed-agent").args(["transfer", "--config"]).arg(agent.config()).args(words),
    )
}

#[test]
fn killed_at_any_moment_every_transfer_has_everything_in_order_and_little_twice() {
    const EVENTS: usize = 10_000;
    const KILLS: usize = 5;
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    agent.configure(|config| {
        add_file(config, "one", &[("path", "one.json"), ("from", "beginning"), ("sync", "never")]);
        add_file(config, "two", &[("path", "two.json"), ("from", "beginning")]);
    });
    agent.start();
    let (one, two) = (agent.dir().join("one.json"), agent.dir().join("two.json"));
    for kill in 0..KILLS {
        report(&agent, kill * EVENTS / KILLS..(kill + 1) * EVENTS / KILLS);
        let enough = (kill + 1) * EVENTS / KILLS / 2;
        wait_until("some are told", SOON, || numbers_len(&one) > enough);
        assert!(agent.kill9());
        agent.start();
    }
    for path in [&one, &two] {
        let end = (EVENTS - 1).to_string();
        let last = || lines(path).last().is_some_and(|line| line["event"]["message"] == *end);
        wait_until("the last has arrived", SOON, last);
        let numbers = numbers(path);
        let mut furthest = None;
        for number in &numbers {
            assert!(*number <= furthest.map_or(0, |furthest: usize| furthest + 1), "{number} is too early");
            furthest = furthest.max(Some(*number));
        }
        assert!(numbers.len() <= EVENTS + KILLS * 256, "{} lines", numbers.len());
    }
}

/// Without reading them: a line that is being written is none.
fn numbers_len(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).matches('\n').count()
}

#[test]
fn a_transfer_that_fails_holds_up_no_other_is_shown_and_catches_up() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    let (well, ill) = (agent.dir().join("well.json"), agent.dir().join("ill.json"));
    agent.configure(|config| {
        add_file(config, "well", &[("path", "well.json"), ("from", "beginning")]);
        add_file(config, "ill", &[("path", "ill.json"), ("from", "beginning")]);
    });
    std::fs::create_dir(&ill).unwrap();
    agent.start();
    report(&agent, 0..100);
    wait_until("the other has all", SOON, || numbers_len(&well) == 100);
    let status = || transfer(&agent, &["status", "--json"]).ok().json();
    wait_until("it is shown", SOON, || status()[0]["state"] == "failing");
    let shown = status();
    assert_eq!((&shown[0]["name"], &shown[1]["state"]), (&"ill".into(), &"ok".into()), "{shown}");
    assert!(shown[0]["trouble"].as_str().unwrap().contains("ill.json"), "{shown}");
    let text = agent.get("/metrics").body;
    assert!(text.contains("hume_transfer_failing{transfer=\"ill\",kind=\"file\"} 1"), "{text}");
    assert!(text.contains("hume_transfer_delivered_total{transfer=\"well\",kind=\"file\"} 100"), "{text}");

    std::fs::remove_dir(&ill).unwrap();
    wait_until("it catches up", SOON, || numbers_len(&ill) == 100);
    assert_eq!(numbers(&ill), (0..100).collect::<Vec<_>>());
    wait_until("all is well", SOON, || status()[0]["state"] == "ok");
}

#[test]
fn a_reload_opens_files_anew_and_takes_in_new_transfers() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    let (lines, moved) = (agent.dir().join("lines.json"), agent.dir().join("lines.1"));
    agent.configure(|config| add_file(config, "lines", &[("path", "lines.json"), ("from", "beginning")]));
    agent.start();
    report(&agent, 0..5);
    wait_until("they are told", SOON, || numbers_len(&lines) == 5);
    std::fs::rename(&lines, &moved).unwrap();
    agent.configure(|config| add_file(config, "new", &[("path", "new.json"), ("from", "beginning")]));
    agent.signal(Signal::HUP);
    let new = agent.dir().join("new.json");
    wait_until("the new one begins at the beginning", SOON, || numbers_len(&new) == 5);
    report(&agent, 5..8);
    wait_until("the file is a new one", SOON, || numbers_len(&lines) == 3);
    assert_eq!((numbers(&lines), numbers_len(&moved)), (vec![5, 6, 7], 5));
    let test = transfer(&agent, &["test", "new"]);
    assert!(test.ok().stdout.contains("new: delivered in "), "{test:?}");
    assert_eq!(numbers_len(&new), 9);
    transfer(&agent, &["status", "absent"]).with_code(66);
}

#[test]
fn the_master_tells_of_all_hosts_and_by_which_agent_it_heard() {
    let site = Site::new();
    assert_eq!(site.master().stop(), 0);
    site.master().configure(|config| {
        add_file(config, "all", &[("path", "all.json"), ("from", "beginning")]);
        add_file(config, "bad", &[("path", "bad.json"), ("from", "beginning"), ("level_min", "error")]);
    });
    site.master().start();
    let (web1, web2) = (site.agent("web1"), site.agent("web2"));
    web1.hume(&["-t", "JOB", "-L", "error", "-m", "broken"]).ok();
    // Before the master's first word an agent reports for its own host alone.
    web2.wait_until_drained(SOON);
    web2.hume(&["-t", "JOB", "-m", "fine", "--hostname", "printer"]).ok();
    let all = site.master().dir().join("all.json");
    wait_until("both are told", SOON, || numbers_len(&all) == 2);
    let mut told: Vec<(Value, Value)> =
        lines(&all).into_iter().map(|line| (line["event"]["host"].clone(), line["via"].clone())).collect();
    told.sort_by_key(|(host, _)| host.to_string());
    assert_eq!(told, [("printer".into(), "web2".into()), ("web1".into(), Value::Null)]);
    let bad = site.master().dir().join("bad.json");
    wait_until("one is bad", SOON, || numbers_len(&bad) == 1);
    let status = process::run(
        process::command("humed-master").args(["transfer", "status", "--config"]).arg(site.master().config()),
    );
    assert!(status.ok().stdout.contains("all   file  ok"), "{status:?}");
}

#[test]
fn what_cannot_be_opened_is_told_by_check_config_and_stops_nothing() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    agent.configure(|config| add_file(config, "lines", &[("path", "no/such/folder/lines.json")]));
    let checked =
        process::run(process::command("humed-agent").arg("check-config").arg("--config").arg(agent.config()));
    assert!(
        checked.with_code(78).stderr.contains("transfer \"lines\": `path`: the folder of "),
        "{checked:?}"
    );
    agent.start();
    report(&agent, 0..1);
    agent.wait_for_log("a transfer cannot be opened");
}
