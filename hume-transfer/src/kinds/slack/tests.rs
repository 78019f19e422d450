//! A workspace of the test's own that refuses what Slack would, and what becomes of every answer.

use std::path::Path;

use hume_core::event::{EXTRA_PAIRS_MAX, MESSAGE_BYTES_MAX, TAGS_MAX};
use hume_core::{HostName, Tag, TaskName};
use hume_peers::slack::refusal;
use proptest::prelude::*;

use super::*;
use crate::http::server::{Answer, OK, Server};
use crate::net::peer;
use crate::options::Transfers;
use crate::testing::{assert_documented, documented, documented_digest, documented_run, stored, whole};

fn slack(dir: &Path, keys: &str) -> Result<Slack, OpenError> {
    slack_within(dir, keys, peer::SOON)
}

fn slack_within(dir: &Path, keys: &str, answer_time_max: Duration) -> Result<Slack, OpenError> {
    #[derive(Deserialize)]
    struct Whole {
        transfer: Transfers,
    }
    let config_file = dir.join("agent.toml");
    let text = format!("[transfer.ops.slack]\n{keys}");
    let whole: Whole = hume_runtime::config::parse(&config_file, &text).unwrap();
    let (name, options) = whole.transfer.0.into_iter().next().unwrap();
    let crate::kinds::Options::Slack(options) = options else { unreachable!("the section is one of slack") };
    let host = HostName::parse("db1").unwrap();
    let setting = Setting { name: &name, config_file: &config_file, host: &host, program: "humed-agent" };
    open_within(&options, &setting, answer_time_max)
}

/// One that sends nothing.
fn unsent(dir: &Path) -> Slack {
    slack(dir, "webhook = \"https://hooks.slack.com/services/T024BE7LD/hunter2\"").unwrap()
}

fn notices(texts: &[&str]) -> Vec<Notice> {
    texts.iter().map(|text| Notice::of(stored(Level::Error, "BACKUP", "db1", text))).collect()
}

#[tokio::test]
async fn a_message_tells_all_that_is_known_of_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[OK]);
    let keys = format!("webhook = \"{}\"\nca = \"ca.pem\"", server.url("/services/T024BE7LD/hunter2"));
    let mut slack = slack(dir.path(), &keys).unwrap();
    let mut notice = Notice::of(documented());
    notice.via = Some("bastion".to_owned());
    let batch = [notice];
    assert_eq!(slack.deliver(&batch, &mut Trail::silent()).await, Delivery::all(&batch));
    let asked = server.asked();
    let payload = asked[0].json();
    assert_eq!(refusal(&payload), None);
    assert_eq!(asked[0].header("content-type"), Some("application/json"));
    let text = payload.to_string();
    for told in [
        "❌ BACKUP_DB on db1: error",
        "pg_dump: connection to server failed",
        "*host*\\ndb1 via bastion",
        "*task*\\nBACKUP_DB",
        "*time*\\n2025-11-24 16:00:00 UTC",
        "*tags*\\nbackup, nightly",
        "*level*\\nerror",
        "*database*\\nshop",
        "/usr/local/sbin/backup-db:41",
        "as postgres",
    ] {
        assert!(text.contains(told), "{told} in {text}");
    }
}

#[test]
fn messages_are_as_the_document_shows_them() {
    let dir = tempfile::tempdir().unwrap();
    let slack = unsent(dir.path());
    assert_documented(&slack.payload(&Notice::of(documented())).to_string());
    for notice in [documented_run(), documented_digest()] {
        assert_eq!(refusal(&slack.payload(&notice)), None);
        assert_documented(slack.payload(&notice)["text"].as_str().unwrap());
    }
}

#[test]
fn a_digest_quotes_and_counts_and_a_run_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let slack = unsent(dir.path());
    let digest = slack.payload(&documented_digest());
    assert_eq!(digest["blocks"][0]["text"]["text"], "🚨 +38 more from db1");
    let main = digest["blocks"][1]["text"]["text"].as_str().unwrap();
    assert!(
        main.contains("• critical: BACKUP_DB on db1: disk full (0)") && main.ends_with("… and 33 more"),
        "{main}"
    );
    let run = slack.payload(&documented_run());
    assert_eq!(run["blocks"][1]["text"]["text"], "pg_dump: connection to server failed");
    assert!(run.to_string().contains("*took*\\n3m 5s"), "{run}");
}

#[tokio::test]
async fn every_answer_of_slack_settles_or_keeps_the_notice() {
    let dir = tempfile::tempdir().unwrap();
    let answers = [
        OK,
        Answer::Say(429, "Retry-After: 30\r\n", "rate_limited"),
        Answer::ResetWithin,
        Answer::Garbage,
        Answer::Say(500, "", "rollup_error"),
        Answer::Say(410, "", "channel_is_archived"),
        Answer::Say(403, "", "invalid_token hunter2 T024BE7LD"),
        Answer::Say(400, "", "invalid_blocks"),
        OK,
    ];
    let server = Server::start(dir.path(), &answers);
    let keys = format!("webhook = \"{}\"\nca = \"ca.pem\"", server.url("/services/T024BE7LD/hunter2"));
    let mut slack = slack(dir.path(), &keys).unwrap();
    let batch = notices(&["one", "two"]);
    let steps = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let heard = steps.clone();
    let mut trail = Trail::to(move |step| heard.lock().unwrap().push_str(step));
    let first = slack.deliver(&batch, &mut trail).await;
    assert_eq!(first.settled, 1);
    let mut told = vec![first.trouble.unwrap()];
    for _ in 0..6 {
        let delivery = slack.deliver(&batch[1..], &mut trail).await;
        assert_eq!(delivery.settled, 0);
        told.push(delivery.trouble.unwrap());
    }
    assert_eq!(slack.deliver(&batch[1..], &mut trail).await, Delivery::all(&batch[1..]));
    let pauses: Vec<_> = told
        .iter()
        .map(|trouble| match trouble {
            Trouble::Later { after, .. } => Some(after.map(|after| after.as_secs())),
            Trouble::Never { .. } => None,
        })
        .collect();
    let (mend, later) = (Some(Some(300)), Some(None));
    assert_eq!(pauses, [Some(Some(30)), later, later, later, mend, mend, None]);
    let all = format!("{told:?} {} {slack:?}", steps.lock().unwrap());
    assert!(all.contains("channel_is_archived") && all.contains("https://localhost:"), "{all}");
    assert!(!all.contains("hunter2") && !all.contains("T024BE7LD"), "{all}");
    let texts: Vec<String> = server.asked().iter().map(|asked| asked.json()["text"].to_string()).collect();
    assert!(texts[0].contains("one") && texts[1..].iter().all(|text| text.contains("two")), "{texts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_silent_slack_is_left_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[Answer::Silence]);
    let keys = format!("webhook = \"{}\"\nca = \"ca.pem\"", server.url("/services/x"));
    let mut slack = slack_within(dir.path(), &keys, Duration::from_secs(2)).unwrap();
    let delivery = slack.deliver(&notices(&["one"]), &mut Trail::silent()).await;
    let reason = delivery.trouble.unwrap().reason().to_owned();
    assert!(reason.ends_with("did not answer in 2s"), "{reason}");
    server.asked();
}

#[test]
fn a_task_has_its_channel_then_a_level_and_then_there_is_one_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let keys = "webhook = \"https://general/\"\n\
        webhook_by_task = { \"*\" = \"https://any/\", \"BACKUP_*\" = \"https://backups/\", \"BACKUP_D?\" = \"https://disks/\", BACKUP_DB = \"https://db/\" }\n\
        webhook_by_level = { critical = \"https://pager/\" }\n";
    let to = |slack: &Slack, task, level| slack.channels.of(task, level).to_string();
    let with_any = slack(dir.path(), keys).unwrap();
    for (task, expected) in
        [("BACKUP_DB", "db"), ("BACKUP_DX", "disks"), ("BACKUP_FILES", "backups"), ("UPDATE", "any")]
    {
        assert_eq!(to(&with_any, task, Level::Critical), format!("https://{expected}/***"));
    }
    let slack = slack(dir.path(), &keys.replace("\"*\" = \"https://any/\", ", "")).unwrap();
    assert_eq!(to(&slack, "UPDATE", Level::Critical), "https://pager/***");
    assert_eq!(to(&slack, "UPDATE", Level::Error), "https://general/***");
    assert_eq!(to(&slack, "", Level::Info), "https://general/***");
}

#[test]
fn a_webhook_that_is_none_is_named_by_its_key_and_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let good = "webhook = \"https://hooks.slack.com/services/x\"\n";
    for (keys, key) in [
        ("webhook = \"http://hooks.slack.com/hunter2\"\n".to_owned(), "webhook"),
        (format!("{good}webhook_by_task = {{ A = \"hunter2\" }}"), "webhook_by_task"),
        (format!("{good}webhook_by_level = {{ error = \"hunter2\" }}"), "webhook_by_level"),
    ] {
        let error = slack(dir.path(), &keys).unwrap_err().to_string();
        assert_eq!(error, format!("`{key}`: is no address that begins with `https://`"));
    }
    let error = whole(slack(dir.path(), "webhook = { file = \"absent\" }").unwrap_err());
    assert!(error.starts_with("`webhook`: could not read the secret in"), "{error}");
}

#[test]
fn a_template_makes_the_main_section_or_the_whole_message() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("templates/slack")).unwrap();
    let write =
        |name: &str, text: &str| std::fs::write(dir.path().join("templates/slack").join(name), text).unwrap();
    write("ops_error.tpl", "*own*: {{ text | slack_escape }}");
    write("ops_info.tpl", "{\"text\": {{ title | json }}}");
    write("ops_ok.tpl", "{% if %}");
    let slack = unsent(dir.path());
    let payload = |level| slack.payload(&Notice::of(stored(level, "BACKUP", "db1", "{\"a\": 1} <x>")));
    assert_eq!(payload(Level::Error)["blocks"][1]["text"]["text"], "*own*: {\"a\": 1} &lt;x&gt;");
    assert_eq!(payload(Level::Info), serde_json::json!({"text": "BACKUP on db1: info"}));
    assert_eq!(payload(Level::Ok)["blocks"][1]["text"]["text"], "{\"a\": 1} &lt;x&gt;");
    let faults: Vec<String> = slack.templates().unwrap().faults().iter().map(ToString::to_string).collect();
    assert!(faults.len() == 1 && faults[0].contains("ops_ok.tpl:1: syntax error"), "{faults:?}");
    // What an event says is never a payload.
    let plain = unsent(tempfile::tempdir().unwrap().path());
    let notice = Notice::of(stored(Level::Info, "BACKUP", "db1", "{\"text\": \"x\"}"));
    assert_eq!(refusal(&plain.payload(&notice)), None);
}

/// Texts of any kind, and many of those that escaping makes longer.
fn any_text(bytes_max: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("&<>".to_owned()),
        Just("🚨ß\u{1}\n".to_owned()),
        Just("<!here> *x* ".to_owned()),
        "\\PC{0,20}"
    ];
    (piece, 0..bytes_max).prop_map(|(piece, bytes)| {
        let mut text = piece.repeat(bytes / piece.len().max(1));
        text.truncate(text.floor_char_boundary(bytes));
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_an_event_holds_slack_takes_the_message(
        message in any_text(MESSAGE_BYTES_MAX),
        task in "[A-Z&<>]{0,150}",
        extra in proptest::collection::vec((any_text(100), any_text(400)), 0..EXTRA_PAIRS_MAX),
        tags in 0..=TAGS_MAX,
        level in 0..7_usize,
        via in proptest::option::of("[a-z]{1,250}"),
        about in 0..4_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let slack = unsent(dir.path());
        let mut event = stored(Level::ALL[level], "BACKUP", &"h".repeat(250), &message);
        event.event.task = TaskName::parse(&task).unwrap_or_else(|_| TaskName::parse("BACKUP").unwrap());
        event.event.extra = extra;
        event.event.tags =
            (0..tags).map(|at| Tag::parse(&format!("{at:02}{}", "t".repeat(62))).unwrap()).collect();
        event.event.process.script = Some(message.chars().take(1000).collect());
        let about = match about {
            0 => crate::notice::About::Event,
            1 => {
                let crate::notice::About::Run(mut run) = documented_run().about else { unreachable!() };
                run.first_error = Some(message);
                crate::notice::About::Run(run)
            }
            2 => {
                let mut digest = crate::notice::Digest::default();
                (0..6).for_each(|_| digest.add(&Notice::of(event.clone())));
                crate::notice::About::Digest(digest)
            }
            _ => crate::notice::About::Test,
        };
        let payload = slack.payload(&Notice { via, about, ..Notice::of(event) });
        prop_assert_eq!(refusal(&payload), None);
    }
}
