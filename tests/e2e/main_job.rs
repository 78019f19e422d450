//! The main job: a cron script reports, and master and agent answer the question about its latest run alike.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use hume_tests::events::{is_api_time, items, json_lines, messages, text};
use hume_tests::{Agent, SOON, Site, process, wait_until};
use serde_json::{Value, json};

/// The cron script of hume's first README, to the letter.
const WORDPRESS: &str = include_str!("../../xtask/demo/wordpress_update.sh");
/// Agrees to everything, but cannot update the plugins of site3.
const WP: &str = include_str!("../../xtask/demo/wp");

const QUESTION: [&str; 4] = ["-t", "WORDPRESS_UPDATE", "--latest", "--hostname=webserver"];

const LEVELS: [&str; 7] = ["debug", "info", "ok", "warning", "error", "critical", "unknown"];

/// Every key that others script against, and what its value may be.
const RUN: [(&str, &str); 20] = [
    ("id", "text"),
    ("task", "text"),
    ("host", "text"),
    ("agent", "text"),
    ("phase", "text"),
    ("status", "text"),
    ("outcome", "text or null"),
    ("reason", "text or null"),
    ("severity", "number"),
    ("flags", "array"),
    ("correlation", "text"),
    ("started_at", "time"),
    ("ended_at", "time or null"),
    ("duration_ms", "number"),
    ("active_ms", "number"),
    ("exit", "object or null"),
    ("complete", "boolean"),
    ("gaps", "array"),
    ("summary", "object"),
    ("events", "array"),
];
const EVENT: [(&str, &str); 21] = [
    ("id", "text"),
    ("kind", "text"),
    ("task", "text"),
    ("host", "text"),
    ("agent", "text"),
    ("epoch", "text"),
    ("seq", "number"),
    ("run", "text or null"),
    ("time", "time"),
    ("received_at", "time"),
    ("level", "text"),
    ("command", "text or null"),
    ("message", "text"),
    ("truncated_from", "number or null"),
    ("tags", "array"),
    ("extra", "object"),
    ("user", "text or null"),
    ("uid", "number or null"),
    ("pid", "number or null"),
    ("script", "text or null"),
    ("line", "number or null"),
];

/// The script with its stand-ins, and where its sites are.
struct Stage {
    script: String,
    sites: PathBuf,
}

impl Stage {
    fn new(agent: &Agent) -> Stage {
        let sites = agent.dir().join("www");
        for name in ["site1", "site3"] {
            fs::create_dir_all(sites.join(name).join("htdocs")).unwrap();
        }
        let wp = agent.script("wp", WP);
        fs::set_permissions(&wp, fs::Permissions::from_mode(0o755)).unwrap();
        let text = WORDPRESS
            .replace("/usr/local/bin/wp", &wp)
            .replace("/var/www", sites.to_str().expect("a plain path"));
        Stage { script: agent.script("wordpress_update.sh", &text), sites }
    }

    fn run(&self, agent: &Agent) {
        process::run(&mut agent.shell(&["bash", &self.script])).ok();
    }

    /// Command, level and message of every event, in order.
    fn expected(&self) -> Vec<(Option<&'static str>, &'static str, String)> {
        let dir = |name: &str| self.sites.join(name).join("htdocs").display().to_string();
        let (site1, site2, site3) = (dir("site1"), dir("site2"), dir("site3"));
        let info = |message: String| (None, "info", message);
        vec![
            (Some("counter-start"), "info", "Starting wordpress update cron process".to_owned()),
            info(format!("Updating in {site1}")),
            info(format!("Update process for {site1} finished")),
            info(format!("Updating in {site2}")),
            (None, "error", format!("{site2} does not exist")),
            info(format!("Update process for {site2} finished")),
            info(format!("Updating in {site3}")),
            (None, "error", format!("Plugins update error in {site3}")),
            info(format!("Update process for {site3} finished")),
            (Some("counter-stop"), "info", "Finished wordpress update cron task".to_owned()),
        ]
    }
}

#[track_caller]
fn check_shape(object: &Value, shape: &[(&str, &str)]) {
    for (key, kind) in shape {
        let value = object.get(key);
        assert!(value.is_some(), "{key} is missing in {object:#}");
        let value = value.unwrap_or(&Value::Null);
        let may_be_null = kind.ends_with(" or null");
        let fits = match kind.trim_end_matches(" or null") {
            _ if value.is_null() => may_be_null,
            "text" => value.is_string(),
            "time" => value.as_str().is_some_and(is_api_time),
            "number" => value.is_u64(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => false,
        };
        assert!(fits, "{key} is no {kind}: {value}");
    }
}

/// Asserts everything that is known of the one run of the script.
#[track_caller]
fn check_run(run: &Value, stage: &Stage) {
    check_shape(run, &RUN);
    let events = items(run, "events");
    for event in events {
        check_shape(event, &EVENT);
        assert_eq!(event["run"], run["id"]);
        assert_eq!(event["agent"], run["agent"]);
        for (key, value) in [
            ("kind", json!("reported")),
            ("task", json!("WORDPRESS_UPDATE")),
            ("host", json!("webserver")),
            ("tags", json!(["wordpress", "cron", "updates"])),
            ("truncated_from", Value::Null),
            ("extra", json!({})),
        ] {
            assert_eq!(event[key], value, "{key}");
        }
        assert_eq!(text(event, "epoch").len(), 32);
        assert!(event["pid"].is_u64() && event["uid"].is_u64(), "who it was is the kernel's word: {event:#}");
    }
    let said: Vec<_> = events
        .iter()
        .map(|event| (event["command"].as_str(), text(event, "level"), text(event, "message").to_owned()))
        .collect();
    assert_eq!(said, stage.expected());
    let seqs: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted(), "in the order of their positions: {seqs:?}");
    for (key, value) in [
        ("task", json!("WORDPRESS_UPDATE")),
        ("host", json!("webserver")),
        ("phase", json!("ended")),
        ("status", json!("failed")),
        ("outcome", json!("failed")),
        ("reason", Value::Null),
        ("severity", json!(2)),
        ("flags", json!([])),
        ("correlation", json!("ancestry")),
        ("exit", Value::Null),
        ("complete", json!(true)),
        ("gaps", json!([])),
    ] {
        assert_eq!(run[key], value, "{key} of {run:#}");
    }
    let summary = &run["summary"];
    assert_eq!(summary["events"], 10);
    let by_level = summary["by_level"].as_object().unwrap();
    assert_eq!(by_level.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(LEVELS));
    for level in LEVELS {
        let count = stage.expected().iter().filter(|(_, of, _)| *of == level).count();
        assert_eq!(by_level[level], count, "{level}");
    }
    let first = &summary["first_error"];
    assert_eq!((&first["id"], &first["time"]), (&events[4]["id"], &events[4]["time"]));
    assert_eq!(text(first, "message"), stage.expected()[4].2);
    assert!(text(run, "started_at") <= text(run, "ended_at"));
    assert_eq!((&run["started_at"], &run["ended_at"]), (&events[0]["time"], &events[9]["time"]));
    assert!(run["active_ms"].as_u64() <= run["duration_ms"].as_u64());
}

#[test]
fn the_wordpress_script_of_the_readme_is_answered_alike_by_master_and_agent() {
    let site = Site::new();
    let agent = site.agent("webserver");
    let stage = Stage::new(&agent);
    stage.run(&agent);
    agent.wait_until_drained(SOON);

    let answer = site.master().query_json(&QUESTION);
    assert_eq!(answer["source"]["kind"], "master");
    assert!(!text(&answer["source"], "name").is_empty());
    let [run] = items(&answer, "runs") else { unreachable!("one run of one task: {answer:#}") };
    check_run(run, &stage);

    let table = site.query(&QUESTION).ok().stdout.clone();
    let squeezed: String = table.split_whitespace().collect();
    for (_, _, message) in stage.expected() {
        let message: String = message.split_whitespace().collect();
        assert!(squeezed.contains(&message), "{message} is not in\n{table}");
    }
    for word in ["WORDPRESS_UPDATE", "webserver", "failed"] {
        assert!(table.contains(word), "{word} is not in\n{table}");
    }
    assert!(!table.contains('\u{1b}'), "colour is for terminals only:\n{table}");

    assert_eq!(site.master().stop(), 0);
    site.query(&QUESTION).with_code(3);
    let local = agent.query_json(&QUESTION);
    assert_eq!(local["source"], json!({"kind": "agent", "name": "webserver"}));
    let [of_agent] = items(&local, "runs") else { unreachable!("one run of one task: {local:#}") };
    check_run(of_agent, &stage);
    assert_eq!(of_agent["id"], run["id"]);
    for (key, _) in EVENT {
        let all =
            |run: &Value| items(run, "events").iter().map(|event| event[key].clone()).collect::<Vec<_>>();
        assert_eq!(all(of_agent), all(run), "{key}");
    }
}

#[test]
fn the_latest_run_is_the_newest_of_each_task_on_each_host() {
    let site = Site::new();
    let (agent, other) = (site.agent("web1"), site.agent("db1"));
    let job =
        "hume -c counter-start -t $1 -m start; hume -t $1 -m $2; hume -c counter-stop -t $1 -m stop; true";
    let run = |agent: &Agent, task: &str, mark: &str| {
        process::run(&mut agent.shell(&["bash", &agent.script("job.sh", job), task, mark])).ok();
    };
    for (agent, task, mark) in [
        (&agent, "BACKUP", "first"),
        (&agent, "BACKUP", "second"),
        (&agent, "SYNC", "third"),
        (&other, "BACKUP", "fourth"),
    ] {
        run(agent, task, mark);
    }
    agent.wait_until_drained(SOON);
    other.wait_until_drained(SOON);
    let marks = |words: &[&str]| -> Vec<String> {
        let answer = site.master().query_json(words);
        let mark = |run: &Value| messages(items(run, "events"))[1].to_owned();
        items(&answer, "runs").iter().map(mark).collect()
    };
    assert_eq!(marks(&["--latest"]), ["fourth", "third", "second"]);
    assert_eq!(marks(&["--latest", "-t", "BACKUP"]), ["fourth", "second"]);
    assert_eq!(marks(&["--latest", "-t", "BACKUP", "--host", "web1"]), ["second"]);
    assert_eq!(marks(&["--latest", "--limit", "1"]), ["fourth"]);
    assert_eq!(marks(&["--latest", "-t", "NOTHING"]), [""; 0]);

    let runs = site.master().query_json(&["--runs", "-t", "BACKUP"]);
    assert_eq!(items(&runs, "runs").len(), 3);
    for run in items(&runs, "runs") {
        check_shape(run, &RUN);
        assert_eq!(run["events"], json!([]), "runs are listed without their events");
        assert_eq!(run["summary"]["events"], 3);
    }
    let runs = site.master().query_json(&["--runs", "--events", "-t", "BACKUP"]);
    let found: Vec<_> = items(&runs, "runs").iter().map(|run| items(run, "events").len()).collect();
    assert_eq!(found, [3, 3, 3]);
    assert_eq!(site.master().count(&["--runs", "-t", "BACKUP"]), 3);
    assert_eq!(site.master().count(&["-t", "BACKUP"]), 9);
    assert_eq!(site.query(&["-t", "BACKUP", "--count"]).ok().stdout.trim(), "9");
}

/// More events than one page of the API holds.
const MANY: usize = 1_250;

/// Reports many events, one a message.
fn report_many(agent: &Agent) {
    let lines = json_lines((0..MANY).map(|number| {
        let level = if number % 10 == 0 { "warning" } else { "info" };
        json!({"task": "MANY", "message": format!("event {number}, \"quoted\", ü"), "level": level})
    }));
    let answers = agent.socket_lines(lines.as_bytes());
    assert!(answers.len() == MANY && answers.iter().all(|answer| answer["ok"] == true));
}

/// The messages in the order they are listed: newest first.
fn newest_first(numbers: impl DoubleEndedIterator<Item = usize>) -> Vec<String> {
    numbers.rev().map(|number| format!("event {number}, \"quoted\", ü")).collect()
}

/// Follows the cursor from page to page until there is no next one.
fn walk(ask: impl Fn(&[&str]) -> Value, words: &[&str]) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut asked = words.to_vec();
        if let Some(cursor) = &cursor {
            asked.extend(["--cursor", cursor]);
        }
        let page = ask(&asked);
        all.extend(page["events"].as_array().or(page["runs"].as_array()).unwrap().iter().cloned());
        assert!(page.as_object().unwrap().contains_key("next"), "absent is null, not missing: {page:#}");
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return all,
        }
    }
}

#[test]
fn a_listing_is_walked_page_by_page_without_holes_or_doubles() {
    let site = Site::new();
    let agent = site.agent("web1");
    report_many(&agent);
    agent.wait_until_drained(SOON);
    let all = newest_first(0..MANY);
    for ask in [&(|words: &[&str]| site.master().query_json(words)) as &dyn Fn(&[&str]) -> Value, &|words| {
        agent.query_json(words)
    }] {
        let walked = walk(ask, &["-t", "MANY", "--limit", "333"]);
        assert_eq!(messages(&walked), all);
        let exact = walk(ask, &["-t", "MANY", "--limit", &MANY.to_string()]);
        assert_eq!(messages(&exact), all, "a limit beyond one page of the API is the total");
        let first = ask(&["-t", "MANY"]);
        assert_eq!(messages(items(&first, "events")), all[..100], "100 by default");
        check_shape(&first["events"][0], &EVENT);
        let some = ask(&["-t", "MANY", "--limit", "7", "-L", "warning"]);
        assert_eq!(messages(items(&some, "events")), newest_first((0..MANY).filter(|n| n % 10 == 0))[..7]);
    }
    // New events do not shift an old page.
    let first = site.master().query_json(&["-t", "MANY", "--limit", "5"]);
    agent.submit(&json!({"task": "MANY", "message": "in between"}));
    agent.wait_until_drained(SOON);
    let cursor = text(&first, "next");
    let second = site.master().query_json(&["-t", "MANY", "--limit", "5", "--cursor", cursor]);
    assert_eq!(messages(items(&second, "events")), all[5..10]);
}

#[test]
fn ndjson_has_no_limit_and_csv_is_read_back_as_it_was() {
    let site = Site::new();
    let agent = site.agent("web1");
    report_many(&agent);
    agent.wait_until_drained(SOON);
    let all = newest_first(0..MANY);
    let lines = site.master().query_lines(&["-t", "MANY"]);
    assert_eq!(messages(&lines), all);
    check_shape(&lines[0], &EVENT);
    assert_eq!(messages(&site.master().query_lines(&["-t", "MANY", "--limit", "3"])), all[..3]);

    let csv = |words: &[&str]| {
        let text = site.query(words).ok().stdout.clone();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let column = reader.headers().unwrap().iter().position(|name| name == "message").unwrap();
        reader.records().map(|row| row.unwrap()[column].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(csv(&["-t", "MANY", "--format", "csv"]), all[..100]);
    assert_eq!(csv(&["-t", "MANY", "--format", "csv", "--limit", "1100"]), all[..1100]);
}

#[test]
fn runs_are_walked_page_by_page_too() {
    let site = Site::new();
    let agent = site.agent("web1");
    let commands = (0..25).flat_map(|run| ["counter-start", "counter-stop"].map(|command| (run, command)));
    let lines = json_lines(commands.map(
        |(number, command)| json!({"task": "RUNS", "command": command, "run_key": format!("key {number}")}),
    ));
    let answers = agent.socket_lines(lines.as_bytes());
    let opened: Vec<Value> = answers.iter().step_by(2).map(|answer| answer["run"].clone()).collect();
    agent.wait_until_drained(SOON);
    let expected: Vec<&Value> = opened.iter().rev().collect();
    for limit in ["1", "4", "24", "25", "26"] {
        let walked =
            walk(|words| site.master().query_json(words), &["--runs", "-t", "RUNS", "--limit", limit]);
        assert_eq!(walked.iter().map(|run| &run["id"]).collect::<Vec<_>>(), expected, "--limit {limit}");
    }
    let walked = walk(|words| agent.query_json(words), &["--runs", "-t", "RUNS", "--limit", "4"]);
    assert_eq!(walked.iter().map(|run| &run["id"]).collect::<Vec<_>>(), expected);
    let lines = site.master().query_lines(&["--runs", "-t", "RUNS"]);
    assert_eq!(lines.iter().map(|run| &run["id"]).collect::<Vec<_>>(), expected);
}

#[test]
fn a_listing_is_narrowed_by_every_filter() {
    let site = Site::new();
    let agent = site.agent("web1");
    let answers = agent.socket_lines(
        concat!(
            r#"{"task":"A","message":"No space left","level":"error","tags":["disk","eu"],"time":"2026-01-01T10:00:00Z"}"#,
            "\n",
            r#"{"task":"A","message":"fine","level":"ok","tags":["disk"],"time":"2026-01-02T10:00:00Z"}"#,
            "\n",
            r#"{"task":"B","message":"no space again","level":"critical","time":"2026-01-03T10:00:00Z"}"#,
            "\n",
            r#"{"message":"a note"}"#,
            "\n",
        )
        .as_bytes(),
    );
    assert!(answers.iter().all(|answer| answer["ok"] == true), "{answers:?}");
    agent.wait_until_drained(SOON);
    let run = text(&answers[0], "run");
    for (words, expected) in [
        (vec!["-t", "A"], vec!["fine", "No space left"]),
        (vec!["-t", ""], vec!["a note"]),
        (vec!["-L", "error"], vec!["no space again", "No space left"]),
        (vec!["-T", "disk"], vec!["fine", "No space left"]),
        (vec!["-T", "eu,disk"], vec!["No space left"]),
        (vec!["--grep", "NO SPACE"], vec!["no space again", "No space left"]),
        (vec!["--since", "2026-01-02T10:00:00Z", "--until", "2026-01-03T10:00:00Z"], vec!["fine"]),
        (vec!["--run", run], vec!["fine", "No space left"]),
        (vec!["--host", "web2"], vec![]),
        (vec!["--kind", "run"], vec![]),
    ] {
        for (who, answer) in
            [("master", site.master().query_json(&words)), ("agent", agent.query_json(&words))]
        {
            assert_eq!(messages(items(&answer, "events")), expected, "{words:?} to the {who}");
        }
    }
}

#[test]
fn wrong_questions_are_usage_errors_and_a_master_that_is_away_is_not() {
    let site = Site::new();
    for words in [
        vec!["--latest", "--count"],
        vec!["--limit", "0"],
        vec!["-L", "loud"],
        vec!["--since", "noon-ish"],
        vec!["--kind", "odd"],
        vec!["--no-such-flag"],
        vec!["--events"],
    ] {
        let output = site.query(&words);
        output.with_code(64);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output:?}");
    }
    let output = site.query(&["--cursor", "nonsense"]);
    assert!(matches!(output.code, Some(3 | 64)) && output.stderr.contains("cursor"), "{output:?}");
    site.master().kill9();
    let output = site.query(&["--latest"]);
    output.with_code(3);
    assert!(
        output.stdout.is_empty() && output.stderr.contains("127.0.0.1"),
        "it says whom it asked: {output:?}"
    );
}

#[test]
fn a_broken_pipe_is_success() {
    let site = Site::new();
    let agent = site.agent("web1");
    report_many(&agent);
    agent.wait_until_drained(SOON);
    let flags: Vec<String> = site.master().connection();
    let words = ["bash", "-c", r#"humequery --format ndjson "$@" | head -n 1; echo "${PIPESTATUS[0]}""#, "_"];
    let words: Vec<&str> = words.into_iter().chain(flags.iter().map(String::as_str)).collect();
    let output = process::run(&mut process::shell(&words));
    output.ok();
    assert!(output.stdout.ends_with("\n0\n"), "{output:?}");
    wait_until("the master still answers", SOON, || site.master().is_ready());
}
