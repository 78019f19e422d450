//! `humequery --follow` against a small server: from where it goes on, what it says, how it ends.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is test code, also what stands outside of a test function"
)]

mod server;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use server::{Reply, Request, Server};

fn event(number: u64) -> Value {
    json!({
        "id": format!("01936f2e-0000-7000-8000-{number:012}"), "kind": "reported", "task": "BACKUP", "host": "web1",
        "agent": null, "epoch": "00112233445566778899aabbccddeeff", "seq": number, "run": null,
        "time": "2026-11-22T10:00:00.000000Z", "received_at": "2026-11-22T10:00:00.000000Z", "arrived_at": null,
        "level": "error", "command": null, "flag": null, "message": format!("event {number}"), "truncated_from": null,
        "tags": [], "extra": {}, "exit": null, "user": "root", "uid": 0, "pid": 1, "script": null, "line": null,
        "unit": null, "tree": null, "correlation": null, "reason": null, "flags": []
    })
}

fn list(numbers: impl IntoIterator<Item = u64>, next: u64) -> Reply {
    let events: Vec<Value> = numbers.into_iter().map(event).collect();
    let source = json!({"kind": "master", "name": "m"});
    Reply::json(&json!({"source": source, "events": events, "next": format!("e1.{next}")}))
}

/// A server that gives these replies one after the other, and then none.
fn script(replies: Vec<Reply>) -> Server {
    let replies = Mutex::new(replies.into_iter());
    Server::start(move |_| replies.lock().unwrap().next().unwrap_or(Reply::Never))
}

fn command(server: &Server, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_humequery"));
    command
        .env_clear()
        .envs([("HOME", server.folder().as_os_str()), ("TZ", "UTC".as_ref())])
        .args(words.split_whitespace())
        .args(["--url", &server.url()])
        .stdin(Stdio::null());
    command
}

fn follow(server: &Server, words: &str) -> Output {
    command(server, words).output().unwrap()
}

fn start(server: &Server, words: &str) -> Child {
    command(server, words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn after(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|request| request.parameter("after").unwrap()).collect()
}

fn seqs(output: &Output) -> Vec<u64> {
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap();
    std::str::from_utf8(&output.stdout).unwrap().lines().map(line).collect()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn it_begins_with_the_present_and_goes_on_where_it_was() {
    let server = script(vec![list([], 5), list([5, 6], 7), list([], 9), list([9], 10)]);
    let output = follow(&server, "-f -t BACKUP -L warning --limit 3 --format ndjson");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((seqs(&output), stderr(&output)), (vec![5, 6, 9], ""));
    let asked = server.requests();
    assert_eq!(after(&asked), ["now", "e1.5", "e1.7", "e1.9"]);
    for request in &asked {
        let parameter = |name| request.parameter(name);
        assert_eq!(request.path, "/api/v1/events");
        assert_eq!(
            (parameter("wait").as_deref(), parameter("task").as_deref()),
            (Some("25"), Some("BACKUP"))
        );
        assert_eq!((parameter("level").as_deref(), parameter("cursor")), (Some("warning"), None));
    }
    // Never more than it may still show.
    assert_eq!(asked.last().unwrap().parameter("limit").as_deref(), Some("1"));
}

#[test]
fn with_since_it_begins_with_the_oldest() {
    let server = script(vec![list([1], 4)]);
    let output = follow(&server, "--follow --since 2026-11-22 --limit 1 --format ndjson");
    assert_eq!((output.status.code(), seqs(&output)), (Some(0), vec![1]), "{output:?}");
    assert_eq!(after(&server.requests()), ["start"]);
    let since = server.requests()[0].parameter("since").unwrap();
    assert!(since.starts_with("2026-11-22T00"), "{since}");
}

#[test]
fn a_table_has_its_heading_once() {
    let server = script(vec![list([], 1), list([1], 2), list([2], 3)]);
    let output = follow(&server, "-f --limit 2");
    assert_eq!(
        std::str::from_utf8(&output.stdout).unwrap(),
        "TIME +00:00          LEVEL  HOST  TASK    MESSAGE\n\
         2026-11-22 10:00:00  error  web1  BACKUP  event 1\n\
         2026-11-22 10:00:00  error  web1  BACKUP  event 2\n"
    );
}

#[test]
fn a_lost_connection_is_said_once_and_nothing_is_lost_or_shown_twice() {
    let busy = br#"{"type":"about:blank","title":"busy","status":429,"detail":"too many wait","code":"busy","field":null}"#;
    let server = script(vec![
        list([], 5),
        list([5], 6),
        Reply::Raw(Vec::new()),
        Reply::new(429, "application/problem+json", busy),
        list([6, 7], 8),
    ]);
    let output = follow(&server, "-f --limit 3 --format ndjson");
    assert_eq!((output.status.code(), seqs(&output)), (Some(0), vec![5, 6, 7]), "{output:?}");
    assert_eq!(after(&server.requests()), ["now", "e1.5", "e1.6", "e1.6", "e1.6"]);
    let lines: Vec<&str> = stderr(&output).lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("could not ask") && lines[0].ends_with("trying again until there is an answer")
    );
    assert_eq!(lines[1], "humequery: connected again");
}

#[test]
fn an_answer_that_is_too_large_is_asked_for_in_smaller_ones() {
    let server = script(vec![list([], 1), Reply::Endless, list([1], 2), list([2], 3)]);
    let output = follow(&server, "-f --limit 2 --format ndjson --timeout 60s");
    assert_eq!((output.status.code(), seqs(&output)), (Some(0), vec![1, 2]), "{output:?}");
    let asked = server.requests();
    assert_eq!(after(&asked), ["now", "e1.1", "e1.1", "e1.2"]);
    let limits: Vec<_> = asked.iter().map(|request| request.parameter("limit").unwrap()).collect();
    assert_eq!(limits, ["2", "2", "1", "1"]);
}

#[test]
fn what_no_waiting_heals_ends_it_with_3() {
    let problem = |status: u16, code: &str| {
        let body = json!({"type": "about:blank", "title": code, "status": status, "detail": "no", "code": code,
                          "field": null});
        Reply::new(status, "application/problem+json", body.to_string().as_bytes())
    };
    for (reply, part) in [
        (problem(401, "unauthenticated"), "--token-file"),
        (problem(403, "denied"), "refused (403)"),
        (problem(400, "invalid"), "refused (400)"),
        (problem(409, "conflict"), "begin anew"),
        (Reply::new(404, "text/html", b"<html>"), "did not answer as hume does"),
        (
            Reply::json(&json!({"source": {"kind": "master", "name": "m"}, "events": [], "next": null})),
            "where to go on",
        ),
    ] {
        let server = script(vec![list([], 5), reply]);
        let output = follow(&server, "-f --format ndjson");
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    }
}

#[test]
fn a_first_question_without_an_answer_ends_it_too() {
    let server = script(vec![Reply::Raw(Vec::new())]);
    let output = follow(&server, "-f");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(stderr(&output).contains("could not ask"), "{}", stderr(&output));
}

#[test]
fn a_signal_ends_it_well() {
    for signal in [Signal::INT, Signal::TERM] {
        let server = script(vec![list([], 5), list([5], 6)]);
        let mut child = start(&server, "-f --format ndjson");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("event 5"), "{line}");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{output:?}");
    }
}

#[test]
fn a_reader_that_hangs_up_ends_it_well() {
    let server = script((0..200).map(|number| list([number], number + 1)).collect());
    let mut child = start(&server, "-f --format ndjson");
    child.stdout.take().unwrap().read_exact(&mut [0; 1]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{output:?}");
}
