//! Command lines for the tests of the programs, which hold that what is read by hand is what clap would have read.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use proptest::prelude::*;
use proptest::sample::select;

use super::read;
use crate::options::{Given, Program};

/// What each of the two readers makes of a command line, or nothing when it is not plain.
/// A plain one that clap refuses, or takes for a question for a page, fails the test.
pub(crate) fn both(program: &Program, words: &[OsString]) -> Option<(Given, Given)> {
    let plain = read(program, words)?;
    match program.given_by_clap(words) {
        Ok(given) => Some((Given::Plain(plain), given)),
        Err(error) => panic!("{words:?} was taken for plain, and clap says: {error}"),
    }
}

/// Command lines of everything that the program knows, in all its spellings, and of what it does not know.
pub(crate) fn command_lines(program: &'static Program) -> impl Strategy<Value = Vec<OsString>> {
    proptest::collection::vec(word(program), 0..10)
        .prop_map(|words| std::iter::once(OsString::from("hume")).chain(words).collect())
}

fn word(program: &'static Program) -> impl Strategy<Value = OsString> {
    let longs =
        || select(program.options.iter().map(|option| format!("--{}", option.name)).collect::<Vec<_>>());
    let shorts: Vec<String> =
        program.options.iter().filter_map(|option| option.short).map(|short| format!("-{short}")).collect();
    let shorts = move || select(shorts.clone());
    let text = || prop_oneof![Just(String::new()), "[a-z,=: -]{0,8}", ".{0,8}"];
    let odd = [
        "", "-", "--", "---", "-5", "--=", "--=x", "-=", "help", "exec", "--help", "-h", "-V", "-é", "-tL",
        "-at",
    ];
    prop_oneof![
        8 => longs().prop_map(OsString::from),
        8 => shorts().prop_map(OsString::from),
        8 => "[a-z]{1,8}".prop_map(OsString::from),
        4 => (longs(), text()).prop_map(|(option, value)| format!("{option}={value}").into()),
        1 => (shorts(), text()).prop_map(|(option, value)| format!("{option}{value}").into()),
        1 => (longs(), 1..20_usize).prop_map(|(option, kept)| option.chars().take(kept).collect::<String>().into()),
        1 => (longs(), any::<char>()).prop_map(|(option, more)| format!("{option}{more}").into()),
        2 => select(odd.to_vec()).prop_map(OsString::from),
        1 => text().prop_map(OsString::from),
        1 => proptest::collection::vec(any::<u8>(), 0..6).prop_map(OsString::from_vec),
        1 => (longs(), proptest::collection::vec(any::<u8>(), 0..6)).prop_map(|(option, value)| {
            let mut raw = option.into_bytes();
            raw.push(b'=');
            raw.extend(value);
            OsString::from_vec(raw)
        }),
    ]
}
