//! Reads plain command lines by hand, in front of clap: what is taken here, clap would read the same way.
//!
//! It goes by the rows of the same table. Help, abbreviations, options written together, mistakes and whatever else is not
//! plain it leaves to clap, which decides. clap builds its whole world for every call, which costs as much as all the rest
//! of `hume`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::{Opt, Program};

/// What was given on a plain command line, by the names of the rows.
#[derive(Default)]
pub(crate) struct Plain {
    values: Vec<(&'static str, OsString)>,
    switches: Vec<&'static str>,
    /// The words that are no option.
    pub(super) words: Vec<OsString>,
}

impl Plain {
    /// The value of an option; the last one if it was given again.
    pub(super) fn value(&mut self, option: &Opt) -> Option<OsString> {
        self.list(option).pop()
    }

    /// All values of an option.
    pub(super) fn list(&mut self, option: &Opt) -> Vec<OsString> {
        self.values.extract_if(.., |(name, _)| *name == option.name).map(|(_, value)| value).collect()
    }

    /// Whether a switch was given.
    pub(super) fn switch(&self, option: &Opt) -> bool {
        self.switches.contains(&option.name)
    }
}

/// Reads a command line, the program's own name first; nothing when it is not plain.
pub(super) fn read(program: &Program, words: &[OsString]) -> Option<Plain> {
    let mut plain = Plain::default();
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        let (option, attached) = match word.as_bytes() {
            b"--" => {
                program.words?;
                plain.words.extend(rest.by_ref().cloned());
                break;
            }
            [b'-', b'-', long @ ..] => {
                let mut parts = long.splitn(2, |byte| *byte == b'=');
                let name = parts.next()?;
                (row(program, |option| option.name.as_bytes() == name)?, parts.next())
            }
            [b'-', letter] => {
                (row(program, |option| option.short.is_some_and(|short| short == char::from(*letter)))?, None)
            }
            [b'-', ..] => return None,
            _ => {
                plain.words.push(word.clone());
                if program.words?.end_options {
                    plain.words.extend(rest.by_ref().cloned());
                }
                continue;
            }
        };
        match (option.value, attached) {
            (Some(_), Some(value)) => plain.values.push((option.name, OsStr::from_bytes(value).to_owned())),
            (Some(_), None) => plain.values.push((option.name, rest.next()?.clone())),
            (None, None) => plain.switches.push(option.name),
            (None, Some(_)) => return None,
        }
    }
    Some(plain)
}

/// The row of an option that is no page to show.
fn row(program: &Program, is_meant: impl Fn(&Opt) -> bool) -> Option<&'static Opt> {
    program.options.iter().find(|option| is_meant(option)).filter(|option| !option.is_page())
}

#[cfg(test)]
pub(crate) mod tests;
