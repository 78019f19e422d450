//! The command line of `hume exec`: its options, and the command behind them.
//!
//! Values of the event are bytes here and none is judged, as in [`crate::args`]; those that decide what happens to the
//! command are judged here, and a bad one is a usage error: a command is not run with half of what was asked for.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::{ArgAction, CommandFactory as _, Parser};
use hume_core::policy::Overlap;

use super::duration;
use super::help;
use crate::args::{Args, Page, UsageError, page_or_error};

/// The name of this program in what it says.
const PROGRAM: &str = "hume exec";
/// Bytes of output that go with the stop event when nothing else is said.
const TAIL_BYTES: usize = 4096;
/// Most bytes of output that go with the stop event: they fit into a message beside the line above them.
pub(super) const TAIL_BYTES_MAX: usize = 12 * 1024;
/// Between SIGTERM and SIGKILL when nothing else is said.
const KILL_AFTER: Duration = Duration::from_secs(10);

#[derive(Clone, Default, Parser)]
#[command(
    name = "hume exec",
    version,
    term_width = 0,
    about = help::ABOUT,
    before_long_help = help::EXAMPLES,
    after_help = help::AFTER_SHORT,
    after_long_help = help::AFTER_LONG,
    help_template = crate::help::TEMPLATE,
    override_usage = "hume exec [OPTIONS] [-t TASK] -- COMMAND [ARG]...",
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 100
)]
#[expect(clippy::doc_markdown, reason = "the comments are the text of the help, which is no markdown")]
struct ExecArgs {
    /// The command and its arguments, as they are: no shell reads them
    #[arg(value_name = "COMMAND", trailing_var_arg = true, hide_short_help = true)]
    command: Vec<OsString>,

    /// The job that the command is [env: HUME_TASKNAME, then HTASK]
    #[arg(short, long, value_name = "TASK", allow_hyphen_values = true, help_heading = crate::help::WHAT)]
    task: Option<OsString>,

    /// The text of the start event, in place of the command line
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, help_heading = crate::help::WHAT)]
    message: Option<OsString>,

    /// Labels, separated by commas; may be repeated [env: HUME_TAGS, HTAGS: added]
    #[arg(short = 'T', long, value_name = "TAGS", allow_hyphen_values = true, help_heading = crate::help::WHAT)]
    tags: Vec<OsString>,

    /// One more fact for the start event, as KEY=VALUE or KEY:VALUE; may be repeated
    #[arg(short = 'x', long, value_name = "K=V", allow_hyphen_values = true, help_heading = crate::help::WHAT)]
    extra: Vec<OsString>,

    /// Add the tree of calling processes, with their command lines
    #[arg(short, long, help_heading = crate::help::WHAT)]
    append_pstree: bool,

    /// Report for another host than this one
    #[arg(long, value_name = "HOST", allow_hyphen_values = true, help_heading = crate::help::WHAT)]
    hostname: Option<OsString>,

    /// A key of your choice for the run [default: a new one]
    #[arg(long, value_name = "KEY", allow_hyphen_values = true, help_heading = crate::help::WHAT)]
    run_id: Option<OsString>,

    /// Print nothing unless the command fails
    ///
    /// Then everything it wrote, in its order and to the stream it was meant for. Of more than
    /// 1 MiB the beginning and the end.
    #[arg(verbatim_doc_comment, long, help_heading = help::RUN)]
    chronic: bool,

    /// Longest time, such as 90s, 1h30m or 2d: then SIGTERM
    ///
    /// The command and its descendants get it; who made himself a daemon is none.
    #[arg(verbatim_doc_comment, long, value_name = "TIME", allow_hyphen_values = true, help_heading = help::RUN)]
    timeout: Option<OsString>,

    /// Time from SIGTERM to SIGKILL [default: 10s]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = help::RUN)]
    kill_after: Option<OsString>,

    /// Bytes of the output's end for the stop event [default: 4096]
    ///
    /// At most 12288. They are sent when the command failed, and always when this option is
    /// given. With 0 the command has our streams untouched.
    #[arg(verbatim_doc_comment, long, value_name = "BYTES", allow_hyphen_values = true, help_heading = help::RUN)]
    tail: Option<OsString>,

    /// When the task runs already: allow, warn or forbid [default: the agent's policy]
    ///
    /// With forbid the command does not begin, and the exit code is 75. An agent that is away
    /// or slow forbids nothing.
    #[arg(verbatim_doc_comment, long, value_name = "WISH", allow_hyphen_values = true, help_heading = help::RUN)]
    overlap: Option<OsString>,

    /// The agent's socket [env: HUME_SOCKET] [default: /run/hume/hume.sock]
    #[arg(long, value_name = "PATH", allow_hyphen_values = true, help_heading = crate::help::HOW)]
    socket: Option<OsString>,

    /// Longest wait in milliseconds for each event [env: HUME_RECVTIMEOUT] [default: 250]
    #[arg(long, value_name = "MS", allow_hyphen_values = true, help_heading = crate::help::HOW)]
    recv_timeout: Option<OsString>,

    /// Token of the agent's socket [env: HUME_TOKEN]
    ///
    /// Better in the environment, where `ps` does not show it.
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true, help_heading = crate::help::HOW)]
    auth_token: Option<OsString>,

    /// Say on stderr what became of both events
    #[arg(long, help_heading = crate::help::HOW)]
    verbose: bool,

    /// This help: -h the short one, --help with examples, exit codes and environment
    #[arg(short, long, action = ArgAction::Help, help_heading = crate::help::HOW)]
    help: Option<bool>,

    /// The version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = crate::help::HOW)]
    version: Option<bool>,
}

/// What was asked for, judged.
#[derive(Clone)]
pub(super) struct Wishes {
    /// What goes with both events, except the text and the extras, which are the start's.
    pub(super) event: Args,
    /// Not empty.
    pub(super) command: Vec<OsString>,
    /// Silent unless it fails.
    pub(super) is_chronic: bool,
    /// Longest time.
    pub(super) timeout: Option<Duration>,
    /// From SIGTERM to SIGKILL.
    pub(super) kill_after: Duration,
    /// Bytes of output for the stop event.
    pub(super) tail_bytes: usize,
    /// They are wanted even when the command ends well.
    pub(super) wants_tail_always: bool,
    /// What to do while the task runs already; none for what the agent is configured for.
    pub(super) overlap: Option<Overlap>,
}

/// Reads a command line, the word `exec` first.
///
/// # Errors
/// [`UsageError`]: the command must not be run then.
pub(super) fn parse(words: &[OsString]) -> Result<Result<Wishes, Page>, UsageError> {
    if words.len() < 2 {
        return Err(UsageError::Empty { help: ExecArgs::command().render_help().to_string() });
    }
    match ExecArgs::try_parse_from(words) {
        Ok(args) => args.judged().map(Ok),
        Err(error) => page_or_error(PROGRAM, error).map(Err),
    }
}

impl ExecArgs {
    fn judged(self) -> Result<Wishes, UsageError> {
        let ExecArgs {
            command,
            task,
            message,
            tags,
            extra,
            append_pstree,
            hostname,
            run_id,
            chronic: is_chronic,
            timeout,
            kill_after,
            tail,
            overlap,
            socket,
            recv_timeout,
            auth_token,
            verbose,
            help: _,
            version: _,
        } = self;
        // An unquoted variable that is empty, and the end of the options took its place.
        if task.as_deref() == Some(OsStr::new("--")) {
            return Err(no_task());
        }
        if command.is_empty() {
            return Err(refusal("no command: write it and its arguments after --".to_owned()));
        }
        let limit = judged("--timeout", timeout.as_deref(), "a time: write 90s, 1h30m or 2d", limit)?;
        let pause = judged("--kill-after", kill_after.as_deref(), "a time: write 10s or 1m", time)?;
        let bytes = judged("--tail", tail.as_deref(), "a number of bytes", bytes_count)?;
        let overlap = judged("--overlap", overlap.as_deref(), "allow, warn or forbid", Overlap::from_word)?;
        let event = Args {
            task,
            message: message.into_iter().collect(),
            tags,
            extra,
            append_pstree,
            hostname,
            run_id,
            socket,
            recv_timeout,
            auth_token,
            verbose,
            ..Args::default()
        };
        Ok(Wishes {
            event,
            command,
            is_chronic,
            timeout: limit,
            kill_after: pause.unwrap_or(KILL_AFTER),
            tail_bytes: bytes.unwrap_or(TAIL_BYTES).min(TAIL_BYTES_MAX),
            wants_tail_always: bytes.is_some(),
            overlap,
        })
    }
}

/// The one thing that must be known of a command.
pub(super) fn no_task() -> UsageError {
    refusal("no task: give it by -t TASK, or in HUME_TASKNAME or HTASK".to_owned())
}

fn refusal(what: String) -> UsageError {
    UsageError::Option { program: PROGRAM, what, hint: "`hume exec -h` lists the options".to_owned() }
}

/// The value of an option, when it is given and what it should be.
fn judged<T>(
    option: &str,
    word: Option<&OsStr>,
    wanted: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, UsageError> {
    let Some(word) = word else { return Ok(None) };
    match word.to_str().and_then(|text| read(text.trim())) {
        Some(value) => Ok(Some(value)),
        None => Err(refusal(format!("`{}` for {option} is not {wanted}", word.to_string_lossy()))),
    }
}

/// No time at all is no limit that anybody could mean.
fn limit(text: &str) -> Option<Duration> {
    time(text).filter(|limit| !limit.is_zero())
}

fn time(text: &str) -> Option<Duration> {
    duration::parse(text)
}

fn bytes_count(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(words: &[&str]) -> Result<Wishes, String> {
        let words: Vec<OsString> =
            std::iter::once("exec").chain(words.iter().copied()).map(Into::into).collect();
        match parse(&words) {
            Ok(Ok(wishes)) => Ok(wishes),
            Ok(Err(_)) => panic!("a page"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_definition_of_the_options_is_sound() {
        ExecArgs::command().debug_assert();
    }

    #[test]
    fn everything_behind_the_command_is_the_commands() {
        for words in [
            &["-t", "X", "--", "tar", "-t", "--chronic", "--", "y"][..],
            &["-t", "X", "tar", "-t", "--chronic", "--", "y"],
        ] {
            let wishes = wishes(words).ok().unwrap();
            assert_eq!(wishes.command, ["tar", "-t", "--chronic", "--", "y"], "{words:?}");
            assert!(!wishes.is_chronic);
            assert_eq!(wishes.event.task.unwrap(), "X");
        }
    }

    #[test]
    fn without_options_the_defaults_hold() {
        let wishes = wishes(&["true"]).ok().unwrap();
        assert_eq!((wishes.timeout, wishes.kill_after), (None, KILL_AFTER));
        assert_eq!((wishes.tail_bytes, wishes.wants_tail_always), (TAIL_BYTES, false));
        assert!(wishes.overlap.is_none() && wishes.event.task.is_none());
    }

    #[test]
    fn what_decides_about_the_command_is_judged() {
        let words = ["--timeout", "1h30m", "--kill-after", "0s", "--tail", "0", "--overlap", "forbid", "x"];
        let wishes = wishes(&words).ok().unwrap();
        assert_eq!(wishes.timeout, Some(Duration::from_mins(90)));
        assert_eq!((wishes.kill_after, wishes.tail_bytes), (Duration::ZERO, 0));
        assert_eq!((wishes.wants_tail_always, wishes.overlap), (true, Some(Overlap::Forbid)));
    }

    #[test]
    fn a_tail_is_at_most_what_fits_into_a_message() {
        assert_eq!(wishes(&["--tail", "99999", "x"]).ok().unwrap().tail_bytes, TAIL_BYTES_MAX);
    }

    #[test]
    fn a_bad_value_is_refused_with_option_and_example() {
        for (words, said) in [
            (&["--timeout", "90", "x"][..], "`90` for --timeout is not a time: write 90s, 1h30m or 2d"),
            (&["--timeout", "0s", "x"], "`0s` for --timeout is not a time"),
            (&["--timeout", "--", "x"], "`--` for --timeout is not a time"),
            (&["--kill-after", "soon", "x"], "`soon` for --kill-after is not a time"),
            (&["--tail", "-1", "x"], "`-1` for --tail is not a number of bytes"),
            (&["--tail", "4k", "x"], "`4k` for --tail is not a number of bytes"),
            (&["--overlap", "never", "x"], "`never` for --overlap is not allow, warn or forbid"),
            (&["-t", "X"], "no command: write it and its arguments after --"),
            (&["-t", "X", "--"], "no command: "),
            (&["-t", "--", "x"], "no task: give it by -t TASK, or in HUME_TASKNAME or HTASK"),
            (&["--chronik", "x"], "unexpected argument '--chronik' found; did you mean `--chronic`?"),
            (&["-t"], "a value is required for '--task <TASK>'"),
        ] {
            let error = wishes(words).err().unwrap();
            assert!(error.starts_with(&format!("hume exec: {said}")), "{error}");
            assert!(error.ends_with("`hume exec -h` lists the options") && !error.contains('\n'), "{error}");
        }
    }
}
