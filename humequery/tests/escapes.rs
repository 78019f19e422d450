//! What a server says of tasks, hosts and agents reaches a terminal as text only, in lists, while following and in hints.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is test code, also what stands outside of a test function"
)]

mod server;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use server::{Reply, Server};

/// Titles, colours, a return to the beginning of the line, a turn of the writing direction.
const EVIL: &str = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\r\u{7f}";

fn ask(server: &Server, words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_humequery"))
        .env_clear()
        .envs([("HOME", server.folder().as_os_str()), ("TZ", "UTC".as_ref())])
        .args(["--url", &server.url(), "--color", "never"])
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The answer of a fixture, with this text in every field that is free.
fn fixture(name: &str) -> Value {
    let path = Path::new("tests/fixtures").join(format!("{name}.json"));
    let mut answer: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    poison(&mut answer);
    answer
}

fn poison(value: &mut Value) {
    const FREE: [&str; 10] =
        ["task", "host", "name", "state", "status", "version", "address", "last_error", "message", "tree"];
    match value {
        Value::Array(items) => items.iter_mut().for_each(poison),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if FREE.contains(&name.as_str()) => text.push_str(EVIL),
                    other => poison(other),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[track_caller]
fn assert_tame(words: &str, text: &[u8]) {
    let text = std::str::from_utf8(text).unwrap();
    let is_bad = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    let bad: Vec<char> = text.chars().filter(|c| is_bad(*c)).collect();
    assert!(bad.is_empty(), "{words}: {bad:?} in {text}");
    assert!(text.contains("\\x1b"), "{words}: {text}");
}

#[test]
fn nothing_of_a_list_of_tasks_hosts_or_agents_reaches_a_terminal_raw() {
    for source in ["status", "status_agent"] {
        let server = Server::start(move |request| {
            Reply::json(&fixture(match request.path.as_str() {
                "/api/v1/status" => source,
                path => path.strip_prefix("/api/v1/").unwrap(),
            }))
        });
        for words in ["tasks", "hosts", "agents", "status"] {
            let output = ask(&server, words);
            assert_eq!(output.status.code(), Some(0), "{words}: {output:?}");
            assert_tame(words, &output.stdout);
        }
    }
}

#[test]
fn nothing_of_a_followed_event_reaches_a_terminal_raw() {
    let server = Server::start(|_| {
        let mut list = fixture("events");
        list["next"] = json!("e1.9");
        Reply::json(&list)
    });
    let count = fixture("events")["events"].as_array().unwrap().len();
    let output = ask(&server, &format!("-f --limit {count}"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_tame("-f", &output.stdout);
}

#[test]
fn nothing_of_a_hint_or_a_refusal_reaches_a_terminal_raw() {
    let server = Server::start(|request| match request.path.as_str() {
        "/api/v1/tasks" => Reply::json(&fixture("tasks")),
        "/api/v1/latest" => {
            Reply::json(&json!({"source": {"kind": "master", "name": "m"}, "runs": [], "next": null}))
        }
        _ => {
            let problem = json!({"type": "about:blank", "title": "Bad", "status": 400, "code": "invalid",
                                 "detail": EVIL, "field": EVIL});
            Reply::new(400, "application/problem+json", problem.to_string().as_bytes())
        }
    });
    for (words, code) in [("-t BACKU --latest", 0), ("--runs", 3)] {
        let output = ask(&server, words);
        assert_eq!(output.status.code(), Some(code), "{words}: {output:?}");
        assert_tame(words, &output.stderr);
    }
}
