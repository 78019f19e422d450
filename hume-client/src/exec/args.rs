//! The command line of `hume exec`: its options, and the command behind them.
//!
//! Values of the event are bytes here and none is judged, as in [`crate::args`]; those that decide what happens to the
//! command are judged here, and a bad one is a usage error: a command is not run with half of what was asked for.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use hume_core::policy::Overlap;

use super::duration;
use super::help;
use crate::args::{Args, UsageError, one_line};
use crate::options::{
    APPEND_PSTREE, AUTH_TOKEN, EXTRA, Given, HELP, HOSTNAME, Opt, Page, Program, RECV_TIMEOUT, SOCKET, TAGS,
    TASK, VERBOSE, VERSION, Words,
};

/// Bytes of output that go with the stop event when nothing else is said.
const TAIL_BYTES: usize = 4096;
/// Most bytes of output that go with the stop event: they fit into a message beside the line above them.
const TAIL_BYTES_MAX: usize = 12 * 1024;
/// Between SIGTERM and SIGKILL when nothing else is said.
const KILL_AFTER: Duration = Duration::from_secs(10);

const MESSAGE: Opt = Opt {
    name: "message",
    short: Some('m'),
    value: Some("TEXT"),
    help: "The text of the start event, in place of the command line",
    ..Opt::WHAT
};
const RUN_ID: Opt = Opt {
    name: "run-id",
    value: Some("KEY"),
    help: "A key of your choice for the run [default: a new one]",
    ..Opt::WHAT
};
const RUN: Opt = Opt { heading: "How to run it", ..Opt::WHAT };
const CHRONIC: Opt = Opt {
    name: "chronic",
    help: "Print nothing unless the command fails",
    more: "Then everything it wrote, in its order and to the stream it was meant for. Of more than\n\
           1 MiB the beginning and the end.",
    ..RUN
};
const TIMEOUT: Opt = Opt {
    name: "timeout",
    value: Some("TIME"),
    help: "Longest time, such as 90s, 1h30m or 2d: then SIGTERM",
    more: "The command and its descendants get it; who made himself a daemon is none.",
    ..RUN
};
const KILL_AFTER_TERM: Opt = Opt {
    name: "kill-after",
    value: Some("TIME"),
    help: "Time from SIGTERM to SIGKILL [default: 10s]",
    ..RUN
};
const TAIL: Opt = Opt {
    name: "tail",
    value: Some("BYTES"),
    help: "Bytes of the output's end for the stop event [default: 4096]",
    more: "At most 12288. They are sent when the command failed, and always when this option is\n\
           given. With 0 the command has our streams untouched.",
    ..RUN
};
const OVERLAP: Opt = Opt {
    name: "overlap",
    value: Some("WISH"),
    help: "When the task runs already: allow, warn or forbid [default: the agent's policy]",
    more: "With forbid the command does not begin, and the exit code is 75. An agent that is away\n\
           or slow forbids nothing.",
    ..RUN
};
const WORDS: Words = Words {
    name: "COMMAND",
    help: "The command and its arguments, as they are: no shell reads them",
    end_options: true,
};

const PROGRAM: Program = Program {
    name: "hume exec",
    usage: "hume exec [OPTIONS] [-t TASK] -- COMMAND [ARG]...",
    about: help::ABOUT,
    examples: help::EXAMPLES,
    after_short: help::AFTER_SHORT,
    after_long: help::AFTER_LONG,
    options: &[
        TASK,
        MESSAGE,
        TAGS,
        EXTRA,
        APPEND_PSTREE,
        HOSTNAME,
        RUN_ID,
        CHRONIC,
        TIMEOUT,
        KILL_AFTER_TERM,
        TAIL,
        OVERLAP,
        SOCKET,
        RECV_TIMEOUT,
        AUTH_TOKEN,
        VERBOSE,
        HELP,
        VERSION,
    ],
    words: Some(WORDS),
    hint: "",
};

/// What was asked for, judged.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug, PartialEq))]
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
        return Err(UsageError::Empty { help: PROGRAM.short_help() });
    }
    match PROGRAM.read(words)? {
        Ok(given) => wishes(given).map(Ok),
        Err(page) => Ok(Err(page)),
    }
}

fn wishes(mut given: Given) -> Result<Wishes, UsageError> {
    let event = Args {
        message: given.value(&MESSAGE).into_iter().collect(),
        append_pstree: given.switch(&APPEND_PSTREE),
        run_id: given.value(&RUN_ID),
        ..Args::common(&mut given)
    };
    // An unquoted variable that is empty, and the end of the options took its place.
    if event.task.as_deref() == Some(OsStr::new("--")) {
        return Err(no_task());
    }
    let command = given.words(&WORDS);
    if command.is_empty() {
        return Err(PROGRAM.refusal("no command: write it and its arguments after --".to_owned()));
    }
    let timeout = judged(&mut given, &TIMEOUT, "a time: write 90s, 1h30m or 2d", limit)?;
    let kill_after = judged(&mut given, &KILL_AFTER_TERM, "a time: write 10s or 1m", duration::parse)?;
    let tail_bytes = judged(&mut given, &TAIL, "a number of bytes", number)?;
    let overlap = judged(&mut given, &OVERLAP, "allow, warn or forbid", Overlap::from_word)?;
    Ok(Wishes {
        event,
        command,
        is_chronic: given.switch(&CHRONIC),
        timeout,
        kill_after: kill_after.unwrap_or(KILL_AFTER),
        tail_bytes: tail_bytes.unwrap_or(TAIL_BYTES).min(TAIL_BYTES_MAX),
        wants_tail_always: tail_bytes.is_some(),
        overlap,
    })
}

/// The one thing that must be known of a command.
pub(super) fn no_task() -> UsageError {
    PROGRAM.refusal("no task: give it by -t TASK, or in HUME_TASKNAME or HTASK".to_owned())
}

/// The value of an option, when it is given and what it should be.
fn judged<T>(
    given: &mut Given,
    option: &Opt,
    wanted: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, UsageError> {
    let Some(word) = given.value(option) else { return Ok(None) };
    let value = word.to_str().and_then(|text| read(text.trim()));
    value.map(Some).ok_or_else(|| {
        let (word, name) = (one_line(&word.to_string_lossy()), option.name);
        PROGRAM.refusal(format!("`{word}` for --{name} is not {wanted}"))
    })
}

/// No time at all is no limit that anybody could mean.
fn limit(text: &str) -> Option<Duration> {
    duration::parse(text).filter(|limit| !limit.is_zero())
}

fn number(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::plain::tests::{both, command_lines};
    use proptest::prelude::*;

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
        PROGRAM.command().debug_assert();
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn what_is_read_by_hand_is_what_clap_would_have_read(words in command_lines(&PROGRAM)) {
            if let Some((plain, by_clap)) = both(&PROGRAM, &words) {
                prop_assert_eq!(super::wishes(plain), super::wishes(by_clap));
            }
        }
    }
}
