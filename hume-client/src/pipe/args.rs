//! The command line of `hume pipe`: what all lines have in common, and how the level of each is found.

use std::ffi::OsString;

use super::help;
use super::levels::LevelFrom;
use crate::args::{Args, RUN_ID, UsageError, one_line};
use crate::options::{
    AUTH_TOKEN, EXTRA, Given, HELP, HOSTNAME, Opt, Page, Program, RECV_TIMEOUT, SOCKET, STRICT, TAGS, TASK,
    VERBOSE, VERSION,
};

const LEVEL: Opt = Opt {
    name: "level",
    short: Some('L'),
    value: Some("LEVEL"),
    help: "Level of lines that tell none: see `hume -h` [default: info]",
    ..Opt::WHAT
};
const LEVEL_FROM: Opt = Opt {
    name: "level-from",
    value: Some("SPEC"),
    help: "Where a line tells its level: prefix, json:FIELD or json:FIELD,message:FIELD",
    more: "prefix: a word at the beginning, `ERROR:`, `[warn]`, `WARN `, or a priority of syslog,\n\
           `<3>`, which is taken off. json: a field of the object that the line is, with a word or\n\
           a number, of syslog up to 7, of pino and bunyan from 10 on; the text is the field\n\
           message, msg or MESSAGE unless another one is named. Dots lead into objects.",
    ..Opt::WHAT
};
const TEE: Opt = Opt { name: "tee", help: "Pass everything on to stdout, byte by byte", ..Opt::HOW };

const PROGRAM: Program = Program {
    name: "hume pipe",
    usage: "COMMAND | hume pipe [OPTIONS] [-t TASK]",
    about: help::ABOUT,
    examples: help::EXAMPLES,
    after_short: help::AFTER_SHORT,
    after_long: help::AFTER_LONG,
    options: &[
        TASK,
        LEVEL,
        LEVEL_FROM,
        TAGS,
        EXTRA,
        HOSTNAME,
        RUN_ID,
        TEE,
        SOCKET,
        RECV_TIMEOUT,
        AUTH_TOKEN,
        STRICT,
        VERBOSE,
        HELP,
        VERSION,
    ],
    words: None,
    hint: "",
};

/// What was asked for.
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct Wishes {
    /// What all lines have in common.
    pub(super) event: Args,
    /// How the level of each is found.
    pub(super) level_from: LevelFrom,
    /// Everything is passed on.
    pub(super) is_tee: bool,
}

/// Reads a command line, the word `pipe` first.
///
/// # Errors
/// [`UsageError`] for unknown options and for a level that is nowhere to be found; never for a value of the event.
pub(super) fn parse(words: &[OsString]) -> Result<Result<Wishes, Page>, UsageError> {
    match PROGRAM.read_leniently(words)? {
        Ok((given, value_is_missing)) => wishes(given, value_is_missing).map(Ok),
        Err(page) => Ok(Err(page)),
    }
}

fn wishes(mut given: Given, value_is_missing: bool) -> Result<Wishes, UsageError> {
    let level_from = match given.value(&LEVEL_FROM) {
        None => LevelFrom::Nowhere,
        Some(spec) => spec.to_str().and_then(LevelFrom::parse).ok_or_else(|| {
            let spec = one_line(&spec.to_string_lossy());
            let wanted = "prefix, json:FIELD or json:FIELD,message:FIELD";
            PROGRAM.refusal(format!("`{spec}` for --level-from is not {wanted}"))
        })?,
    };
    let event = Args {
        level: given.value(&LEVEL),
        run_id: given.value(&RUN_ID),
        strict: given.switch(&STRICT),
        value_is_missing,
        ..Args::common(&mut given)
    };
    Ok(Wishes { event, level_from, is_tee: given.switch(&TEE) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::plain::tests::{both, command_lines};
    use proptest::prelude::*;

    fn wishes(words: &[&str]) -> Result<Wishes, String> {
        let words: Vec<OsString> =
            std::iter::once("pipe").chain(words.iter().copied()).map(Into::into).collect();
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
    fn without_options_lines_are_read_and_not_passed_on() {
        let wishes = wishes(&[]).ok().unwrap();
        assert!(!wishes.is_tee && wishes.event.task.is_none());
        assert_eq!(wishes.level_from, LevelFrom::Nowhere);
    }

    #[test]
    fn an_option_at_the_end_without_its_value_does_not_break_the_pipe() {
        let wishes = wishes(&["--tee", "-t"]).ok().unwrap();
        assert!(wishes.is_tee && wishes.event.value_is_missing);
        assert_eq!(wishes.event.task.unwrap(), "");
    }

    #[test]
    fn wrong_options_are_refused_in_one_line() {
        for (words, said) in [
            (&["--level-from", "colour"][..], "`colour` for --level-from is not prefix, json:FIELD or "),
            (&["--tea"], "unexpected argument '--tea' found; did you mean `--tee`?"),
            (&["file"], "unexpected argument 'file' found; `hume pipe -h` lists the options"),
        ] {
            let error = wishes(words).err().unwrap();
            assert!(error.starts_with(&format!("hume pipe: {said}")) && !error.contains('\n'), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn what_is_read_by_hand_is_what_clap_would_have_read(words in command_lines(&PROGRAM)) {
            if let Some((plain, by_clap)) = both(&PROGRAM, &words) {
                prop_assert_eq!(super::wishes(plain, false), super::wishes(by_clap, false));
            }
        }
    }
}
