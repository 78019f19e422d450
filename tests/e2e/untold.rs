//! A log that runs out of room under a transfer whose peer is away: what goes is counted, and told when the peer is back.

use hume_tests::events::json_lines;
use hume_tests::process;
use hume_tests::{Agent, SOON, Site, wait_until};
use serde_json::{Value, json};

/// So many events are reported at once.
const GROUP: usize = 100;
/// Bytes of a message.
const MESSAGE: usize = 4000;
const SPOOL_BYTES: i64 = 8 * 1024 * 1024;
/// More than fits.
const EVENTS: usize = 4000;

/// Reports these, each until it is taken. Answers when none is left.
fn report(agent: &Agent, mut numbers: Vec<usize>) {
    wait_until("all are taken", SOON, || {
        let lines = numbers.iter().map(|number| {
            json!({"task": "JOB", "level": "warning", "message": format!("{number} {}", "x".repeat(MESSAGE))})
        });
        let answers = agent.socket_lines(json_lines(lines).as_bytes());
        let was_taken = |answer: &Value| {
            assert!(answer["ok"] == true || answer["code"] == "full", "{answer}");
            answer["ok"] == true
        };
        let mut taken = answers.iter().map(was_taken);
        numbers.retain(|_| !taken.next().expect("every line is answered"));
        numbers.is_empty()
    });
}

#[test]
fn what_a_full_spool_let_go_before_it_was_told_is_counted_and_said() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    let target = agent.dir().join("away.json");
    agent.configure(|config| {
        let transfer = "away.file = { path = \"away.json\", from = \"beginning\" }";
        config.insert("transfer".to_owned(), toml::from_str::<toml::Table>(transfer).unwrap().into());
        let spool = config.get_mut("spool").and_then(toml::Value::as_table_mut).expect("a table");
        spool.insert("bytes_max".to_owned(), SPOOL_BYTES.into());
    });
    std::fs::create_dir(&target).unwrap();
    agent.start();
    for first in (0..EVENTS).step_by(GROUP) {
        report(&agent, (first..first + GROUP).collect());
    }
    std::fs::remove_dir(&target).unwrap();
    let told = || {
        let text = std::fs::read_to_string(&target).unwrap_or_default();
        let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        whole.collect::<Vec<_>>()
    };
    let missed = |told: &[Value]| told.iter().filter_map(|line| line["missed"].as_u64()).sum::<u64>();
    // What was read before it went is told, and counted as missed all the same.
    wait_until("each is told or said to be missing", SOON, || {
        let told = told();
        told.len() as u64 + missed(&told) >= EVENTS as u64
    });
    let told = told();
    let missed = missed(&told);
    assert!(missed > 0, "the spool has room for everything: the test tests nothing");
    assert!(told.len() < EVENTS, "{} told, {missed} missed", told.len());
    let mut status = process::command("humed-agent");
    status.args(["transfer", "--config"]).arg(agent.config()).args(["status", "--json"]);
    let status = process::run(&mut status).ok().json();
    assert_eq!(status[0]["missed"].as_u64(), Some(missed), "{status}");
}
