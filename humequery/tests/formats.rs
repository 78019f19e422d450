//! Every form of every answer, from fixed answers: what is printed is reviewed when it changes.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is test code, also what stands outside of a test function"
)]

use hume_proto::rest::RunList;
use humequery::answer::{Answer, LatestList};
use humequery::args::FormatName;
use humequery::diff::{DiffList, RunDiff};
use humequery::fleet::FleetReport;
use humequery::render::text::Colour;
use humequery::render::{View, format};
use humequery::timeline::TimelineList;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;

fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn answers() -> Vec<(&'static str, Answer)> {
    let RunList { source, runs, next: _ } = read("latest");
    vec![
        ("events", Answer::Events(read("events"))),
        ("runs", Answer::Runs(read("runs"))),
        ("runs_events", Answer::Runs(read("latest"))),
        ("latest", Answer::Latest(LatestList { source, runs, more: false })),
        ("fleet", Answer::Fleet(FleetReport::new(fleet()))),
        ("timeline", Answer::Timeline(TimelineList::new(with_a_pause()))),
        ("diff", Answer::Diff(diffs())),
        ("count", Answer::Count(read("count"))),
        ("tasks", Answer::Tasks(read("tasks"))),
        ("hosts", Answer::Hosts(read("hosts"))),
        ("agents", Answer::Agents(read("agents"))),
        ("status", Answer::Status(read("status"))),
        ("status_agent", Answer::Status(read("status_agent"))),
    ]
}

/// Runs of several hosts.
fn fleet() -> RunList {
    let mut list: RunList = read("runs");
    for (host, status, severity) in [("web1", "ok", 0), ("web2", "running", 0), ("web3", "overdue", 1)] {
        let mut run = list.runs[1].clone();
        (run.host, run.status, run.severity, run.reason) =
            (host.to_owned(), status.to_owned(), severity, None);
        list.runs.push(run);
    }
    list
}

/// The latest runs, the first of them paused for a minute.
fn with_a_pause() -> RunList {
    let mut list: RunList = read("latest");
    let events = &mut list.runs[0].events;
    for (at, command) in
        [("2026-11-22T23:00:30Z", "counter-pause"), ("2026-11-22T23:01:30Z", "counter-start")]
    {
        let mut event = events[0].clone();
        (event.time, event.command) = (at.parse().unwrap(), Some(command.to_owned()));
        event.message = String::new();
        let place = events.iter().position(|later| later.time > event.time).unwrap();
        events.insert(place, event);
    }
    list
}

/// A run beside one that was ok, and one that never was.
fn diffs() -> DiffList {
    let RunList { source, mut runs, next: _ } = read("latest");
    let mut last_ok = runs[0].clone();
    "ok".clone_into(&mut last_ok.status);
    last_ok.duration_ms -= 22_000;
    last_ok.events.retain(|event| event.level != "error" && event.level != "critical");
    "wp core version\n6.8.0".clone_into(&mut last_ok.events[1].message);
    let alone = RunDiff::new(runs.remove(1), None);
    DiffList { source, diffs: vec![RunDiff::new(runs.remove(0), Some(last_ok)), alone], more: false }
}

fn shown(answer: &Answer, name: FormatName, width: Option<usize>, colour: Colour) -> String {
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let mut out = Vec::new();
    format(name, View { width, colour, zone }).write(answer, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_table_on_a_terminal_of_80_columns() {
    for (name, answer) in answers() {
        let text = shown(&answer, FormatName::Table, Some(80), Colour::Off);
        insta::assert_snapshot!(format!("table_80_{name}"), text);
    }
}

#[test]
fn a_table_in_a_pipe_has_no_bound() {
    for (name, answer) in answers() {
        let text = shown(&answer, FormatName::Table, None, Colour::Off);
        insta::assert_snapshot!(format!("table_pipe_{name}"), text);
    }
}

#[test]
fn json_is_one_object() {
    for (name, answer) in answers() {
        let text = shown(&answer, FormatName::Json, None, Colour::Off);
        let _: serde_json::Value = serde_json::from_str(&text).unwrap();
        insta::assert_snapshot!(format!("json_{name}"), text);
    }
}

#[test]
fn ndjson_is_one_object_a_line() {
    for (name, answer) in answers() {
        let text = shown(&answer, FormatName::Ndjson, None, Colour::Off);
        for line in text.lines() {
            let _: serde_json::Value = serde_json::from_str(line).unwrap();
        }
        insta::assert_snapshot!(format!("ndjson_{name}"), text);
    }
}

#[test]
fn csv_reads_back_as_it_was() {
    for (name, answer) in answers() {
        let text = shown(&answer, FormatName::Csv, None, Colour::Off);
        insta::assert_snapshot!(format!("csv_{name}"), text);
    }
    let (_, answer) = answers().remove(0);
    let text = shown(&answer, FormatName::Csv, None, Colour::Off);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let message = reader.headers().unwrap().iter().position(|name| name == "message").unwrap();
    let messages: Vec<String> = reader.records().map(|row| row.unwrap()[message].to_owned()).collect();
    let Answer::Events(list) = answer else { panic!("not events") };
    assert_eq!(messages, list.events.iter().map(|event| event.message.clone()).collect::<Vec<_>>());
}

#[test]
fn csv_at_a_terminal_shows_what_it_must_not_send() {
    for (name, answer) in answers() {
        let text = shown(&answer, FormatName::Csv, Some(80), Colour::Off);
        let is_bad = |c: char| (c.is_control() && c != '\n' && c != '\r') || c == '\u{202e}';
        assert!(!text.contains(is_bad), "{name}: {text:?}");
    }
}

#[test]
fn a_header_of_csv_is_written_once_for_all_pages() {
    let (_, answer) = answers().remove(0);
    let zone = TimeZone::UTC;
    let mut csv = format(FormatName::Csv, View { width: None, colour: Colour::Off, zone });
    let mut out = Vec::new();
    csv.write(&answer, &mut out).unwrap();
    csv.write(&answer, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches("truncated_from").count(), 1);
}

#[test]
fn colour_adds_nothing_but_colour() {
    for (name, answer) in answers() {
        let plain = shown(&answer, FormatName::Table, Some(80), Colour::Off);
        let colour = shown(&answer, FormatName::Table, Some(80), Colour::On);
        let stripped = anstream::adapter::strip_str(&colour).to_string();
        assert_eq!(stripped, plain, "{name}");
        assert!(name == "count" || colour != plain, "{name}");
        assert!(!plain.contains('\x1b') && !plain.contains('\u{202e}'), "{name}");
    }
}

#[test]
fn no_form_but_the_table_knows_colour() {
    for (name, answer) in answers() {
        for form in [FormatName::Json, FormatName::Ndjson, FormatName::Csv] {
            let (on, off) = (shown(&answer, form, None, Colour::On), shown(&answer, form, None, Colour::Off));
            assert_eq!(on, off, "{name}");
        }
    }
}
