//! The documents keep up: every configuration key and every exit code stands in docs/OPERATIONS.md.

use std::collections::BTreeSet;
use std::fs;

use crate::none_of;
use crate::source::{self, Source, has_word};

/// Documents that a newcomer is sent to.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "CHANGELOG.md",
    "docs/ARCHITECTURE.md",
    "docs/PROTOCOL.md",
    "docs/OPERATIONS.md",
    "docs/STYLE.md",
];

const OPERATIONS: &str = "docs/OPERATIONS.md";
const EXIT_CODES: &str = "hume-runtime/src/exit.rs";
const EXAMPLES: [&str; 2] = ["humed-agent/agent.example.toml", "humed-master/master.example.toml"];

/// A key of an example configuration, commented or not.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    line: usize,
    /// Empty for a key above all sections.
    section: String,
    name: String,
}

#[test]
fn every_document_exists() {
    let is_missing = |path: &&&str| !source::workspace().join(path).is_file();
    none_of(
        &DOCUMENTS.iter().filter(is_missing).map(|path| format!("{path}: is missing")).collect::<Vec<_>>(),
    );
}

#[test]
fn every_configuration_key_is_documented() {
    let mut violations = Vec::new();
    let operations = read(OPERATIONS, &mut violations);
    for path in EXAMPLES {
        let example = read(path, &mut violations);
        for Key { line, section, name } in keys(&example) {
            if !documents(&operations, &section, &name) {
                violations.push(format!("{path}:{line}: {OPERATIONS} does not name `{name}` of [{section}]"));
            }
        }
    }
    none_of(&violations);
}

#[test]
fn every_exit_code_is_documented() {
    let mut violations = Vec::new();
    let operations = read(OPERATIONS, &mut violations);
    let codes = exit_codes(&Source::new(EXIT_CODES, &read(EXIT_CODES, &mut violations)));
    if codes.is_empty() {
        violations.push(format!("{EXIT_CODES}: no exit code found there"));
    }
    let is_missing = |code: &&String| !has_word(&operations, code);
    violations.extend(
        codes
            .iter()
            .filter(is_missing)
            .map(|code| format!("{OPERATIONS}: does not name the exit code {code}")),
    );
    none_of(&violations);
}

/// The text of a file, or nothing and a violation.
fn read(path: &str, violations: &mut Vec<String>) -> String {
    fs::read_to_string(source::workspace().join(path)).unwrap_or_else(|error| {
        violations.push(format!("{path}: {error}"));
        String::new()
    })
}

/// The keys of an example: lines `key = value` and `# key = value`, under `[section]` or `# [section]`.
fn keys(example: &str) -> Vec<Key> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (index, line) in example.lines().enumerate() {
        let line = line.trim_start_matches('#').trim();
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            header.trim_matches(['[', ']']).clone_into(&mut section);
        } else if let Some((name, value)) = line.split_once(" = ")
            && is_name(name)
            && value.starts_with(|first: char| first.is_ascii_digit() || "\"'[{tf-".contains(first))
        {
            found.push(Key { line: index + 1, section: section.clone(), name: name.to_owned() });
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Whether a text names a key of a section: `section.key`, or the key itself where the section is named too.
fn documents(text: &str, section: &str, name: &str) -> bool {
    let has_key = text.contains(&format!("`{name}`"))
        || text.lines().any(|line| line.trim_start_matches(['#', ' ']).starts_with(&format!("{name} = ")));
    let has_section = section.is_empty() || text.contains(&format!("[{section}]"));
    text.contains(&format!("`{section}.{name}`")) || (has_key && has_section)
}

/// The numbers that a file gives names: `NAME: u8 = 64;` or `Name = 64,`.
fn exit_codes(source: &Source) -> BTreeSet<String> {
    let code = source.lines.iter().filter(|line| !line.is_test).map(|line| line.code.as_str());
    code.filter_map(|line| {
        let (_, value) = line.trim().split_once(" = ")?;
        let number = value.strip_suffix([';', ','])?;
        number.parse::<u8>().ok().map(|number| number.to_string())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_comments_too_and_prose_is_none() {
        let example = "# The host = the machine.\n# host = \"web1\"\n\n[intake]\nsocket = \"a\" # not this = 1\n\
                       # [master]\n# batch_max = 12\n[[web.token]]\nname = \"admin\"\n";
        let found: Vec<String> =
            keys(example).iter().map(|key| format!("{}:{}.{}", key.line, key.section, key.name)).collect();
        assert_eq!(found, ["2:.host", "5:intake.socket", "7:master.batch_max", "9:web.token.name"]);
    }

    #[test]
    fn a_key_counts_as_documented_with_its_section_only() {
        assert!(documents("### [web]\n`listen` is an address", "web", "listen"));
        assert!(documents("`web.listen` is an address", "web", "listen"));
        assert!(documents("[web]\n  listen = \"127.0.0.1:1\"", "web", "listen"));
        assert!(!documents("### [relay]\n`listen` is an address", "web", "listen"));
        assert!(!documents("### [web]\nlisten carefully", "web", "listen"));
    }

    #[test]
    fn exit_codes_are_found_as_constants_and_as_variants() {
        let source = Source::new(EXIT_CODES, "pub const USAGE: u8 = 64;\nenum Exit {\n    Config = 78,\n}\n");
        assert_eq!(exit_codes(&source).into_iter().collect::<Vec<_>>(), ["64", "78"]);
    }
}
