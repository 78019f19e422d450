//! The real program against a small server on a socket: what it asks, what it prints, how it ends.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is test code, also what stands outside of a test function"
)]

mod server;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use server::{Reply, Server};

const RUN: &str = "01936f2e-0000-7000-8000-000000000001";

/// The program, with nothing of this machine in its surroundings.
fn humequery(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_humequery"));
    command.env_clear().env("HOME", home).env("XDG_CONFIG_HOME", home).env("TZ", "UTC").stdin(Stdio::null());
    command
}

fn ask(server: &Server, words: &str) -> Output {
    humequery(server.folder()).args(["--url", &server.url()]).args(words.split_whitespace()).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "stdout: {}\nstderr: {}", stdout(output), stderr(output));
}

fn source() -> Value {
    json!({"kind": "agent", "name": "web1"})
}

fn event(number: u64) -> Value {
    json!({
        "id": format!("01936f2e-0000-7000-8000-{number:012}"), "kind": "reported", "task": "BACKUP", "host": "web1",
        "agent": null, "epoch": "00112233445566778899aabbccddeeff", "seq": number, "run": RUN,
        "time": "2026-11-22T10:00:00.000000Z", "received_at": "2026-11-22T10:00:00.000000Z", "arrived_at": null,
        "level": "error", "command": null, "flag": null, "message": format!("event {number}"), "truncated_from": null,
        "tags": [], "extra": {}, "exit": null, "user": "root", "uid": 0, "pid": 1, "script": null, "line": null,
        "unit": null, "tree": null, "correlation": "ancestry", "reason": null, "flags": [],
        "something_newer": true
    })
}

fn run(host: &str, events: &[Value]) -> Value {
    json!({
        "id": RUN, "task": "BACKUP", "host": host, "agent": null, "phase": "ended", "status": "failed",
        "outcome": "failed", "reason": null, "severity": 2, "flags": [], "correlation": "ancestry",
        "started_at": "2026-11-22T10:00:00.000000Z", "ended_at": "2026-11-22T10:00:02.000000Z",
        "duration_ms": 2000, "active_ms": 2000, "paused_ms": 0, "exit": {"code": 1, "signal": null},
        "complete": true, "gaps": [],
        "summary": {"events": events.len(),
                    "by_level": {"debug": 0, "info": 0, "ok": 0, "warning": 0, "error": events.len(), "critical": 0, "unknown": 0},
                    "first_error": null},
        "events": events
    })
}

/// Events `total` down to 1, in pages as the API has them: the cursor is the number of the last event.
fn events_server(total: u64) -> Server {
    Server::start(move |request| {
        assert_eq!(request.path, "/api/v1/events");
        let limit: u64 = request.parameter("limit").map_or(100, |limit| limit.parse().unwrap());
        assert!((1..=1000).contains(&limit), "{limit}");
        let below = request
            .parameter("cursor")
            .map_or(total + 1, |cursor| cursor.strip_prefix("e1.").unwrap().parse().unwrap());
        let last = below.saturating_sub(limit).max(1);
        let events: Vec<Value> = (last..below).rev().map(event).collect();
        let next = (last > 1).then(|| format!("e1.{last}"));
        Reply::json(&json!({"source": source(), "events": events, "next": next}))
    })
}

fn empty_server() -> Server {
    Server::start(|request| match request.path.as_str() {
        "/api/v1/events" => Reply::json(&json!({"source": source(), "events": [], "next": null})),
        "/api/v1/tasks" => Reply::json(&json!({"source": source(), "tasks": [
            {"task": "BACKUP", "host": "web1", "run": RUN, "status": "ok", "severity": 0,
             "started_at": "2026-11-22T10:00:00.000000Z", "ended_at": null, "duration_ms": 1, "errors": 0}
        ]})),
        _ => Reply::json(&json!({"source": source(), "runs": [], "next": null})),
    })
}

#[test]
fn the_flags_become_parameters() {
    let server = empty_server();
    let output = ask(
        &server,
        "-t BACKUP --host web1 -L warning -T a,b --since @0 --until 2026-11-22T10:00 --grep x --format json",
    );
    assert_code(&output, 0);
    let asked = server.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].target,
        "/api/v1/events?task=BACKUP&host=web1&level=warning&tag=a%2Cb&since=1970-01-01T00%3A00%3A00.000000Z\
         &until=2026-11-22T10%3A00%3A00.000000Z&grep=x&limit=100"
    );
    assert!(asked[0].header("user-agent").unwrap().starts_with("humequery/"));
    assert_eq!(asked[0].header("authorization"), None);
}

#[test]
fn latest_as_json_is_one_object_with_source_and_runs_only() {
    let server = Server::start(|request| {
        assert_eq!(request.path, "/api/v1/latest");
        assert_eq!(request.parameter("events").as_deref(), Some("true"));
        let runs = [run("web1", &[event(1), event(2)]), run("web2", &[event(3)])];
        Reply::json(&json!({"source": source(), "runs": runs, "next": null}))
    });
    let output = ask(&server, "-t BACKUP --latest --format json");
    assert_code(&output, 0);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object.as_object().unwrap().keys().collect::<Vec<_>>(), ["runs", "source"]);
    assert_eq!(object["source"], source());
    assert_eq!(object["runs"].as_array().unwrap().len(), 2);
    assert_eq!(object["runs"][0]["events"][1]["message"], "event 2");
    assert_eq!(object["runs"][0]["reason"], Value::Null);
    assert_eq!(object["runs"][0]["summary"]["by_level"].as_object().unwrap().len(), 7);

    let table = ask(&server, "-t BACKUP --latest");
    assert_code(&table, 0);
    assert!(stdout(&table).contains("BACKUP on web1: failed"), "{}", stdout(&table));
    assert!(stdout(&table).ends_with("source: agent web1\n"), "{}", stdout(&table));
    assert_eq!(stderr(&table), "");
}

#[test]
fn a_limit_over_one_page_is_fetched_in_pages_and_merged() {
    let server = events_server(5000);
    let output = ask(&server, "--limit 2500 --format json");
    assert_code(&output, 0);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let events = object["events"].as_array().unwrap();
    assert_eq!(events.len(), 2500);
    assert_eq!(events[0]["seq"], 5000);
    assert_eq!(events[2499]["seq"], 2501);
    assert_eq!(object["next"], "e1.2501");
    let limits: Vec<_> =
        server.requests().iter().map(|request| request.parameter("limit").unwrap()).collect();
    assert_eq!(limits, ["1000", "1000", "500"]);
}

#[test]
fn ndjson_goes_on_until_there_are_no_more_and_csv_says_that_there_are() {
    let server = events_server(2345);
    let output = ask(&server, "--format ndjson");
    assert_code(&output, 0);
    let seqs: Vec<u64> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=2345).rev().collect::<Vec<_>>());

    let some = ask(&server, "--format ndjson --limit 1001");
    assert_eq!(stdout(&some).lines().count(), 1001);

    let csv = ask(&server, "--format csv");
    assert_eq!(stdout(&csv).lines().count(), 101);
    assert!(stderr(&csv).contains("--cursor e1.2246"), "{}", stderr(&csv));

    let limited = ask(&server, "--format csv --limit 3");
    assert_eq!(stderr(&limited), "");

    let rest = ask(&server, "--format csv --cursor e1.5");
    assert_eq!(stdout(&rest).lines().count(), 5);
    assert_eq!(stderr(&rest), "");
}

#[test]
fn a_count_is_one_number() {
    let server = Server::start(|request| {
        assert_eq!(request.parameter("count").as_deref(), Some("true"));
        Reply::json(&json!({"source": source(), "count": 42}))
    });
    for format in ["table", "csv", "json", "ndjson"] {
        let output = ask(&server, &format!("-t BACKUP --count --format {format}"));
        assert_code(&output, 0);
        assert_eq!(stdout(&output), "42\n");
    }
    let output = ask(&server, "--runs --count --format ndjson");
    assert_eq!(stdout(&output), "42\n");
    assert_eq!(server.requests().last().unwrap().path, "/api/v1/runs");
}

#[test]
fn the_first_word_asks_something_else() {
    let server = Server::start(|request| {
        let word = request.path.strip_prefix("/api/v1/").unwrap();
        match word {
            "status" => Reply::json(&json!({"source": source(), "version": "0.1.0",
                "started_at": "2026-11-22T10:00:00.000000Z", "state": "ready", "events": 1, "store_bytes": 4096, "agents": []})),
            _ => Reply::json(&json!({"source": source(), word: []})),
        }
    });
    for word in ["status", "agents", "hosts", "tasks"] {
        let output = ask(&server, &format!("{word} --format json"));
        assert_code(&output, 0);
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(object["source"], source(), "{word}");
        assert_eq!(server.requests().last().unwrap().path, format!("/api/v1/{word}"));
    }
}

#[test]
fn nothing_found_is_an_answer_and_says_so() {
    let server = empty_server();
    let output = ask(&server, "-t BACKPU --latest --hostname=web1");
    assert_code(&output, 0);
    assert_eq!(stdout(&output), "");
    assert_eq!(stderr(&output), "humequery: no run of task BACKPU on host web1; did you mean task BACKUP?\n");
    let output = ask(&server, "-t BACKPU --format json");
    assert_code(&output, 0);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["events"], json!([]));
    assert_eq!(stderr(&output), "humequery: no event of task BACKPU\n");
    let output = ask(&server, "--format csv");
    assert!(stdout(&output).starts_with("id,kind,task"), "{}", stdout(&output));
}

#[test]
fn a_wrong_command_line_is_64_and_asks_nobody() {
    let server = empty_server();
    for (words, part) in [
        ("--folow", "'--folow'"),
        ("--latest --count", "--runs --count"),
        ("--events", "--runs --events"),
        ("--latest --cursor e1.1", "--limit"),
        ("-L loud", "`loud` is not a level"),
        ("--limit 0", "--limit"),
        ("--limit -5", "'--limit <N>': must be a whole number, 1 or more"),
        ("--limit abc", "'--limit <N>': must be a whole number, 1 or more"),
        ("--timeout 10", "has no unit; write 10s"),
        ("--fleet --latest", "leave out --latest"),
        ("--since soon", "yesterday"),
        ("-t X status", "leave it out"),
        ("status -t X", "'-t'"),
        ("stray", "stray"),
    ] {
        let output = ask(&server, words);
        assert_code(&output, 64);
        assert!(stderr(&output).starts_with("humequery: "), "{words}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{words}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn without_a_word_it_lists_events() {
    let server = events_server(3);
    let output = humequery(server.folder()).env("HUMEQUERY_URL", server.url()).output().unwrap();
    assert_code(&output, 0);
    assert_eq!(stdout(&output).lines().count(), 4);
}

#[test]
fn what_one_answer_has_no_room_for_is_said() {
    let server = Server::start(|request| {
        let word = request.path.strip_prefix("/api/v1/").unwrap();
        let mut cut = run("web1", &[event(1)]);
        cut["summary"]["events"] = json!(8);
        cut["more_events"] = json!(7);
        match word {
            "runs" | "latest" => Reply::json(&json!({"source": source(), "runs": [cut], "next": null})),
            _ => Reply::json(&json!({"source": source(), word: [], "truncated": true})),
        }
    });
    for words in ["--latest", "--latest --format json", "--runs --events --format ndjson"] {
        let output = ask(&server, words);
        assert_code(&output, 0);
        let note = format!("humequery: 7 more events: humequery --run {RUN} --format ndjson\n");
        assert_eq!(stderr(&output), note, "{words}");
    }
    let output = ask(&server, "--latest");
    assert!(
        stdout(&output).contains(&format!("7 more events: humequery --run {RUN}")),
        "{}",
        stdout(&output)
    );
    for word in ["tasks", "hosts", "agents"] {
        let output = ask(&server, &format!("{word} --format json"));
        assert_code(&output, 0);
        assert!(
            stderr(&output).contains(&format!("there are more than 10000 {word}")),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn help_and_version_and_completions_are_data() {
    let folder = tempfile::tempdir().unwrap();
    for (words, part) in [
        (vec!["--help"], "Examples:\n"),
        (vec!["-h"], "Usage: humequery"),
        (vec!["--version"], "humequery 0"),
        (vec!["completions", "bash"], "_humequery"),
        (vec!["agents", "--help"], "--url"),
    ] {
        let output = humequery(folder.path()).args(&words).output().unwrap();
        assert_code(&output, 0);
        assert!(stdout(&output).contains(part), "{words:?}: {}", stdout(&output));
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn what_the_environment_sets_is_no_part_of_a_usage() {
    let folder = tempfile::tempdir().unwrap();
    for words in ["completions", "completions nosuch", "agents --nonsense", "tasks stray"] {
        let output = humequery(folder.path())
            .envs([("HUMEQUERY_URL", "unix:/x"), ("HUMEQUERY_CA", "/x"), ("HUMEQUERY_TOKEN_FILE", "/x")])
            .args(words.split(' '))
            .output()
            .unwrap();
        assert_code(&output, 64);
        assert!(!stderr(&output).contains("--url"), "{words}: {}", stderr(&output));
    }
}

#[test]
fn the_help_says_what_it_is_before_it_shows_examples() {
    let folder = tempfile::tempdir().unwrap();
    let output = humequery(folder.path()).arg("--help").output().unwrap();
    let help = stdout(&output);
    assert!(help.starts_with("Ask the master or the agent what happened\n"), "{help}");
    let at = |part: &str| help.find(part).unwrap();
    let parts =
        ["Usage:", "Examples:", "Instead of events:", "What to look for:", "Environment:", "Exit codes:"];
    assert!(parts.map(at).is_sorted(), "{help}");
}

#[test]
fn a_problem_names_its_detail_and_its_field() {
    let server = Server::start(|_| {
        Reply::new(
            400,
            "application/problem+json",
            br#"{"type":"about:blank","title":"invalid","status":400,"detail":"cursor is \u001b[31mnot ours","code":"invalid","field":"cursor"}"#,
        )
    });
    let output = ask(&server, "--cursor zzz");
    assert_code(&output, 3);
    assert!(
        stderr(&output).contains("refused (400): cursor is \\x1b[31mnot ours (parameter cursor)"),
        "{}",
        stderr(&output)
    );
    assert_eq!(stderr(&output).lines().count(), 1);
    assert!(stderr(&output).contains(&server.url()));
}

#[test]
fn without_a_known_token_the_advice_is_to_name_one() {
    let server = Server::start_tcp(|request| {
        match request.header("authorization") {
        Some("Bearer hume_good") => Reply::json(&json!({"source": source(), "events": [], "next": null})),
        _ => Reply::new(
            401,
            "application/problem+json",
            br#"{"type":"about:blank","title":"unauthenticated","status":401,"detail":"who asks?","code":"unauthenticated","field":null}"#,
        ),
    }
    });
    let output = ask(&server, "--format json");
    assert_code(&output, 3);
    assert!(
        stderr(&output).contains("name the file with the token with --token-file"),
        "{}",
        stderr(&output)
    );

    let token = server.folder().join("token");
    std::fs::write(&token, "hume_bad\n").unwrap();
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
    let ask_with = || {
        humequery(server.folder())
            .env("HUMEQUERY_URL", server.url())
            .env("HUMEQUERY_TOKEN_FILE", &token)
            .env("HUMEQUERY_CA", "")
            .args(["--format", "csv"])
            .output()
            .unwrap()
    };
    let output = ask_with();
    assert_code(&output, 3);
    assert!(stderr(&output).contains("the token is not known there"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("hume_bad"), "{}", stderr(&output));

    std::fs::write(&token, "hume_good\n").unwrap();
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o644)).unwrap();
    let output = ask_with();
    assert_code(&output, 0);
    assert!(stderr(&output).contains("chmod 600"), "{}", stderr(&output));

    std::fs::remove_file(&token).unwrap();
    let output = ask_with();
    assert_code(&output, 3);
    assert!(stderr(&output).contains("could not read the token file"), "{}", stderr(&output));
}

#[test]
fn what_is_no_answer_is_refused() {
    let json = "application/json";
    for (reply, part) in [
        (Reply::new(200, json, b"{\"source\": 7"), "no answer to the question"),
        (Reply::new(200, json, b""), "no answer to the question"),
        (Reply::new(200, "text/html", b"<html>hello</html>"), "did not answer as hume does"),
        (Reply::new(502, "text/html", b"<html>bad gateway</html>"), "502"),
        (Reply::new(404, "text/plain", b"no such page"), "404"),
        (Reply::moved("https://elsewhere.example/"), "moved to https://elsewhere.example/"),
        (Reply::Raw(b"\x15\x03\x01 this is not HTTP\r\n\r\n".to_vec()), "could not ask"),
        (Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{\"source\"".to_vec()), "could not ask"),
        (Reply::Raw(Vec::new()), "could not ask"),
    ] {
        let server = Server::start(move |_| reply.clone());
        let output = ask(&server, "--format json");
        assert_code(&output, 3);
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
        assert!(stderr(&output).contains(&server.url()), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn a_huge_answer_is_refused_before_it_fills_the_memory() {
    let server = Server::start(|_| Reply::Endless);
    let output = ask(&server, "--limit 1");
    assert_code(&output, 3);
    assert!(stderr(&output).contains("more than 64 MiB"), "{}", stderr(&output));

    let server = Server::start(|_| {
        Reply::Raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
                .to_vec(),
        )
    });
    let output = ask(&server, "--limit 1 --format ndjson");
    assert_code(&output, 3);
    assert!(stderr(&output).contains("more than 64 MiB"), "{}", stderr(&output));
}

#[test]
fn a_page_that_is_too_large_is_asked_for_in_smaller_ones() {
    let server = Server::start(|request| {
        let limit: u64 = request.parameter("limit").unwrap().parse().unwrap();
        let below: u64 = request.parameter("cursor").map_or(4, |cursor| cursor[3..].parse().unwrap());
        if limit > 1 {
            return Reply::Endless;
        }
        let last = below.saturating_sub(limit).max(1);
        let events: Vec<Value> = (last..below).rev().map(event).collect();
        Reply::json(
            &json!({"source": source(), "events": events, "next": (last > 1).then(|| format!("e1.{last}"))}),
        )
    });
    let output = ask(&server, "--limit 3 --format ndjson --timeout 60s");
    assert_code(&output, 0);
    assert_eq!(stdout(&output).lines().count(), 3);
}

#[test]
fn a_daemon_that_never_answers_ends_with_the_timeout() {
    let server = Server::start(|_| Reply::Never);
    let output = ask(&server, "--timeout 300ms");
    assert_code(&output, 3);
    assert!(stderr(&output).contains("within 300ms"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--timeout"), "{}", stderr(&output));
}

#[test]
fn pages_that_do_not_advance_end() {
    let server =
        Server::start(|_| Reply::json(&json!({"source": source(), "events": [event(1)], "next": "e1.1"})));
    let output = ask(&server, "--format ndjson");
    assert_code(&output, 3);
    assert!(stderr(&output).contains("does not advance"), "{}", stderr(&output));

    let server = Server::start(|_| {
        Reply::json(&json!({"source": source(), "events": [event(2), event(1)], "next": null}))
    });
    let output = ask(&server, "--limit 1");
    assert_code(&output, 3);
    assert!(stderr(&output).contains("more items than were asked for"), "{}", stderr(&output));
}

#[test]
fn what_came_before_a_failure_is_printed() {
    let server = Server::start(|request| match request.parameter("cursor") {
        None => Reply::json(&json!({"source": source(), "events": [event(2)], "next": "e1.2"})),
        Some(_) => Reply::Raw(Vec::new()),
    });
    let output = ask(&server, "--format ndjson");
    assert_code(&output, 3);
    assert_eq!(stdout(&output).lines().count(), 1);
}

#[test]
fn a_reader_that_hangs_up_is_no_failure() {
    let server = events_server(5000);
    for format in ["table", "json", "ndjson", "csv"] {
        let mut child = humequery(server.folder())
            .args(["--url", &server.url(), "--format", format, "--limit", "5000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 1];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_code(&output, 0);
        assert_eq!(stderr(&output), "", "{format}");
    }
}

#[test]
fn a_full_disk_is_a_failure() {
    let server = events_server(10);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = humequery(server.folder()).args(["--url", &server.url()]).stdout(full).output().unwrap();
    assert_code(&output, 3);
    assert!(stderr(&output).contains("could not write the answer"), "{}", stderr(&output));
}

#[test]
fn colour_is_for_terminals_unless_told_otherwise() {
    let server = events_server(1);
    let coloured = |words: &[&str], variables: &[(&str, &str)]| {
        let output = humequery(server.folder())
            .args(["--url", &server.url()])
            .args(words)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert_code(&output, 0);
        stdout(&output).contains('\x1b')
    };
    assert!(!coloured(&[], &[]));
    assert!(coloured(&["--color", "always"], &[]));
    assert!(!coloured(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
    assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!coloured(&["--color", "always", "--format", "json"], &[]));
}

#[test]
fn times_are_local_or_utc() {
    let server = events_server(1);
    let at = |words: &[&str]| {
        let output = humequery(server.folder())
            .args(["--url", &server.url()])
            .args(words)
            .env("TZ", "XYZ-05:30")
            .output()
            .unwrap();
        assert_code(&output, 0);
        stdout(&output).to_owned()
    };
    let local = at(&[]);
    assert!(local.starts_with("TIME +05:30") && local.contains("2026-11-22 15:30:00"), "{local}");
    let utc = at(&["--utc"]);
    assert!(utc.starts_with("TIME +00:00") && utc.contains("2026-11-22 10:00:00"), "{utc}");
    assert!(at(&["--format", "csv"]).contains("2026-11-22T10:00:00.000000Z"));
}

#[test]
fn nothing_of_an_event_reaches_a_terminal_raw() {
    let server = Server::start(|request| {
        let mut evil = event(1);
        for field in
            ["task", "host", "level", "kind", "message", "user", "script", "tree", "command", "reason"]
        {
            evil[field] = json!("\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\r\u{7f}");
        }
        evil["tags"] = json!(["\u{1b}[2J"]);
        evil["extra"] = json!({"\u{1b}[2J": "\u{1b}[2J"});
        let mut bad = run("\u{1b}[2J", &[evil.clone()]);
        for field in ["task", "status", "phase", "reason", "correlation"] {
            bad[field] = json!("\u{1b}[2J\u{85}");
        }
        let source = json!({"kind": "agent", "name": "\u{1b}[2J"});
        match request.path.as_str() {
            "/api/v1/events" => Reply::json(&json!({"source": source, "events": [evil], "next": null})),
            _ => Reply::json(&json!({"source": source, "runs": [bad], "next": null})),
        }
    });
    let line = format!("--run {RUN} --timeline");
    let diff = "-t X --latest --diff last-ok";
    for words in ["", "--latest", "--runs", "--runs --events", "--latest --timeline", &line, "--fleet", diff]
    {
        let output = ask(&server, &format!("--color never {words}"));
        assert_code(&output, 0);
        let bad: Vec<char> = stdout(&output)
            .chars()
            .filter(|c| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c))
            .collect();
        assert!(bad.is_empty(), "{words}: {bad:?}");
        assert!(stdout(&output).contains("\\x1b"), "{}", stdout(&output));
    }
    for words in ["--format json", "--latest --format json", "--format ndjson"] {
        let output = ask(&server, words);
        let is_bad = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!stdout(&output).contains(is_bad), "{words}: {}", stdout(&output));
        let data: Value = serde_json::from_slice(&output.stdout).unwrap();
        let event = data.pointer("/events/0").or(data.pointer("/runs/0/events/0")).unwrap_or(&data);
        assert_eq!(event["message"], "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\r\u{7f}");
    }
}

#[test]
fn the_users_file_says_whom_to_ask() {
    let server = events_server(3);
    let folder = server.folder().join("hume");
    std::fs::create_dir(&folder).unwrap();
    let mut file = std::fs::File::create(folder.join("query.toml")).unwrap();
    writeln!(file, "url = '{}'", server.url()).unwrap();
    let output = humequery(server.folder()).args(["--format", "ndjson"]).output().unwrap();
    assert_code(&output, 0);
    assert_eq!(stdout(&output).lines().count(), 3);
    // Whom it asks is said at a terminal only.
    assert_eq!(stderr(&output), "");

    writeln!(file, "uri = 'x'").unwrap();
    let output = humequery(server.folder()).args(["--format", "ndjson"]).output().unwrap();
    assert_code(&output, 3);
    assert!(stderr(&output).contains("query.toml:2:1: unknown field `uri`"), "{}", stderr(&output));
}

#[test]
fn nobody_at_the_other_end_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let url = |url: &str| {
        let output = humequery(folder.path()).args(["--url", url, "--limit", "1"]).output().unwrap();
        assert_code(&output, 3);
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        stderr(&output).to_owned()
    };
    let text = url(&format!("unix:{}/none.sock", folder.path().display()));
    assert!(
        text.contains("No such file") && text.contains("is the daemon of this socket running?"),
        "{text}"
    );

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let text = url(&format!("http://{address}"));
    assert!(text.contains("is humed-master running there?"), "{text}");
    assert!(text.contains(&format!("http://{address}/api/v1/events")), "{text}");

    let text = url("http://master.example:4864");
    assert!(text.contains("write https://"), "{text}");
    let text = url(&format!("unix:/{}", "x".repeat(200)));
    assert!(text.contains("201 bytes"), "{text}");
}
