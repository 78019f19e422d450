//! Every flag of the command line, with the help text that explains it. What may go together decides [`crate::question`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args as Group, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use hume_core::name::WatchName;
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
The files know the keys url, ca, token_file, certificate and key. Paths in them
are relative to the file, and are used only with the url of the same file. What
the command line or the environment gives to show, a token or a certificate
with its key, takes the place of what a file gives.

Output: data on stdout, talk on stderr. Control characters of an event never
reach a terminal: tables show them as \\x1b or \\u{202e}, json and ndjson escape
them, csv shows them at a terminal and keeps them as they are elsewhere. There a
cell may start with = + - or @, which a spreadsheet takes for a formula.
In csv a run is one line, without its events.

Environment:
  HUMEQUERY_URL, HUMEQUERY_CA, HUMEQUERY_TOKEN_FILE, HUMEQUERY_CERTIFICATE, HUMEQUERY_KEY
                         as --url, --ca, --token-file, --certificate and --key; one that is
                         empty counts as not set
  NO_COLOR, CLICOLOR, TERM
                         see --color
  TZ                     the zone in which times are shown, and meant in --since and --until
  HTTPS_PROXY, ALL_PROXY, NO_PROXY
                         for other machines than this one

Exit codes:
  0   the question was answered, also when nothing was found
  3   it was not answered
  64  the command line is wrong
With --exit-status, and for `humequery check`: 0 OK, 1 WARNING, 2 CRITICAL, 3
UNKNOWN, which is also no run, no answer and a wrong command line.";

/// Order of the parts of the help.
const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}

{before-help}{all-args}{after-help}";

/// Ask the master or the agent what happened
///
/// Lists events, the newest first, or whole runs. A first word asks for something else: how the daemon that answers
/// is, its agents, its hosts, its tasks, or one line for a monitoring system.
#[derive(Debug, Parser)]
#[command(
    name = "humequery",
    version,
    help_template = TEMPLATE,
    before_long_help = EXAMPLES,
    after_long_help = MORE,
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_help_heading = "Instead of events",
    override_usage = "humequery [OPTIONS]\n       humequery status|agents|hosts|tasks|audit [OPTIONS]\n       humequery watch list|show NAME [OPTIONS]\n       humequery check -t TASK [OPTIONS]"
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
    /// Who changed what at the master, and when; for administrators
    Audit(AuditArgs),
    /// What should run when, and what became of it
    Watch(WatchArgs),
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

impl Args {
    /// Reads a command line, the first word of which is the program's name.
    ///
    /// # Errors
    /// In the words of clap; so are `--help` and `--version`.
    pub fn read(words: &[OsString]) -> Result<Args, clap::Error> {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(words)?;
        Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// The command line. Behind a first word its help shows what has a meaning there, and its usage nothing that the
/// environment set.
pub fn command() -> clap::Command {
    let command = Args::command();
    let global: Vec<clap::Arg> = command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let hidden = |is_meant: fn(&str) -> bool| {
        let meaningless = global.iter().filter(move |arg| !is_meant(arg.get_id().as_str()));
        meaningless.map(|arg| arg.clone().hide(true))
    };
    let of_check = |arg: &clap::Arg| arg.clone().value_parser(check::format()).help(check::FORMAT);
    let format = global.iter().filter(|arg| arg.get_id().as_str() == "format").map(of_check);
    let command = ["status", "agents", "hosts", "tasks", "audit", "watch"].into_iter().fold(
        command,
        |command, word| {
            command.mut_subcommand(word, |it| it.override_usage(format!("humequery {word} [OPTIONS]")))
        },
    );
    command
        .mut_subcommand("check", |it| {
            it.args(format).args(hidden(|id| id != "color" && id != "utc")).override_usage(check::USAGE)
        })
        .mut_subcommand("completions", |it| {
            it.args(hidden(|_| false)).override_usage("humequery completions SHELL")
        })
}

/// What of the watches.
#[derive(Clone, Debug, PartialEq, Eq, Group)]
pub struct WatchArgs {
    /// Which question.
    #[command(subcommand)]
    pub what: WatchWord,
}

/// A question about watches.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum WatchWord {
    /// Every watch: its schedule, its hosts, when a run is expected next
    List,
    /// Expected runs of a watch against those that came, the newest first, with the reason of each
    Show {
        /// The watch
        name: WatchName,
        /// Only on this host
        #[arg(long, visible_alias = "host", value_name = "HOST")]
        hostname: Option<HostName>,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
}

/// Which lines of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Group)]
pub struct AuditArgs {
    /// At this time or later, as for events: 2h (ago), yesterday, 2026-11-22
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
    /// Exactly this actor, such as \"uid 0\"
    #[arg(long)]
    pub actor: Option<String>,
    /// Exactly this action, such as revoke
    #[arg(long)]
    pub action: Option<String>,
    /// At most so many lines, the newest
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Go on where a page ended
    #[arg(long)]
    pub cursor: Option<String>,
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
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
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
    /// File with a client certificate and its chain (PEM), in place of a token
    #[arg(
        long,
        env = "HUMEQUERY_CERTIFICATE",
        value_name = "FILE",
        global = true,
        hide_env_values = true,
        value_parser = path()
    )]
    pub certificate: Option<PathBuf>,
    /// File with the key of --certificate (PEM)
    #[arg(
        long,
        env = "HUMEQUERY_KEY",
        value_name = "FILE",
        global = true,
        hide_env_values = true,
        value_parser = path()
    )]
    pub key: Option<PathBuf>,
    /// How long one answer may take
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10s",
        value_parser = when::timeout,
        global = true,
        allow_hyphen_values = true
    )]
    pub timeout: Duration,
}

/// A number of things.
fn count(text: &str) -> Result<u64, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "must be a whole number, 1 or more".to_owned())
}

/// Any path, also an empty one: a variable set to nothing counts as not set.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        command().debug_assert();
    }

    #[test]
    fn behind_a_word_the_help_shows_only_what_has_a_meaning_there() {
        let help_of = |word: &str| {
            let mut command = command();
            command.build();
            command.find_subcommand_mut(word).unwrap().render_long_help().to_string()
        };
        let check = help_of("check");
        assert!(check.contains("--format") && check.contains("--url"), "{check}");
        assert!(
            !check.contains("--color") && !check.contains("--utc") && !check.contains("ndjson"),
            "{check}"
        );
        let completions = help_of("completions");
        for option in [
            "--format",
            "--color",
            "--utc",
            "--url",
            "--ca",
            "--token-file",
            "--certificate",
            "--key",
            "--timeout",
        ] {
            assert!(!completions.contains(option), "{option}: {completions}");
        }
        let agents = help_of("agents");
        assert!(agents.contains("--color") && agents.contains("ndjson"), "{agents}");
    }

    #[test]
    fn a_number_out_of_bounds_is_refused_with_its_option_and_what_is_allowed() {
        for (value, words) in
            [("-5", "'-5' for '--limit"), ("abc", "'abc' for '--limit"), ("0", "'0' for '--limit")]
        {
            let error = Args::try_parse_from(["humequery", "--limit", value]).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("a whole number, 1 or more"), "{error}");
        }
        for (option, value) in
            [("--quorum", "-5"), ("--max-age", "-5h"), ("--offline-as", "-1"), ("--timeout", "-5s")]
        {
            let line = ["humequery", "check", "-t", "X", option, value];
            let error = Args::try_parse_from(line).unwrap_err().to_string();
            assert!(error.contains(&format!("'{value}' for '{option}")), "{error}");
        }
    }

    #[test]
    fn connection_flags_stand_before_or_after_the_first_word() {
        for line in [
            ["humequery", "--url", "unix:/x", "--format", "json", "agents"],
            ["humequery", "agents", "--url", "unix:/x", "--format", "json"],
        ] {
            let args = Args::read(&line.map(OsString::from)).unwrap();
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
            vec!["humequery", "--timeout", "10"],
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
        let mut command = command().term_width(100);
        command.build();
        insta::assert_snapshot!("help_short", command.render_help().to_string());
        insta::assert_snapshot!("help_long", command.render_long_help().to_string());
        let check = command.find_subcommand_mut("check").unwrap();
        insta::assert_snapshot!("help_check", check.clone().term_width(100).render_long_help().to_string());
    }
}
