//! What would change in a file, line by line, with `***` for every secret that the texts hold.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use similar::{ChangeTag, TextDiff};
use toml_edit::{Document, Item, TableLike, Value};

/// Lines around a change that are shown with it.
const CONTEXT_LINES: usize = 3;
/// Keys whose values are secrets, in any section; what a test finds in the example of transfers.
const SECRET_KEYS: [&str; 10] = [
    "webhook",
    "webhook_by_task",
    "webhook_by_level",
    "password",
    "shared_key",
    "sign_key",
    "token",
    "auth_token",
    "url",
    "headers",
];
/// `{ file = "…" }` tells where a secret is and not what it is.
const NOT_SECRET: &str = "file";
const HIDDEN: &str = "***";

const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const PLACE: Style = AnsiColor::Cyan.on_default();

/// A unified diff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diff(String);

impl Diff {
    /// From one text of the file to the other.
    pub(crate) fn between(path: &Path, before: &str, after: &str) -> Diff {
        Diff::of_lines(path, &hidden(before), &hidden(after))
    }

    /// From one text of a unit of systemd's to the other; its environment may hold a secret.
    pub(crate) fn of_units(path: &Path, before: &str, after: &str) -> Diff {
        let hidden = |text: &str| {
            let lines = text.split('\n').map(|line| match line.split_once("Environment=") {
                Some((start, _)) => format!("{start}Environment={HIDDEN}"),
                None => line.to_owned(),
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        Diff::of_lines(path, &hidden(before), &hidden(after))
    }

    fn of_lines(path: &Path, before: &str, after: &str) -> Diff {
        let (before, after) = (tame(before), tame(after));
        let lines = TextDiff::from_lines(&before, &after);
        let mut text = String::new();
        let mut unified = lines.unified_diff();
        for hunk in unified.context_radius(CONTEXT_LINES).iter_hunks() {
            if text.is_empty() {
                let path = path.display();
                text = format!("{REMOVED}--- {path}{REMOVED:#}\n{ADDED}+++ {path}{ADDED:#}\n");
            }
            push(&mut text, PLACE, &hunk.header().to_string());
            for change in hunk.iter_changes() {
                let style = match change.tag() {
                    ChangeTag::Insert => ADDED,
                    ChangeTag::Delete => REMOVED,
                    ChangeTag::Equal => Style::new(),
                };
                push(&mut text, style, &format!("{}{}", change.tag(), change.value().trim_end_matches('\n')));
            }
        }
        Diff(text)
    }

    /// Lines of a diff, coloured; empty if there is nothing to see.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn push(text: &mut String, style: Style, line: &str) {
    let _ = writeln!(text, "{style}{line}{style:#}");
}

/// What would steer a terminal, written out: the text may be a stranger's.
fn tame(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || ('\u{200e}'..='\u{200f}').contains(&c)
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    text.chars().fold(String::with_capacity(text.len()), |mut tamed, c| {
        if steers(c) {
            tamed.extend(c.escape_unicode());
        } else {
            tamed.push(c);
        }
        tamed
    })
}

/// The text without its secrets, those in comments included.
fn hidden(text: &str) -> String {
    let mut spans = Vec::new();
    match Document::parse(text) {
        Ok(document) => secrets_of(document.as_table(), false, &mut spans),
        Err(_) => return values_hidden(text),
    }
    let mut shown = text.to_owned();
    spans.sort_by_key(|span| std::cmp::Reverse(span.start));
    for span in spans {
        shown.replace_range(span, &format!("\"{HIDDEN}\""));
    }
    let ends_line = shown.ends_with('\n');
    let mut lines: Vec<String> = shown.lines().map(comment).collect();
    if ends_line {
        lines.push(String::new());
    }
    lines.join("\n")
}

/// Of a text that cannot be read, the keys.
fn values_hidden(text: &str) -> String {
    let lines = text.split('\n').map(|line| match line.split_once('=') {
        Some((key, _)) => format!("{key}= {HIDDEN}"),
        None if line.trim().is_empty() || line.starts_with('[') => line.to_owned(),
        None => HIDDEN.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A line; if it is a secret that is commented out, without it.
fn comment(line: &str) -> String {
    let Some((key, value)) = line.trim_start().strip_prefix('#').and_then(|rest| rest.split_once('=')) else {
        return line.to_owned();
    };
    let last = key.trim().rsplit('.').next().unwrap_or_default().trim_matches(['"', '\'']);
    let names_a_file = value.trim_start().starts_with('{') && value.contains(NOT_SECRET);
    if SECRET_KEYS.contains(&last) && !names_a_file {
        let kept = &line[..line.len() - value.len()];
        return format!("{kept} \"{HIDDEN}\"");
    }
    line.to_owned()
}

fn secrets_of(table: &dyn TableLike, within: bool, spans: &mut Vec<Range<usize>>) {
    for (key, item) in table.iter() {
        let is_secret = (within || SECRET_KEYS.contains(&key)) && key != NOT_SECRET;
        match item {
            Item::Value(value) => secrets_in(value, is_secret, spans),
            Item::Table(table) => secrets_of(table, is_secret, spans),
            Item::ArrayOfTables(tables) => {
                for table in tables {
                    secrets_of(table, is_secret, spans);
                }
            }
            Item::None => {}
        }
    }
}

fn secrets_in(value: &Value, is_secret: bool, spans: &mut Vec<Range<usize>>) {
    match value {
        Value::InlineTable(table) => secrets_of(table, is_secret, spans),
        Value::Array(values) => values.iter().for_each(|value| secrets_in(value, is_secret, spans)),
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            if is_secret {
                spans.extend(value.span());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(before: &str, after: &str) -> String {
        anstream::adapter::strip_str(Diff::between(Path::new("agent.toml"), before, after).as_str())
            .to_string()
    }

    #[test]
    fn a_change_is_shown_with_the_lines_around_it() {
        let text = plain("a = 1\nb = 2\nc = 3\nd = 4\ne = 5\n", "a = 1\nb = 2\nc = 3\nd = 4\ne = 6\n");
        assert_eq!(
            text,
            "--- agent.toml\n+++ agent.toml\n@@ -2,4 +2,4 @@\n b = 2\n c = 3\n d = 4\n-e = 5\n+e = 6\n"
        );
        assert_eq!(plain("a = 1\n", "a = 1\n"), "");
    }

    #[test]
    fn no_secret_is_shown_wherever_it_stands() {
        for text in [
            "[transfer.ops.slack]\nwebhook = \"hunter2\"\n",
            "[transfer.ops.slack]\nwebhook_by_level = { error = \"hunter2\" }\n",
            "[transfer.ops.slack.webhook_by_task]\n\"BACKUP*\" = 'hunter2'\n",
            "transfer.ops.http.headers = { Authorization = \"hunter2\" }\n",
            "[transfer]\nops = { email = { password = \"\"\"\nhunter2\"\"\" } }\n",
            "#webhook = \"hunter2\"\n",
            "  # transfer.ops.fluentd.shared_key = 'hunter2'\n",
            "[[x]]\ntoken = [\"a\", \"hunter2\"]\n",
            "webhook = \"hunter2\n\"hunter2\"",
        ] {
            let shown = plain("", text);
            assert!(!shown.contains("hunter2") && shown.contains(HIDDEN), "{text}: {shown}");
        }
    }

    #[test]
    fn the_environment_of_a_unit_is_not_shown() {
        let diff =
            Diff::of_units(Path::new("u"), "[Service]\nEnvironment=HUME_TOKEN=hunter2\n", "[Service]\n");
        assert!(diff.as_str().contains("-Environment=***") && !diff.as_str().contains("hunter2"));
    }

    #[test]
    fn where_a_secret_is_may_be_seen() {
        let text =
            "[transfer.ops.slack]\nwebhook = { file = \"credentials/ops\" }\n# token = { file = \"x\" }\n";
        let shown = plain("", text);
        assert!(shown.contains("file = \"credentials/ops\"") && shown.contains("file = \"x\""), "{shown}");
        assert!(!shown.contains(HIDDEN), "{shown}");
    }

    #[test]
    fn a_text_that_steers_terminals_is_written_out() {
        let shown = plain("", "# \u{9b}31m \u{202e}gnorw\n");
        assert!(shown.contains("\\u{9b}31m \\u{202e}gnorw"), "{shown}");
    }

    #[test]
    fn every_secret_of_a_transfer_is_known_here() {
        let example = include_str!("../../../hume-transfer/transfers.example.toml");
        let keys = example.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(" = { file ="));
        for (key, _) in keys {
            assert!(SECRET_KEYS.contains(&key), "{key} is a secret: add it to SECRET_KEYS");
        }
    }
}
