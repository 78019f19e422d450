//! Logstash, or whatever reads JSON lines over TCP or TLS: one line for each notice, with the names of the Elastic Common Schema.
//!
//! The protocol has no acknowledgement. A peer that has gone is noticed ([`Pipe`]), but what it had taken and not read when it died
//! is lost; Fluentd's protocol confirms.

use std::path::PathBuf;

use hume_core::Tag;
use hume_core::event::{Command, Exit, Finding, StoredEvent};
use hume_core::status::Status;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::net::{Address, Pipe, Scheme, Target, TlsKeys};
use crate::notice::{About, Notice};
use crate::options::options;
use crate::syslog_text;
use crate::transfer::{
    BoxFuture, DELIVERY_TIME_MAX, Delivery, Manner, OpenError, Setting, Trail, Transfer, Trouble,
};

pub(super) const MANNER: Manner = Manner::PIPELINE;

/// The release of the schema whose names these are.
const ECS_VERSION: &str = "8.11.0";

options! {
    /// `[transfer.NAME.logstash]`
    pub struct Options {
        /// `tcp://host:port` or `tls://host:port`.
        pub address: Address,
        /// Who issues the peer's certificate; the system's roots when missing.
        pub ca: Option<PathBuf>,
        /// Our certificate.
        pub certificate: Option<PathBuf>,
        /// Its key.
        pub key: Option<PathBuf>,
        /// The name in the peer's certificate; the host of the address when missing.
        pub server_name: Option<String>,
    }
}

pub(super) fn open(options: &Options, setting: &Setting<'_>) -> Result<Box<dyn Transfer>, OpenError> {
    let keys = TlsKeys {
        ca: options.ca.as_deref(),
        certificate: options.certificate.as_deref(),
        key: options.key.as_deref(),
        server_name: options.server_name.as_deref(),
    };
    match options.address.scheme() {
        Scheme::Tcp | Scheme::Tls => {}
        Scheme::Udp => {
            return Err(OpenError::value(
                "address",
                "write tcp://host:port or tls://host:port: a line may not have room in a datagram",
            ));
        }
    }
    Ok(Box::new(Lines { pipe: Pipe::new(Target::open(&options.address, keys, setting)?) }))
}

struct Lines {
    pipe: Pipe,
}

impl Transfer for Lines {
    fn deliver<'a>(&'a mut self, notices: &'a [Notice], trail: &'a mut Trail) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            let deadline = Instant::now() + DELIVERY_TIME_MAX;
            let mut lines = String::new();
            for notice in notices {
                lines.push_str(&document(notice).to_string());
                lines.push('\n');
            }
            match self.pipe.send(lines.as_bytes(), deadline, trail).await {
                Ok(()) => Delivery::all(notices),
                // Of a batch that broke off nobody knows how much was read.
                Err(error) => Delivery::stopped(0, Trouble::from(error)),
            }
        })
    }

    fn preview(&self, notice: &Notice) -> String {
        document(notice).to_string()
    }
}

/// The notice by the names of the schema; what it has no names for is under `hume`. What is not known is left out.
fn document(notice: &Notice) -> Value {
    let StoredEvent { position, arrived_at, event } = &notice.event;
    let process = &event.process;
    let mut about_event = json!({
        "kind": "event",
        "module": "hume",
        "id": event.id.to_string(),
        "severity": syslog_text::severity(notice.level()),
        "created": event.received_at.to_string(),
        "ingested": arrived_at.map(|time| time.to_string()),
        "action": event.command.map(Command::as_str),
        "reason": event.finding.map(Finding::as_str),
    });
    let mut hume = json!({
        "task": (!event.task.is_none()).then(|| event.task.as_str()),
        "level": notice.level().as_str(),
        "kind": event.kind.as_str(),
        "about": notice.about.as_str(),
        "via": notice.via,
        "missed": (notice.missed > 0).then_some(notice.missed),
        "run": event.run.map(|run| run.id.to_string()),
        "flag": event.flag.as_ref().map(ToString::to_string),
        "flags": event.flags.iter().map(|flag| flag.as_str()).collect::<Vec<_>>(),
        "agent": position.agent.map(|agent| agent.to_string()),
        "unit": process.unit,
        "tree": process.tree,
        "truncated_from": event.truncated_from,
    });
    match &notice.about {
        About::Event | About::Test => {}
        About::Run(run) => {
            about_event["start"] = json!(run.started_at.to_string());
            about_event["end"] = json!(run.ended_at.map(|time| time.to_string()));
            // In nanoseconds, as the schema wants it.
            about_event["duration"] = json!(run.duration_us.saturating_mul(1000));
            about_event["outcome"] = json!(outcome(run.status));
            hume["run_summary"] = json!(run);
        }
        About::Digest(digest) => hume["digest"] = json!(digest),
    }
    let (exit_code, exit_signal) = match event.exit {
        Some(Exit::Code(code)) => (Some(code), None),
        Some(Exit::Signal(signal)) => (None, Some(signal)),
        None => (None, None),
    };
    hume["exit_signal"] = json!(exit_signal);
    let mut document = json!({
        "@timestamp": event.time.to_string(),
        "@version": "1",
        "ecs": { "version": ECS_VERSION },
        "message": notice.text(),
        "log": {
            "level": notice.level().as_str(),
            "logger": "hume",
            "origin": { "file": { "name": process.script, "line": event.line } },
        },
        "event": about_event,
        "host": { "name": event.host.as_str() },
        "tags": event.tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
        "labels": labels(&event.extra),
        "process": { "pid": process.pid, "exit_code": exit_code },
        "user": { "id": process.uid.map(|uid| uid.to_string()), "name": process.user },
        "hume": hume,
    });
    leave_out_unknown(&mut document);
    document
}

/// Extras, by names without dots, which the schema would take for more levels; the values of one name are joined by commas.
fn labels(extra: &[(String, String)]) -> Value {
    let mut labels = Map::new();
    for (key, value) in extra {
        match labels.entry(key.replace('.', "_")) {
            serde_json::map::Entry::Vacant(entry) => {
                entry.insert(Value::String(value.clone()));
            }
            serde_json::map::Entry::Occupied(mut entry) => {
                let joined = format!("{},{value}", entry.get().as_str().unwrap_or_default());
                entry.insert(Value::String(joined));
            }
        }
    }
    Value::Object(labels)
}

/// Takes away what is null or empty, from the inside out.
fn leave_out_unknown(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    fields.values_mut().for_each(leave_out_unknown);
    fields.retain(|_, value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    });
}

/// The three words of the schema.
fn outcome(status: Status) -> &'static str {
    match status {
        Status::Ok | Status::Warning => "success",
        Status::Failed | Status::Critical => "failure",
        Status::Running | Status::Overdue | Status::Lost | Status::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use hume_core::Level;
    use proptest::prelude::*;

    use super::*;
    use crate::net::peer::{Site, accept, gather, listen, nowhere, over_tls, read_all, run};
    use crate::testing::{assert_documented, documented, documented_digest, documented_run, open, stored};

    fn config(keys: &str) -> String {
        format!("[transfer.logs.logstash]\n{keys}\n")
    }

    #[tokio::test]
    async fn each_notice_is_a_line_with_the_names_of_the_schema() {
        let dir = tempfile::tempdir().unwrap();
        let (listener, place) = listen();
        let peer = gather(listener, 1);
        let mut transfer = open(dir.path(), &config(&format!("address = \"tcp://{place}\""))).unwrap();
        let batch = [Notice::of(documented()), documented_run(), documented_digest()];
        assert_eq!(transfer.deliver(&batch, &mut Trail::silent()).await, Delivery::all(&batch));
        drop(transfer);
        let heard = peer.join().unwrap().concat();
        let lines: Vec<&str> = heard.lines().collect();
        assert_documented(lines[0]);
        let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |line: usize, pointer: &str| lines[line].pointer(pointer).cloned().unwrap_or_default();
        for (pointer, value) in [
            ("/@timestamp", json!("2025-11-24T16:00:00.000000Z")),
            ("/@version", json!("1")),
            ("/host/name", json!("db1")),
            ("/log/level", json!("error")),
            ("/log/origin/file/line", json!(41)),
            ("/event/severity", json!(3)),
            ("/labels/database", json!("shop")),
            ("/process/pid", json!(4711)),
            ("/user/id", json!("26")),
            ("/hume/task", json!("BACKUP_DB")),
            ("/tags", json!(["backup", "nightly"])),
        ] {
            assert_eq!(of(0, pointer), value, "{pointer}");
        }
        assert_eq!((of(1, "/hume/about"), of(1, "/event/outcome")), (json!("run"), json!("failure")));
        assert!(of(1, "/event/duration").as_u64().is_some_and(|nanos| nanos > 1_000_000_000));
        assert!(of(2, "/hume/digest/count").as_u64().is_some_and(|count| count > 1));
        assert!(of(2, "/message").as_str().is_some_and(|text| text.contains(" more from ")));
    }

    #[tokio::test]
    async fn lines_over_tls_reach_a_peer_with_a_good_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::make(dir.path(), "ca");
        let server = site.tls();
        let (listener, place) = listen();
        let peer = run(move || read_all(&mut over_tls(&server, accept(&listener))));
        let keys = format!("address = \"tls://{place}\"\nca = \"ca.pem\"\nserver_name = \"localhost\"");
        let mut transfer = open(dir.path(), &config(&keys)).unwrap();
        let batch = [Notice::of(documented())];
        assert_eq!(transfer.deliver(&batch, &mut Trail::silent()).await, Delivery::all(&batch));
        drop(transfer);
        assert_documented(peer.join().unwrap().trim_end());
    }

    #[tokio::test]
    async fn a_peer_that_is_away_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let keys = format!("address = \"tcp://{}\"", nowhere());
        let mut transfer = open(dir.path(), &config(&keys)).unwrap();
        let batch = [Notice::of(documented())];
        let delivery = transfer.deliver(&batch, &mut Trail::silent()).await;
        assert!(
            delivery.settled == 0 && matches!(delivery.trouble, Some(Trouble::Later { .. })),
            "{delivery:?}"
        );
    }

    #[test]
    fn datagrams_are_refused_with_what_to_write() {
        let dir = tempfile::tempdir().unwrap();
        let error =
            open(dir.path(), &config("address = \"udp://127.0.0.1:5000\"")).err().unwrap().to_string();
        assert!(error.starts_with("`address`: write tcp://host:port"), "{error}");
    }

    #[test]
    fn names_of_extras_have_no_dots_and_doubles_are_joined() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let labels = labels(&[pair("a.b", "1"), pair("a_b", "2"), pair("c", "3")]);
        assert_eq!(labels, json!({"a_b": "1,2", "c": "3"}));
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_one_line_that_reads_back(message in any::<String>(), key in "[ -~]{1,20}", value in any::<String>()) {
            let mut event = stored(Level::Warning, "JOB", "web1", &message);
            event.event.extra = vec![(key.clone(), value.clone())];
            let line = document(&Notice::of(event)).to_string();
            prop_assert!(!line.contains('\n'));
            let read: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read["message"].as_str(), Some(message.as_str()));
            prop_assert_eq!(read["labels"][key.replace('.', "_")].as_str(), Some(value.as_str()));
        }
    }
}
