//! The command line: which options there are, and which of them contradict each other.
//!
//! Values are bytes here and none is judged: [`crate::draft`] makes any value fit. The help is in [`crate::help`].

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory as _, Parser};
use hume_core::event::Command;

use crate::help;

/// The name of the program in what it says.
const PROGRAM: &str = "hume";
/// First words that are kept for other work than reporting, and never taken for a message.
pub(crate) const RESERVED: [&str; 6] = ["template", "sign", "verify", "watch", "maint", "doctor"];

/// What was asked for on the command line, before any value is looked at.
#[derive(Clone, Default, Parser)]
#[command(
    name = "hume",
    version,
    // The lines are written to fit; together with the other programs clap would wrap them once more.
    term_width = 0,
    about = help::ABOUT,
    before_long_help = help::EXAMPLES,
    after_help = help::AFTER_SHORT,
    after_long_help = help::AFTER_LONG,
    help_template = help::TEMPLATE,
    override_usage = "hume [OPTIONS] [MESSAGE]...",
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 100
)]
#[expect(clippy::doc_markdown, reason = "the comments are the text of the help, which is no markdown")]
pub(crate) struct Args {
    /// The text of the event; several words are joined by spaces
    #[arg(value_name = "MESSAGE", hide_short_help = true)]
    pub(crate) words: Vec<OsString>,

    /// The text of the event; `-` reads it from stdin
    ///
    /// In place of the words at the end. From stdin everything is read, the end of the last
    /// line is taken off, and the first 16 KiB are kept.
    #[arg(verbatim_doc_comment, short, long, value_name = "TEXT", allow_hyphen_values = true, help_heading = help::WHAT)]
    pub(crate) message: Vec<OsString>,

    /// The job it is about [env: HUME_TASKNAME, then HTASK]
    #[arg(short, long, value_name = "TASK", allow_hyphen_values = true, help_heading = help::WHAT)]
    pub(crate) task: Option<OsString>,

    /// debug, info, ok, warning, error, critical or unknown [default: info]
    #[arg(short = 'L', long, value_name = "LEVEL", allow_hyphen_values = true, help_heading = help::WHAT)]
    pub(crate) level: Option<OsString>,

    /// What it does to the run: counter-start, -pause, -stop or -reset
    ///
    /// counter-start opens a run of the task, or resumes a paused one; counter-pause stops its
    /// clock; counter-stop closes it; counter-reset starts its clock anew, and what was before
    /// no longer counts. Each of them needs a task.
    #[arg(
        verbatim_doc_comment,
        short = 'c',
        long = "hume-cmd",
        value_name = "COMMAND",
        allow_hyphen_values = true,
        help_heading = help::WHAT
    )]
    pub(crate) command: Option<OsString>,

    /// With counter-start: the script may end before the run does
    ///
    /// The end of the process that starts the run then says nothing about the run, and only its
    /// stop or its longest time ends it.
    #[arg(verbatim_doc_comment, long, help_heading = help::WHAT)]
    pub(crate) detach: bool,

    /// Labels, separated by commas; may be repeated [env: HUME_TAGS, HTAGS: added]
    #[arg(short = 'T', long, value_name = "TAGS", allow_hyphen_values = true, help_heading = help::WHAT)]
    pub(crate) tags: Vec<OsString>,

    /// One more fact, as KEY=VALUE or KEY:VALUE; may be repeated
    ///
    /// The first `=` or `:` ends the key.
    #[arg(short = 'x', long, value_name = "K=V", allow_hyphen_values = true, help_heading = help::WHAT)]
    pub(crate) extra: Vec<OsString>,

    /// Set a mark on the run's time line
    #[arg(long, value_name = "NAME", allow_hyphen_values = true, help_heading = help::WHAT)]
    pub(crate) flag: Option<OsString>,

    /// The exit code of the job
    #[arg(long, value_name = "N", allow_hyphen_values = true, help_heading = help::WHAT)]
    pub(crate) exit: Option<OsString>,

    /// Add the tree of calling processes, with their command lines
    #[arg(short, long, help_heading = help::WHAT)]
    pub(crate) append_pstree: bool,

    /// Report for another host than this one
    #[arg(long, value_name = "HOST", allow_hyphen_values = true, help_heading = help::WHAT)]
    pub(crate) hostname: Option<OsString>,

    /// A key of your choice for the run to join or open [env: HUME_RUN_ID]
    ///
    /// Not needed where the calls come from one script: the agent finds the run by the calling
    /// processes. A key joins what they cannot tell, such as parts of a job in two services.
    #[arg(verbatim_doc_comment, long, value_name = "KEY", allow_hyphen_values = true, help_heading = help::WHAT)]
    pub(crate) run_id: Option<OsString>,

    /// The agent's socket [env: HUME_SOCKET] [default: /run/hume/hume.sock]
    #[arg(long, value_name = "PATH", allow_hyphen_values = true, help_heading = help::HOW)]
    pub(crate) socket: Option<OsString>,

    /// Longest wait in milliseconds [env: HUME_RECVTIMEOUT] [default: 250]
    ///
    /// For connecting, sending and the answer together.
    #[arg(long, value_name = "MS", allow_hyphen_values = true, help_heading = help::HOW)]
    pub(crate) recv_timeout: Option<OsString>,

    /// Token of the agent's socket [env: HUME_TOKEN]
    ///
    /// Better in the environment, where `ps` does not show it.
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true, help_heading = help::HOW)]
    pub(crate) auth_token: Option<OsString>,

    /// Let the exit code tell what went wrong [env: HUME_STRICT]
    #[arg(long, help_heading = help::HOW)]
    pub(crate) strict: bool,

    /// Say on stderr what became of the event
    #[arg(long, help_heading = help::HOW)]
    pub(crate) verbose: bool,

    /// This help: -h the short one, --help with examples, exit codes and environment
    #[arg(short, long, action = ArgAction::Help, help_heading = help::HOW)]
    pub(crate) help: Option<bool>,

    /// The version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = help::HOW)]
    pub(crate) version: Option<bool>,

    /// The last option came without its value.
    #[arg(skip)]
    pub(crate) value_is_missing: bool,
}

/// What to do, as far as the command line goes.
pub(crate) enum Asked {
    /// Report an event.
    Report(Box<Args>),
    /// Print a page.
    Show(Page),
}

/// The help or the version, for stdout.
pub(crate) struct Page(clap::Error);

impl Page {
    /// Prints it. A reader that has seen enough closes its end; that is no failure.
    pub(crate) fn print(&self) {
        let _ = self.0.print();
    }
}

/// The options themselves are wrong; nothing can be stored.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    /// There is nothing to report.
    #[error("{help}")]
    Empty {
        /// The short help.
        help: String,
    },
    /// The first word belongs to another program of hume.
    #[error(
        "hume: `{word}` is not part of this version; to send the word as a message, write `hume -m {word}`"
    )]
    Reserved {
        /// The word.
        word: &'static str,
    },
    /// There is no such option.
    #[error("{program}: {what}; {hint}")]
    Option {
        /// Which program was called.
        program: &'static str,
        /// What the parser found.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// Two messages were given.
    #[error(
        "hume: two different messages were given: give one, by -m or as the last words; `hume -h` lists the options"
    )]
    Messages,
    /// Something else than a start was to be detached.
    #[error("hume: --detach belongs to -c counter-start only; `hume -h` lists the options")]
    Detach,
}

/// Reads a command line, the program's own name first.
///
/// # Errors
/// [`UsageError`] for unknown and contradictory options, never for a value.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Asked, UsageError> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let Some(first) = words.get(1) else {
        return Err(UsageError::Empty { help: Args::command().render_help().to_string() });
    };
    if let Some(word) = RESERVED.into_iter().find(|word| first == OsStr::new(word)) {
        return Err(UsageError::Reserved { word });
    }
    match Args::try_parse_from(&words) {
        Ok(args) => args.checked(),
        // An unquoted variable that is empty takes the value away from the last option: not a reason to stop the script.
        Err(error) if error.kind() == ErrorKind::InvalidValue => {
            words.push(OsString::new());
            let mut args = Args::try_parse_from(&words).map_err(|_| option_error(PROGRAM, &error))?;
            args.value_is_missing = true;
            args.checked()
        }
        Err(error) => page_or_error(PROGRAM, error).map(Asked::Show),
    }
}

/// What the parser answers in place of options: a page that was asked for, or what is wrong with them.
pub(crate) fn page_or_error(program: &'static str, error: clap::Error) -> Result<Page, UsageError> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Page(error)),
        _ => Err(option_error(program, &error)),
    }
}

impl Args {
    /// The message, as it was given: by `-m` or as words.
    pub(crate) fn text(&self) -> Option<OsString> {
        match (self.message.first(), self.words.is_empty()) {
            (Some(text), _) => Some(text.clone()),
            (None, true) => None,
            (None, false) => Some(self.words.join(OsStr::new(" "))),
        }
    }

    /// The message is to be read from stdin.
    pub(crate) fn text_is_on_stdin(&self) -> bool {
        self.message.first().is_some_and(|text| text == OsStr::new("-"))
    }

    /// A word that is no command at all is a value, which stops no script.
    fn is_known_not_to_start(&self) -> bool {
        let Some(word) = &self.command else { return true };
        let word = word.to_string_lossy().trim().to_ascii_lowercase();
        Command::from_word(&word).is_some_and(|command| command != Command::CounterStart)
    }

    fn checked(self) -> Result<Asked, UsageError> {
        let joined = (!self.words.is_empty()).then(|| self.words.join(OsStr::new(" ")));
        let mut texts = self.message.iter().chain(joined.as_ref());
        let first = texts.next();
        if texts.any(|text| Some(text) != first) {
            return Err(UsageError::Messages);
        }
        if self.detach && self.is_known_not_to_start() {
            return Err(UsageError::Detach);
        }
        Ok(Asked::Report(Box::new(self)))
    }
}

/// One line of the parser's several, and what to do about it.
fn option_error(program: &'static str, error: &clap::Error) -> UsageError {
    let text = error.to_string();
    let what = text.lines().next().unwrap_or("the options are not understood");
    let nearest = [ContextKind::SuggestedArg, ContextKind::SuggestedValue].into_iter().find_map(|kind| {
        match error.get(kind) {
            Some(ContextValue::String(word)) => Some(word.clone()),
            Some(ContextValue::Strings(words)) => words.first().cloned(),
            _ => None,
        }
    });
    let list = format!("`{program} -h` lists the options");
    let hint = match nearest {
        Some(word) => format!("did you mean `{word}`? {list}"),
        None if program == PROGRAM => {
            format!("{list}; a message that starts with a dash goes after -m or --")
        }
        None => list,
    };
    UsageError::Option { program, what: one_line(what.strip_prefix("error: ").unwrap_or(what)), hint }
}

/// `text` without anything that could end the line or steer a terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    fn args(words: &[&str]) -> Result<Args, UsageError> {
        let words = std::iter::once("hume").chain(words.iter().copied()).map(OsString::from);
        match parse(words)? {
            Asked::Report(args) => Ok(*args),
            Asked::Show(_) => panic!("a page"),
        }
    }

    fn text(words: &[&str]) -> String {
        args(words).unwrap().text().unwrap().into_string().unwrap()
    }

    #[test]
    fn the_definition_of_the_options_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_message_is_given_by_option_or_as_words() {
        assert_eq!(text(&["-m", "hi"]), "hi");
        assert_eq!(text(&["hi"]), "hi");
        assert_eq!(text(&["-t", "X", "disk", "is", "full", "-L", "error"]), "disk is full");
        assert_eq!(text(&["-t", "X", "--", "--- done ---"]), "--- done ---");
        assert!(args(&["-t", "X"]).unwrap().text().is_none());
    }

    #[test]
    fn two_different_messages_contradict_each_other_and_the_same_one_twice_does_not() {
        for words in [&["-m", "a", "b"][..], &["-m", "a", "-m", "b"], &["a", "-m", "b"]] {
            assert!(matches!(args(words), Err(UsageError::Messages)), "{words:?}");
        }
        assert_eq!(text(&["-m", "a", "a"]), "a");
        assert_eq!(text(&["-m", "a", "-m", "a"]), "a");
    }

    #[test]
    fn a_value_may_start_with_dashes_and_even_be_the_end_of_options() {
        assert_eq!(text(&["-m", "--- done ---"]), "--- done ---");
        assert_eq!(text(&["-m", "-t"]), "-t");
        assert_eq!(text(&["-m", "--"]), "--");
        assert_eq!(text(&["--message=-5"]), "-5");
        assert_eq!(text(&["--message="]), "");
        assert_eq!(args(&["-L", "-1", "-x", "-a=b"]).unwrap().level.unwrap(), "-1");
    }

    #[test]
    fn only_a_start_can_be_detached_and_a_bad_command_is_a_value() {
        for words in [&["--detach", "-t", "X"][..], &["--detach", "-t", "X", "-c", "Counter-Stop"]] {
            assert!(matches!(args(words), Err(UsageError::Detach)), "{words:?}");
        }
        for word in ["counter-start", " COUNTER-START", "counter-strat"] {
            assert!(args(&["--detach", "-t", "X", "-c", word]).unwrap().detach, "{word}");
        }
    }

    #[test]
    fn an_option_given_again_replaces_the_earlier_one() {
        assert_eq!(args(&["-t", "A", "-t", "B"]).unwrap().task.unwrap(), "B");
        assert!(args(&["--verbose", "--verbose", "-a", "-a"]).unwrap().verbose);
        assert_eq!(args(&["-T", "a", "-T", "b"]).unwrap().tags.len(), 2);
    }

    #[test]
    fn an_option_at_the_end_without_its_value_is_taken_as_empty() {
        let args = args(&["-m", "hi", "-t"]).unwrap();
        assert!(args.value_is_missing);
        assert_eq!(args.task.unwrap(), "");
    }

    #[test]
    fn an_unknown_option_is_refused_in_one_line_with_the_nearest_one() {
        let error = args(&["--levl", "error", "x"]).err().unwrap().to_string();
        assert_eq!(
            error,
            "hume: unexpected argument '--levl' found; did you mean `--level`? `hume -h` lists the options"
        );
        let error = args(&["-Z"]).err().unwrap().to_string();
        assert!(error.starts_with("hume: unexpected argument '-Z' found; `hume -h`"), "{error}");
        let error = args(&["--a\nb\u{1b}[31m"]).err().unwrap().to_string();
        assert!(!error.contains(['\n', '\u{1b}']), "{error:?}");
    }

    #[test]
    fn words_of_other_programs_are_reserved_only_in_the_first_place() {
        for word in RESERVED {
            assert_eq!(args(&[word, "x"]).err(), Some(UsageError::Reserved { word }));
            assert_eq!(text(&["-t", "X", word]), word);
            assert_eq!(text(&["-m", word]), word);
        }
    }

    #[test]
    fn nothing_at_all_shows_the_short_help() {
        let error = args(&[]).err().unwrap().to_string();
        assert!(error.contains("hume [OPTIONS] [MESSAGE]"), "{error}");
    }

    #[test]
    fn an_argument_of_any_bytes_is_a_value() {
        let raw = OsString::from_vec(vec![b'a', 0xff]);
        let Ok(Asked::Report(args)) = parse(["hume".into(), "-t".into(), raw.clone(), raw.clone()]) else {
            panic!("refused");
        };
        assert_eq!((args.task.as_ref(), args.text()), (Some(&raw), Some(raw.clone())));
    }
}
