//! The command line of `hume`: which options there are, and which of them contradict each other.
//!
//! Values are bytes here and none is judged: [`crate::draft`] makes any value fit. The help is in [`crate::help`].

use std::ffi::{OsStr, OsString};

use hume_core::event::Command;

use crate::help;
use crate::options::{
    APPEND_PSTREE, AUTH_TOKEN, EXTRA, Given, HELP, HOSTNAME, Opt, Page, Program, RECV_TIMEOUT, SOCKET,
    STRICT, TAGS, TASK, VERBOSE, VERSION, Words,
};

/// First words that are kept for other work than reporting, and never taken for a message.
pub(crate) const RESERVED: [&str; 5] = ["template", "sign", "verify", "maint", "doctor"];

const MESSAGE: Opt = Opt {
    name: "message",
    short: Some('m'),
    value: Some("TEXT"),
    is_list: true,
    help: "The text of the event; `-` reads it from stdin",
    more: "In place of the words at the end. From stdin everything is read, the end of the last\n\
           line is taken off, and the first 16 KiB are kept.",
    ..Opt::WHAT
};
const LEVEL: Opt = Opt {
    name: "level",
    short: Some('L'),
    value: Some("LEVEL"),
    help: "debug, info, ok, warning, error, critical or unknown [default: info]",
    ..Opt::WHAT
};
const COMMAND: Opt = Opt {
    name: "hume-cmd",
    short: Some('c'),
    value: Some("COMMAND"),
    help: "What it does to the run: counter-start, -pause, -stop or -reset",
    more: "counter-start opens a run of the task, or resumes a paused one; counter-pause stops its\n\
           clock; counter-stop closes it; counter-reset starts its clock anew, and what was before\n\
           no longer counts. Each of them needs a task.",
    ..Opt::WHAT
};
const DETACH: Opt = Opt {
    name: "detach",
    help: "With counter-start: the script may end before the run does",
    more: "The end of the process that starts the run then says nothing about the run, and only its\n\
           stop or its longest time ends it.",
    ..Opt::WHAT
};
const EXPECT: Opt = Opt {
    name: "expect",
    value: Some("WHEN"),
    help: "When the task is expected, such as '30 2 * * *'; `hume watch` says more",
    ..Opt::WHAT
};
const FLAG: Opt =
    Opt { name: "flag", value: Some("NAME"), help: "Set a mark on the run's time line", ..Opt::WHAT };
const EXIT: Opt = Opt { name: "exit", value: Some("N"), help: "The exit code of the job", ..Opt::WHAT };
/// The key of a run, for those that join one.
pub(crate) const RUN_ID: Opt = Opt {
    name: "run-id",
    value: Some("KEY"),
    help: "A key of your choice for the run to join or open [env: HUME_RUN_ID]",
    more: "Not needed where the calls come from one script: the agent finds the run by the calling\n\
           processes. A key joins what they cannot tell, such as parts of a job in two services.",
    ..Opt::WHAT
};
const WORDS: Words = Words {
    name: "MESSAGE",
    help: "The text of the event; several words are joined by spaces",
    end_options: false,
};

const PROGRAM: Program = Program {
    name: "hume",
    usage: "hume [OPTIONS] [MESSAGE]...",
    about: help::ABOUT,
    examples: help::EXAMPLES,
    after_short: help::AFTER_SHORT,
    after_long: help::AFTER_LONG,
    options: &[
        MESSAGE,
        TASK,
        LEVEL,
        COMMAND,
        DETACH,
        TAGS,
        EXTRA,
        EXPECT,
        FLAG,
        EXIT,
        APPEND_PSTREE,
        HOSTNAME,
        RUN_ID,
        SOCKET,
        RECV_TIMEOUT,
        AUTH_TOKEN,
        STRICT,
        VERBOSE,
        HELP,
        VERSION,
    ],
    words: Some(WORDS),
    hint: "; a message that starts with a dash goes after -m or --",
};

/// What was asked for on the command line, before any value is looked at.
#[derive(Clone, Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct Args {
    /// Words that are no option: the text of the event.
    pub(crate) words: Vec<OsString>,
    /// The text of the event, each time it was given by an option.
    pub(crate) message: Vec<OsString>,
    pub(crate) task: Option<OsString>,
    pub(crate) level: Option<OsString>,
    /// What it does to the run.
    pub(crate) command: Option<OsString>,
    pub(crate) detach: bool,
    pub(crate) tags: Vec<OsString>,
    pub(crate) extra: Vec<OsString>,
    pub(crate) flag: Option<OsString>,
    pub(crate) exit: Option<OsString>,
    pub(crate) append_pstree: bool,
    pub(crate) hostname: Option<OsString>,
    pub(crate) run_id: Option<OsString>,
    pub(crate) socket: Option<OsString>,
    pub(crate) recv_timeout: Option<OsString>,
    pub(crate) auth_token: Option<OsString>,
    pub(crate) strict: bool,
    pub(crate) verbose: bool,
    /// The last option came without its value.
    pub(crate) value_is_missing: bool,
}

/// What to do, as far as the command line goes.
pub(crate) enum Asked {
    /// Report an event.
    Report(Box<Args>),
    /// Print a page.
    Show(Page),
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
    /// Something was to be run, and `hume` would have made a message of it.
    #[error("hume: {what}; to send the words as a message, put them in quotes after -m")]
    NotRun {
        /// Why nothing would run.
        what: String,
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
pub(crate) fn parse(words: &[OsString]) -> Result<Asked, UsageError> {
    let Some(first) = words.get(1) else {
        return Err(UsageError::Empty { help: PROGRAM.short_help() });
    };
    if let Some(word) = RESERVED.into_iter().find(|word| first == OsStr::new(word)) {
        return Err(UsageError::Reserved { word });
    }
    match PROGRAM.read_leniently(words)? {
        Ok((given, value_is_missing)) => {
            let args = Args { value_is_missing, ..Args::of(given) };
            match not_run(words, &args.words) {
                Some(what) => Err(UsageError::NotRun { what }),
                None => args.checked(),
            }
        }
        Err(page) => Ok(Asked::Show(page)),
    }
}

/// Programs that are named by the first word.
const PROGRAMS: [&str; 2] = ["exec", "pipe"];

/// Why a command after `--` would not run, though somebody thinks so: the name of the program is not the first word, or
/// has a slip in it. `said` are the words that are no option.
fn not_run(words: &[OsString], said: &[OsString]) -> Option<String> {
    let end = words.iter().position(|word| word == OsStr::new("--"))?;
    let before = words.get(1..end)?;
    let first = before.first()?.to_string_lossy();
    if let Some(name) = PROGRAMS.into_iter().find(|name| strsim::osa_distance(&first, name) == 1) {
        return Some(format!("there is no `hume {}`; did you mean `hume {name}`", one_line(&first)));
    }
    let name = PROGRAMS.into_iter().find(|name| said.first().is_some_and(|word| word == OsStr::new(name)))?;
    let is_before = before.last().is_some_and(|word| word == OsStr::new(name));
    is_before.then(|| format!("`{name}` is to be the first word: `hume {name} [OPTIONS] -- …`"))
}

impl Args {
    fn of(mut given: Given) -> Args {
        let mut args = Args {
            words: given.words(&WORDS),
            message: given.list(&MESSAGE),
            level: given.value(&LEVEL),
            command: given.value(&COMMAND),
            detach: given.switch(&DETACH),
            flag: given.value(&FLAG),
            exit: given.value(&EXIT),
            append_pstree: given.switch(&APPEND_PSTREE),
            run_id: given.value(&RUN_ID),
            strict: given.switch(&STRICT),
            ..Args::common(&mut given)
        };
        if let Some(when) = given.value(&EXPECT) {
            // As `-x` has it: the agent and the master know this extra.
            let mut extra = OsString::from("hume.expect=");
            extra.push(when);
            args.extra.insert(0, extra);
        }
        args
    }

    /// What all programs of hume have in common.
    pub(crate) fn common(given: &mut Given) -> Args {
        Args {
            task: given.value(&TASK),
            tags: given.list(&TAGS),
            extra: given.list(&EXTRA),
            hostname: given.value(&HOSTNAME),
            socket: given.value(&SOCKET),
            recv_timeout: given.value(&RECV_TIMEOUT),
            auth_token: given.value(&AUTH_TOKEN),
            verbose: given.switch(&VERBOSE),
            ..Args::default()
        }
    }

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

/// `text` without anything that could end the line or steer a terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::plain::tests::{both, command_lines};
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt as _;

    fn args(words: &[&str]) -> Result<Args, UsageError> {
        let words: Vec<OsString> =
            std::iter::once("hume").chain(words.iter().copied()).map(OsString::from).collect();
        match parse(&words)? {
            Asked::Report(args) => Ok(*args),
            Asked::Show(_) => panic!("a page"),
        }
    }

    fn text(words: &[&str]) -> String {
        args(words).unwrap().text().unwrap().into_string().unwrap()
    }

    #[test]
    fn the_definition_of_the_options_is_sound() {
        PROGRAM.command().debug_assert();
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
    fn a_command_that_would_not_run_is_refused_and_a_message_never_is() {
        for words in [
            &["exce", "-t", "X", "--", "touch", "f"][..],
            &["pip", "--", "x"],
            &["-t", "X", "exec", "--", "touch", "f"],
            &["--strict", "pipe", "--"],
        ] {
            assert!(matches!(args(words), Err(UsageError::NotRun { .. })), "{words:?}");
        }
        let error = args(&["exce", "--", "x"]).err().unwrap().to_string();
        assert!(error.starts_with("hume: there is no `hume exce`; did you mean `hume exec`; "), "{error}");
        for words in [
            &["exce", "failed"][..],
            &["-m", "exec", "--", "x"],
            &["-t", "X", "--", "exec", "failed"],
            &["all", "--", "x"],
        ] {
            assert!(!matches!(args(words), Err(UsageError::NotRun { .. })), "{words:?}");
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
        let Ok(Asked::Report(args)) = parse(&["hume".into(), "-t".into(), raw.clone(), raw.clone()]) else {
            panic!("refused");
        };
        assert_eq!((args.task.as_ref(), args.text()), (Some(&raw), Some(raw.clone())));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn what_is_read_by_hand_is_what_clap_would_have_read(words in command_lines(&PROGRAM)) {
            if let Some((plain, by_clap)) = both(&PROGRAM, &words) {
                prop_assert_eq!(Args::of(plain), Args::of(by_clap));
            }
        }
    }

    #[test]
    fn what_scripts_write_is_read_by_hand() {
        for line in [
            "hume -c counter-start -t BACKUP -T cron,night -m started",
            "hume --task=BACKUP --level error -x mount=/srv -x free:0 --strict disk is full",
            "hume --flag dumped --exit 1 -a --detach --hostname=web1 --run-id k --verbose",
            "hume -t X --socket /s --recv-timeout 5 --auth-token=t -- --- done ---",
            "hume -m -",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(both(&PROGRAM, &words).is_some(), "{line}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_clap() {
        for line in
            ["hume -h", "hume x --version", "hume --levl error", "hume -tX", "hume -aa", "hume -t", "hume -"]
        {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(both(&PROGRAM, &words).is_none(), "{line}");
        }
    }
}
