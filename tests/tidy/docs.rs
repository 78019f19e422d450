//! The configuration is told whole: every key that a daemon reads stands in its example and in docs/OPERATIONS.md, and
//! nothing stands there that no daemon reads.
//!
//! Keys are the fields of the structs that refuse unknown ones. Such a struct that is not in [`SECTIONS`] is a violation,
//! so that none is forgotten.

use std::collections::BTreeSet;

use crate::markdown::{self, quoted, read};
use crate::none_of;
use crate::source::{self, Source, has_word};

/// Documents that a newcomer is sent to.
const DOCUMENTS: [&str; 12] = [
    "README.md",
    "CHANGELOG.md",
    "docs/ARCHITECTURE.md",
    "docs/PROTOCOL.md",
    "docs/OPERATIONS.md",
    "docs/PERFORMANCE.md",
    "docs/RELIABILITY.md",
    "docs/RUNS.md",
    "docs/SECURITY.md",
    "docs/STYLE.md",
    "docs/TRANSFERS.md",
    "docs/WATCHES.md",
];

pub(crate) const OPERATIONS: &str = "docs/OPERATIONS.md";

/// Crates whose structs are configuration when they refuse unknown keys.
const CONFIGURED: [&str; 5] = ["hume-core", "hume-runtime", "humed-agent", "humed-master", "humequery"];

const AGENT: &str = "agent.toml";
const MASTER: &str = "master.toml";
const QUERY: &str = "query.toml";

/// The section whose keys depend on the kind.
const TRANSFERS: &str = "transfer";

/// Sections of a name each: `[watch.NAME]`.
const WATCHES: &str = "watch";

/// A configuration file: its example, if it has one, and the chapters that tell of it.
struct File {
    name: &'static str,
    example: Option<&'static str>,
    chapters: &'static [&'static str],
}

const FILES: [File; 3] = [
    File {
        name: AGENT,
        example: Some("humed-agent/agent.example.toml"),
        chapters: &["agent.toml", "Expectations of runs"],
    },
    File {
        name: MASTER,
        example: Some("humed-master/master.example.toml"),
        chapters: &["master.toml", "Expectations of runs", "When tasks should run"],
    },
    File { name: QUERY, example: None, chapters: &["humequery"] },
];

/// A struct, and the section it is of which files. The section of a whole file is empty.
struct Keys {
    path: &'static str,
    structure: &'static str,
    section: &'static str,
    files: &'static [&'static str],
}

const SECTIONS: [Keys; 21] = [
    Keys { path: "humed-agent/src/config.rs", structure: "Config", section: "", files: &[AGENT] },
    Keys {
        path: "humed-agent/src/intake/config.rs",
        structure: "Config",
        section: "intake",
        files: &[AGENT],
    },
    Keys {
        path: "humed-agent/src/intake/rights.rs",
        structure: "Allow",
        section: "intake.allow",
        files: &[AGENT],
    },
    Keys {
        path: "humed-agent/src/redact/config.rs",
        structure: "Config",
        section: "redact",
        files: &[AGENT],
    },
    Keys { path: "humed-agent/src/spool/config.rs", structure: "Config", section: "spool", files: &[AGENT] },
    Keys { path: "humed-agent/src/web/config.rs", structure: "Config", section: "web", files: &[AGENT] },
    Keys {
        path: "humed-agent/src/uplink/config.rs",
        structure: "Config",
        section: "master",
        files: &[AGENT],
    },
    Keys { path: "humed-master/src/config.rs", structure: "Config", section: "", files: &[MASTER] },
    Keys { path: "humed-master/src/config.rs", structure: "TlsConfig", section: "tls", files: &[MASTER] },
    Keys { path: "humed-master/src/config.rs", structure: "CaConfig", section: "ca", files: &[MASTER] },
    Keys {
        path: "humed-master/src/enroll/mod.rs",
        structure: "EnrollConfig",
        section: "enroll",
        files: &[MASTER],
    },
    Keys {
        path: "humed-master/src/relay/mod.rs",
        structure: "RelayConfig",
        section: "relay",
        files: &[MASTER],
    },
    Keys { path: "humed-master/src/web/mod.rs", structure: "WebConfig", section: "web", files: &[MASTER] },
    Keys {
        path: "humed-master/src/web/auth.rs",
        structure: "TokenConfig",
        section: "web.token",
        files: &[MASTER],
    },
    Keys {
        path: "humed-master/src/store/sqlite/mod.rs",
        structure: "StoreConfig",
        section: "store",
        files: &[MASTER],
    },
    Keys {
        path: "humed-master/src/store/retention.rs",
        structure: "RetentionConfig",
        section: "retention",
        files: &[MASTER],
    },
    Keys {
        path: "humed-master/src/watchdog/config.rs",
        structure: "WatchdogConfig",
        section: "watchdog",
        files: &[MASTER],
    },
    Keys { path: "hume-core/src/watch.rs", structure: "Declared", section: WATCHES, files: &[MASTER] },
    Keys { path: "hume-core/src/policy.rs", structure: "Section", section: "runs", files: &[AGENT, MASTER] },
    Keys { path: "hume-runtime/src/log.rs", structure: "LogConfig", section: "log", files: &[AGENT, MASTER] },
    Keys { path: "humequery/src/whom.rs", structure: "QueryFile", section: "", files: &[QUERY] },
];

#[test]
fn every_document_exists() {
    let is_missing = |path: &&&str| !source::workspace().join(path).is_file();
    none_of(
        &DOCUMENTS.iter().filter(is_missing).map(|path| format!("{path}: is missing")).collect::<Vec<_>>(),
    );
}

#[test]
fn every_struct_of_a_configuration_is_known_here() {
    let mut violations = Vec::new();
    for source in source::all().iter().filter(|source| CONFIGURED.contains(&source.crate_folder())) {
        for structure in refusing_structs(source) {
            let is_known =
                |one: &Keys| one.path == source.path && one.structure == structure && !one.files.is_empty();
            if !SECTIONS.iter().any(is_known) {
                violations.push(format!(
                    "{}: {structure} refuses unknown keys: add it to SECTIONS in tests/tidy/docs.rs",
                    source.path
                ));
            }
        }
    }
    none_of(&violations);
}

#[test]
fn the_keys_that_are_read_are_those_of_the_examples_and_of_operations() {
    let mut violations = Vec::new();
    let sources = source::all();
    let operations = read(OPERATIONS, &mut violations);
    for File { name, example, chapters } in &FILES {
        let keys = keys_of(name, &sources, &mut violations);
        if let Some(example) = example {
            let shown = example_keys(&read(example, &mut violations));
            differ(&keys, &shown, example, &mut violations);
        }
        let told = chapters.iter().flat_map(|chapter| told_keys(&operations, chapter)).collect();
        differ(&keys, &told, &format!("{OPERATIONS}, {}", chapters.join(" and ")), &mut violations);
    }
    none_of(&violations);
}

/// Two sets of keys must be the same.
fn differ(read: &BTreeSet<String>, told: &BTreeSet<String>, place: &str, violations: &mut Vec<String>) {
    violations.extend(read.difference(told).map(|key| format!("{place}: does not name `{key}`")));
    violations.extend(told.difference(read).map(|key| format!("{place}: names `{key}`, which nobody reads")));
}

/// Every key of a file, as `section.key`, by the fields of its structs.
fn keys_of(file: &str, sources: &[Source], violations: &mut Vec<String>) -> BTreeSet<String> {
    let of_file: Vec<&Keys> = SECTIONS.iter().filter(|section| section.files.contains(&file)).collect();
    let mut keys = BTreeSet::new();
    for Keys { path, structure, section, .. } in &of_file {
        let source = sources.iter().find(|source| source.path == *path);
        let Some(fields) = source.and_then(|source| fields(source, structure)) else {
            violations.push(format!("{path}: there is no struct {structure}"));
            continue;
        };
        for field in fields {
            let key = if section.is_empty() { field } else { format!("{section}.{field}") };
            // Its keys are those of the kinds: docs/TRANSFERS.md and transfers.example.toml tell them, held by their own tests.
            if key == TRANSFERS {
                continue;
            }
            // A field that is a section of its own.
            if !of_file.iter().any(|other| other.section == key) {
                keys.insert(key);
            }
        }
    }
    keys
}

/// The fields of a struct, as serde calls them: none if there is no such struct, or if they are called otherwise.
fn fields(source: &Source, structure: &str) -> Option<Vec<String>> {
    let head = format!("struct {structure}");
    let begin =
        source.lines.iter().position(|line| has_word(&line.code, &head) && line.code.contains('{'))?;
    let body = source.lines.iter().skip(begin + 1).take_while(|line| line.code.trim_end() != "}");
    let mut fields = Vec::new();
    for line in body {
        let code = line.code.trim();
        let is_renamed = ["rename", "flatten", "alias", "skip"].iter().any(|word| has_word(code, word));
        if code.starts_with('#') && is_renamed {
            return None;
        }
        let declared =
            code.strip_prefix("pub").map_or(code, |rest| rest.trim_start_matches(|one| one != ' ').trim());
        if let Some((name, _)) = declared.split_once(": ")
            && is_name(name)
        {
            fields.push(name.to_owned());
        }
    }
    Some(fields)
}

/// Structs outside of tests that deserialize and refuse unknown keys.
fn refusing_structs(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut refuses = false;
    for line in source.lines.iter().filter(|line| !line.is_test) {
        refuses |= has_word(&line.code, "deny_unknown_fields");
        if refuses && let Some((_, rest)) = line.code.split_once("struct ") {
            found.extend(rest.split([' ', '{', '<']).next().map(str::to_owned));
            refuses = false;
        }
    }
    found
}

/// The keys of an example: lines `key = value` and `# key = value`, under `[section]` or `# [section]`.
fn example_keys(example: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut found = BTreeSet::new();
    for line in example.lines() {
        let line = line.trim_start_matches('#').trim();
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let header = header.trim_matches(['[', ']']);
            let is_named = header.split_once('.').is_some_and(|(first, _)| first == WATCHES);
            if is_named { WATCHES } else { header }.clone_into(&mut section);
        } else if let Some((name, value)) = line.split_once(" = ")
            && is_name(name)
            && value.starts_with(|first: char| first.is_ascii_digit() || "\"'[{tf-".contains(first))
        {
            found.insert(if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") });
        }
    }
    found
}

/// The keys in the first cells of a chapter's tables.
fn told_keys(document: &str, chapter: &str) -> BTreeSet<String> {
    let rows = markdown::rows(document, chapter);
    rows.iter().filter_map(|row| row.first()).flat_map(|cell| quoted(cell)).map(str::to_owned).collect()
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn keys_of_an_example_are_found_in_comments_too_and_prose_is_none() {
        let example = "# The host = the machine.\n# host = \"web1\"\n\n[intake]\nsocket = \"a\" # not this = 1\n\
                       # [master]\n# batch_max = 12\n[[web.token]]\nname = \"admin\"\n";
        let expected = set(&["host", "intake.socket", "master.batch_max", "web.token.name"]);
        assert_eq!(example_keys(example), expected);
    }

    #[test]
    fn keys_of_a_struct_are_its_fields_and_other_names_for_them_are_not_understood() {
        let text = "/// One.\n#[derive(Deserialize)]\n#[serde(deny_unknown_fields, default)]\npub struct Config {\n    \
                    /// Where: here.\n    pub listen: SocketAddr,\n    #[serde(default = \"key\")]\n    pub(super) key: PathBuf,\n    \
                    retry_max_ms: u64,\n}\nstruct Other { no: u8 }\n";
        let source = Source::new("one/src/config.rs", text);
        assert_eq!(fields(&source, "Config").unwrap(), ["listen", "key", "retry_max_ms"]);
        assert_eq!(refusing_structs(&source), ["Config"]);
        assert!(fields(&source, "Conf").is_none());
        let renamed = text.replace("default = \"key\"", "rename = \"key_file\"");
        assert!(fields(&Source::new("one/src/config.rs", &renamed), "Config").is_none());
    }

    #[test]
    fn a_key_is_told_by_the_first_cell_of_its_chapter_only() {
        let text = "## a\n| key | meaning |\n|---|---|\n| `web.listen`, `web.socket` | not `web.token` |\n\n`web.text`\n\
                    ## b\n| key |\n|---|\n| `web.other` |\n";
        assert_eq!(told_keys(text, "a"), set(&["web.listen", "web.socket"]));
    }

    #[test]
    fn a_key_that_is_missing_on_either_side_is_named() {
        let mut violations = Vec::new();
        differ(&set(&["a", "b"]), &set(&["b", "c"]), "x", &mut violations);
        assert_eq!(violations, ["x: does not name `a`", "x: names `c`, which nobody reads"]);
    }
}
