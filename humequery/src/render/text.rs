//! Text that is safe to show: the only way from an event to a terminal is [`Span`], and it lets no control character through.
//!
//! A script's message may hold anything, also sequences that would recolour, overwrite or reorder what the reader sees.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Color, Style};
use unicode_width::UnicodeWidthChar;

/// How a piece of text is meant. With colour off only the words remain, so the words must say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Ordinary.
    Plain,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
    /// Went well.
    Good,
    /// Look at it, not now.
    Warning,
    /// Went wrong.
    Bad,
    /// Everything else can wait.
    Worst,
    /// Nobody can tell.
    Unsure,
}

impl Ink {
    fn style(self) -> Style {
        let color = |color: AnsiColor| Style::new().fg_color(Some(Color::Ansi(color)));
        match self {
            Ink::Plain => Style::new(),
            Ink::Faint => Style::new().dimmed(),
            Ink::Strong => Style::new().bold(),
            Ink::Good => color(AnsiColor::Green),
            Ink::Warning => color(AnsiColor::Yellow),
            Ink::Bad => color(AnsiColor::Red),
            Ink::Worst => color(AnsiColor::Red).bold().invert(),
            Ink::Unsure => color(AnsiColor::Magenta),
        }
    }

    /// The ink of a level, a status or a state.
    pub fn of_word(word: &str) -> Ink {
        match word {
            "ok" | "connected" | "local" | "ready" => Ink::Good,
            "warning" | "overdue" | "silent" => Ink::Warning,
            "error" | "failed" | "disconnected" => Ink::Bad,
            "critical" => Ink::Worst,
            "unknown" | "lost" => Ink::Unsure,
            "debug" => Ink::Faint,
            _ => Ink::Plain,
        }
    }
}

/// Whether colour is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Yes.
    On,
    /// No.
    Off,
}

/// One line of text that is safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    text: String,
    ink: Ink,
}

impl Span {
    /// The text as one line, cleaned by [`clean`].
    pub fn new(ink: Ink, text: &str) -> Span {
        Span { text: clean(text), ink }
    }

    /// In ordinary ink.
    pub fn plain(text: &str) -> Span {
        Span::new(Ink::Plain, text)
    }

    /// A level, status or state, in its own ink.
    pub fn word(word: &str) -> Span {
        Span::new(Ink::of_word(word), word)
    }

    /// Columns it takes on a terminal.
    pub fn width(&self) -> usize {
        width(&self.text)
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, colour: Colour, to: &mut dyn Write) -> io::Result<()> {
        match (colour, self.ink) {
            (Colour::Off, _) | (_, Ink::Plain) => to.write_all(self.text.as_bytes()),
            (Colour::On, ink) => {
                let style = ink.style();
                write!(to, "{style}{}{style:#}", self.text)
            }
        }
    }

    /// The same text in lines of at most `columns`, broken at spaces where there are any; at least one line.
    pub fn wrap(&self, columns: usize) -> Vec<Span> {
        wrap(&self.text, columns).into_iter().map(|text| Span { text, ink: self.ink }).collect()
    }
}

/// Makes one line of any text: control characters become `\xNN` or `\u{…}`, a tab four spaces.
///
/// Controls are C0, DEL, C1, and what changes the direction or the lines of a text without being seen.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => clean.push_str("    "),
            _ if !is_unsafe(c) => clean.push(c),
            // Writing to a String cannot fail.
            '\0'..='\x7f' => drop(write!(clean, "\\x{:02x}", u32::from(c))),
            _ => drop(write!(clean, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    clean
}

/// The lines of a message; a carriage return before the line break belongs to it.
pub fn lines(message: &str) -> impl Iterator<Item = &str> {
    let message = message.strip_suffix('\n').unwrap_or(message);
    message.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line))
}

/// True for what must not reach a terminal.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'
                | '\u{2029}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

/// Columns that a clean text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    c.width().unwrap_or(0)
}

fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    let mut rest = text;
    loop {
        let mut taken = 0;
        let mut space = None;
        let mut end = None;
        for (at, c) in rest.char_indices() {
            // A space may hang over the edge: it is not seen there.
            if c == ' ' && at > 0 {
                space = Some(at);
            }
            taken += columns_of(c);
            if taken > columns && c != ' ' {
                end = Some(at);
                break;
            }
        }
        let Some(end) = end else {
            lines.push(rest.trim_end_matches(' ').to_owned());
            return lines;
        };
        // Without a space in sight a word is broken; a character wider than the line stands alone.
        let word_end = space.filter(|at| !rest[..*at].trim_matches(' ').is_empty());
        let first = rest.chars().next().map_or(1, char::len_utf8);
        let cut = word_end.unwrap_or(end.max(first));
        lines.push(rest[..cut].trim_end_matches(' ').to_owned());
        rest = &rest[cut..];
        if word_end.is_some() {
            rest = rest.trim_start_matches(' ');
        }
        if rest.is_empty() {
            return lines;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn controls_are_shown_and_never_sent() {
        assert_eq!(clean("a\x1b[31mred\x1b[0m"), "a\\x1b[31mred\\x1b[0m");
        assert_eq!(clean("bell\x07 del\x7f nul\0"), "bell\\x07 del\\x7f nul\\x00");
        assert_eq!(clean("c1\u{9b}31m"), "c1\\u{9b}31m");
        assert_eq!(clean("exe\u{202e}gpj"), "exe\\u{202e}gpj");
        assert_eq!(clean("a\tb"), "a    b");
        assert_eq!(clean("zażółć 漢字 👍"), "zażółć 漢字 👍");
    }

    #[test]
    fn a_message_has_lines() {
        assert_eq!(lines("a\r\nb\n").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(lines("").collect::<Vec<_>>(), [""]);
        assert_eq!(lines("a\n\nb").collect::<Vec<_>>(), ["a", "", "b"]);
    }

    #[test]
    fn long_text_breaks_at_spaces_and_else_anywhere() {
        let wrap = |text: &str, columns| wrap(text, columns).join("|");
        assert_eq!(wrap("the quick brown fox", 10), "the quick|brown fox");
        assert_eq!(wrap("abcdefghij", 4), "abcd|efgh|ij");
        assert_eq!(wrap("ab abcdefgh", 4), "ab|abcd|efgh");
        assert_eq!(wrap("漢字漢字", 4), "漢字|漢字");
        assert_eq!(wrap("漢字", 1), "漢|字");
        assert_eq!(wrap("", 4), "");
        assert_eq!(wrap("four", 4), "four");
        assert_eq!(wrap("four five", 4), "four|five");
        assert_eq!(wrap("  indented", 20), "  indented");
    }

    #[test]
    fn without_colour_only_the_words_remain() {
        let mut plain = Vec::new();
        Span::word("critical").write(Colour::Off, &mut plain).unwrap();
        assert_eq!(plain, b"critical");
        let mut colour = Vec::new();
        Span::word("critical").write(Colour::On, &mut colour).unwrap();
        assert!(colour.starts_with(b"\x1b[") && colour.ends_with(b"\x1b[0m"));
    }

    proptest! {
        #[test]
        fn no_control_character_survives(text in any::<String>()) {
            let span = Span::new(Ink::Plain, &text);
            let mut shown = Vec::new();
            span.write(Colour::Off, &mut shown).unwrap();
            let shown = String::from_utf8(shown).unwrap();
            prop_assert!(!shown.chars().any(is_unsafe));
            prop_assert_eq!(clean(&shown), shown);
        }

        #[test]
        fn wrapping_keeps_every_word_and_the_width(text in "[a-z漢 ]{0,60}", columns in 2usize..20) {
            let lines = wrap(&text, columns);
            for line in &lines {
                prop_assert!(width(line) <= columns, "{:?}", line);
            }
            let letters = |text: &str| text.replace(' ', "");
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
