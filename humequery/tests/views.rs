//! `--fleet`, `--timeline` and `--diff`: what they ask, and that every form of the answer is one that can be read back.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is test code, also what stands outside of a test function"
)]

mod server;

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use server::{Reply, Request, Server};

const RUN: &str = "01936f2e-0000-7000-8000-000000000001";
const OK_RUN: &str = "01936f2e-0000-7000-8000-000000000002";

fn event(number: u64, message: &str) -> Value {
    json!({
        "id": format!("01936f2e-0000-7000-8000-{number:012}"), "kind": "reported", "task": "BACKUP", "host": "web1",
        "agent": null, "epoch": "00112233445566778899aabbccddeeff", "seq": number, "run": RUN,
        "time": "2026-11-22T10:00:00.000000Z", "received_at": "2026-11-22T10:00:00.000000Z", "arrived_at": null,
        "level": "info", "command": null, "flag": null, "message": message, "truncated_from": null, "tags": [],
        "extra": {}, "exit": null, "user": "root", "uid": 0, "pid": 1, "script": null, "line": null, "unit": null,
        "tree": null, "correlation": "ancestry", "reason": null, "flags": []
    })
}

fn run(id: &str, host: &str, status: &str, severity: u8, duration_ms: u64, events: &[Value]) -> Value {
    json!({
        "id": id, "task": "BACKUP", "host": host, "agent": null, "phase": "ended", "status": status, "outcome": status,
        "reason": null, "severity": severity, "flags": [], "correlation": "ancestry",
        "started_at": "2026-11-22T10:00:00.000000Z", "ended_at": "2026-11-22T10:00:02.000000Z",
        "duration_ms": duration_ms, "active_ms": duration_ms, "paused_ms": 0, "exit": null, "complete": true, "gaps": [],
        "summary": {"events": events.len(),
                    "by_level": {"debug": 0, "info": events.len(), "ok": 0, "warning": 0, "error": 0, "critical": 0, "unknown": 0},
                    "first_error": null},
        "events": events
    })
}

fn runs(runs: &[Value], next: Option<&str>) -> Reply {
    Reply::json(&json!({"source": {"kind": "master", "name": "m"}, "runs": runs, "next": next}))
}

fn ask(server: &Server, words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_humequery"))
        .env_clear()
        .envs([("HOME", server.folder().as_os_str()), ("TZ", "UTC".as_ref())])
        .args(words.split_whitespace())
        .args(["--url", &server.url()])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn answered(server: &Server, words: &str) -> String {
    let output = ask(server, words);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{words}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json_of(server: &Server, words: &str) -> Value {
    serde_json::from_str(&answered(server, &format!("{words} --format json"))).unwrap()
}

#[test]
fn a_fleet_is_all_pages_of_latest_runs_without_their_events() {
    let server = Server::start(|request| {
        assert_eq!((request.path.as_str(), request.parameter("events")), ("/api/v1/latest", None));
        let (web1, web2) = (run(RUN, "web1", "ok", 0, 1, &[]), run(RUN, "web2", "failed", 2, 1, &[]));
        match request.parameter("cursor") {
            None => runs(&[web1], Some("r1.1.x")),
            Some(_) => runs(&[web2], None),
        }
    });
    let table = answered(&server, "-t BACKUP --fleet");
    assert!(table.starts_with("BACKUP: 2 hosts: 1 ok, 1 failed\n"), "{table}");
    let fleet = json_of(&server, "-t BACKUP --fleet");
    assert_eq!(fleet.as_object().unwrap().keys().collect::<Vec<_>>(), ["source", "tasks"]);
    let task = &fleet["tasks"][0];
    assert_eq!(
        (&task["hosts"], &task["severity"], &task["counts"]["failed"]),
        (&json!(2), &json!(2), &json!(1))
    );
    assert_eq!((task["counts"].as_object().unwrap().len(), &task["runs"][0]["host"]), (8, &json!("web2")));
    assert_eq!(answered(&server, "-t BACKUP --fleet --format ndjson").lines().count(), 1);
    assert_eq!(answered(&server, "-t BACKUP --fleet --format csv").lines().count(), 3);
}

#[test]
fn a_time_line_is_of_the_latest_runs_or_of_a_certain_one() {
    let server = Server::start(|request| {
        assert_eq!(request.parameter("events").as_deref(), Some("true"));
        runs(&[run(RUN, "web1", "ok", 0, 2000, &[event(1, "first"), event(2, "second")])], None)
    });
    let asked = |words: &str, path: &str, run: Option<&str>| {
        let table = answered(&server, words);
        assert!(table.contains("  0s ") && table.contains("= active") && table.contains("second"), "{table}");
        let lines = json_of(&server, words);
        assert_eq!(lines["runs"][0]["marks"].as_array().unwrap().len(), 2);
        assert_eq!(lines["runs"][0]["segments"], json!([{"kind": "active", "from_ms": 0, "to_ms": 2000}]));
        assert_eq!(answered(&server, &format!("{words} --format csv")).lines().count(), 3);
        let request = server.requests().pop().unwrap();
        assert_eq!((request.path.as_str(), request.parameter("run").as_deref()), (path, run));
    };
    asked("-t BACKUP --latest --timeline", "/api/v1/latest", None);
    asked(&format!("--run {RUN} --timeline"), "/api/v1/runs", Some(RUN));
}

/// Earlier runs in two pages: the one that was ok is on the second.
fn daemon_with_a_past(request: &Request) -> Reply {
    match (request.path.as_str(), request.parameter("run"), request.parameter("cursor")) {
        ("/api/v1/latest", _, _) => runs(
            &[
                run(RUN, "web1", "failed", 2, 5000, &[event(1, "same"), event(2, "4 tables")]),
                run(RUN, "web2", "failed", 2, 5000, &[event(1, "same")]),
            ],
            None,
        ),
        ("/api/v1/runs", Some(id), _) => {
            assert_eq!((id.as_str(), request.parameter("events").as_deref()), (OK_RUN, Some("true")));
            runs(&[run(OK_RUN, "web1", "ok", 0, 3000, &[event(3, "same"), event(4, "3 tables")])], None)
        }
        ("/api/v1/runs", None, _) if request.parameter("host").as_deref() == Some("web2") => runs(&[], None),
        ("/api/v1/runs", None, None) => {
            assert_eq!(request.parameter("until").as_deref(), Some("2026-11-22T10%3A00%3A00.000000Z"));
            runs(&[run(RUN, "web1", "warning", 1, 1, &[])], Some("r1.1.x"))
        }
        _ => runs(&[run(OK_RUN, "web1", "ok", 0, 3000, &[])], None),
    }
}

#[test]
fn a_difference_is_to_the_last_run_before_it_that_was_ok() {
    let server = Server::start(daemon_with_a_past);
    let words = "-t BACKUP --latest --diff last-ok";
    let table = answered(&server, words);
    for part in [
        "2.0s longer than the last ok (+67 %)",
        "- info  3 tables",
        "+ info  4 tables",
        "no earlier run was ok",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(!table.contains("same"), "{table}");
    let diff = json_of(&server, words);
    assert_eq!(diff.as_object().unwrap().keys().collect::<Vec<_>>(), ["diffs", "source"]);
    let (first, second) = (&diff["diffs"][0], &diff["diffs"][1]);
    assert_eq!((&first["last_ok"]["id"], &first["longer_ms"]), (&json!(OK_RUN), &json!(2000)));
    assert_eq!(
        (&first["changes"][0]["only_in"], &first["changes"][0]["event"]["message"]),
        (&json!("last_ok"), &json!("3 tables"))
    );
    assert_eq!((&second["last_ok"], &second["changes"]), (&Value::Null, &json!([])));
    assert_eq!(answered(&server, &format!("{words} --format ndjson")).lines().count(), 2);
    assert_eq!(answered(&server, &format!("{words} --format csv")).lines().count(), 3);
}

#[test]
fn a_paused_run_says_how_long_it_was_active_and_not_how_long_it_was_paused() {
    let server = Server::start(|_| {
        let mut paused = run(RUN, "web1", "running", 0, 7200, &[]);
        (paused["phase"], paused["ended_at"]) = (json!("paused"), Value::Null);
        (paused["active_ms"], paused["paused_ms"]) = (json!(1000), json!(6200));
        runs(&[paused], None)
    });
    for words in ["-t BACKUP --latest", "-t BACKUP --latest --timeline"] {
        let table = answered(&server, words);
        assert!(table.contains("paused, active for 1.0s of 7.2s"), "{table}");
        assert!(!table.contains("paused for"), "{table}");
    }
}

#[test]
fn an_overdue_run_says_in_every_table_which_limit_it_is_beyond() {
    for (severity, limit) in [(1, "beyond max_runtime"), (2, "beyond hard_runtime")] {
        let server = Server::start(move |request| {
            if request.path == "/api/v1/tasks" {
                let task = json!({"task": "BACKUP", "host": "web1", "run": RUN, "status": "overdue", "severity": severity,
                    "started_at": "2026-11-22T10:00:00.000000Z", "ended_at": null, "duration_ms": 1, "errors": 0});
                return Reply::json(&json!({"source": {"kind": "master", "name": "m"}, "tasks": [task]}));
            }
            let mut overdue = run(RUN, "web1", "overdue", severity, 7200, &[]);
            (overdue["phase"], overdue["ended_at"]) = (json!("running"), Value::Null);
            runs(&[overdue], None)
        });
        for words in ["--latest", "--runs", "--fleet", "--latest --timeline", "tasks"] {
            let table = answered(&server, words);
            assert!(table.contains(limit), "{words}: {table}");
        }
    }
}

#[test]
fn what_hume_found_out_does_not_say_by_which_rule_it_belongs_to_its_run() {
    let server = Server::start(|_| {
        let (mut found, mut placed) = (event(2, "gone"), event(1, "placed"));
        (found["kind"], found["reason"]) = (json!("run"), json!("process_gone"));
        (found["correlation"], placed["correlation"]) = (json!("explicit"), json!("unit"));
        runs(&[run(RUN, "web1", "failed", 2, 1, &[placed, found])], None)
    });
    let table = answered(&server, "-t BACKUP --latest");
    assert!(table.contains("placed  (by unit)") && !table.contains("by explicit"), "{table}");
}
