//! What a command line asks for, or why it contradicts itself. Pure.

use hume_core::filter::{EventFilter, KindFilter, RunFilter};
use hume_core::{BoundError, Tag, Timestamp};
use hume_proto::rest::{EventQuery, RunQuery};
use jiff::Zoned;

use crate::args::{Asked, FormatName, Instead};
use crate::when::{self, WhenError};

/// Items shown when `--limit` is not given; ndjson has no such limit.
pub const LIMIT_DEFAULT: u64 = 100;

/// One question to `/api/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// A listing of events.
    Events(EventQuery, Paging),
    /// A listing of runs.
    Runs(RunQuery, Paging),
    /// The latest run of each task on each host.
    Latest(RunQuery, Paging),
    /// How many events.
    CountEvents(EventQuery),
    /// How many runs.
    CountRuns(RunQuery),
    /// Every task on every host.
    Tasks,
    /// Every host.
    Hosts,
    /// Every agent.
    Agents,
    /// How the daemon is.
    Status,
}

/// Where a listing begins and ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paging {
    /// Most items in all; none: until there are no more.
    pub limit: Option<u64>,
    /// Where to go on.
    pub cursor: Option<String>,
}

/// A command line that cannot be meant; each says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// A value is out of bounds.
    #[error("{flag}: {error}")]
    Bound {
        /// The flag.
        flag: &'static str,
        /// What is wrong with its value.
        error: BoundError,
    },
    /// A time is not understood.
    #[error("{flag}: {error}")]
    When {
        /// The flag.
        flag: &'static str,
        /// What is wrong with its value.
        error: WhenError,
    },
    /// `--kind` has another word.
    #[error("--kind: `{0}` is not a kind; use reported, run, watchdog, host, system or all")]
    Kind(String),
    /// The time asked for has no length.
    #[error("--since ({since}) is not before --until ({until}): nothing can be found; exchange them")]
    Backwards {
        /// From here.
        since: Timestamp,
        /// To here.
        until: Timestamp,
    },
    /// Two flags exclude each other.
    #[error("{one} and {other} contradict each other: {fix}")]
    Contradiction {
        /// A flag.
        one: &'static str,
        /// Another one.
        other: &'static str,
        /// What to write instead.
        fix: &'static str,
    },
    /// A flag needs another one.
    #[error("--events needs --runs: write --runs --events (or --latest, which has them)")]
    EventsOfWhat,
    /// A filter does not apply to `status`, `agents`, `hosts` or `tasks`.
    #[error("{flag} has no meaning for `{word}`: leave it out")]
    NotHere {
        /// The flag.
        flag: &'static str,
        /// The first word.
        word: &'static str,
    },
}

/// The question that these flags ask.
///
/// # Errors
/// The first [`UsageError`].
pub fn question(asked: &Asked, format: FormatName, now: &Zoned) -> Result<Question, UsageError> {
    if let Some(error) = contradiction(asked, format) {
        return Err(error);
    }
    let since = time("--since", asked.since.as_deref(), now)?;
    let until = time("--until", asked.until.as_deref(), now)?;
    if let (Some(since), Some(until)) = (since, until)
        && since >= until
    {
        return Err(UsageError::Backwards { since, until });
    }
    let limit = match (asked.limit, format) {
        (Some(limit), _) => Some(limit),
        (None, FormatName::Ndjson) => None,
        (None, FormatName::Table | FormatName::Json | FormatName::Csv) => Some(LIMIT_DEFAULT),
    };
    let paging = Paging { limit, cursor: asked.cursor.clone() };
    if asked.runs || asked.latest {
        let query = run_query(asked, since, until);
        return Ok(match (asked.latest, asked.count) {
            (true, _) => Question::Latest(RunQuery { events: Some(true), ..query }, paging),
            (false, true) => Question::CountRuns(RunQuery { count: Some(true), ..query }),
            (false, false) => {
                Question::Runs(RunQuery { events: asked.events.then_some(true), ..query }, paging)
            }
        });
    }
    let query = event_query(asked, since, until)?;
    Ok(if asked.count {
        Question::CountEvents(EventQuery { count: Some(true), ..query })
    } else {
        Question::Events(query, paging)
    })
}

/// The question of a first word; none for `completions`, which asks nobody.
///
/// # Errors
/// [`UsageError::NotHere`] for a filter.
pub fn instead(word: Instead, asked: &Asked) -> Result<Option<Question>, UsageError> {
    let (word, question) = match word {
        Instead::Status => ("status", Some(Question::Status)),
        Instead::Agents => ("agents", Some(Question::Agents)),
        Instead::Hosts => ("hosts", Some(Question::Hosts)),
        Instead::Tasks => ("tasks", Some(Question::Tasks)),
        Instead::Completions { .. } => ("completions", None),
    };
    match given(asked).next() {
        Some(flag) => Err(UsageError::NotHere { flag, word }),
        None => Ok(question),
    }
}

/// The flags of [`Asked`] that were given.
fn given(asked: &Asked) -> impl Iterator<Item = &'static str> {
    let Asked {
        task,
        hostname,
        latest,
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

/// Pairs that exclude each other, and what to write instead.
const EXCLUDE: [(&str, &str, &str); 16] = [
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
    ("--events", "--format csv", "a line has no room for them; write --format json or ndjson"),
];

fn contradiction(asked: &Asked, format: FormatName) -> Option<UsageError> {
    let mut flags: Vec<&str> = given(asked).collect();
    if format == FormatName::Csv && asked.runs {
        flags.push("--format csv");
    }
    for (one, other, fix) in EXCLUDE {
        if flags.contains(&one) && flags.contains(&other) {
            return Some(UsageError::Contradiction { one, other, fix });
        }
    }
    (asked.events && !asked.runs && !asked.latest).then_some(UsageError::EventsOfWhat)
}

fn run_query(asked: &Asked, since: Option<Timestamp>, until: Option<Timestamp>) -> RunQuery {
    RunQuery::from_filter(&RunFilter {
        task: asked.task.clone(),
        host: asked.hostname.clone(),
        run: asked.run,
        since,
        until,
        ..RunFilter::default()
    })
}

fn event_query(
    asked: &Asked,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<EventQuery, UsageError> {
    let tags =
        asked.tags.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|tag| !tag.is_empty());
    let tags = tags
        .map(Tag::parse)
        .collect::<Result<_, _>>()
        .map_err(|error| UsageError::Bound { flag: "--tag", error })?;
    let kind = match asked.kind.as_deref() {
        Some(word) => KindFilter::from_word(word).ok_or_else(|| UsageError::Kind(word.to_owned()))?,
        None => KindFilter::default(),
    };
    Ok(EventQuery::from_filter(&EventFilter {
        task: asked.task.clone(),
        host: asked.hostname.clone(),
        level_min: asked.level,
        tags,
        since,
        until,
        run: asked.run,
        grep: asked.grep.clone().filter(|text| !text.is_empty()),
        kind,
    }))
}

fn time(flag: &'static str, text: Option<&str>, now: &Zoned) -> Result<Option<Timestamp>, UsageError> {
    text.map(|text| when::moment(text, now)).transpose().map_err(|error| UsageError::When { flag, error })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Args;

    fn ask(line: &str) -> Result<Question, UsageError> {
        let now = "2026-11-22T12:00:00Z[UTC]".parse().unwrap();
        let args = Args::try_parse_from(format!("humequery {line}").split_whitespace()).unwrap();
        match args.instead {
            Some(word) => instead(word, &args.asked).map(Option::unwrap),
            None => question(&args.asked, args.output.format, &now),
        }
    }

    #[test]
    fn every_filter_becomes_a_parameter() {
        let run = "01936f2e-0000-7000-8000-000000000001";
        let line = format!(
            "-t BACKUP --host web1 -L warn -T a,b -T c --since 1h --until now --run {run} --grep disk --kind all"
        );
        let Question::Events(query, paging) = ask(&line).unwrap() else { panic!("not events") };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            query,
            EventQuery {
                task: text("BACKUP"),
                host: text("web1"),
                level: text("warning"),
                tag: text("a,b,c"),
                since: text("2026-11-22T11:00:00.000000Z"),
                until: text("2026-11-22T12:00:00.000000Z"),
                run: text(run),
                grep: text("disk"),
                kind: text("all"),
                ..EventQuery::default()
            }
        );
        assert_eq!(paging, Paging { limit: Some(100), cursor: None });
    }

    #[test]
    fn only_ndjson_has_no_limit_of_its_own() {
        for (line, limit) in [
            ("--format table", Some(100)),
            ("--format json", Some(100)),
            ("--format csv", Some(100)),
            ("--format ndjson", None),
            ("--format ndjson --limit 7", Some(7)),
            ("--format json --limit 5000", Some(5000)),
        ] {
            assert!(matches!(ask(line), Ok(Question::Events(_, paging)) if paging.limit == limit), "{line}");
        }
    }

    #[test]
    fn events_of_runs_are_fetched_only_when_they_are_shown() {
        assert!(matches!(ask("--latest"), Ok(Question::Latest(query, _)) if query.events == Some(true)));
        assert!(matches!(ask("--runs"), Ok(Question::Runs(query, _)) if query.events.is_none()));
        assert!(matches!(ask("--runs --events"), Ok(Question::Runs(query, _)) if query.events == Some(true)));
        assert!(matches!(ask("--runs --count"), Ok(Question::CountRuns(query)) if query.count == Some(true)));
        assert!(matches!(ask("-t X --count"), Ok(Question::CountEvents(query)) if query.count == Some(true)));
        assert_eq!(ask("agents"), Ok(Question::Agents));
    }

    #[test]
    fn contradictions_are_refused_and_say_what_to_write() {
        for (line, fix) in [
            ("--latest --count", "--runs --count"),
            ("--latest --cursor e1.3", "--limit"),
            ("--latest --runs", "humequery tasks"),
            ("--latest -L error", "--run ID"),
            ("--runs --grep x", "--run ID"),
            ("--events", "--runs --events"),
            ("--count --limit 3", "leave out --limit"),
            ("--runs --events --format csv", "json or ndjson"),
            ("--since today --until yesterday", "exchange them"),
            ("--since soon", "yesterday"),
            ("--kind every", "watchdog"),
            ("-t X status", "leave it out"),
        ] {
            let error = ask(line).unwrap_err().to_string();
            assert!(error.contains(fix), "{line}: {error}");
        }
    }
}
