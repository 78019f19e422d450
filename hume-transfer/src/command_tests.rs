//! The orders, on the files of a daemon that is not there.

use hume_core::Level;
use hume_core::page::EventCursor;
use hume_runtime::config;
use serde::Deserialize;

use super::*;
use crate::state::{Change, Setback};
use crate::testing::stored;

#[derive(Deserialize)]
struct Whole {
    transfer: Transfers,
}

struct Site {
    dir: tempfile::TempDir,
    transfers: Transfers,
    host: HostName,
}

const CONFIG: &str = "[transfer.lines.file]\npath = \"lines.json\"\nlevel_min = \"warning\"\ntasks = [\"BACKUP*\"]\n\
                      [transfer.other.file]\npath = \"other.json\"\n";

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let whole: Whole = config::parse(Path::new("agent.toml"), CONFIG).unwrap();
        Site { dir, transfers: whole.transfer, host: HostName::parse("web1").unwrap() }
    }

    async fn run(&self, order: Order) -> Result<String, OrderError> {
        let config_file = self.dir.path().join("agent.toml");
        let place = Place {
            transfers: &self.transfers,
            config_file: &config_file,
            dir: self.dir.path(),
            host: &self.host,
            program: "humed-agent",
        };
        let mut out = Vec::new();
        run(order, place, &mut out).await?;
        Ok(String::from_utf8(out).unwrap())
    }
}

fn name(text: &str) -> TransferName {
    TransferName::parse(text).unwrap()
}

fn status() -> Order {
    Order::Status { name: None, json: false }
}

#[tokio::test]
async fn the_list_says_what_each_wants() {
    let text = Site::new().run(Order::List).await.unwrap();
    assert_eq!(
        text,
        "NAME   KIND  WANTS\nlines  file  tasks \"BACKUP*\"; warning and worse\nother  file  everything\n"
    );
}

#[tokio::test]
async fn a_status_before_the_first_run_makes_no_file() {
    let site = Site::new();
    let text = site.run(status()).await.unwrap();
    assert!(text.contains("lines  file  new    0          0        -       0        0     never"), "{text}");
    assert_eq!(std::fs::read_dir(site.dir.path()).unwrap().count(), 0);
    let error = site.run(Order::Skip { name: name("lines"), all: false }).await.unwrap_err();
    assert!(error.to_string().contains("has never run"), "{error}");
    let error = site.run(Order::Dead { name: name("oncall"), limit: 1, json: false }).await.unwrap_err();
    assert!(error.to_string().ends_with(": it has lines, other"), "{error}");
}

#[tokio::test]
async fn trouble_dead_letters_and_wishes_are_shown_and_asked_for() {
    let site = Site::new();
    let state = State::open(site.dir.path()).unwrap();
    let now = clock::now();
    let mut record = state.register(&name("lines"), "file", EventCursor(4), now).await.unwrap();
    record.figures.delivered = 7;
    record.figures.trouble =
        Some(Setback { reason: "disk full".to_owned(), since: now.plus_micros(-90_000_000), next_try: now });
    let dead = vec![(stored(Level::Error, "BACKUP", "db1", "too\nlong"), "refused: 400".to_owned())];
    state.save(&name("lines"), record, Change { dead, ..Change::default() }, now).await.unwrap();

    let text = site.run(status()).await.unwrap();
    assert!(text.contains("lines  file  failing  7 "), "{text}");
    assert!(
        text.contains("lines: failing for 1m 30s, next try at ") && text.ends_with(": disk full\n"),
        "{text}"
    );
    let json = site.run(Order::Status { name: Some(name("lines")), json: true }).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json.as_array().unwrap().len(), &json[0]["dead_kept"]), (1, &1.into()));

    let text = site.run(Order::Dead { name: name("lines"), limit: 10, json: false }).await.unwrap();
    assert!(text.contains("error  BACKUP  db1   too long  refused: 400"), "{text}");
    let text = site.run(Order::Retry { name: name("lines"), letters: vec![1], all: false }).await.unwrap();
    assert!(text.starts_with("1 dead letters"), "{text}");
    let error =
        site.run(Order::Retry { name: name("lines"), letters: vec![9], all: false }).await.unwrap_err();
    assert_eq!(error.exit_code(), exit::NO_INPUT);
    site.run(Order::Skip { name: name("lines"), all: true }).await.unwrap();
    assert_eq!(state.wish_to_skip(&name("lines")).await.unwrap(), Some(Skip::All));
    assert_eq!(state.letters_to_retry(&name("lines"), 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_test_tells_each_step_and_what_failed() {
    let site = Site::new();
    let text = site.run(Order::Test { name: name("lines"), event: None }).await.unwrap();
    assert!(text.starts_with("lines: opened as file\nlines: opened /"), "{text}");
    assert!(text.contains("lines: delivered in "), "{text}");
    let line = std::fs::read_to_string(site.dir.path().join("lines.json")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["about"], &line["event"]["task"]), (&"test".into(), &"HUME_TEST".into()));

    let event = site.dir.path().join("event.json");
    std::fs::write(&event, "{\"task\":\"BACKUP\",\"level\":\"error\",\"message\":\"x\",\"tags\":[\"cron\"]}")
        .unwrap();
    site.run(Order::Test { name: name("other"), event: Some(event.clone()) }).await.unwrap();
    let line = std::fs::read_to_string(site.dir.path().join("other.json")).unwrap();
    assert!(line.contains("\"level\":\"error\"") && line.contains("cron"), "{line}");

    std::fs::write(&event, "{\"level\":\"bad\"}").unwrap();
    let error = site.run(Order::Test { name: name("other"), event: Some(event) }).await.unwrap_err();
    let error = format!("{:#}", anyhow::Error::from(error));
    assert!(error.contains("event.json holds no event: level"), "{error}");
    std::fs::remove_file(site.dir.path().join("lines.json")).unwrap();
    std::fs::create_dir(site.dir.path().join("lines.json")).unwrap();
    let error = site.run(Order::Test { name: name("lines"), event: None }).await.unwrap_err();
    assert!(error.to_string().starts_with("not delivered: "), "{error}");
}

#[tokio::test]
async fn what_would_be_sent_is_shown_and_nothing_is_sent() {
    let site = Site::new();
    let event = site.dir.path().join("event.json");
    std::fs::write(&event, "{\"task\":\"BACKUP\",\"level\":\"error\",\"message\":\"disk full\"}").unwrap();
    let text = site.run(Order::Render { name: name("lines"), event: Some(event) }).await.unwrap();
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&shown["level"], &shown["text"]), (&"error".into(), &"disk full".into()));
    assert!(!site.dir.path().join("lines.json").exists());
}

#[test]
fn a_template_that_cannot_be_used_is_named_by_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[transfer.oncall.slack]\nwebhook = \"https://hooks.slack.com/services/T/B/X\"\n\
                [transfer.post.email]\nsendmail = \"/usr/sbin/sendmail\"\nsender = \"hume@example.net\"\nto = [\"ops@example.net\"]\n";
    let whole: Whole = config::parse(Path::new("agent.toml"), text).unwrap();
    let config_file = dir.path().join("agent.toml");
    let host = HostName::parse("web1").unwrap();
    let place = Place {
        transfers: &whole.transfer,
        config_file: &config_file,
        dir: dir.path(),
        host: &host,
        program: "humed-agent",
    };
    check(place).unwrap();
    for (kind, named) in [("slack", "oncall"), ("email", "post")] {
        let folder = dir.path().join("templates").join(kind);
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("default_default.tpl");
        std::fs::write(&file, "{{ text }}\n{% if %}\n").unwrap();
        let error = check(place).unwrap_err();
        assert_eq!(error.exit_code(), exit::CONFIG);
        let told = error.to_string();
        assert!(
            told.starts_with(&format!("transfer \"{named}\": ")) && told.contains("default_default.tpl"),
            "{told}"
        );
        std::fs::remove_file(file).unwrap();
    }
}
