//! What a command line asks for, or why it contradicts itself. Pure.

use hume_core::filter::{EventFilter, KindFilter, RunFilter};
use hume_core::page::After;
use hume_core::{BoundError, Tag, Timestamp};
use hume_proto::rest::{AuditQuery, EventQuery, RunQuery, SlotQuery};
use jiff::Zoned;

use self::contradiction::{contradiction, given};
use crate::args::{Asked, AuditArgs, FormatName, Instead, Output, WatchWord};
use crate::when::{self, WhenError};

mod contradiction;

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
    /// The same, and how many of them are how.
    Fleet(RunQuery),
    /// What happened when in these runs.
    Timeline(Whose, Paging),
    /// The latest run of a task on each host, beside the last one before it that was ok.
    Diff(RunQuery, Paging),
    /// Events as they come.
    Follow(Follow),
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
    /// Who changed what.
    Audit(AuditQuery),
    /// What is expected.
    Watches,
    /// Expected runs, and what became of them.
    Slots(SlotQuery),
}

/// Whose time line is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The latest runs.
    Latest(RunQuery),
    /// A certain run.
    Run(RunQuery),
}

/// How events are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// Which ones.
    pub query: EventQuery,
    /// With which one it begins.
    pub from: After,
    /// After so many it ends.
    pub limit: Option<u64>,
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
    #[error("{flag} needs {others}: {fix}")]
    Needs {
        /// The flag.
        flag: &'static str,
        /// Those of which it needs one.
        others: String,
        /// What to write instead.
        fix: &'static str,
    },
    /// A plugin has no pages and no columns.
    #[error("--format: check has the forms table, which is the output of a plugin, and json")]
    CheckForm,
    /// A flag of listings does not apply to `status`, `agents`, `hosts`, `tasks` or `check`.
    #[error("{flag} has no meaning with `{word}`: leave it out, or put it behind the word if it takes it")]
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
pub fn question(asked: &Asked, output: &Output, now: &Zoned) -> Result<Question, UsageError> {
    if let Some(error) = contradiction(asked, output) {
        return Err(error);
    }
    let since = time("--since", asked.since.as_deref(), now)?;
    let until = time("--until", asked.until.as_deref(), now)?;
    if let (Some(since), Some(until)) = (since, until)
        && since >= until
    {
        return Err(UsageError::Backwards { since, until });
    }
    if asked.follow {
        let from = if since.is_some() { After::Start } else { After::Now };
        let query = event_query(asked, since, until)?;
        return Ok(Question::Follow(Follow { query, from, limit: asked.limit }));
    }
    let limit = match (asked.limit, output.format) {
        (Some(limit), _) => Some(limit),
        (None, FormatName::Ndjson) => None,
        (None, FormatName::Table | FormatName::Json | FormatName::Csv) => Some(LIMIT_DEFAULT),
    };
    let paging = Paging { limit, cursor: asked.cursor.clone() };
    if asked.runs || asked.latest || asked.fleet || asked.timeline {
        let query = run_query(asked, since, until);
        let whole = RunQuery { events: Some(true), ..query.clone() };
        if asked.fleet {
            return Ok(Question::Fleet(query));
        }
        if asked.timeline {
            let whose = if asked.latest { Whose::Latest(whole) } else { Whose::Run(whole) };
            return Ok(Question::Timeline(whose, paging));
        }
        if asked.diff.is_some() {
            return Ok(Question::Diff(whole, paging));
        }
        return Ok(match (asked.latest, asked.count) {
            (true, _) => Question::Latest(whole, paging),
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

/// The question of a first word; none for `check` and `completions`, which are no listings.
///
/// # Errors
/// [`UsageError::NotHere`] for a filter or another flag of listings.
pub fn instead(
    word: &Instead,
    asked: &Asked,
    output: &Output,
    now: &Zoned,
) -> Result<Option<Question>, UsageError> {
    let (word, question) = match word {
        Instead::Status => ("status", Some(Question::Status)),
        Instead::Agents => ("agents", Some(Question::Agents)),
        Instead::Hosts => ("hosts", Some(Question::Hosts)),
        Instead::Tasks => ("tasks", Some(Question::Tasks)),
        Instead::Audit(audit) => ("audit", Some(Question::Audit(audit_query(audit, now)?))),
        Instead::Watch(watch) => ("watch", Some(watch_question(&watch.what))),
        Instead::Check(_) => match output.format {
            FormatName::Table | FormatName::Json => ("check", None),
            FormatName::Ndjson | FormatName::Csv => return Err(UsageError::CheckForm),
        },
        Instead::Completions { .. } => ("completions", None),
    };
    let exit_status = output.exit_status.then_some("--exit-status");
    match given(asked).next().or(exit_status) {
        Some(flag) => Err(UsageError::NotHere { flag, word }),
        None => Ok(question),
    }
}

fn watch_question(word: &WatchWord) -> Question {
    match word {
        WatchWord::List => Question::Watches,
        WatchWord::Show { name, hostname, limit } => Question::Slots(SlotQuery {
            watch: Some(name.as_str().to_owned()),
            host: hostname.as_ref().map(|host| host.as_str().to_owned()),
            limit: *limit,
        }),
    }
}

fn audit_query(asked: &AuditArgs, now: &Zoned) -> Result<AuditQuery, UsageError> {
    let AuditArgs { since, until, actor, action, limit, cursor } = asked.clone();
    let moment = |flag, text: Option<String>| {
        Ok::<_, UsageError>(time(flag, text.as_deref(), now)?.map(|at| at.to_string()))
    };
    let (since, until) = (moment("--since", since)?, moment("--until", until)?);
    Ok(AuditQuery { since, until, actor, action, limit, cursor })
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
        ..EventFilter::default()
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
            Some(word) => instead(&word, &args.asked, &args.output, &Zoned::now()).map(Option::unwrap),
            None => question(&args.asked, &args.output, &now),
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
        assert!(matches!(ask("--fleet"), Ok(Question::Fleet(query)) if query.events.is_none()));
        let run = "01936f2e-0000-7000-8000-000000000001";
        assert!(matches!(ask(&format!("--run {run} --timeline")),
            Ok(Question::Timeline(Whose::Run(query), _)) if query.events == Some(true) && query.run.as_deref() == Some(run)));
        assert!(matches!(ask("--latest --timeline"), Ok(Question::Timeline(Whose::Latest(_), _))));
        let diff = ask("-t X --latest --diff last-ok --format ndjson");
        assert!(matches!(diff, Ok(Question::Diff(query, _)) if query.events == Some(true)));
    }

    #[test]
    fn following_begins_now_or_with_what_was_since_and_takes_every_filter() {
        let follow = |line: &str| match ask(line) {
            Ok(Question::Follow(follow)) => follow,
            other => panic!("{other:?}"),
        };
        assert_eq!((follow("-f").from, follow("-f").limit), (After::Now, None));
        let since = follow("-f --since 1h -L error -t X --limit 3");
        assert_eq!((since.from, since.limit), (After::Start, Some(3)));
        assert_eq!((since.query.level.as_deref(), since.query.task.as_deref()), (Some("error"), Some("X")));
        assert_eq!(since.query.since.as_deref(), Some("2026-11-22T11:00:00.000000Z"));
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
            ("--exit-status tasks", "leave it out"),
            ("--follow --latest", "leave out one of them"),
            ("-f --runs", "leave out one of them"),
            ("-f --until now", "or --follow for a listing"),
            ("-f --cursor e1.1", "--since"),
            ("-f --format json", "table or ndjson"),
            ("-f --format csv", "table or ndjson"),
            ("-f --exit-status", "leave out one of them"),
            ("--fleet --limit 3", "all hosts"),
            ("--fleet --runs", "leave out --runs"),
            ("--fleet --latest", "leave out --latest"),
            ("--format csv check -t X", "table, which is the output of a plugin, and json"),
            ("--format ndjson check -t X", "table, which is the output of a plugin, and json"),
            ("--fleet -L error", "--run ID"),
            ("--fleet --timeline", "one form"),
            ("--timeline", "--run ID --timeline"),
            ("--timeline --runs", "leave out --runs"),
            ("--timeline --latest --grep x", "leave out --grep"),
            ("--timeline --latest --diff last-ok -t X", "one form"),
            ("--diff last-ok -t X", "--latest --diff"),
            ("--latest --diff last-ok", "-t TASK"),
            ("--exit-status", "--latest --exit-status"),
            ("--runs --count --exit-status", "neither good nor bad"),
        ] {
            let error = ask(line).unwrap_err().to_string();
            assert!(error.contains(fix), "{line}: {error}");
        }
    }
}
