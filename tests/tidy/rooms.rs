//! The table of rooms: which crate and which room of a daemon may import which (docs/ARCHITECTURE.md draws it).
//!
//! Program → transfer → proto, runtime → core; inside a daemon: composition → edges → policy → truth.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::none_of;
use crate::source::{self, Source, has_word, words};

/// What a room or a crate may import.
#[derive(Clone, Copy)]
enum May {
    ImportAll,
    Import(&'static [&'static str]),
}
use May::{Import, ImportAll};

type Table = &'static [(&'static str, May)];

/// Crates by the name in their Cargo.toml. A program stands in no list, so nothing imports one but the benchmark, which
/// measures their rooms one by one, the tests that take the power from their stores or cut the way between them, and those that
/// fuzz their decoders.
const LIBRARIES: &[&str] = &["hume-core", "hume-proto", "hume-runtime", "hume-transfer"];
const CRATES: Table = &[
    ("hume-core", Import(&[])),
    ("hume-proto", Import(&["hume-core"])),
    ("hume-runtime", Import(&["hume-core"])),
    ("hume-transfer", Import(&["hume-core", "hume-proto", "hume-runtime", "hume-peers"])),
    ("hume-client", Import(&["hume-core", "hume-proto"])),
    ("humed-agent", Import(LIBRARIES)),
    ("humed-master", Import(LIBRARIES)),
    ("humequery", Import(LIBRARIES)),
    ("humeconfig", Import(LIBRARIES)),
    ("hume-peers", Import(&[])),
    ("hume-tests", Import(&["hume-core", "hume-proto", "hume-runtime", "hume-transfer", "hume-peers"])),
    ("hume-crash-tests", ImportAll),
    ("hume-sim-tests", ImportAll),
    ("hume-bench", ImportAll),
    ("hume-doors", ImportAll),
    ("xtask", Import(&[])),
];

/// Rooms of the agent. `lib` and `main` are the files of these names.
const AGENT: Table = &[
    ("lib", ImportAll),
    ("main", Import(&["args", "config", "agent"])),
    ("args", Import(&[])),
    ("agent", ImportAll),
    ("config", ImportAll),
    ("intake", Import(&["drops", "hosts", "redact", "runs", "spool"])),
    ("uplink", Import(&["drops", "hosts", "runs", "spool"])),
    ("web", Import(&["runs", "spool"])),
    ("pump", Import(&["spool"])),
    ("runs", Import(&["spool"])),
    ("drops", Import(&[])),
    ("hosts", Import(&[])),
    ("redact", Import(&[])),
    ("spool", Import(&[])),
    ("metrics", Import(&[])),
];

/// Rooms of the master.
const MASTER: Table = &[
    ("lib", ImportAll),
    ("main", Import(&["args", "config", "master"])),
    ("args", Import(&[])),
    ("master", ImportAll),
    ("config", ImportAll),
    ("relay", Import(&["intake", "registry"])),
    ("enroll", Import(&["registry"])),
    ("admin", Import(&["ca", "registry", "store"])),
    ("watchdog", Import(&["intake", "store"])),
    ("web", Import(&["registry", "store"])),
    ("pump", Import(&["store"])),
    ("intake", Import(&["plan", "routes", "store"])),
    ("plan", Import(&["store"])),
    ("routes", Import(&["store"])),
    ("store", Import(&[])),
    ("ca", Import(&["registry"])),
    ("registry", Import(&[])),
    ("metrics", Import(&[])),
];

/// Counters: below every other room, so any of them may count.
const BELOW_ALL: &str = "metrics";

/// Crates that would make `hume` large, with all whose names start with one of these and a dash.
const TOO_LARGE_FOR_HUME: [&str; 5] = ["tokio", "tonic", "prost", "hyper", "rustls"];

#[test]
fn crates_depend_only_in_the_direction_of_the_table() {
    let mut violations = Vec::new();
    for (path, manifest) in manifests() {
        let name = manifest["package"]["name"].as_str().expect("a package has a name");
        let Some(may) = row(CRATES, name) else {
            violations.push(format!(
                "{path}: the table of crates does not know {name}: add it to CRATES in tests/tidy/rooms.rs"
            ));
            continue;
        };
        for dependency in dependencies(&manifest) {
            if row(CRATES, &dependency).is_some() && !may.allows(&dependency) {
                violations.push(format!("{path}: {name} may not depend on {dependency}"));
            }
        }
    }
    none_of(&violations);
}

#[test]
fn hume_carries_no_async_runtime_and_no_tls() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = "tree --package hume-client --edges normal --offline --locked --prefix none --format {p}";
    let output = Command::new(cargo)
        .args(arguments.split(' '))
        .current_dir(source::workspace())
        .output()
        .expect("cargo is here, since it built this test");
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    assert!(tree.lines().any(|line| line.starts_with("hume-core ")), "not a tree of hume-client: {tree}");
    let found: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| {
            let starts = |large: &&str| name.strip_prefix(large).is_some_and(|tail| tail.starts_with('-'));
            TOO_LARGE_FOR_HUME.iter().any(|large| name == large || starts(large))
        })
        .collect();
    let explain = |name: &&str| format!("{name}: see `cargo tree -p hume-client -e normal -i {name}`");
    none_of(&found.iter().map(explain).collect::<Vec<_>>());
}

#[test]
fn rooms_of_the_agent_import_only_what_the_table_allows() {
    none_of(&forbidden_arrows("humed-agent", "AGENT", AGENT, &source::all()));
}

#[test]
fn rooms_of_the_master_import_only_what_the_table_allows() {
    none_of(&forbidden_arrows("humed-master", "MASTER", MASTER, &source::all()));
}

/// The agent may not read these of a process that is not its own, and must not depend on being root.
const PRIVATE_IN_PROC: [&str; 3] = ["/environ", "/exe", "/cwd"];

#[test]
fn no_source_names_the_environment_the_program_or_the_folder_of_another_process() {
    none_of(&private_names(&source::all()));
}

fn private_names(sources: &[Source]) -> Vec<String> {
    let is_judged =
        |path: &str| ["humed-agent/src/", "hume-core/src/"].iter().any(|room| path.starts_with(room));
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| is_judged(&source.path)) {
        // Names stand in strings, which the blanked lines do not have.
        for (line, raw) in source.lines.iter().zip(source.raw.lines()) {
            let names =
                |name: &&str| raw.split(name).skip(1).any(|rest| !rest.starts_with(char::is_alphanumeric));
            if !line.is_test && PRIVATE_IN_PROC.iter().any(names) {
                found.push(format!("{}:{}: {}", source.path, line.number, raw.trim()));
            }
        }
    }
    found
}

#[test]
fn a_private_name_is_found_with_its_line() {
    let text = "fn f(pid: u32) {\n    read(format!(\"/proc/{pid}/environ\"));\n    read(\"/proc/self/execve\");\n}\n";
    let of = |path| private_names(&[Source::new(path, text)]);
    assert_eq!(
        of("humed-agent/src/x.rs"),
        ["humed-agent/src/x.rs:2: read(format!(\"/proc/{pid}/environ\"));"]
    );
    assert_eq!(of("hume-client/src/x.rs"), [""; 0], "hume looks at its own");
}

#[test]
fn tasks_are_spawned_only_by_the_task_group() {
    none_of(&uses_outside(
        &["tokio::spawn", "task::spawn"],
        "hume-runtime/src/task_group.rs",
        &source::all(),
    ));
}

#[test]
fn generated_protobuf_types_stay_inside_proto() {
    none_of(&uses_outside(&["pb::"], "proto/", &source::all()));
}

impl May {
    fn allows(self, name: &str) -> bool {
        match self {
            ImportAll => true,
            Import(names) => names.contains(&name),
        }
    }
}

fn row(table: Table, name: &str) -> Option<May> {
    table.iter().find(|(known, _)| *known == name).map(|(_, may)| *may)
}

/// Every member's Cargo.toml, with its path.
pub(crate) fn manifests() -> Vec<(String, toml::Table)> {
    let root = manifest("Cargo.toml");
    let members = root["workspace"]["members"].as_array().expect("members are a list");
    let paths = members.iter().map(|member| format!("{}/Cargo.toml", member.as_str().expect("a path")));
    paths.map(|path| (path.clone(), manifest(&path))).collect()
}

/// The manifest at this path of the workspace.
pub(crate) fn manifest(path: &str) -> toml::Table {
    let text = fs::read_to_string(source::workspace().join(path)).expect("a manifest can be read");
    text.parse().expect("a manifest is TOML")
}

/// The packages that a manifest depends on in any way, also for tests or one platform only.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        match key.as_str() {
            "dependencies" | "dev-dependencies" | "build-dependencies" => {
                found.extend(table.iter().map(|(name, details)| {
                    details.get("package").and_then(toml::Value::as_str).unwrap_or(name).to_owned()
                }));
            }
            "target" => found.extend(table.values().filter_map(toml::Value::as_table).flat_map(dependencies)),
            _ => {}
        }
    }
    found
}

/// Imports between rooms of one daemon that its table does not allow.
fn forbidden_arrows(folder: &str, name: &str, table: Table, sources: &[Source]) -> Vec<String> {
    let rooms: BTreeSet<String> =
        sources.iter().filter(|source| source.crate_folder() == folder).filter_map(room).collect();
    let library = folder.replace('-', "_");
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| source.crate_folder() == folder) {
        let Some(from) = room(source) else { continue };
        let Some(may) = row(table, &from) else {
            violations.push(format!(
                "{}:1: the table does not know the room {from}: add it to {name} in tests/tidy/rooms.rs, to the \
                 drawing in docs/ARCHITECTURE.md, and say what it may import",
                source.path
            ));
            continue;
        };
        for (line, to) in imports(source, &library) {
            let is_room = rooms.contains(&to);
            if to == from || to == BELOW_ALL || (is_room && may.allows(&to)) || matches!(may, ImportAll) {
                continue;
            }
            violations.push(if is_room {
                format!("{}:{line}: the room {from} may not import {to}", source.path)
            } else {
                format!("{}:{line}: {from} imports {to} of lib.rs; a room imports only rooms", source.path)
            });
        }
    }
    violations
}

/// The room of a file: the first part of its module path, or `lib` or `main`.
fn room(source: &Source) -> Option<String> {
    let module = source.module()?;
    let root = if source.path.ends_with("/main.rs") { "main" } else { "lib" };
    Some((*module.first().unwrap_or(&root)).to_owned())
}

/// What a file names of its own crate's root, outside of test code: the line, and the first part of the path.
fn imports(source: &Source, library: &str) -> Vec<(usize, String)> {
    let lines = source.lines.iter().map(|line| if line.is_test { "" } else { line.code.as_str() });
    let code = lines.collect::<Vec<_>>().join("\n");
    let depth = source.module().map_or(0, |module| module.len());
    let mut found = Vec::new();
    let mut take = |at: usize, after: usize| {
        let line = code[..at].matches('\n').count() + 1;
        found.extend(heads(&code[after..]).into_iter().map(|name| (line, name)));
    };
    for root in ["crate::", &format!("{library}::")] {
        for at in words(&code, root) {
            take(at, at + root.len());
        }
    }
    // As many `super::` as the module is deep end at the root. A chain is looked at from its first one.
    let climb = "super::".repeat(depth);
    if depth > 0 {
        for at in words(&code, &climb).filter(|at| !code[..*at].ends_with("super::")) {
            take(at, at + climb.len());
        }
    }
    found.sort();
    found
}

/// The first parts of the paths that stand here: one name, or those in a group in braces.
fn heads(path: &str) -> Vec<String> {
    let Some(group) = path.trim_start().strip_prefix('{') else {
        return name(path).into_iter().collect();
    };
    let mut depth = 0_usize;
    let mut found = Vec::new();
    let mut is_start = true;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_start = true,
            _ if is_start && !character.is_whitespace() => {
                found.extend(name(&group[at..]));
                is_start = false;
            }
            _ => {}
        }
    }
    found
}

fn name(path: &str) -> Option<String> {
    let path = path.trim_start();
    let end = path.find(|character: char| !character.is_alphanumeric() && character != '_');
    let name = &path[..end.unwrap_or(path.len())];
    (!name.is_empty() && name != "self" && name != "super").then(|| name.to_owned())
}

/// Lines outside of one place, and outside of test code, that use one of the words.
fn uses_outside(forbidden: &[&str], place: &str, sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| !source.path.starts_with(place)) {
        for line in source.lines.iter().filter(|line| !line.is_test) {
            for word in forbidden.iter().filter(|word| has_word(&line.code, word)) {
                violations.push(format!("{}: {word} belongs into {place} alone", source.at(line)));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(path: &str, text: &str) -> Vec<String> {
        let rooms = ["agent", "intake", "uplink", "runs", "spool", "metrics"];
        let mut sources: Vec<Source> =
            rooms.iter().map(|room| Source::new(&format!("humed-agent/src/{room}.rs"), "")).collect();
        sources.push(Source::new(&format!("humed-agent/src/{path}"), text));
        forbidden_arrows("humed-agent", "AGENT", AGENT, &sources)
    }

    #[test]
    fn an_arrow_against_the_table_is_found_however_it_is_written() {
        for text in [
            "use crate::uplink::Batch;",
            "use crate::{\n    runs::Run,\n    uplink::{self, Batch},\n};",
            "fn f() -> crate::uplink::Batch {}",
            "use super::uplink::Batch;",
            "use humed_agent::uplink;",
        ] {
            let violations = agent("intake.rs", text);
            assert_eq!(violations.len(), 1, "{text}: {violations:?}");
            assert!(violations[0].contains("the room intake may not import uplink"), "{violations:?}");
        }
        assert_eq!(agent("intake/lines.rs", "use super::super::uplink::Batch;").len(), 1);
        assert_eq!(
            agent("spool.rs", "\nuse crate::runs;").first().map(|text| &text[..25]),
            Some("humed-agent/src/spool.rs:")
        );
    }

    #[test]
    fn allowed_arrows_and_those_of_test_code_pass() {
        for (path, text) in [
            ("intake.rs", "use crate::{runs::Run, spool::Spool, metrics};"),
            ("intake.rs", "use crate::intake::lines;\nuse self::lines::Line;\npub(crate) fn f() {}"),
            ("intake/lines.rs", "use super::uplink_of_this_room;"),
            ("intake.rs", "// use crate::uplink;\nconst A: &str = \"crate::uplink::Batch\";"),
            ("intake.rs", "#[cfg(test)]\nmod tests {\n    use crate::uplink::Batch;\n}"),
            ("agent.rs", "use crate::uplink::Batch;\nuse crate::spool;"),
            ("lib.rs", "pub mod spool;\npub use crate::uplink::Batch;"),
        ] {
            assert_eq!(agent(path, text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_room_that_the_table_does_not_know_says_where_to_add_it() {
        let violations = agent("attic.rs", "");
        assert!(violations[0].contains("add it to AGENT in tests/tidy/rooms.rs"), "{violations:?}");
    }

    #[test]
    fn an_item_of_the_root_is_no_room() {
        assert_eq!(agent("spool.rs", "use crate::Error;").len(), 1);
    }

    #[test]
    fn a_dependency_is_found_in_every_table_and_under_its_own_name() {
        let manifest = "[dependencies]\na = \"1\"\nb = { package = \"c\", version = \"1\" }\n\
                        [target.'cfg(unix)'.dev-dependencies]\nd = \"1\"\n";
        let found = dependencies(&manifest.parse().expect("TOML"));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "c", "d"]);
    }

    #[test]
    fn a_call_in_the_wrong_file_is_found() {
        let sources = [
            Source::new("hume-runtime/src/task_group.rs", "tokio::spawn(x);"),
            Source::new(
                "humed-agent/src/intake.rs",
                "fn f() {\n    tokio::spawn(x);\n    tokio::spawner();\n}",
            ),
        ];
        let found = uses_outside(&["tokio::spawn"], "hume-runtime/src/task_group.rs", &sources);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("humed-agent/src/intake.rs:2:"), "{found:?}");
    }
}
