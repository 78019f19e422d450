//! Options as rows of a table: how each is written, what it takes and what the help says of it. All programs share it.
//!
//! A row costs a few bytes where derived code costs two kilobytes, and `hume` is loaded for every event.

pub(crate) mod plain;

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::args::{UsageError, one_line};
use crate::help::{HOW, TEMPLATE, WHAT};
use plain::Plain;

/// One option.
#[derive(Clone, Copy)]
pub(crate) struct Opt {
    /// Its long form, without dashes.
    pub(crate) name: &'static str,
    /// Its short form.
    pub(crate) short: Option<char>,
    /// What its value is called; none for a switch.
    pub(crate) value: Option<&'static str>,
    /// It may be given more than once.
    pub(crate) is_list: bool,
    /// Under which heading the help has it.
    pub(crate) heading: &'static str,
    /// One line.
    pub(crate) help: &'static str,
    /// What the long help says below that line.
    pub(crate) more: &'static str,
}

impl Opt {
    /// Of the event.
    pub(crate) const WHAT: Opt =
        Opt { name: "", short: None, value: None, is_list: false, heading: WHAT, help: "", more: "" };
    /// Of the way.
    pub(crate) const HOW: Opt = Opt { heading: HOW, ..Opt::WHAT };

    /// It shows a page in place of all work.
    fn is_page(&self) -> bool {
        self.name == HELP.name || self.name == VERSION.name
    }

    fn arg(&self) -> Arg {
        let Opt { name, short, value, is_list, heading, help, more } = *self;
        let mut arg = Arg::new(name).long(name).help(help).help_heading(heading);
        if let Some(short) = short {
            arg = arg.short(short);
        }
        if !more.is_empty() {
            arg = arg.long_help(format!("{help}\n\n{more}"));
        }
        match (name, value) {
            ("help", _) => arg.action(ArgAction::Help),
            ("version", _) => arg.action(ArgAction::Version),
            (_, None) => arg.action(ArgAction::SetTrue),
            (_, Some(value)) => arg
                .value_name(value)
                .value_parser(ValueParser::os_string())
                .allow_hyphen_values(true)
                .action(if is_list { ArgAction::Append } else { ArgAction::Set }),
        }
    }
}

pub(crate) const TASK: Opt = Opt {
    name: "task",
    short: Some('t'),
    value: Some("TASK"),
    help: "The job it is about [env: HUME_TASKNAME, then HTASK]",
    ..Opt::WHAT
};
pub(crate) const TAGS: Opt = Opt {
    name: "tags",
    short: Some('T'),
    value: Some("TAGS"),
    is_list: true,
    help: "Labels, separated by commas; may be repeated [env: HUME_TAGS, HTAGS: added]",
    ..Opt::WHAT
};
pub(crate) const EXTRA: Opt = Opt {
    name: "extra",
    short: Some('x'),
    value: Some("K=V"),
    is_list: true,
    help: "One more fact, as KEY=VALUE or KEY:VALUE; may be repeated",
    more: "The first `=` or `:` ends the key.",
    ..Opt::WHAT
};
pub(crate) const APPEND_PSTREE: Opt = Opt {
    name: "append-pstree",
    short: Some('a'),
    help: "Add the tree of calling processes, with their command lines",
    ..Opt::WHAT
};
pub(crate) const HOSTNAME: Opt =
    Opt { name: "hostname", value: Some("HOST"), help: "Report for another host than this one", ..Opt::WHAT };
pub(crate) const SOCKET: Opt = Opt {
    name: "socket",
    value: Some("PATH"),
    help: "The agent's socket [env: HUME_SOCKET] [default: /run/hume/hume.sock]",
    ..Opt::HOW
};
pub(crate) const RECV_TIMEOUT: Opt = Opt {
    name: "recv-timeout",
    value: Some("MS"),
    help: "Longest wait in milliseconds [env: HUME_RECVTIMEOUT] [default: 250]",
    more: "For connecting, sending and the answer together.",
    ..Opt::HOW
};
pub(crate) const AUTH_TOKEN: Opt = Opt {
    name: "auth-token",
    value: Some("TOKEN"),
    help: "Token of the agent's socket [env: HUME_TOKEN]",
    more: "Better in the environment, where `ps` does not show it.",
    ..Opt::HOW
};
pub(crate) const STRICT: Opt =
    Opt { name: "strict", help: "Let the exit code tell what went wrong [env: HUME_STRICT]", ..Opt::HOW };
pub(crate) const VERBOSE: Opt = Opt { name: "verbose", help: "Say on stderr what became of it", ..Opt::HOW };
pub(crate) const HELP: Opt = Opt {
    name: "help",
    short: Some('h'),
    help: "This help: -h the short one, --help with examples, exit codes and environment",
    ..Opt::HOW
};
pub(crate) const VERSION: Opt = Opt { name: "version", short: Some('V'), help: "The version", ..Opt::HOW };

/// A program of ours, as its command line goes.
pub(crate) struct Program {
    /// How it is called, and what it calls itself.
    pub(crate) name: &'static str,
    /// How it is written.
    pub(crate) usage: &'static str,
    /// One line on what it is for.
    pub(crate) about: &'static str,
    /// First part of the long help.
    pub(crate) examples: &'static str,
    /// Last part of the short help.
    pub(crate) after_short: &'static str,
    /// Last part of the long help.
    pub(crate) after_long: &'static str,
    /// Its options, in the order of the help.
    pub(crate) options: &'static [Opt],
    /// Words that are no option, if it takes any.
    pub(crate) words: Option<Words>,
    /// What to do about an option that it does not know.
    pub(crate) hint: &'static str,
}

/// Words that are no option.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    /// What they are called.
    pub(crate) name: &'static str,
    /// One line.
    pub(crate) help: &'static str,
    /// From the first of them on, nothing is an option.
    pub(crate) end_options: bool,
}

/// The help or the version, for stdout.
pub(crate) struct Page(clap::Error);

impl Page {
    /// Prints it. A reader that has seen enough closes its end; that is no failure.
    pub(crate) fn print(&self) {
        let _ = self.0.print();
    }
}

impl Program {
    pub(crate) fn command(&self) -> Command {
        let words = self.words.map(|words| {
            let arg = Arg::new(words.name).value_parser(ValueParser::os_string()).action(ArgAction::Append);
            arg.num_args(1..).help(words.help).hide_short_help(true).trailing_var_arg(words.end_options)
        });
        Command::new(self.name)
            .version(env!("CARGO_PKG_VERSION"))
            // The lines are written to fit; together with the other programs clap would wrap them once more.
            .term_width(0)
            .max_term_width(100)
            .about(self.about)
            .before_long_help(self.examples)
            .after_help(self.after_short)
            .after_long_help(self.after_long)
            .help_template(TEMPLATE)
            .override_usage(self.usage)
            .args_override_self(true)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args(words)
            .args(self.options.iter().map(Opt::arg))
    }

    /// Reads a command line, the program's own name first.
    ///
    /// # Errors
    /// [`UsageError`] for what the table does not know.
    pub(crate) fn read(&self, words: &[OsString]) -> Result<Result<Given, Page>, UsageError> {
        match self.given(words) {
            Ok(given) => Ok(Ok(given)),
            Err(error) => self.page_or_error(error).map(Err),
        }
    }

    /// The same, where no missing value may stop anything: says too whether the last option came without its value, which
    /// an unquoted variable that is empty takes away.
    pub(crate) fn read_leniently(
        &self,
        words: &[OsString],
    ) -> Result<Result<(Given, bool), Page>, UsageError> {
        match self.given(words) {
            Ok(given) => Ok(Ok((given, false))),
            Err(error) if error.kind() == ErrorKind::InvalidValue => {
                let with_empty: Vec<OsString> = words.iter().cloned().chain([OsString::new()]).collect();
                match self.given_by_clap(&with_empty) {
                    Ok(given) => Ok(Ok((given, true))),
                    Err(_) => Err(self.error(&error)),
                }
            }
            Err(error) => self.page_or_error(error).map(Err),
        }
    }

    /// What almost all calls are made of is read without clap.
    fn given(&self, words: &[OsString]) -> Result<Given, clap::Error> {
        plain::read(self, words).map_or_else(|| self.given_by_clap(words), |plain| Ok(Given::Plain(plain)))
    }

    fn given_by_clap(&self, words: &[OsString]) -> Result<Given, clap::Error> {
        self.command().try_get_matches_from(words).map(Given::Matches)
    }

    /// The short help, for whoever gave nothing at all.
    pub(crate) fn short_help(&self) -> String {
        self.command().render_help().to_string()
    }

    /// An error in these words.
    pub(crate) fn refusal(&self, what: String) -> UsageError {
        UsageError::Option { program: self.name, what, hint: format!("`{} -h` lists the options", self.name) }
    }

    fn page_or_error(&self, error: clap::Error) -> Result<Page, UsageError> {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Page(error)),
            _ => Err(self.error(&error)),
        }
    }

    /// One line of the parser's several, and what to do about it.
    fn error(&self, error: &clap::Error) -> UsageError {
        let text = error.to_string();
        let what = text.lines().next().unwrap_or("the options are not understood");
        let nearest =
            [ContextKind::SuggestedArg, ContextKind::SuggestedValue].into_iter().find_map(|kind| match error
                .get(kind)
            {
                Some(ContextValue::String(word)) => Some(word.clone()),
                Some(ContextValue::Strings(words)) => words.first().cloned(),
                _ => None,
            });
        let list = format!("`{} -h` lists the options", self.name);
        let hint = match nearest {
            Some(word) => format!("did you mean `{word}`? {list}"),
            None => format!("{list}{}", self.hint),
        };
        let what = one_line(what.strip_prefix("error: ").unwrap_or(what));
        UsageError::Option { program: self.name, what, hint }
    }
}

/// What was given on a command line, and who read it.
pub(crate) enum Given {
    Plain(Plain),
    Matches(ArgMatches),
}

impl Given {
    /// The value of an option.
    pub(crate) fn value(&mut self, option: &Opt) -> Option<OsString> {
        match self {
            Given::Plain(plain) => plain.value(option),
            Given::Matches(matches) => matches.remove_one(option.name),
        }
    }

    /// The values of an option that is a list.
    pub(crate) fn list(&mut self, option: &Opt) -> Vec<OsString> {
        match self {
            Given::Plain(plain) => plain.list(option),
            Given::Matches(matches) => {
                matches.remove_many(option.name).map(Iterator::collect).unwrap_or_default()
            }
        }
    }

    /// Whether a switch was given.
    pub(crate) fn switch(&self, option: &Opt) -> bool {
        match self {
            Given::Plain(plain) => plain.switch(option),
            Given::Matches(matches) => matches.get_flag(option.name),
        }
    }

    /// The words that are no option.
    pub(crate) fn words(&mut self, words: &Words) -> Vec<OsString> {
        match self {
            Given::Plain(plain) => std::mem::take(&mut plain.words),
            Given::Matches(matches) => {
                matches.remove_many(words.name).map(Iterator::collect).unwrap_or_default()
            }
        }
    }
}
