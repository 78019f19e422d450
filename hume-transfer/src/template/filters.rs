//! What templates can do to a text beyond Jinja's own filters. None reads a clock: the same notice gives the same text.

use hume_core::{Level, Timestamp};
use minijinja::{Environment, Error, ErrorKind, Value};

use crate::notice;
use crate::text;

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("json", json);
    environment.add_filter("slack_escape", |text: String| text::slack_escape(&text));
    environment.add_filter("one_line", |text: String| text::one_line(&text));
    environment.add_filter("truncate", |text: String, most: usize| text::truncate(&text, most));
    environment.add_filter("time", time);
    environment.add_filter("later", later);
    environment.add_filter("duration", |micros: u64| notice::span(micros / 1_000_000));
    environment.add_filter("emoji", |word: String| level(&word).map(text::emoji));
    environment.add_filter("color", |word: String| level(&word).map(text::color));
}

/// The value as JSON, to be put where JSON has a value: quotes are part of it.
fn json(value: &Value) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| wrong(error.to_string()))
}

/// `2025-11-24T16:00:00.000000Z` as `2025-11-24 16:00:00 UTC`.
fn time(text: &str) -> Result<String, Error> {
    moment(text).map(notice::moment)
}

/// A time moved by a duration such as `24h`.
fn later(text: &str, by: &str) -> Result<String, Error> {
    let by = hume_core::duration::parse(by)
        .ok_or_else(|| wrong(format!("`{by}` is no duration: write \"90s\", \"1h30m\" or \"2d\"")))?;
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    moment(text).map(|time| time.plus_micros(micros).to_string())
}

fn moment(text: &str) -> Result<Timestamp, Error> {
    text.parse().map_err(|error: hume_core::time::TimeError| wrong(error.to_string()))
}

fn level(word: &str) -> Result<Level, Error> {
    word.parse().map_err(|error: hume_core::level::LevelError| wrong(error.to_string()))
}

fn wrong(reason: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}
