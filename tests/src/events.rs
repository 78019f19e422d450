//! Looking at events and runs in JSON: by field, by message, by run.

use std::collections::BTreeMap;

use serde_json::Value;

/// The text of a field; fails if it is none.
#[track_caller]
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    let found = value[field].as_str();
    assert!(found.is_some(), "{field} is no text in {value:#}");
    found.unwrap_or_default()
}

/// The messages of events, in their order.
pub fn messages(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| text(event, "message")).collect()
}

/// The items of an array; fails if it is none.
#[track_caller]
pub fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    let found = value[field].as_array();
    assert!(found.is_some(), "{field} is no array in {value:#}");
    found.map(Vec::as_slice).unwrap_or_default()
}

/// Events by the run they are in; those without one under the empty text.
pub fn by_run(events: &[Value]) -> BTreeMap<String, Vec<&Value>> {
    let mut runs: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for event in events {
        runs.entry(event["run"].as_str().unwrap_or_default().to_owned()).or_default().push(event);
    }
    runs
}

/// JSON Lines: one value a line.
pub fn json_lines(values: impl IntoIterator<Item = Value>) -> String {
    let mut text = String::new();
    for value in values {
        text.push_str(&value.to_string());
        text.push('\n');
    }
    text
}

/// Whether this is a time as the API writes it: RFC 3339, UTC, microseconds.
pub fn is_api_time(text: &str) -> bool {
    let shape = text.chars().map(|character| if character.is_ascii_digit() { '0' } else { character });
    shape.collect::<String>() == "0000-00-00T00:00:00.000000Z"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_six_digits_after_the_point_and_is_utc() {
        assert!(is_api_time("2026-11-22T10:00:00.000001Z"));
        for other in
            ["2026-11-22T10:00:00Z", "2026-11-22T10:00:00.000001+00:00", "2026-11-22 10:00:00.000001Z"]
        {
            assert!(!is_api_time(other));
        }
    }
}
