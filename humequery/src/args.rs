//! Every flag of the command line, with the help text that explains it. What may go together decides [`crate::question`].

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use hume_core::{HostName, Level, RunId, TaskName};

use crate::when;

mod check;
pub use check::CheckArgs;

const EXAMPLES: &str = "\
Examples:
  humequery -t WORDPRESS_UPDATE --latest --hostname=webserver
      The latest run: its events, how long it took, how it ended.
  humequery -t BACKUP --runs --since yesterday
      Every run since yesterday began, one a line.
  humequery -L error --since 2h
      Errors and worse of the last two hours, on all hosts.
  humequery -f -L warning
      What comes from now on, warnings and worse, until Ctrl-C.
  humequery -t BACKUP --grep 'no space' --count
      How many events say so.
  humequery -t BACKUP --latest --format json | jq '.runs[0].status'
      The same for a script.
  humequery -t BACKUP --fleet
      One line for each host, and on top how many are how.
  humequery -t BACKUP --latest --hostname db1 --diff last-ok
      What was otherwise when it last went well.
  humequery check -t BACKUP --hostname db1 --max-age 25h
      For Nagios and the like: one line, and an exit code.
  humequery --format ndjson --since 2026-11-01 >november.ndjson
      Everything, one event a line, however many there are.
  humequery agents
      Is every host connected, is anything queued, what was the last error.
  humequery --url unix:/run/hume/api.sock -t BACKUP --latest
      Ask the agent of this host, as when the master is down.
  humequery --url https://master1:4864 --ca ca.pem --token-file token tasks
      Ask a master in so many words.
";

const MORE: &str = "\
Whom it asks, the first that is there:
  1. --url or HUMEQUERY_URL
  2. $XDG_CONFIG_HOME/hume/query.toml, else ~/.config/hume/query.toml
  3. /etc/hume/query.toml
  4. the agent of this host: /run/hume/api.sock
  5. the master on this host: /run/hume-master/api.sock
The files know the keys url, ca and token_file. Paths in them are relative to
the file. Their ca and token_file are used only with the url of the same file.

Output: data on stdout, talk on stderr. Control characters of an event never
reach a terminal: tables show them as \\x1b or \\u{202e}, json and ndjson escape
them, csv shows them at a terminal and keeps them as they are elsewhere. There a
cell may start with = + - or @, which a spreadsheet takes for a formula.
In csv a run is one line, without its events.

Exit codes:
  0   the question was answered, also when nothing was found
  3   it was not answered
  64  the command line is wrong
With --exit-status, and for `humequery check`: 0 OK, 1 WARNING, 2 CRITICAL, 3
UNKNOWN, which is also no run, no answer and a wrong command line.";

/// Ask the master or the agent what happened.
#[derive(Debug, Parser)]
#[command(
    name = "humequery",
    version,
    about,
    before_long_help = EXAMPLES,
    after_long_help = MORE,
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_help_heading = "Instead of events",
    override_usage = "humequery [OPTIONS]\n       humequery status|agents|hosts|tasks [OPTIONS]\n       humequery check -t TASK [OPTIONS]"
)]
pub struct Args {
    /// Which events or runs.
    #[command(flatten)]
    pub asked: Asked,
    /// How they are shown.
    #[command(flatten)]
    pub output: Output,
    /// Who is asked.
    #[command(flatten)]
    pub connection: Connection,
    /// Something other than events or runs.
    #[command(subcommand)]
    pub instead: Option<Instead>,
}

/// Questions that are not about events or runs.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Instead {
    /// How the daemon that answers is: version, what it keeps, its agents
    Status,
    /// Every agent: connected or not, what is queued since when, the last error
    Agents,
    /// Every host: last seen, tasks, events
    Hosts,
    /// Every task on every host, by its latest run
    Tasks,
    /// How a task is, as a plugin for Nagios and Icinga says it
    #[command(after_help = check::MORE)]
    Check(CheckArgs),
    /// Print completions for a shell
    #[command(after_help = "Example: humequery completions bash >/etc/bash_completion.d/humequery")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Which events or runs.
#[derive(Clone, Debug, Default, Group)]
#[command(next_help_heading = "What to look for")]
pub struct Asked {
    /// Exactly this task
    ///
    /// An empty name asks for plain notes, which belong to no task.
    #[arg(short, long)]
    pub task: Option<TaskName>,
    /// Exactly this host
    #[arg(long, visible_alias = "host", value_name = "HOST")]
    pub hostname: Option<HostName>,
    /// The latest run of each task on each host, with its events and a summary
    ///
    /// Newest first, at most --limit runs.
    #[arg(long)]
    pub latest: bool,
    /// Show events as they come, until Ctrl-C
    ///
    /// With --since first those since then. Goes on after a lost connection without a hole. With --limit it ends after so
    /// many. Tables and ndjson only.
    #[arg(short, long)]
    pub follow: bool,
    /// One line for each host, and for each task how many hosts are how
    ///
    /// By the latest run of each task on each host.
    #[arg(long)]
    pub fleet: bool,
    /// With --latest or --run: what happened when in a run, and a bar of its time
    #[arg(long)]
    pub timeline: bool,
    /// With --latest and -t: compare with an earlier run
    ///
    /// last-ok: the last one before it that was ok. Shows the events that only one of both has, by level and text, and how
    /// the durations differ.
    #[arg(long, value_enum, value_name = "WITH")]
    pub diff: Option<DiffWith>,
    /// This level or worse
    ///
    /// From harmless to bad: debug, info, ok, unknown, warning, error, critical.
    #[arg(short = 'L', long)]
    pub level: Option<Level>,
    /// With this tag; repeat it or separate by commas, all must be present
    #[arg(short = 'T', long = "tag", value_name = "TAG,…")]
    pub tags: Vec<String>,
    /// At this time or later
    ///
    /// 2h (ago), 30m, 1d12h, now, today, yesterday, 10:00 (today), 2026-11-22, 2026-11-22T10:00, @1763800000, or
    /// RFC 3339. Without an offset the time is local; runs are taken by their start.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before this time (forms as for --since)
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Of this run
    #[arg(long, value_name = "ID")]
    pub run: Option<RunId>,
    /// With this text in the message; case does not matter
    #[arg(long, value_name = "TEXT")]
    pub grep: Option<String>,
    /// Of this kind: reported (default), run, watchdog, host, system, or all
    ///
    /// `reported` is what scripts said. The others are what nobody reported but hume found out, such as an
    /// aborted run.
    #[arg(long)]
    pub kind: Option<String>,
    /// List runs instead of events
    #[arg(long)]
    pub runs: bool,
    /// With --runs: their events too
    #[arg(long)]
    pub events: bool,
    /// Only the number of events (or, with --runs, of runs)
    #[arg(long)]
    pub count: bool,
    /// Go on where a page ended (`next` of its answer)
    #[arg(long)]
    pub cursor: Option<String>,
    /// At most this many in all [default: 100; for ndjson, --fleet and --follow all of them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

/// With which run the latest one is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffWith {
    /// The last one before it that was ok
    LastOk,
}

/// How answers are shown.
#[derive(Clone, Debug, Group)]
#[command(next_help_heading = "How to show it")]
pub struct Output {
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = FormatName::Table, global = true)]
    pub format: FormatName,
    /// When to use colour
    ///
    /// auto: on a terminal, unless `NO_COLOR` is set, CLICOLOR=0 or TERM=dumb. Only tables have colour.
    #[arg(long, value_enum, default_value_t = ColorWhen::Auto, value_name = "WHEN", global = true)]
    pub color: ColorWhen,
    /// With --latest, --runs or --fleet: exit with 0, 1, 2 or 3 as `humequery check` does
    ///
    /// By the worst of all runs in the answer, in the order 2, 1, 3, 0.
    #[arg(long)]
    pub exit_status: bool,
    /// Show times in UTC instead of local time (json, ndjson and csv are always UTC)
    #[arg(long, global = true)]
    pub utc: bool,
}

/// Forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// For people
    Table,
    /// One object
    Json,
    /// One item a line, page after page until there are no more
    Ndjson,
    /// A header line, then one item a line
    Csv,
}

/// When colour is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Who is asked, and how.
#[derive(Clone, Debug, Group)]
#[command(next_help_heading = "Whom to ask")]
pub struct Connection {
    /// https://HOST:PORT of a master, or unix:PATH of a socket
    ///
    /// http:// is accepted for this machine only, because the token would travel in the clear.
    #[arg(long, env = "HUMEQUERY_URL", global = true, hide_env_values = true)]
    pub url: Option<String>,
    /// Trust only this CA (PEM); without it the CAs of this machine
    #[arg(
        long,
        env = "HUMEQUERY_CA",
        value_name = "FILE",
        global = true,
        hide_env_values = true,
        value_parser = path()
    )]
    pub ca: Option<PathBuf>,
    /// File with the bearer token; not used on a socket, whose permissions decide
    #[arg(
        long,
        env = "HUMEQUERY_TOKEN_FILE",
        value_name = "FILE",
        global = true,
        hide_env_values = true,
        value_parser = path()
    )]
    pub token_file: Option<PathBuf>,
    /// How long one answer may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = when::timeout, global = true)]
    pub timeout: Duration,
}

/// Any path, also an empty one: a variable set to nothing counts as not set.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn connection_flags_stand_before_or_after_the_first_word() {
        for line in [
            ["humequery", "--url", "unix:/x", "--format", "json", "agents"],
            ["humequery", "agents", "--url", "unix:/x", "--format", "json"],
        ] {
            let args = Args::try_parse_from(line).unwrap();
            assert_eq!(args.instead, Some(Instead::Agents));
            assert_eq!(args.connection.url.as_deref(), Some("unix:/x"));
            assert_eq!(args.output.format, FormatName::Json);
        }
    }

    #[test]
    fn values_out_of_bounds_are_refused_where_they_enter() {
        for line in [
            vec!["humequery", "--level", "loud"],
            vec!["humequery", "--hostname", "a b"],
            vec!["humequery", "--run", "7"],
            vec!["humequery", "--limit", "0"],
            vec!["humequery", "--timeout", "0s"],
            vec!["humequery", "--format", "xml"],
            vec!["humequery", "--diff", "yesterday"],
            vec!["humequery", "check"],
            vec!["humequery", "check", "-t", "X", "--offline-as", "0"],
            vec!["humequery", "check", "-t", "X", "--quorum", "0%"],
            vec!["humequery", "check", "-t", "X", "--max-age", "soon"],
        ] {
            assert!(Args::try_parse_from(&line).is_err(), "{line:?}");
        }
        let args = Args::try_parse_from(["humequery", "--host", "web1", "-L", "ERR", "-t", ""]).unwrap();
        assert_eq!(args.asked.level, Some(Level::Error));
        assert!(args.asked.task.unwrap().is_none());
    }

    #[test]
    fn the_help_is_reviewed_when_it_changes() {
        let mut command = Args::command().term_width(100);
        insta::assert_snapshot!("help_short", command.render_help().to_string());
        insta::assert_snapshot!("help_long", command.render_long_help().to_string());
        let check = command.find_subcommand_mut("check").unwrap();
        insta::assert_snapshot!("help_check", check.clone().term_width(100).render_long_help().to_string());
    }
}
