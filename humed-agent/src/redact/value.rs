//! Where a value ends that begins here: at its closing quote, or at white space, whatever else a password may hold.
//!
//! What is not clear is taken for a part of the value: rather too much is hidden than too little. Whoever looks reads what it
//! returns and one byte more, so that a text is gone through once.

use std::ops::Range;

/// What ends a value without quotes, beside white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nothing.
    Space,
    /// It is of the query of a URL: `&` and `#`.
    Query,
    /// It is of a list like `Server=a;Password=b`: `;`.
    List,
    /// It is what a tag holds, as in `<password>x</password>`: `<`, and white space does not end it.
    Tag,
    /// It stands in quotes together with its key, as in `"token: x y"`: this quote or the end of the line, and white space does
    /// not end it.
    Quote(u8),
}

impl Stop {
    fn ends(self, byte: u8) -> bool {
        match self {
            Stop::Space => byte.is_ascii_whitespace(),
            Stop::Query => byte.is_ascii_whitespace() || matches!(byte, b'&' | b'#'),
            Stop::List => byte.is_ascii_whitespace() || byte == b';',
            Stop::Tag => byte == b'<',
            Stop::Quote(quote) => byte == quote || matches!(byte, b'\n' | b'\r'),
        }
    }
}

/// What is to be hidden of a value, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) hidden: Range<usize>,
    pub(super) end: usize,
}

/// The value that begins at `at`: none if it is empty. Quotes around the whole of it stay visible, and so does the
/// punctuation behind a value without quotes.
pub(super) fn value(text: &str, at: usize, stop: Stop) -> Option<Value> {
    let bytes = text.as_bytes();
    let begin = at + prefix_bytes(bytes, at);
    let end = match quoted(bytes, begin) {
        Some((inner, end)) if is_over(bytes, end, stop) => {
            return (!inner.is_empty()).then_some(Value { hidden: inner, end });
        }
        // As the shell puts 'it'\''s' together.
        Some((_, end)) => unquoted(bytes, end, stop, Quotes::Everywhere),
        None => {
            let end = unquoted(bytes, at, stop, Quotes::AfterOpening);
            return trimmed(bytes, at..end).map(|hidden| Value { hidden, end });
        }
    };
    Some(Value { hidden: at..end, end })
}

/// The end of the word of a command line that begins at `at`, quotes and escaped spaces included.
pub(super) fn word_end(text: &str, at: usize) -> usize {
    unquoted(text.as_bytes(), at, Stop::Space, Quotes::Everywhere)
}

/// The rest of the line, or what is left of the quotes that were opened before.
pub(super) fn line_end(text: &str, at: usize, quote: Option<u8>) -> usize {
    let ends = |byte: &u8| matches!(byte, b'\n' | b'\r') || Some(*byte) == quote;
    text.as_bytes()[at..].iter().position(ends).map_or(text.len(), |offset| at + offset)
}

/// What is between the quotes that open at `at`, and where they end: at the end of the text if nothing closes them.
pub(super) fn quoted(bytes: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let slashes = bytes.get(at..)?.iter().take_while(|byte| **byte == b'\\').count();
    let quote = *bytes.get(at + slashes)?;
    if !is_quote(quote) {
        return None;
    }
    let begin = at + slashes + 1;
    let mut before = 0;
    for (offset, byte) in bytes[begin..].iter().enumerate() {
        match *byte {
            b'\\' => before += 1,
            byte if byte == quote && closes(before, slashes) => {
                let end = begin + offset;
                return Some((begin..end - before.min(slashes), end + 1));
            }
            _ => before = 0,
        }
    }
    Some((begin..bytes.len(), bytes.len()))
}

pub(super) fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// Whether a quote behind so many backslashes closes one that was opened behind `opening` of them: 0, 1, 3, … with the depth of
/// texts within texts.
fn closes(mut before: usize, mut opening: usize) -> bool {
    while opening > 0 {
        if before.is_multiple_of(2) {
            // It ends a text around it.
            return true;
        }
        before /= 2;
        opening /= 2;
    }
    before.is_multiple_of(2)
}

/// `b"x"`, `r'x'`, `$'x'`: what languages put before a quote.
fn prefix_bytes(bytes: &[u8], at: usize) -> usize {
    let is_prefix =
        bytes.get(at).is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'$' | b'@'));
    usize::from(is_prefix && bytes.get(at + 1).is_some_and(|byte| is_quote(*byte)))
}

/// Nothing of the same word stands behind its closing quote.
fn is_over(bytes: &[u8], end: usize, stop: Stop) -> bool {
    bytes
        .get(end)
        .is_none_or(|byte| stop.ends(*byte) || byte.is_ascii_whitespace() || b",;:)]}<>&|/\"".contains(byte))
}

/// Which quotes within a value keep white space together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// As in the shell.
    Everywhere,
    /// Those behind a bracket or an equals sign, as in `Some("a b")`; others may be the end of a text around the value.
    AfterOpening,
}

fn unquoted(bytes: &[u8], at: usize, stop: Stop, quotes: Quotes) -> usize {
    let mut place = at;
    while let Some(byte) = bytes.get(place) {
        if stop.ends(*byte) {
            break;
        }
        let opens = is_quote(*byte)
            && match quotes {
                Quotes::Everywhere => true,
                Quotes::AfterOpening => place > at && b"([{=".contains(&bytes[place - 1]),
            };
        place = match byte {
            // What is escaped belongs to it, but for the end of a line.
            b'\\'
                if bytes
                    .get(place + 1)
                    .is_some_and(|next| next.is_ascii() && !matches!(next, b'\n' | b'\r')) =>
            {
                place + 2
            }
            _ if opens => quoted(bytes, place).map_or(place + 1, |(_, end)| end),
            _ => place + 1,
        };
    }
    place
}

/// Without the punctuation at its end; none if nothing else is there.
fn trimmed(bytes: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let kept = bytes[range.clone()].iter().rposition(|byte| !b" \t,;)]}>\"'`\\".contains(byte))?;
    Some(range.start..range.start + kept + 1)
}
