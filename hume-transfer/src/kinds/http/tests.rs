//! What each receiver gets, how a request is signed, and that no secret is told.

use std::path::Path;
use std::sync::{Arc, Mutex};

use hume_core::{HostName, Level};
use serde_json::{Value as Json, json};

use super::*;
use crate::http::server::{Answer, OK, Server};
use crate::net::peer;
use crate::options::Transfers;
use crate::testing::{assert_documented, documented, documented_digest, documented_run, stored};
use crate::transfer::Trouble;

const PRESETS: [&str; 7] = ["ntfy", "gotify", "pagerduty", "alertmanager", "mattermost", "discord", "teams"];
const TOKEN: &str = "hunter2-token";

fn webhook(dir: &Path, keys: &str) -> Result<Webhook, OpenError> {
    #[derive(Deserialize)]
    struct Whole {
        transfer: Transfers,
    }
    let config_file = dir.join("agent.toml");
    let text = format!("[transfer.ops.http]\n{keys}");
    let whole: Whole = hume_runtime::config::parse(&config_file, &text).unwrap();
    let (name, options) = whole.transfer.0.into_iter().next().unwrap();
    let crate::kinds::Options::Http(options) = options else { unreachable!("the section is one of http") };
    let host = HostName::parse("db1").unwrap();
    let setting = Setting { name: &name, config_file: &config_file, host: &host, program: "humed-agent" };
    open_within(&options, &setting, peer::SOON)
}

fn preset(name: &str) -> Webhook {
    let keys = format!(
        "preset = \"{name}\"\nurl = \"https://receiver.example.net\"\ntoken = \"{TOKEN}\"\nvalues = {{ topic = \"ops\" }}"
    );
    webhook(tempfile::tempdir().unwrap().path(), &keys).unwrap()
}

fn body(webhook: &Webhook, notice: &Notice) -> Json {
    serde_json::from_str(&webhook.body(notice, Some(TOKEN))).unwrap()
}

/// Notices that are hard to put into a text of another kind.
fn hard() -> Vec<Notice> {
    let mut event =
        stored(Level::Critical, "", &"h".repeat(253), &"\"\\\u{1}\n```{{ text }}<@everyone>ß🚨".repeat(400));
    event.event.extra = (0..64).map(|at| (format!("\"{at}\""), "\\".repeat(200))).collect();
    let mut digest = crate::notice::Digest::default();
    (0..30).for_each(|_| digest.add(&Notice::of(event.clone())));
    let notice = |about| Notice { via: Some("v".repeat(253)), about, ..Notice::of(event.clone()) };
    let crate::notice::About::Run(mut run) = documented_run().about else { unreachable!() };
    run.first_error = Some(event.event.message.clone());
    vec![
        notice(crate::notice::About::Event),
        notice(crate::notice::About::Run(run)),
        notice(crate::notice::About::Digest(digest)),
        notice(crate::notice::About::Test),
        Notice::of(stored(Level::Ok, "BACKUP", "db1", "")),
    ]
}

/// What the receiver says against a body, after its documentation.
fn refusal(name: &str, body: &Json) -> Option<String> {
    let long = |text: &Json, most: usize| {
        text.as_str().is_none_or(|text| text.is_empty() || text.encode_utf16().count() > most)
    };
    let is_wrong = match name {
        "ntfy" => {
            body["topic"] != "ops"
                || long(&body["title"], 250)
                || body["message"].as_str().unwrap().len() > 4096
                || !(1..=5).contains(&body["priority"].as_i64().unwrap())
        }
        "gotify" => long(&body["message"], 10_000) || !(0..=10).contains(&body["priority"].as_i64().unwrap()),
        "pagerduty" => {
            let payload = &body["payload"];
            body["routing_key"] != TOKEN
                || !["trigger", "resolve"].contains(&body["event_action"].as_str().unwrap())
                || long(&body["dedup_key"], 255)
                || long(&payload["summary"], 1024)
                || long(&payload["source"], 255)
                || !["critical", "error", "warning", "info"].contains(&payload["severity"].as_str().unwrap())
        }
        "alertmanager" => body
            .as_array()
            .unwrap()
            .iter()
            .any(|alert| alert["labels"]["alertname"] != "HumeTask" || alert["endsAt"].as_str().is_none()),
        "mattermost" => {
            body["attachments"][0]["text"].as_str().unwrap().matches("```").count() != 2
                || body.to_string().encode_utf16().count() > 16_383 * 2
        }
        "discord" => {
            let embed = &body["embeds"][0];
            let fields = embed["fields"].as_array().unwrap();
            long(&embed["title"], 256)
                || long(&embed["description"], 4096)
                || fields.len() > 25
                || fields.iter().any(|field| long(&field["value"], 1024) || long(&field["name"], 256))
                || !(0..=0x00ff_ffff).contains(&embed["color"].as_i64().unwrap())
                || body["allowed_mentions"] != json!({"parse": []})
        }
        "teams" => {
            body.to_string().len() > 28 * 1024
                || long(&body["attachments"][0]["content"]["body"][0]["text"], 500)
        }
        other => unreachable!("{other}"),
    };
    is_wrong.then(|| format!("{name}: {}", crate::text::truncate(&body.to_string(), 1500)))
}

#[test]
fn every_preset_gives_what_its_receiver_takes() {
    for name in PRESETS {
        let webhook = preset(name);
        let easy = [Notice::of(documented()), documented_run(), documented_digest()];
        for notice in hard().iter().chain(&easy) {
            assert_eq!(refusal(name, &body(&webhook, notice)), None);
            assert_eq!(webhook.templates.render(notice).fault, None, "{name}");
        }
        let shown: Vec<Json> = easy.iter().map(|notice| body(&webhook, notice)).collect();
        insta::assert_snapshot!(format!("preset_{name}"), serde_json::to_string_pretty(&shown).unwrap());
    }
}

#[test]
fn bodies_are_as_the_document_shows_them() {
    for name in ["ntfy", "pagerduty"] {
        assert_documented(
            &serde_json::to_string(&body(&preset(name), &Notice::of(documented())))
                .unwrap()
                .replace(TOKEN, "***"),
        );
    }
}

#[test]
fn what_is_well_again_ends_the_alert() {
    let well = Notice::of(stored(Level::Ok, "BACKUP", "db1", "done"));
    let bad = Notice::of(stored(Level::Error, "BACKUP", "db1", "failed"));
    let (ended, begun) = (body(&preset("pagerduty"), &well), body(&preset("pagerduty"), &bad));
    assert_eq!((&ended["event_action"], &begun["event_action"]), (&json!("resolve"), &json!("trigger")));
    assert_eq!(
        (&ended["dedup_key"], &begun["dedup_key"]),
        (&json!("hume:db1:BACKUP"), &json!("hume:db1:BACKUP"))
    );
    let (ended, begun) = (body(&preset("alertmanager"), &well), body(&preset("alertmanager"), &bad));
    assert!(ended.as_array().unwrap().iter().any(|alert| alert["labels"] == begun[0]["labels"]), "{ended:#}");
    assert_eq!(ended[0]["endsAt"], "2025-11-24T16:00:00.000000Z");
    assert_eq!(begun[0]["endsAt"], "2025-11-25T16:00:00.000000Z");
}

#[test]
fn an_address_without_a_path_gets_that_of_its_preset() {
    let to =
        |keys: &str| webhook(tempfile::tempdir().unwrap().path(), keys).unwrap().target.path().to_owned();
    assert_eq!(to("preset = \"alertmanager\"\nurl = \"http://am:9093\""), "/api/v2/alerts");
    assert_eq!(to("preset = \"alertmanager\"\nurl = \"http://am/sub/api/v2/alerts\""), "/sub/api/v2/alerts");
    assert_eq!(to("preset = \"gotify\"\nurl = \"https://push/\"\ntoken = \"x\""), "/message");
    assert_eq!(to("preset = \"pagerduty\"\ntoken = \"x\""), "/v2/enqueue");
}

#[test]
fn a_key_that_a_preset_needs_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (keys, told) in [
        ("", "`url`: must be there"),
        ("preset = \"pagerduty\"", "`token`: must be there for this preset"),
        ("preset = \"ntfy\"\nurl = \"https://ntfy.sh\"", "`values`: must have `topic` for this preset"),
        ("url = \"hunter2\"", "`url`: is no address that begins with `https://` or `http://`"),
        (
            "url = \"http://x\"\nheaders = { \"a b\" = \"hunter2\" }",
            "`headers`: `a b` is no name of a header",
        ),
        (
            "url = \"http://x\"\nheaders = { a = \"hunter2\\n\" }",
            "`headers`: the value of `a` has characters",
        ),
    ] {
        let error = webhook(dir.path(), keys).err().unwrap().to_string();
        assert!(error.starts_with(told) && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_signature_is_over_the_time_a_dot_and_the_body() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"hunter2-sign-key");
    // By another implementation of HMAC.
    let expected = "sha256=3195414429e04ece86086d6387aba54ec20570728449a4e9cef0a5c4b8bf279b";
    assert_eq!(signature(&key, 1_764_000_000, "{\"a\":\"ä\"}"), expected);
}

#[tokio::test]
async fn a_request_has_its_body_its_headers_and_its_signature() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[OK, OK]);
    let keys = format!(
        "url = \"{}\"\nca = \"ca.pem\"\nmethod = \"PUT\"\ntoken = \"{TOKEN}\"\nsign_key = \"hunter2-sign-key\"\nheaders = {{ X-Team = \"ops\" }}",
        server.url("/hook?key=hunter2-query")
    );
    let mut webhook = webhook(dir.path(), &keys).unwrap();
    let batch = [Notice::of(documented()), documented_run()];
    assert_eq!(webhook.deliver(&batch, &mut Trail::silent()).await, Delivery::all(&batch));
    for (asked, notice) in server.asked().iter().zip(&batch) {
        assert_eq!(asked.first_line, "PUT /hook?key=hunter2-query HTTP/1.1");
        assert_eq!(asked.json(), serde_json::to_value(notice.view()).unwrap());
        let event = notice.event.event.id.to_string();
        for (name, value) in [
            ("content-type", JSON),
            ("authorization", "Bearer hunter2-token"),
            ("x-team", "ops"),
            ("x-hume-event", event.as_str()),
        ] {
            assert_eq!(asked.header(name), Some(value));
        }
        let timestamp = asked.header("x-hume-timestamp").unwrap().parse().unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"hunter2-sign-key");
        assert_eq!(asked.header("x-hume-signature").unwrap(), signature(&key, timestamp, &asked.body));
    }
}

#[tokio::test]
async fn what_a_receiver_answers_settles_or_keeps_the_notice_and_tells_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let echo = "no hunter2-token hunter2-sign-key hunter2-query hunter2-header";
    let answers = [
        Answer::Say(429, "Retry-After: 9\r\n", ""),
        Answer::Say(503, "", echo),
        Answer::Reset,
        Answer::Say(422, "", echo),
        OK,
    ];
    let server = Server::start(dir.path(), &answers);
    let keys = format!(
        "url = \"{}\"\nca = \"ca.pem\"\ntoken = \"{TOKEN}\"\nsign_key = \"hunter2-sign-key\"\nheaders = {{ X-Key = \"hunter2-header\" }}\nbody = '{{\"t\": {{{{ token | json }}}}}}'",
        server.url("/hook?key=hunter2-query")
    );
    let mut webhook = webhook(dir.path(), &keys).unwrap();
    let batch = [Notice::of(documented())];
    let steps = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&steps);
    let mut trail = Trail::to(move |step| heard.lock().unwrap().push_str(step));
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(webhook.deliver(&batch, &mut trail).await.trouble.unwrap());
    }
    assert_eq!(webhook.deliver(&batch, &mut trail).await, Delivery::all(&batch));
    assert!(
        matches!(&told[0], Trouble::Later { after: Some(after), .. } if after.as_secs() == 9),
        "{told:?}"
    );
    assert!(matches!(&told[1..3], [Trouble::Later { .. }, Trouble::Later { .. }]), "{told:?}");
    assert!(matches!(&told[3], Trouble::Never { reason } if reason.contains("422")), "{told:?}");
    let all = format!("{told:?} {} {}", steps.lock().unwrap(), webhook.preview(&batch[0]));
    assert!(!all.contains("hunter2") && all.contains("\"t\": \"***\""), "{all}");
    assert!(server.asked().iter().all(|asked| asked.json()["t"] == TOKEN));
}

#[test]
fn a_body_that_gives_no_json_is_told_of_and_the_presets_used() {
    let dir = tempfile::tempdir().unwrap();
    let keys = "preset = \"gotify\"\nurl = \"https://push\"\ntoken = \"x\"\n";
    let notice = Notice::of(documented());
    let broken = webhook(dir.path(), &format!("{keys}body = '{{\"t\": {{{{ text }}}}}}'")).unwrap();
    let faults: Vec<String> = broken.templates.faults().iter().map(ToString::to_string).collect();
    assert!(faults.len() == 1 && faults[0].starts_with("`body`: gives no JSON: "), "{faults:?}");
    assert_eq!(body(&broken, &notice)["priority"], 8);
    let own = webhook(dir.path(), &format!("{keys}content_type = \"text/plain\"\nbody = '{{{{ text }}}}'"))
        .unwrap();
    assert_eq!(own.body(&notice, None), "pg_dump: connection to server failed");
}
