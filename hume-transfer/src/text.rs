//! Texts of events on their way to others: escaped for where they go, cut where that has a limit, never in the middle of anything.

use hume_core::Level;

/// Slack's `&`, `<` and `>`. Control characters but tab and line break are left out: no client shows them.
pub fn slack_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\n' | '\t' => escaped.push(character),
            control if control.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

/// All white space, line breaks among it, as single spaces; control characters are left out.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|character| !character.is_control()));
    }
    line
}

/// At most so many characters; what is cut ends with `…`.
pub fn truncate(text: &str, characters_max: usize) -> String {
    if text.chars().nth(characters_max).is_none() {
        return text.to_owned();
    }
    text.chars().take(characters_max.saturating_sub(1)).chain((characters_max > 0).then_some('…')).collect()
}

/// The first line of a text that is not blank, and at most so many characters of it.
pub fn first_line(text: &str, characters_max: usize) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    truncate(line.trim(), characters_max)
}

/// A sign for those who see pictures first. The word stands beside it, always.
pub fn emoji(level: Level) -> &'static str {
    match level {
        Level::Debug => "🔎",
        Level::Info => "ℹ️",
        Level::Ok => "✅",
        Level::Unknown => "❔",
        Level::Warning => "⚠️",
        Level::Error => "❌",
        Level::Critical => "🚨",
    }
}

/// A colour as `#rrggbb`. The word stands beside it, always.
pub fn color(level: Level) -> &'static str {
    match level {
        Level::Debug => "#9e9e9e",
        Level::Info => "#1f77b4",
        Level::Ok => "#2e7d32",
        Level::Unknown => "#7b5ea7",
        Level::Warning => "#e0a100",
        Level::Error => "#d32f2f",
        Level::Critical => "#7f0000",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_escaped_for_slack() {
        assert_eq!(slack_escape("<!here> a & b\u{1b}[0m\n"), "&lt;!here&gt; a &amp; b[0m\n");
    }

    #[test]
    fn a_text_of_many_lines_becomes_one() {
        assert_eq!(one_line(" a\r\nBcc: x\u{0}@y\t\n b "), "a Bcc: x@y b");
    }

    #[test]
    fn a_text_of_many_lines_is_quoted_by_its_first() {
        assert_eq!(first_line("\n  one \ntwo", 10), "one");
        assert_eq!(
            (first_line("äöüäö", 5), first_line("äöüäöü", 5)),
            ("äöüäö".to_owned(), "äöüä…".to_owned())
        );
        assert_eq!(first_line("", 5), "");
    }

    proptest! {
        #[test]
        fn what_is_cut_has_at_most_so_many_characters_and_says_so(text in ".{0,40}", most in 0..30_usize) {
            let cut = truncate(&text, most);
            prop_assert!(cut.chars().count() <= most);
            if text.chars().count() <= most {
                prop_assert_eq!(cut, text);
            } else if most > 0 {
                prop_assert!(cut.ends_with('…'));
            }
        }
    }
}
