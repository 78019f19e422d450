//! The exit codes that scripts rely on: what each program can return is what docs/OPERATIONS.md says of it, row by row.

use std::collections::{BTreeMap, BTreeSet};

use crate::docs::OPERATIONS;
use crate::markdown::{self, quoted, read};
use crate::none_of;
use crate::source::{self, Source, words};

const CODES: &str = "hume-runtime/src/exit.rs";
/// What `hume` says of itself; a test of its own holds that it keeps it.
const HUME_HELP: &str = "hume-client/src/help.rs";

/// Programs that return the names of `exit.rs`.
const BY_NAME: [&str; 3] = ["humed-agent", "humed-master", "humeconfig"];
const DAEMONS: [&str; 2] = ["humed-agent", "humed-master"];

type Codes = BTreeMap<String, BTreeSet<u8>>;

#[test]
fn every_program_returns_the_codes_that_are_documented_and_no_other() {
    let mut violations = Vec::new();
    let sources = source::all();
    let returned = returned(&sources, &mut violations);
    let programs: Vec<&str> = returned.keys().map(String::as_str).collect();
    let told = told(&read(OPERATIONS, &mut violations), &programs);
    for (program, codes) in &returned {
        let told = told.get(program).cloned().unwrap_or_default();
        violations.extend(
            codes.difference(&told).map(|code| format!("{OPERATIONS}: {program} returns {code}, unsaid")),
        );
        violations.extend(
            told.difference(codes).map(|code| format!("{OPERATIONS}: {program} never returns {code}")),
        );
    }
    none_of(&violations);
}

#[test]
fn every_exit_code_with_a_name_is_returned_by_somebody() {
    let mut violations = Vec::new();
    let names = names(&sources_of(CODES));
    let sources = source::all();
    for (name, code) in &names {
        let users = BY_NAME.iter().any(|program| used(&sources, program, &names).contains(code));
        if !users && *code != 0 {
            violations.push(format!("{CODES}: nobody returns {name}"));
        }
    }
    none_of(&violations);
}

fn sources_of(path: &str) -> Source {
    Source::new(path, &read(path, &mut Vec::new()))
}

/// What each program can return, 0 among it.
fn returned(sources: &[Source], violations: &mut Vec<String>) -> Codes {
    let names = names(&sources_of(CODES));
    let mut codes: Codes =
        BY_NAME.iter().map(|program| ((*program).to_owned(), used(sources, program, &names))).collect();
    let of_query = |source: &&Source| source.path.starts_with("humequery/src/");
    let query = sources.iter().filter(of_query).flat_map(|source| constants(source, "EXIT_"));
    codes.insert("humequery".to_owned(), query.map(|(_, code)| code).collect());
    codes.insert("hume".to_owned(), helped(&read(HUME_HELP, violations)));
    for (program, codes) in &mut codes {
        if codes.len() < 2 {
            violations.push(format!("{program}: found no exit codes"));
        }
        codes.insert(0);
    }
    codes
}

/// The names of `exit.rs` and their numbers.
fn names(source: &Source) -> BTreeMap<String, u8> {
    constants(source, "").collect()
}

/// Constants `PREFIX…: u8 = NUMBER;` outside of tests.
fn constants<'a>(source: &'a Source, prefix: &'a str) -> impl Iterator<Item = (String, u8)> + 'a {
    source.lines.iter().filter(|line| !line.is_test).filter_map(move |line| {
        let (head, value) = line.code.trim().split_once(": u8 = ")?;
        let name = head.rsplit_once(' ').map_or(head, |(_, name)| name);
        let number = value.strip_suffix(';')?.parse().ok()?;
        name.starts_with(prefix).then(|| (name.to_owned(), number))
    })
}

/// The codes whose names stand behind `exit::` in a crate.
fn used(sources: &[Source], program: &str, names: &BTreeMap<String, u8>) -> BTreeSet<u8> {
    let lines = sources.iter().filter(|source| source.crate_folder() == program).flat_map(|one| &one.lines);
    let mut codes = BTreeSet::new();
    for line in lines.filter(|line| !line.is_test) {
        for at in words(&line.code, "exit::") {
            let name: String = line.code[at + "exit::".len()..]
                .chars()
                .take_while(|one| one.is_ascii_uppercase() || *one == '_')
                .collect();
            codes.extend(names.get(&name));
        }
    }
    codes
}

/// The numbers that begin the lines of a help's list of exit codes.
fn helped(text: &str) -> BTreeSet<u8> {
    let list = text.lines().skip_while(|line| !line.starts_with("Exit codes:")).skip(1);
    let lines = list.take_while(|line| line.starts_with("  "));
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

/// What the table says of each of these programs.
fn told(document: &str, programs: &[&str]) -> Codes {
    let mut codes = Codes::new();
    for row in markdown::rows(document, "Exit codes") {
        let [code, of, ..] = row.as_slice() else { continue };
        let Ok(code) = code.parse::<u8>() else { continue };
        for program in programs {
            let is_named = quoted(of).iter().any(|word| word.split(' ').next() == Some(*program));
            let is_daemon = DAEMONS.contains(program) && of.contains("daemons");
            if is_named || is_daemon || of == "all" {
                codes.entry((*program).to_owned()).or_default().insert(code);
            }
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_uses_are_found() {
        let names = names(&Source::new(
            CODES,
            "/// 65: u8 = 66;\npub const USAGE: u8 = 64;\npub const IO: u8 = 74;\n",
        ));
        assert_eq!(names, BTreeMap::from([("USAGE".to_owned(), 64), ("IO".to_owned(), 74)]));
        let text =
            "fn f() { return exit::USAGE.into() } // exit::IO\n#[cfg(test)]\nmod tests { use exit::IO; }\n";
        let sources = [Source::new("humed-agent/src/main.rs", text)];
        assert_eq!(used(&sources, "humed-agent", &names), BTreeSet::from([64]));
        assert!(used(&sources, "humed-master", &names).is_empty());
    }

    #[test]
    fn a_code_counts_in_the_first_column_and_for_the_programs_of_the_second() {
        let text = "## Exit codes\n| code | of | meaning |\n|---|---|---|\n| 0 | all | not 9 |\n| 65 | `hume --strict` | x |\n\
                    | 70 | daemons, `humeconfig` | y |\n";
        let told = told(text, &["hume", "humeconfig", "humed-agent"]);
        let of = |program: &str| told[program].iter().copied().collect::<Vec<_>>();
        assert_eq!(
            (of("hume"), of("humeconfig"), of("humed-agent")),
            (vec![0, 65], vec![0, 70], vec![0, 70])
        );
    }

    #[test]
    fn the_list_of_a_help_is_read() {
        let text = "  9 no\nExit codes:\n  0   fine\n      and 7 more\n  64  usage\n\nEnvironment:\n  8 no\n";
        assert_eq!(helped(text).into_iter().collect::<Vec<_>>(), [0, 64]);
    }
}
