//! Every fault that hume must survive stands in docs/RELIABILITY.md once, with tests that exist or the reason why not.

use std::collections::BTreeSet;

use crate::markdown::{quoted, read, rows};
use crate::none_of;
use crate::source;

const RELIABILITY: &str = "docs/RELIABILITY.md";

/// The faults that have a number.
const FAULTS: usize = 65;

/// How a row without a test begins, or what stands behind its tests: with a reason that follows.
const REASONS: [&str; 3] = ["open: ", "elsewhere: ", "not here: "];

#[test]
fn every_fault_has_a_row_whose_tests_exist() {
    let mut violations = Vec::new();
    let rows = rows(&read(RELIABILITY, &mut violations), "Faults and their tests");
    let numbers: Vec<&str> = rows.iter().filter_map(|row| row.first()).map(String::as_str).collect();
    let expected: Vec<String> = (1..=FAULTS).map(|number| number.to_string()).collect();
    if numbers != expected {
        violations
            .push(format!("{RELIABILITY}: the faults are {numbers:?}, and not 1 to {FAULTS} in their order"));
    }
    let tests = tests();
    for row in &rows {
        let [number, .., held_by] = row.as_slice() else { continue };
        let named = quoted(held_by);
        if named.is_empty() && !REASONS.iter().any(|reason| held_by.starts_with(reason)) {
            violations.push(format!("{RELIABILITY}: fault {number} names neither a test nor a reason"));
        }
        let unknown = named.iter().filter(|name| !tests.contains(**name));
        violations.extend(unknown.map(|name| format!("{RELIABILITY}: fault {number}: {name} is no test")));
    }
    none_of(&violations);
}

/// The names of all functions in test code.
fn tests() -> BTreeSet<String> {
    let sources = source::all();
    let lines = sources.iter().flat_map(|source| &source.lines).filter(|line| line.is_test);
    lines.filter_map(|line| name_of(&line.code)).collect()
}

/// The name of the function that begins on this line.
fn name_of(code: &str) -> Option<String> {
    let (_, rest) = code.split_once("fn ")?;
    rest.split_once('(').map(|(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_known_by_its_line() {
        assert_eq!(name_of("    async fn it_holds() {"), Some("it_holds".to_owned()));
        assert_eq!(name_of("fn it_holds(steps in any::<u8>()) {"), Some("it_holds".to_owned()));
        assert_eq!(name_of("let a = 1;"), None);
    }
}
