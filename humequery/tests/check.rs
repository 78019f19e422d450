//! `humequery check` and `--exit-status`: the words, the numbers and the exit codes that a monitoring system gets, every
//! output read by a strict parser.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of it is test code, also what stands outside of a test function"
)]

mod nagios;
mod server;

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use hume_core::Timestamp;
use hume_core::check::{Quorum, Rules, Running};
use hume_core::status::{Severity, Status};
use hume_proto::rest::{GapJson, RunJson};
use humequery::check::{HostCheck, judge, plugin};
use nagios::PluginOutput;
use proptest::prelude::*;
use serde_json::{Value, json};
use server::{Reply, Server};

const RUN: &str = "01936f2e-0000-7000-8000-000000000001";
const END: &str = "2026-11-22T10:03:12.000000Z";

/// A run that ended at [`END`]; null for one that goes on.
fn run(host: &str, status: &str, severity: u8, ended_at: Option<&str>) -> Value {
    json!({
        "id": RUN, "task": "BACKUP", "host": host, "agent": null,
        "phase": if ended_at.is_some() { "ended" } else { "running" }, "status": status, "outcome": null,
        "reason": null, "severity": severity, "flags": [], "correlation": "ancestry",
        "started_at": "2026-11-22T10:00:00.000000Z", "ended_at": ended_at, "ended_after": null,
        "duration_ms": 192_000, "active_ms": 192_000, "paused_ms": 0, "exit": null, "complete": true, "gaps": [],
        "summary": {"events": 14,
                    "by_level": {"debug": 0, "info": 12, "ok": 0, "warning": 0, "error": 2, "critical": 0, "unknown": 0},
                    "first_error": {"id": RUN, "time": END, "message": "disk | full"}},
        "max_runtime_s": 600, "hard_runtime_s": 1200, "events": []
    })
}

fn typed(value: Value) -> RunJson {
    serde_json::from_value(value).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn one(run: Value, rules: Rules) -> (HostCheck, PluginOutput, Severity) {
    let check = judge(rules, typed(run), None, at("2026-11-22T11:03:12Z"));
    let (output, severity) = plugin::report("BACKUP", std::slice::from_ref(&check), &rules);
    (check, nagios::parse(&output).unwrap_or_else(|error| panic!("{error}: {output}")), severity)
}

#[test]
fn a_failed_run_is_one_line_as_it_is_documented() {
    let rules = Rules { max_age: Some(Duration::from_hours(25)), ..Rules::default() };
    let check = judge(rules, typed(run("web1", "failed", 2, Some(END))), None, at("2026-11-22T11:03:12Z"));
    let (output, severity) = plugin::report("BACKUP", &[check], &rules);
    assert_eq!(severity, Severity::Critical);
    assert_eq!(
        output,
        format!(
            "HUME CRITICAL - BACKUP@web1 failed: 2 errors, run {RUN} 3m12s, 14/14 events | 'duration'=192s;600;1200;0 \
             'events'=14 'errors'=2 'warnings'=0 'age'=3600s;90000\n\
             [CRITICAL] BACKUP@web1 failed: 2 errors, run {RUN} 3m12s, 14/14 events, first error: disk / full\n"
        )
    );
    assert!(nagios::parse(&output).is_ok());
}

#[test]
fn limits_that_nobody_set_are_left_out_and_an_age_that_nobody_knows_is_u() {
    let mut running = run("web1", "running", 0, None);
    (running["max_runtime_s"], running["hard_runtime_s"]) = (Value::Null, Value::Null);
    running["active_ms"] = json!(1_250);
    let (_, output, severity) = one(running, Rules::default());
    assert_eq!(severity, Severity::Ok);
    assert_eq!(output.figure("duration").value, Some(1.25));
    assert_eq!(output.figure("duration").bounds, ["", "", "0"]);
    assert_eq!((output.figure("age").value, output.figure("age").bounds.len()), (None, 0));
}

#[test]
fn what_is_missing_is_said_and_nobody_can_tell() {
    let mut incomplete = run("web1", "unknown", 3, Some(END));
    incomplete["complete"] = json!(false);
    incomplete["gaps"] = json!([GapJson { epoch: "0".into(), from: 3, to: 5, reason: "corrupt".into() }]);
    let (_, output, severity) = one(incomplete, Rules::default());
    assert_eq!((severity, output.state), (Severity::Unknown, "UNKNOWN"));
    assert!(output.text.contains("14 events, up to 3 are missing"), "{}", output.text);
}

#[test]
fn an_end_that_is_too_long_ago_says_how_long() {
    let rules = Rules { max_age: Some(Duration::from_mins(1)), ..Rules::default() };
    let (_, output, severity) = one(run("web1", "ok", 0, Some(END)), rules);
    assert_eq!(severity, Severity::Critical);
    let said = "BACKUP@web1 ok, but too old: latest end 1h00m ago, 1m00s allowed";
    assert!(output.text.contains(said), "{}", output.text);
    // As long as none has ended, the start counts.
    let (_, output, severity) = one(run("web1", "running", 0, None), rules);
    assert_eq!(severity, Severity::Critical);
    assert!(output.text.contains("none has ended, started 1h03m ago"), "{}", output.text);
}

#[test]
fn a_run_that_failed_by_its_exit_code_alone_says_which() {
    let clean = |exit: Value| {
        let mut failed = run("web1", "failed", 2, Some(END));
        failed["summary"]["by_level"]["error"] = json!(0);
        failed["exit"] = exit;
        one(failed, Rules::default()).1.text
    };
    let text = clean(json!({"code": 1, "signal": null}));
    assert!(text.starts_with("BACKUP@web1 failed: exit 1, run "), "{text}");
    let text = clean(json!({"code": null, "signal": 9}));
    assert!(text.starts_with("BACKUP@web1 failed: signal 9, run "), "{text}");
    let text = clean(json!({"code": 0, "signal": null}));
    assert!(text.starts_with("BACKUP@web1 failed: run "), "{text}");
}

#[test]
fn an_overdue_run_says_which_limit_it_is_beyond() {
    for (severity, state, limit) in
        [(1, "WARNING", "beyond max_runtime 10m00s"), (2, "CRITICAL", "beyond hard_runtime 20m00s")]
    {
        let (_, output, _) = one(run("web1", "overdue", severity, None), Rules::default());
        assert_eq!(output.state, state);
        assert!(output.text.starts_with(&format!("BACKUP@web1 overdue: {limit}, ")), "{}", output.text);
        assert!(output.long[0].contains(limit), "{}", output.long[0]);
    }
}

#[test]
fn several_hosts_are_counted_and_the_worst_is_named() {
    let rules = Rules { quorum: Some(Quorum::Hosts(2)), ..Rules::default() };
    let checks: Vec<HostCheck> = [("web1", "ok", 0), ("web2", "failed", 2), ("web3", "warning", 1)]
        .map(|(host, status, severity)| {
            judge(rules, typed(run(host, status, severity, Some(END))), None, at(END))
        })
        .to_vec();
    let (output, severity) = plugin::report("BACKUP", &checks, &rules);
    let read = nagios::parse(&output).unwrap();
    assert_eq!((severity, read.state), (Severity::Critical, "CRITICAL"));
    assert!(
        read.text
            .starts_with("BACKUP: 3 hosts, 1 ok, 1 critical, 1 warning, 2 ok needed; BACKUP@web2 failed:"),
        "{}",
        read.text
    );
    assert_eq!((read.figure("hosts").value, read.figure("ok").bounds[1].as_str()), (Some(3.0), "2:"));
    let first_words: Vec<&str> = read.long.iter().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(first_words, ["[CRITICAL]", "[WARNING]", "[OK]"]);
}

#[test]
fn of_thousands_of_hosts_the_worst_are_listed_and_the_rest_is_counted() {
    let rules = Rules::default();
    let of = |number: u32| {
        let status = if number == 4_000 { ("failed", 2) } else { ("ok", 0) };
        judge(rules, typed(run(&format!("host{number}"), status.0, status.1, Some(END))), None, at(END))
    };
    let checks: Vec<HostCheck> = (0..5_000).map(of).collect();
    let (output, severity) = plugin::report("BACKUP", &checks, &rules);
    let read = nagios::parse(&output).unwrap();
    assert_eq!(severity, Severity::Critical);
    assert!(read.long[0].contains("host4000"), "{}", read.long[0]);
    assert!(read.long.last().unwrap().starts_with("... and "), "{:?}", read.long.last());
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let severity = proptest::sample::select(vec![Severity::Warning, Severity::Critical, Severity::Unknown]);
    let running = proptest::sample::select(vec![Running::Fine, Running::PreviousDecides]);
    let max_age = proptest::option::of((0u64..200_000).prop_map(Duration::from_secs));
    let quorum = proptest::option::of(prop_oneof![
        (1u32..9).prop_map(Quorum::Hosts),
        (1u8..=100).prop_map(Quorum::Percent)
    ]);
    (severity, running, max_age, quorum).prop_map(|(offline_as, running, max_age, quorum)| Rules {
        offline_as,
        running,
        max_age,
        quorum,
    })
}

prop_compose! {
    fn any_run()(
        host in any::<String>(),
        status in proptest::sample::select(Status::ALL.to_vec()),
        severity in 0u8..4,
        texts in proptest::collection::vec(any::<String>(), 5),
        ended in any::<bool>(),
        numbers in proptest::collection::vec(any::<u64>(), 6),
        limits in proptest::option::of((any::<u64>(), any::<u64>())),
        complete in any::<bool>(),
    ) -> RunJson {
        let mut run = typed(run("x", status.as_str(), severity, ended.then_some(END)));
        run.host = host;
        run.reason = Some(texts[0].clone());
        run.flags = vec![texts[1].clone()];
        run.summary.first_error.as_mut().unwrap().message.clone_from(&texts[2]);
        run.phase.clone_from(&texts[3]);
        (run.duration_ms, run.active_ms) = (numbers[0], numbers[1]);
        run.summary.events = numbers[2];
        run.summary.by_level.warning = numbers[3] >> 2;
        run.summary.by_level.error = numbers[4] >> 2;
        run.summary.by_level.critical = numbers[5] >> 2;
        run.max_runtime_s = limits.map(|(max, _)| max);
        run.hard_runtime_s = limits.map(|(_, hard)| hard);
        run.complete = complete;
        run.gaps = vec![GapJson { epoch: texts[4].clone(), from: numbers[2], to: numbers[3], reason: texts[4].clone() }];
        run
    }
}

proptest! {
    /// Whatever scripts call their tasks and write, the output keeps the format and says what the rules say.
    #[test]
    fn no_name_and_no_text_breaks_the_format(
        task in any::<String>(),
        runs in proptest::collection::vec((any_run(), proptest::option::of(any_run())), 0..5),
        rules in any_rules(),
        now in -9_000_000_000_000_000i64..9_000_000_000_000_000,
    ) {
        let now = Timestamp::from_micros(now);
        let checks: Vec<HostCheck> =
            runs.into_iter().map(|(latest, previous)| judge(rules, latest, previous, now)).collect();
        let (output, severity) = plugin::report(&task, &checks, &rules);
        let read = nagios::parse(&output);
        prop_assert!(read.is_ok(), "{:?}: {}", read, output);
        let severities: Vec<Severity> = checks.iter().map(|check| check.verdict.severity).collect();
        prop_assert_eq!(severity, rules.together(&severities));
        prop_assert_eq!(read.unwrap().state, severity.as_str());
    }

    #[test]
    fn no_failure_breaks_the_format(text in any::<String>()) {
        let output = plugin::unknown(&format!("x{text}"));
        prop_assert_eq!(nagios::parse(&output).map(|read| read.state), Ok("UNKNOWN"), "{}", output);
    }
}

// The program itself.

fn humequery(server: &Server, words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_humequery"))
        .env_clear()
        .env("HOME", server.folder())
        .args(words.split_whitespace())
        .args(["--url", &server.url()])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn plugin_says(output: &Output, code: i32) -> PluginOutput {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let read = nagios::parse(text).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(["OK", "WARNING", "CRITICAL", "UNKNOWN"][code as usize], read.state);
    read
}

/// A daemon that knows these latest runs, and one earlier run that failed.
fn daemon(latest: Vec<Value>) -> Server {
    Server::start(move |request| {
        let host = request.parameter("host");
        assert_eq!(request.parameter("task").as_deref(), Some("BACKUP"));
        let runs: Vec<Value> = match request.path.as_str() {
            "/api/v1/latest" => {
                let of = |run: &&Value| host.as_deref().is_none_or(|host| run["host"] == *host);
                latest.iter().filter(of).cloned().collect()
            }
            "/api/v1/runs" => vec![
                run(host.as_deref().unwrap(), "running", 0, None),
                run(host.as_deref().unwrap(), "failed", 2, Some(END)),
            ],
            other => panic!("{other} is not asked for by a check"),
        };
        Reply::json(&json!({"source": {"kind": "master", "name": "m"}, "runs": runs, "next": null}))
    })
}

#[test]
fn a_check_asks_for_its_hosts_and_answers_for_all_of_them() {
    let server = daemon(vec![
        run("web2", "warning", 1, Some(END)),
        run("web1", "ok", 0, Some(END)),
        run("web3", "running", 0, None),
    ]);
    let all = plugin_says(&humequery(&server, "check -t BACKUP"), 1);
    assert_eq!((all.long.len(), all.figure("hosts").value), (3, Some(3.0)));
    let one = plugin_says(&humequery(&server, "check -t BACKUP --hostname web1"), 0);
    assert!(one.text.starts_with("BACKUP@web1 ok: "), "{}", one.text);
    let none = plugin_says(&humequery(&server, "check -t BACKUP --hostname nowhere"), 3);
    assert_eq!(none.text, "BACKUP@nowhere: no run");
    plugin_says(&humequery(&server, "check -t BACKUP --host web1 --host web2 --host nowhere"), 1);
    plugin_says(&humequery(&server, "check -t BACKUP --host web1 --host nowhere"), 3);
    plugin_says(&humequery(&server, "check -t BACKUP --quorum 2"), 0);
    plugin_says(&humequery(&server, "check -t BACKUP --quorum 100%"), 1);
    let too_few = plugin_says(&humequery(&server, "check -t BACKUP --hostname web1 --quorum 3"), 2);
    assert_eq!(too_few.text, "BACKUP: 1 host, 1 ok, 3 ok needed");
}

#[test]
fn while_a_run_goes_on_the_one_before_it_decides_if_one_wishes() {
    let server = daemon(vec![run("web3", "running", 0, None)]);
    plugin_says(&humequery(&server, "check -t BACKUP --hostname web3"), 0);
    assert!(
        server.requests().iter().all(|request| request.path == "/api/v1/latest"),
        "one question is enough"
    );
    let finished = plugin_says(&humequery(&server, "check -t BACKUP --hostname web3 --finished"), 2);
    assert!(finished.text.contains("a newer run goes on"), "{}", finished.text);
    let asked = server.requests();
    let earlier = asked.iter().find(|request| request.path == "/api/v1/runs").unwrap();
    assert_eq!(earlier.parameter("until").as_deref(), Some("2026-11-22T10%3A00%3A00.000000Z"));
    // Its end was long ago.
    plugin_says(&humequery(&server, "check -t BACKUP --hostname web3 --max-age 1s"), 2);
}

#[test]
fn a_lost_run_counts_as_one_wishes() {
    let server = daemon(vec![run("web1", "lost", 3, None)]);
    let lost = plugin_says(&humequery(&server, "check -t BACKUP"), 3);
    assert!(lost.text.contains("its agent is not heard"), "{}", lost.text);
    plugin_says(&humequery(&server, "check -t BACKUP --offline-as 1"), 1);
    plugin_says(&humequery(&server, "check -t BACKUP --offline-as 2"), 2);
}

#[test]
fn no_run_anywhere_is_unknown() {
    let server = daemon(Vec::new());
    assert_eq!(plugin_says(&humequery(&server, "check -t BACKUP"), 3).text, "BACKUP: no run on any host");
}

#[test]
fn whatever_goes_wrong_is_unknown_in_one_line() {
    let refuse = br#"{"type":"about:blank","title":"unauthenticated","status":401,"detail":"a valid | token\nis needed","code":"unauthenticated","field":null}"#;
    for (reply, part) in [
        (Reply::new(401, "application/problem+json", refuse), "--token-file"),
        (Reply::new(200, "application/json", b"{\"source\": 7"), "no answer to the question"),
        (Reply::new(502, "text/html", b"<html>"), "502"),
        (Reply::Raw(Vec::new()), "could not ask"),
    ] {
        let server = Server::start(move |_| reply.clone());
        let said = plugin_says(&humequery(&server, "check -t BACKUP"), 3);
        assert!(said.text.contains(part), "{}", said.text);
        assert_eq!((said.figures.len(), said.long.len()), (0, 0));
    }
    let server = Server::start(|_| Reply::Never);
    let said = plugin_says(&humequery(&server, "check -t BACKUP --timeout 200ms"), 3);
    assert!(said.text.contains("200ms"), "{}", said.text);
}

#[test]
fn a_wrong_command_line_is_unknown_too_and_asks_nobody() {
    let server = daemon(Vec::new());
    for (words, part) in [
        ("check", "--task"),
        ("check -t BACKUP --nonsense", "--nonsense"),
        ("check -t BACKUP --quorum 0", "80%"),
        ("check -t BACKUP --offline-as 0", "1, 2 or 3"),
        ("check -t BACKUP --max-age soon", "25h"),
        ("check -t BACKUP --format csv", "table, json"),
        ("--format ndjson check -t BACKUP", "table, which is the output of a plugin, and json"),
        ("-t BACKUP check -t BACKUP", "--task"),
        ("--exit-status check -t BACKUP", "--exit-status"),
    ] {
        let said = plugin_says(&humequery(&server, words), 3);
        assert!(said.text.starts_with("usage: ") && said.text.contains(part), "{words}: {}", said.text);
    }
    for words in ["--exit-status", "--latest --exit-status --nonsense", "--runs --count --exit-status"] {
        let output = humequery(&server, words);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 0), "{words}: {output:?}");
        assert!(!output.stderr.is_empty());
    }
    let output = humequery(&server, "-t check --nonsense");
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(server.requests().is_empty());
    let help = humequery(&server, "check --help");
    assert_eq!(help.status.code(), Some(0));
}

fn object_of(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(output.stderr, b"", "{output:?}");
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["severity"], code);
    assert_eq!(object["verdict"], ["OK", "WARNING", "CRITICAL", "UNKNOWN"][code as usize]);
    object
}

#[test]
fn a_check_as_json_says_the_same_as_the_line_and_ends_with_the_same_code() {
    let server = daemon(vec![run("web1", "ok", 0, Some(END)), run("web2", "failed", 2, Some(END))]);
    for (words, code) in [
        ("check -t BACKUP", 2),
        ("check -t BACKUP --hostname web1", 0),
        ("check -t BACKUP --hostname nowhere", 3),
        ("check -t BACKUP --quorum 1", 0),
    ] {
        let said = plugin_says(&humequery(&server, words), code);
        let object = object_of(&humequery(&server, &format!("{words} --format json")), code);
        assert_eq!(object["line"], format!("HUME {} - {}", said.state, said.text), "{words}");
        assert_eq!(object["perfdata"].as_array().unwrap().len(), said.figures.len(), "{words}");
        assert_eq!(object["hosts"].as_array().unwrap().len(), said.long.len(), "{words}");
    }
    let object = object_of(&humequery(&server, "--format json check -t BACKUP"), 2);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&object), ["hosts", "line", "perfdata", "severity", "task", "verdict"]);
    let worst = &object["hosts"][0];
    assert_eq!(keys(worst), ["host", "perfdata", "run", "severity", "status", "verdict", "why"]);
    assert_eq!(
        (&worst["host"], &worst["status"], &worst["severity"]),
        (&json!("web2"), &json!("failed"), &json!(2))
    );
    assert!(worst["why"].as_str().unwrap().starts_with("failed: 2 errors, run "), "{worst}");
    assert_eq!(worst["perfdata"][0], "'duration'=192s;600;1200;0");
    let none = object_of(&humequery(&server, "check -t BACKUP --hostname nowhere --format json"), 3);
    assert_eq!(
        (&none["hosts"][0]["status"], &none["hosts"][0]["run"], &none["hosts"][0]["why"]),
        (&Value::Null, &Value::Null, &json!("no run"))
    );
}

#[test]
fn a_check_as_json_is_an_object_too_when_nobody_can_tell() {
    let server = Server::start(|_| Reply::new(502, "text/html", b"<html>"));
    let object = object_of(&humequery(&server, "check -t BACKUP --format json"), 3);
    assert!(object["line"].as_str().unwrap().contains("502"), "{object}");
    assert_eq!(object["hosts"], json!([]));
    let output = Command::new(env!("CARGO_BIN_EXE_humequery"))
        .env_clear()
        .args(["check", "-t", "BACKUP", "--format", "json", "--url", "ftp://x"])
        .output()
        .unwrap();
    object_of(&output, 3);
}

#[test]
fn exit_status_of_a_listing_is_that_of_its_worst_run() {
    let server = Server::start(|request| {
        assert_eq!(request.path, "/api/v1/runs");
        let runs = [
            run("web1", "ok", 0, Some(END)),
            run("web1", "lost", 3, None),
            run("web1", "warning", 1, Some(END)),
        ];
        Reply::json(&json!({"source": {"kind": "master", "name": "m"}, "runs": runs, "next": null}))
    });
    for form in ["table", "json", "ndjson", "csv"] {
        let words = format!("-t BACKUP --runs --format {form}");
        assert_eq!(humequery(&server, &words).status.code(), Some(0), "{form}");
        assert_eq!(humequery(&server, &format!("{words} --exit-status")).status.code(), Some(1), "{form}");
    }
    let server = Server::start(|_| {
        Reply::json(&json!({"source": {"kind": "master", "name": "m"}, "runs": [], "next": null}))
    });
    assert_eq!(humequery(&server, "-t BACKUP --runs --exit-status").status.code(), Some(3));
}

#[test]
fn exit_status_adds_a_code_to_an_answer_and_changes_nothing_else() {
    for (status, severity) in [("ok", 0), ("warning", 1), ("failed", 2), ("lost", 3)] {
        let server = daemon(vec![run("web1", "ok", 0, Some(END)), run("web2", status, severity, Some(END))]);
        for words in ["--latest", "--latest --format json", "--fleet", "--latest --timeline --format ndjson"]
        {
            let plain = humequery(&server, &format!("-t BACKUP {words}"));
            let coded = humequery(&server, &format!("-t BACKUP {words} --exit-status"));
            assert_eq!(plain.status.code(), Some(0), "{words}: {plain:?}");
            assert_eq!(coded.status.code(), Some(severity.into()), "{words}: {coded:?}");
            assert_eq!((plain.stdout, plain.stderr), (coded.stdout, coded.stderr));
        }
        // A list of runs that were, the worst of which counts as well.
        for words in ["--runs", "--runs --events", "--runs --format csv"] {
            let of_web = |rest: &str| humequery(&server, &format!("-t BACKUP --host web2 {words} {rest}"));
            assert_eq!(of_web("").status.code(), Some(0), "{words}");
            assert_eq!(of_web("--exit-status").status.code(), Some(2), "{words}: one of them has failed");
        }
    }
    let server = daemon(Vec::new());
    let nothing = humequery(&server, "-t BACKUP --latest --exit-status --format json");
    assert_eq!(nothing.status.code(), Some(3), "{nothing:?}");
}
