//! Which flags contradict each other, and what to write instead. Pure.

use super::UsageError;
use crate::args::{Asked, FormatName, Output};

/// The flags of [`Asked`] that were given.
pub(super) fn given(asked: &Asked) -> impl Iterator<Item = &'static str> {
    let Asked {
        task,
        hostname,
        latest,
        follow,
        fleet,
        timeline,
        diff,
        level,
        tags,
        since,
        until,
        run,
        grep,
        kind,
        runs,
        events,
        count,
        cursor,
        limit,
    } = asked;
    [
        ("--task", task.is_some()),
        ("--hostname", hostname.is_some()),
        ("--latest", *latest),
        ("--follow", *follow),
        ("--fleet", *fleet),
        ("--timeline", *timeline),
        ("--diff", diff.is_some()),
        ("--level", level.is_some()),
        ("--tag", !tags.is_empty()),
        ("--since", since.is_some()),
        ("--until", until.is_some()),
        ("--run", run.is_some()),
        ("--grep", grep.is_some()),
        ("--kind", kind.is_some()),
        ("--runs", *runs),
        ("--events", *events),
        ("--count", *count),
        ("--cursor", cursor.is_some()),
        ("--limit", limit.is_some()),
    ]
    .into_iter()
    .filter_map(|(flag, is_given)| is_given.then_some(flag))
}

const FILTERS_EVENTS: &str =
    "it picks events, and a run is shown whole; take the run's id and write --run ID with it";
const FOLLOWS_EVENTS: &str = "it shows events as they come; leave out one of them";
const FOLLOWS_LINES: &str = "what never ends is written line by line: table or ndjson";
const FLEET_WHOLE: &str = "its numbers are of all hosts; leave it out";
const ONE_VIEW: &str = "one answer has one form; leave out one of them";

/// Pairs that exclude each other, and what to write instead.
const EXCLUDE: [(&str, &str, &str); 46] = [
    ("--follow", "--latest", FOLLOWS_EVENTS),
    ("--follow", "--runs", FOLLOWS_EVENTS),
    ("--follow", "--fleet", FOLLOWS_EVENTS),
    ("--follow", "--timeline", FOLLOWS_EVENTS),
    ("--follow", "--diff", FOLLOWS_EVENTS),
    ("--follow", "--count", FOLLOWS_EVENTS),
    ("--follow", "--exit-status", FOLLOWS_EVENTS),
    ("--follow", "--until", "what comes has no end; leave out --until, or --follow for a listing"),
    ("--follow", "--cursor", "it goes on by itself; for what was before write --since"),
    ("--follow", "--format json", FOLLOWS_LINES),
    ("--follow", "--format csv", FOLLOWS_LINES),
    ("--fleet", "--latest", "it is of the latest runs already; leave out --latest"),
    ("--fleet", "--runs", "it shows one run of each host; leave out --runs"),
    ("--fleet", "--run", "it shows one run of each host; for one run write --latest or --timeline"),
    ("--fleet", "--count", "it counts by itself; leave out --count"),
    ("--fleet", "--limit", FLEET_WHOLE),
    ("--fleet", "--cursor", FLEET_WHOLE),
    ("--fleet", "--timeline", ONE_VIEW),
    ("--fleet", "--diff", ONE_VIEW),
    ("--fleet", "--level", FILTERS_EVENTS),
    ("--fleet", "--tag", FILTERS_EVENTS),
    ("--fleet", "--grep", FILTERS_EVENTS),
    ("--fleet", "--kind", FILTERS_EVENTS),
    ("--timeline", "--diff", ONE_VIEW),
    ("--timeline", "--runs", "with --run ID or --latest it knows its runs; leave out --runs"),
    ("--timeline", "--count", "leave out --count"),
    ("--timeline", "--cursor", "leave out --cursor"),
    ("--timeline", "--level", "it shows all events of a run; leave out --level"),
    ("--timeline", "--tag", "it shows all events of a run; leave out --tag"),
    ("--timeline", "--grep", "it shows all events of a run; leave out --grep"),
    ("--timeline", "--kind", "it shows all events of a run; leave out --kind"),
    ("--latest", "--count", "write --runs --count for the number of runs"),
    ("--latest", "--cursor", "it always begins with the newest; for more runs raise --limit"),
    ("--latest", "--runs", "--latest shows runs already; for one line each write humequery tasks"),
    ("--latest", "--run", "write --runs --events --run ID for that run"),
    ("--latest", "--level", FILTERS_EVENTS),
    ("--latest", "--tag", FILTERS_EVENTS),
    ("--latest", "--grep", FILTERS_EVENTS),
    ("--latest", "--kind", FILTERS_EVENTS),
    ("--runs", "--level", FILTERS_EVENTS),
    ("--runs", "--tag", FILTERS_EVENTS),
    ("--runs", "--grep", FILTERS_EVENTS),
    ("--runs", "--kind", FILTERS_EVENTS),
    ("--count", "--limit", "it counts everything that matches; leave out --limit"),
    ("--count", "--cursor", "it counts everything that matches; leave out --cursor"),
    ("--count", "--events", "leave out --events"),
];

/// Two more, about the form of an answer and the exit code.
const EXCLUDE_FORM: [(&str, &str, &str); 2] = [
    ("--events", "--format csv", "a line has no room for them; write --format json or ndjson"),
    ("--count", "--exit-status", "a number is neither good nor bad; leave out one of them"),
];

/// Flags that need one of others, and what to write.
const NEED: [(&str, &[&str], &str); 4] = [
    ("--events", &["--runs", "--latest"], "write --runs --events (or --latest, which has them)"),
    ("--timeline", &["--latest", "--run"], "write --latest --timeline, or --run ID --timeline"),
    ("--diff", &["--latest"], "write -t TASK --latest --diff last-ok"),
    ("--exit-status", &["--latest", "--runs", "--fleet"], "write -t TASK --latest --exit-status"),
];

/// The first thing that makes no sense.
pub(super) fn contradiction(asked: &Asked, output: &Output) -> Option<UsageError> {
    let mut flags: Vec<&str> = given(asked).collect();
    match output.format {
        FormatName::Csv => flags.push("--format csv"),
        FormatName::Json => flags.push("--format json"),
        FormatName::Table | FormatName::Ndjson => {}
    }
    if output.exit_status {
        flags.push("--exit-status");
    }
    let has = |flag: &str| flags.contains(&flag);
    for (one, other, fix) in EXCLUDE.into_iter().chain(EXCLUDE_FORM) {
        if has(one) && has(other) {
            return Some(UsageError::Contradiction { one, other, fix });
        }
    }
    for (flag, others, fix) in NEED {
        if has(flag) && !others.iter().any(|other| has(other)) {
            return Some(UsageError::Needs { flag, others: others.join(" or "), fix });
        }
    }
    if has("--diff") && !has("--task") {
        return Some(UsageError::Needs {
            flag: "--diff",
            others: "--task".to_owned(),
            fix: "write -t TASK --latest --diff last-ok",
        });
    }
    None
}
