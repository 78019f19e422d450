//! What scripts and daemons wrote never steers a terminal, whatever is asked.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is test code, also what stands outside of a test function"
)]

mod server;

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use server::{Reply, Request, Server};

/// Recolours, rings, turns the text around, and a control of C1.
const BAD: &str = "a\u{1b}[31m\u{7}\u{202e}\u{9b}b";
const AT: &str = "2026-11-22T10:00:00.000000Z";
const ID: &str = "01936f2e-0000-7000-8000-000000000001";

fn event() -> Value {
    json!({
        "id": ID, "kind": "reported", "task": BAD, "host": BAD, "agent": null, "epoch": "00", "seq": 1, "run": null,
        "time": AT, "received_at": AT, "arrived_at": null, "level": BAD, "command": null, "flag": BAD, "message": BAD,
        "truncated_from": null, "tags": [BAD], "extra": {BAD: BAD}, "exit": null, "user": BAD, "uid": 0, "pid": 1,
        "script": BAD, "line": null, "unit": BAD, "tree": BAD, "correlation": BAD, "reason": null, "flags": [BAD]
    })
}

fn agent() -> Value {
    json!({
        "agent": ID, "host": BAD, "state": BAD, "since": AT, "last_seen": AT, "version": BAD, "queued_events": 1,
        "queued_since": AT, "acked_events": 1, "last_error": BAD, "last_error_at": AT, "address": BAD,
        "certificate_expires_at": AT
    })
}

fn daemon(request: &Request) -> Reply {
    let source = json!({"kind": "master", "name": BAD});
    Reply::json(&match request.path.as_str() {
        "/api/v1/events" => json!({"source": source, "events": [event()], "next": "e1.1"}),
        "/api/v1/tasks" => json!({"source": source, "tasks": [
            {"task": BAD, "host": BAD, "run": ID, "status": BAD, "severity": 0, "started_at": AT, "ended_at": null,
             "duration_ms": 1, "errors": 0}]}),
        "/api/v1/hosts" => json!({"source": source, "hosts": [
            {"host": BAD, "agent": null, "state": BAD, "last_seen": AT, "tasks": 1, "events": 1}]}),
        "/api/v1/agents" => json!({"source": source, "agents": [agent(), agent()]}),
        _ => {
            json!({"source": source, "version": BAD, "started_at": AT, "state": BAD, "events": 1, "store_bytes": 1,
                    "agents": [agent()]})
        }
    })
}

#[test]
fn no_view_sends_a_control_character_of_an_answer() {
    let server = Server::start(daemon);
    for words in ["-f --limit 1", "--limit 1", "tasks", "hosts", "agents", "status"] {
        for form in ["table", "json", "ndjson"] {
            if words.starts_with("-f") && form == "json" {
                continue;
            }
            let output = Command::new(env!("CARGO_BIN_EXE_humequery"))
                .env_clear()
                .env("HOME", server.folder())
                .args(words.split(' '))
                .args(["--format", form, "--color", "never", "--url", &server.url()])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(0), "{words}: {output:?}");
            let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
            assert!(said[0].contains('a') && said[0].contains('b'), "{words}: {}", said[0]);
            let is_bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!said.iter().any(|text| text.contains(is_bad)), "{words} {form}: {said:?}");
        }
    }
}
