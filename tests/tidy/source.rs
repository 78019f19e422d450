//! Rust sources as plain text: code without comments and strings, line by line, with its test code marked.
//!
//! No parser: a scanner that knows comments, literals and braces is enough for the rules here, and it reads code
//! that does not compile yet.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no source of ours.
const SKIPPED: [&str; 2] = ["target", "node_modules"];

/// One Rust source file.
pub(crate) struct Source {
    /// Relative to the root of the workspace, with `/` between its parts.
    pub(crate) path: String,
    /// What stands in the file.
    pub(crate) raw: String,
    /// The same lines with comments and the insides of strings blanked.
    pub(crate) lines: Vec<Line>,
}

/// One line of code.
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: usize,
    /// Without comments and without the insides of strings.
    pub(crate) code: String,
    /// Compiled for tests only.
    pub(crate) is_test: bool,
}

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the crate of the tests is a folder of the workspace").to_path_buf()
}

/// Every Rust source of the workspace, sorted by path.
pub(crate) fn all() -> Vec<Source> {
    let root = workspace();
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let mut sources: Vec<Source> = paths
        .iter()
        .map(|path| {
            let relative = path.strip_prefix(&root).expect("it was found there");
            let raw = fs::read_to_string(path).expect("a source can be read");
            Source::new(relative.to_str().expect("our file names are ASCII"), &raw)
        })
        .collect();
    mark_test_modules(&mut sources);
    sources
}

impl Source {
    /// Reads one file's text. Files in a `tests` or `benches` folder, `tests.rs` and `…_tests.rs` are test code as a
    /// whole.
    pub(crate) fn new(path: &str, raw: &str) -> Self {
        let code = blank(raw);
        let is_folder = |part: &str| part == "tests" || part == "benches";
        let in_tests = code.contains("#![cfg(test)]")
            || path.split('/').any(is_folder)
            || path.ends_with("/tests.rs")
            || path.ends_with("_tests.rs");
        let is_test = test_lines(&code);
        let lines = code
            .lines()
            .zip(is_test)
            .enumerate()
            .map(|(index, (code, is_test))| Line {
                number: index + 1,
                code: code.to_owned(),
                is_test: is_test || in_tests,
            })
            .collect();
        Self { path: path.to_owned(), raw: raw.to_owned(), lines }
    }

    /// The crate's folder, such as `humed-agent`.
    pub(crate) fn crate_folder(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// The module path below the crate's root, if the file is part of a library or program: empty for `lib.rs` and
    /// `main.rs`.
    pub(crate) fn module(&self) -> Option<Vec<&str>> {
        let inside =
            self.path.strip_prefix(self.crate_folder())?.strip_prefix("/src/")?.strip_suffix(".rs")?;
        Some(inside.split('/').filter(|part| !["lib", "main", "mod"].contains(part)).collect())
    }

    /// `path:line` as compilers print it.
    pub(crate) fn at(&self, line: &Line) -> String {
        format!("{}:{}", self.path, line.number)
    }
}

/// Where `word` stands in `code` as a word of its own: bytes offsets.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let starts = !word.starts_with(is_word) || !before.is_some_and(is_word);
        let ends = !word.ends_with(is_word) || !after.is_some_and(is_word);
        starts && ends
    })
}

/// Whether `word` stands in `code` as a word of its own.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    words(code, word).next().is_some()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("a folder entry can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') || SKIPPED.contains(&name) {
            continue;
        }
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// Marks files that a parent declares with `#[cfg(test)] mod name;`, and all below them.
fn mark_test_modules(sources: &mut [Source]) {
    let mut declared: Vec<String> = Vec::new();
    for source in &*sources {
        let Some(module) = source.module() else { continue };
        for line in source.lines.iter().filter(|line| line.is_test) {
            let code = line.code.trim();
            let Some(at) = words(code, "mod").next() else { continue };
            if let Some(name) = code[at + "mod".len()..].trim().strip_suffix(';') {
                let folder = [source.crate_folder(), "src"].into_iter().chain(module.iter().copied());
                declared.push(folder.chain([name]).collect::<Vec<_>>().join("/"));
            }
        }
    }
    for source in sources {
        let is_declared = declared.iter().any(|module| {
            source
                .path
                .strip_prefix(module.as_str())
                .is_some_and(|tail| tail == ".rs" || tail.starts_with('/'))
        });
        if is_declared {
            source.lines.iter_mut().for_each(|line| line.is_test = true);
        }
    }
}

/// The text with comments and the insides of string and character literals replaced by blanks; line ends stay.
fn blank(raw: &str) -> String {
    let mut code = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(first) = rest.chars().next() {
        let (length, keeps) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (block_comment(rest), false)
        } else if let Some(length) = raw_string(rest, code.chars().next_back()) {
            (length, false)
        } else if first == '"' {
            (quoted(rest, '"'), false)
        } else if first == '\'' && is_character(rest) {
            (quoted(rest, '\''), false)
        } else {
            (first.len_utf8(), true)
        };
        let (token, tail) = rest.split_at(length);
        if keeps {
            code.push_str(token);
        } else {
            code.extend(token.chars().map(|character| if character == '\n' { '\n' } else { ' ' }));
        }
        rest = tail;
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a raw string that starts here, `r"…"` or `r#"…"#`, also with a `b` or `c` before it.
fn raw_string(text: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(is_word) {
        return None;
    }
    let start = usize::from(text.starts_with(['b', 'c']));
    let after_r = text[start..].strip_prefix('r')?;
    let hashes = after_r.len() - after_r.trim_start_matches('#').len();
    let inside = after_r[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(start + 1 + hashes + 1 + length)
}

/// Whether a quote starts a character literal rather than a lifetime.
fn is_character(text: &str) -> bool {
    let mut characters = text.chars().skip(1);
    match characters.next() {
        Some('\\') => true,
        Some(_) => characters.next() == Some('\''),
        None => false,
    }
}

fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if character == '\\' {
            is_escaped = true;
        } else if character == quote {
            return at + quote.len_utf8();
        }
    }
    text.len()
}

/// For each line of blanked code, whether it belongs to an item under `#[cfg(test)]`.
fn test_lines(code: &str) -> Vec<bool> {
    let mut marks = vec![false; code.lines().count()];
    for attribute in ["#[cfg(test)]", "#[cfg(all(test"] {
        for (at, _) in code.match_indices(attribute) {
            let first = code[..at].matches('\n').count();
            let last = first + code[at..at + item_length(&code[at..])].matches('\n').count();
            marks.iter_mut().take(last + 1).skip(first).for_each(|mark| *mark = true);
        }
    }
    marks
}

/// The length of the item that starts with an attribute: to the brace that closes its first one, or to a semicolon
/// before any brace.
fn item_length(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in code.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_no_code() {
        let raw = r##"let a = "dbg!(1)"; // dbg!(2)
/* dbg!(3) /* nested */ dbg!(4) */ let b = r#"dbg!(5) " "#;
let c: &'static str = 'x'.into(); let quote = '"'; let d = b"dbg!(6)\"dbg!(7)";
dbg!(8);
"##;
        let source = Source::new("one/src/lib.rs", raw);
        let found: Vec<usize> =
            source.lines.iter().filter(|line| has_word(&line.code, "dbg!")).map(|line| line.number).collect();
        assert_eq!(found, [4]);
        assert!(source.lines[2].code.contains("&'static str"));
        assert!(source.lines[1].code.contains("let b"));
    }

    #[test]
    fn code_under_cfg_test_is_test_code_and_what_follows_is_not() {
        let raw = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { if x {} }\n}\nfn c() {}\n\
                   #[cfg(test)]\nmod more;\nfn d() {}\n";
        let source = Source::new("one/src/lib.rs", raw);
        let tests: Vec<usize> =
            source.lines.iter().filter(|line| line.is_test).map(|line| line.number).collect();
        assert_eq!(tests, [2, 3, 4, 5, 7, 8]);
    }

    #[test]
    fn a_file_declared_for_tests_is_test_code() {
        let mut sources = vec![
            Source::new("one/src/room.rs", "#[cfg(test)]\nmod checks;\nmod work;\n"),
            Source::new("one/src/room/checks.rs", "fn a() {}\n"),
            Source::new("one/src/room/work.rs", "fn a() {}\n"),
        ];
        mark_test_modules(&mut sources);
        assert!(sources[1].lines[0].is_test);
        assert!(!sources[2].lines[0].is_test);
    }

    #[test]
    fn the_module_path_follows_the_file() {
        let module = |path| Source::new(path, "").module().map(|parts| parts.join("::"));
        assert_eq!(module("humed-agent/src/lib.rs").as_deref(), Some(""));
        assert_eq!(module("humed-agent/src/spool.rs").as_deref(), Some("spool"));
        assert_eq!(module("humed-agent/src/spool/mod.rs").as_deref(), Some("spool"));
        assert_eq!(module("humed-agent/src/spool/writer.rs").as_deref(), Some("spool::writer"));
        assert_eq!(module("humed-agent/tests/kill.rs"), None);
        assert_eq!(module("proto/build.rs"), None);
    }

    #[test]
    fn a_word_is_found_only_as_a_whole() {
        assert!(has_word("std::dbg!(x)", "dbg!"));
        assert!(!has_word("my_dbg!(x)", "dbg!"));
        assert!(has_word("crate::spool::Writer", "crate::spool"));
        assert!(!has_word("crate::spooler", "crate::spool"));
    }
}
