//! For whom a command line was meant that cannot be understood: a monitoring system wants its own exit code even then. Pure.

use std::ffi::OsString;

use clap::CommandFactory;

use crate::args::Args;

/// Who waits for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeantFor {
    /// A person, or a script.
    People,
    /// A monitoring system: it was to be `check`.
    Check,
    /// A script that asked for `--exit-status`.
    ExitStatus,
}

/// Looks at the words as far as that is possible: options, their values, and the first word that is neither.
pub fn meant_for(words: &[OsString]) -> MeantFor {
    let command = Args::command();
    let takes_value = |is_it: &dyn Fn(&clap::Arg) -> bool| {
        command.get_arguments().any(|argument| is_it(argument) && argument.get_action().takes_values())
    };
    let (mut found, mut is_first) = (MeantFor::People, true);
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        if word == "--exit-status" {
            found = MeantFor::ExitStatus;
        } else if let Some(long) = word.strip_prefix("--") {
            let has_name = |argument: &clap::Arg| {
                let aliases = argument.get_all_aliases().unwrap_or_default();
                argument.get_long() == Some(long) || aliases.contains(&long)
            };
            if takes_value(&has_name) {
                words.next();
            }
        } else if let Some(short) = word.strip_prefix('-') {
            // Of several in one word the last may have its value in the next.
            let last = short.chars().last();
            let only = short.chars().count() == 1;
            if only && takes_value(&|argument: &clap::Arg| argument.get_short() == last) {
                words.next();
            }
        } else if is_first && word == "check" {
            return MeantFor::Check;
        } else {
            is_first = false;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_that_is_no_value_decides() {
        for (line, expected) in [
            ("check --nonsense", MeantFor::Check),
            ("--url unix:/x check", MeantFor::Check),
            ("--url=unix:/x --utc check -t", MeantFor::Check),
            ("--format json check", MeantFor::Check),
            ("-t check --nonsense", MeantFor::People),
            ("-tcheck --nonsense", MeantFor::People),
            ("--host check --nonsense", MeantFor::People),
            ("--task check --nonsense", MeantFor::People),
            ("tasks check", MeantFor::People),
            ("tasks --exit-status", MeantFor::ExitStatus),
            ("--latest --exit-status --nonsense", MeantFor::ExitStatus),
            ("--nonsense --exit-status", MeantFor::ExitStatus),
            ("", MeantFor::People),
        ] {
            let words: Vec<OsString> =
                ["humequery"].into_iter().chain(line.split_whitespace()).map(Into::into).collect();
            assert_eq!(meant_for(&words), expected, "{line}");
        }
    }
}
