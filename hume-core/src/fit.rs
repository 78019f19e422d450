//! Makes any value fit the bounds of an event: `hume` never refuses a value, it cuts and says so.
//!
//! Every function tells whether it had to change anything, so that the event can be flagged `mangled`.

use std::fmt::Write as _;

use crate::event::{EXTRA_BYTES_MAX, EXTRA_PAIRS_MAX, MESSAGE_BYTES_MAX, TAGS_MAX};
use crate::name::{
    FLAG_BYTES_MAX, FlagName, HOST_BYTES_MAX, HostName, RUN_KEY_BYTES_MAX, RunKey, TAG_BYTES_MAX,
};
use crate::name::{TASK_BYTES_MAX, Tag, TaskName};

/// A value made to fit, and whether that changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit<T> {
    /// The value within its bounds.
    pub value: T,
    /// True when something was cut, escaped or dropped.
    pub changed: bool,
}

/// Text of any bytes: valid UTF-8 stays, each byte that is not becomes `\xNN`.
pub fn text(bytes: &[u8]) -> Fit<String> {
    let mut value = String::with_capacity(bytes.len());
    let mut changed = false;
    for chunk in bytes.utf8_chunks() {
        value.push_str(chunk.valid());
        for byte in chunk.invalid() {
            changed = true;
            // Writing to a string cannot fail.
            let _ = write!(value, "\\x{byte:02X}");
        }
    }
    Fit { value, changed }
}

/// A message of at most [`MESSAGE_BYTES_MAX`] bytes and, when it was cut, the length it had.
pub fn message(text: String) -> (String, Option<u64>) {
    if text.len() <= MESSAGE_BYTES_MAX {
        return (text, None);
    }
    let length = text.len() as u64;
    (cut(&text, MESSAGE_BYTES_MAX).to_owned(), Some(length))
}

/// A task name: control characters become spaces, ends are trimmed, the rest is cut.
pub fn task(text: &str) -> Fit<TaskName> {
    let fitted = name(text, TASK_BYTES_MAX);
    let changed = fitted != text;
    Fit { value: TaskName::parse(&fitted).unwrap_or_else(|_| TaskName::none()), changed }
}

/// Tags from comma lists: empty ones are skipped, doubles dropped (the first stays), at most [`TAGS_MAX`] kept.
pub fn tags<'a>(lists: impl IntoIterator<Item = &'a str>) -> Fit<Vec<Tag>> {
    let mut value: Vec<Tag> = Vec::new();
    let mut changed = false;
    for raw in lists.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|raw| !raw.is_empty())
    {
        let fitted = name(raw, TAG_BYTES_MAX);
        changed |= fitted != raw;
        match Tag::parse(&fitted) {
            Ok(tag) if value.contains(&tag) => {}
            Ok(tag) if value.len() < TAGS_MAX => value.push(tag),
            Ok(_) | Err(_) => changed = true,
        }
    }
    Fit { value, changed }
}

/// A host name, or none when nothing printable is left of it.
pub fn host(text: &str) -> Fit<Option<HostName>> {
    let fitted: String = name(text, HOST_BYTES_MAX).split_whitespace().collect::<Vec<_>>().join("-");
    Fit { changed: fitted != text, value: HostName::parse(&fitted).ok() }
}

/// A run key, or none when nothing printable is left of it or it is too long: cut, it could be the key of another run.
pub fn run_key(text: &str) -> Fit<Option<RunKey>> {
    let fitted = name(text, RUN_KEY_BYTES_MAX);
    let is_cut = text.trim().len() > RUN_KEY_BYTES_MAX;
    Fit { changed: fitted != text, value: RunKey::parse(&fitted).ok().filter(|_| !is_cut) }
}

/// The name of a flag, or none when nothing printable is left of it.
pub fn flag(text: &str) -> Fit<Option<FlagName>> {
    let fitted = name(text, FLAG_BYTES_MAX);
    Fit { changed: fitted != text, value: FlagName::parse(&fitted).ok() }
}

/// Extra pairs: at most [`EXTRA_PAIRS_MAX`] and [`EXTRA_BYTES_MAX`] bytes; the first ones stay, the last is cut.
pub fn extra(pairs: Vec<(String, String)>) -> Fit<Vec<(String, String)>> {
    let mut value = Vec::with_capacity(pairs.len().min(EXTRA_PAIRS_MAX));
    let mut left = EXTRA_BYTES_MAX;
    let mut changed = false;
    for (key, text) in pairs {
        if value.len() == EXTRA_PAIRS_MAX || key.is_empty() || key.len() >= left {
            changed = true;
            continue;
        }
        left -= key.len();
        let kept = cut(&text, left).to_owned();
        changed |= kept.len() < text.len();
        left -= kept.len();
        value.push((key, kept));
    }
    Fit { value, changed }
}

/// The longest prefix of at most `bytes_max` bytes that does not split a character.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn name(text: &str, bytes_max: usize) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(spaced.trim(), bytes_max).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_that_are_not_utf8_are_escaped() {
        let fit = text(b"caf\xe9 \xff");
        assert_eq!(fit.value, "caf\\xE9 \\xFF");
        assert!(fit.changed);
        assert!(!text("café".as_bytes()).changed);
    }

    #[test]
    fn a_long_message_is_cut_between_characters_and_keeps_its_true_length() {
        let (kept, from) = message("é".repeat(MESSAGE_BYTES_MAX));
        assert_eq!(kept.len(), MESSAGE_BYTES_MAX);
        assert_eq!(from, Some(2 * MESSAGE_BYTES_MAX as u64));
        assert_eq!(message("short".to_owned()), ("short".to_owned(), None));
    }

    #[test]
    fn tags_of_several_lists_are_merged_without_doubles_and_the_first_stays() {
        let fit = tags(["web, cron", "cron,,night"]);
        let words: Vec<_> = fit.value.iter().map(Tag::as_str).collect();
        assert_eq!(words, ["web", "cron", "night"]);
        assert!(!fit.changed);
    }

    #[test]
    fn a_key_that_is_too_long_is_none_and_never_cut_into_another_one() {
        let longest = "k".repeat(RUN_KEY_BYTES_MAX);
        assert_eq!(run_key(&longest).value.unwrap().as_str(), longest);
        assert_eq!(run_key(&format!(" {longest} ")).value.unwrap().as_str(), longest);
        assert!(run_key(&format!("{longest}1")).value.is_none());
    }

    proptest! {
        #[test]
        fn whatever_comes_in_fits(task_text in ".*", tag_text in ".*", key in ".*", pairs in proptest::collection::vec((".*", ".*"), 0..80)) {
            let fitted = task(&task_text);
            prop_assert!(TaskName::parse(fitted.value.as_str()).is_ok());
            prop_assert!(tags([tag_text.as_str()]).value.len() <= TAGS_MAX);
            let _ = (host(&key), run_key(&key), flag(&key));
            let fitted = extra(pairs).value;
            prop_assert!(fitted.len() <= EXTRA_PAIRS_MAX);
            prop_assert!(fitted.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() <= EXTRA_BYTES_MAX);
        }

        #[test]
        fn what_fits_already_is_left_alone(text in "[a-zA-Z0-9_-]{1,64}") {
            prop_assert!(!task(&text).changed);
            prop_assert!(!tags([text.as_str()]).changed);
            prop_assert!(!host(&text).changed);
        }

        #[test]
        fn escaped_text_is_always_valid_and_never_shorter(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(text(&bytes).value.len() >= bytes.len());
        }
    }
}
