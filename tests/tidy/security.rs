//! docs/SECURITY.md shows what it says: each row of its threats names tests that exist, or says that there is none yet.

use std::collections::BTreeSet;

use crate::markdown::{quoted, read, rows};
use crate::none_of;
use crate::source;

const SECURITY: &str = "docs/SECURITY.md";
/// Says that nothing shows it, or that it does not hold.
const NOT_YET: &str = "*not yet*";

#[test]
fn every_threat_is_shown_by_tests_that_exist_or_is_said_not_to_be() {
    let mut violations = Vec::new();
    let text = read(SECURITY, &mut violations);
    violations.extend(judged(&text, &functions()));
    none_of(&violations);
}

/// Names of all functions in test code.
fn functions() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in source::all() {
        for line in source.lines.iter().filter(|line| line.is_test) {
            let Some((_, rest)) = line.code.split_once("fn ") else { continue };
            found.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

fn judged(text: &str, functions: &BTreeSet<String>) -> Vec<String> {
    let mut violations = Vec::new();
    let threats = rows(text, "Threats");
    if threats.is_empty() {
        violations.push(format!("{SECURITY}: has no table of threats"));
    }
    for row in &threats {
        let [threat, done, shown] = &row[..] else {
            violations.push(format!("{SECURITY}: a row has {} cells: {row:?}", row.len()));
            continue;
        };
        let tests = quoted(shown);
        if tests.is_empty() && !format!("{done}{shown}").contains(NOT_YET) {
            violations.push(format!("{SECURITY}: nothing shows what is done against \"{threat}\""));
        }
        let missing = tests.into_iter().filter(|test| !functions.contains(*test));
        violations.extend(missing.map(|test| format!("{SECURITY}: there is no test `{test}`")));
    }
    violations
}

#[test]
fn a_row_without_a_test_and_a_test_that_is_gone_are_found() {
    let functions = BTreeSet::from(["it_holds".to_owned()]);
    let table = "## Threats\n| t | d | s |\n|---|---|---|\n| a | b | `it_holds` |\n| c | d | |\n| e | *not yet* | |\n| f | g | `gone` |\n";
    let found = judged(table, &functions);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].ends_with("against \"c\"") && found[1].ends_with("`gone`"), "{found:?}");
    assert_eq!(judged("", &functions).len(), 1);
}
