//! Moments and durations as people write them: `2h`, `yesterday`, `2026-11-22T10:00`, `@1763800000`, RFC 3339.
//!
//! Pure: the present and the time zone are arguments. A day begins at midnight of that zone.

use std::time::Duration;

use hume_core::{Timestamp, duration};
use jiff::civil;
use jiff::{Span, Zoned};

/// Longest `--timeout`.
pub const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// The text is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a time; write 2h (ago), 1d12h, now, today, yesterday, 10:00, 2026-11-22, 2026-11-22T10:00, @1763800000 or RFC 3339"
)]
pub struct WhenError(String);

/// The moment that `text` names, seen from `now` in its time zone.
///
/// # Errors
/// [`WhenError`] with the text and the forms that are understood.
pub fn moment(text: &str, now: &Zoned) -> Result<Timestamp, WhenError> {
    let text = text.trim();
    let found = match text.to_ascii_lowercase().as_str() {
        "now" => Some(now.timestamp()),
        "today" => now.start_of_day().ok().map(|day| day.timestamp()),
        "yesterday" => {
            now.yesterday().ok().and_then(|day| day.start_of_day().ok()).map(|day| day.timestamp())
        }
        _ => match text.strip_prefix('@') {
            Some(seconds) => unix(seconds),
            None => absolute(text, now).or_else(|| ago(text, now)),
        },
    };
    let moment = found.ok_or_else(|| WhenError(text.chars().take(64).collect()))?;
    Ok(Timestamp::from_micros(moment.as_microsecond()))
}

/// Seconds since 1970, with up to six digits of a fraction.
fn unix(seconds: &str) -> Option<jiff::Timestamp> {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    if fraction.is_empty() || fraction.len() > 6 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}").parse().ok()?;
    let whole: i64 = whole.parse().ok()?;
    let micros = whole.checked_mul(1_000_000)?.checked_add(if whole < 0 { -micros } else { micros })?;
    jiff::Timestamp::from_microsecond(micros).ok()
}

/// A date, a time of today, both, or RFC 3339. Without an offset it is meant in the zone of `now`.
fn absolute(text: &str, now: &Zoned) -> Option<jiff::Timestamp> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(moment);
    }
    if let Ok(moment) = text.parse::<Zoned>() {
        return Some(moment.timestamp());
    }
    let local = match text.parse::<civil::DateTime>() {
        Ok(local) => local,
        Err(_) if text.contains(':') => now.date().to_datetime(text.parse::<civil::Time>().ok()?),
        Err(_) => return None,
    };
    local.to_zoned(now.time_zone().clone()).ok().map(|moment| moment.timestamp())
}

/// A span before `now`. A day is a calendar day of its zone, which may have 23 or 25 hours.
fn ago(text: &str, now: &Zoned) -> Option<jiff::Timestamp> {
    let span: Span = text.parse().ok()?;
    now.checked_sub(span.abs()).ok().map(|moment| moment.timestamp())
}

/// A limit such as `10s`, `500ms` or `1m30s`. More than nothing, at most [`TIMEOUT_MAX`].
///
/// # Errors
/// In words, as `clap` shows them.
pub fn timeout(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Some(limit) if !limit.is_zero() && limit <= TIMEOUT_MAX => Ok(limit),
        Some(_) => Err("must be more than 0s and at most 24h".to_owned()),
        None => Err(no_duration(text, "10s, 500ms or 1m30s")),
    }
}

/// A span such as `25h`, `90m`, `1d12h`; a day has 24 hours. More than nothing, at most [`duration::DURATION_MAX`].
///
/// # Errors
/// In words, as `clap` shows them.
pub fn span(text: &str) -> Result<Duration, String> {
    let span = duration::parse(text).filter(|span| !span.is_zero());
    span.ok_or_else(|| no_duration(text, "25h, 90m or 2d; more than nothing, at most ten years"))
}

fn no_duration(text: &str, forms: &str) -> String {
    let is_bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let what = if is_bare { "has no unit" } else { "is not a duration" };
    format!("{what}; write {forms}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A Sunday at noon, in winter.
    fn now() -> Zoned {
        "2026-11-22T12:00:00+01:00[Europe/Berlin]".parse().unwrap()
    }

    fn at(text: &str) -> String {
        moment(text, &now()).unwrap().to_string()
    }

    #[test]
    fn a_span_counts_back_from_now() {
        assert_eq!(at("2h"), "2026-11-22T09:00:00.000000Z");
        assert_eq!(at("30m"), "2026-11-22T10:30:00.000000Z");
        assert_eq!(at("1d12h"), "2026-11-20T23:00:00.000000Z");
        assert_eq!(at("90s"), "2026-11-22T10:58:30.000000Z");
        assert_eq!(at("2h ago"), at("2h"));
        assert_eq!(at("PT2H"), at("2h"));
        assert_eq!(at("1w"), at("7d"));
    }

    #[test]
    fn a_word_means_the_day_of_the_time_zone() {
        assert_eq!(at("now"), "2026-11-22T11:00:00.000000Z");
        assert_eq!(at("today"), "2026-11-21T23:00:00.000000Z");
        assert_eq!(at("Yesterday"), "2026-11-20T23:00:00.000000Z");
    }

    #[test]
    fn a_date_begins_at_local_midnight_and_a_time_without_an_offset_is_local() {
        assert_eq!(at("2026-11-22"), "2026-11-21T23:00:00.000000Z");
        assert_eq!(at("2026-11-22T10:00"), "2026-11-22T09:00:00.000000Z");
        assert_eq!(at("2026-11-22 10:00:05.25"), "2026-11-22T09:00:05.250000Z");
        assert_eq!(at("2026-07-01"), "2026-06-30T22:00:00.000000Z");
        assert_eq!(at("10:00"), "2026-11-22T09:00:00.000000Z");
    }

    #[test]
    fn an_offset_or_a_unix_time_needs_no_time_zone() {
        assert_eq!(at("2026-11-22T10:00:00Z"), "2026-11-22T10:00:00.000000Z");
        assert_eq!(at("2026-11-22T10:00:00.5-05:00"), "2026-11-22T15:00:00.500000Z");
        assert_eq!(at("@1763800000"), "2025-11-22T08:26:40.000000Z");
        assert_eq!(at("@1763800000.25"), "2025-11-22T08:26:40.250000Z");
        assert_eq!(at("@-1.5"), "1969-12-31T23:59:58.500000Z");
    }

    #[test]
    fn a_calendar_day_back_over_a_change_of_clocks_keeps_the_hour() {
        let now: Zoned = "2026-10-25T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        assert_eq!(moment("1d", &now).unwrap().to_string(), "2026-10-24T10:00:00.000000Z");
        assert_eq!(moment("24h", &now).unwrap().to_string(), "2026-10-24T11:00:00.000000Z");
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_forms_that_are() {
        for text in
            ["", "soon", "2026-13-01", "@", "@1.2345678", "@x", "@99999999999999999999", "10", "h2", "25:00"]
        {
            let error = moment(text, &now()).unwrap_err().to_string();
            assert!(error.contains("yesterday"), "{text}: {error}");
        }
    }

    #[test]
    fn a_timeout_is_positive_and_at_most_a_day() {
        assert_eq!(timeout("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(timeout("500ms"), Ok(Duration::from_millis(500)));
        for text in ["0s", "-5s", "25h", "soon", ""] {
            assert!(timeout(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_has_days_of_24_hours() {
        assert_eq!(span("25h"), Ok(Duration::from_hours(25)));
        assert_eq!(span("1d12h"), Ok(Duration::from_hours(36)));
        assert_eq!(span("90m"), Ok(Duration::from_mins(90)));
        for text in ["0s", "-5s", "5", "soon", "", "9999999h", "1 month", "5h ago"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_without_a_unit_is_no_duration_and_is_told_so() {
        for told in [timeout("10"), span("25")] {
            let text = told.unwrap_err();
            assert!(text.starts_with("has no unit; write "), "{text}");
        }
        for text in ["2 hours", "PT2H", "1h 30m"] {
            assert!(timeout(text).is_err() && span(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_understood_or_refused(text in "\\PC{0,40}") {
            let _ = moment(&text, &now());
            let _ = timeout(&text);
            let _ = span(&text);
        }

        #[test]
        fn rfc_3339_means_the_same_in_every_zone(micros in 0i64..4_000_000_000_000_000) {
            let want = Timestamp::from_micros(micros);
            prop_assert_eq!(moment(&want.to_string(), &now()).unwrap(), want);
        }
    }
}
