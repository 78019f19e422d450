//! Tables of a document: which rows stand under a heading, and what their cells name.

use std::fs;

use crate::source;

/// The text of a document or example, or nothing and a violation.
pub(crate) fn read(path: &str, violations: &mut Vec<String>) -> String {
    fs::read_to_string(source::workspace().join(path)).unwrap_or_else(|error| {
        violations.push(format!("{path}: {error}"));
        String::new()
    })
}

/// The rows of all tables under `## heading`, without their heads: the cells of each, trimmed.
pub(crate) fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let chapter = text.lines().skip_while(|line| !is_heading(line, heading)).skip(1);
    let lines: Vec<&str> = chapter.take_while(|line| !line.starts_with("## ")).collect();
    let is_rule = |line: &str| line.starts_with('|') && line.chars().all(|one| "|-: ".contains(one));
    let mut rows = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let is_head = lines.get(index + 1).is_some_and(|next| is_rule(next));
        if line.starts_with('|') && !is_head && !is_rule(line) {
            rows.push(cells(line));
        }
    }
    rows
}

fn is_heading(line: &str, heading: &str) -> bool {
    line.strip_prefix("## ").is_some_and(|text| text.starts_with(heading))
}

/// The cells of a row; `\|` is no border.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_matches('|').replace("\\|", "\u{1}");
    line.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
}

/// The words between backquotes.
pub(crate) fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_one_chapter_without_head_and_rule() {
        let text = "## A\n| x |\n|---|\n| no |\n## Bees, and more\ntext\n| h | i |\n|---|--:|\n| `a`, `b` | `c \\| d` |\n\n| z |\n|---|\n| y |\n## C\n| n |\n";
        let rows = rows(text, "Bees");
        assert_eq!(rows, [vec!["`a`, `b`", "`c | d`"], vec!["y"]]);
        assert_eq!(quoted(&rows[0][0]), ["a", "b"]);
        assert!(super::rows(text, "D").is_empty());
    }
}
