//! Durations as people write them, `90s`, `1h30m`, `2d`, and as they read them, `1.2s`, `3m12s`.

use std::time::Duration;

/// Longest duration that can be asked for.
const DURATION_MAX: Duration = Duration::from_hours(24 * 3660);

/// Units that can be written, the longest first, in milliseconds.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads numbers with units, the longest unit first and each at most once. Nothing else is a duration: no bare number,
/// which would leave the unit to guess.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut units = UNITS.iter();
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let word = rest.get(..rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len()))?;
        let (_, unit) = units.find(|(unit, _)| *unit == word)?;
        millis = millis.checked_add(number.checked_mul(*unit)?)?;
        rest = rest.get(word.len()..)?;
    }
    let duration = Duration::from_millis(millis);
    (duration <= DURATION_MAX).then_some(duration)
}

/// The two largest units of a duration: `840ms`, `1.2s`, `3m12s`, `5h7m`, `2d3h`.
pub(super) fn spell(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.is_zero() {
        "0s".to_owned()
    } else if seconds == 0 {
        format!("{}ms", duration.as_millis())
    } else if seconds < 60 {
        match duration.subsec_millis() / 100 {
            0 => format!("{seconds}s"),
            tenths => format!("{seconds}.{tenths}s"),
        }
    } else {
        let (large, small) = match seconds {
            ..3600 => ((seconds / 60, "m"), (seconds % 60, "s")),
            3600..86_400 => ((seconds / 3600, "h"), (seconds % 3600 / 60, "m")),
            86_400.. => ((seconds / 86_400, "d"), (seconds % 86_400 / 3600, "h")),
        };
        let small = if small.0 == 0 { String::new() } else { format!("{}{}", small.0, small.1) };
        format!("{}{}{small}", large.0, large.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            ("250ms", 250),
            ("1m5ms", 60_005),
            (" 0s ", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_leaves_something_to_guess_is_no_duration() {
        for text in [
            "",
            " ",
            "90",
            "s",
            "1.5h",
            "-1h",
            "1h 30m",
            "30m1h",
            "1h1h",
            "5 s",
            "1month",
            "9999999h",
            "99999999999999999999s",
            "18446744073709551615w",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_is_spelt_by_its_two_largest_units() {
        for (millis, text) in [
            (0, "0s"),
            (7, "7ms"),
            (1000, "1s"),
            (1299, "1.2s"),
            (59_999, "59.9s"),
            (60_000, "1m"),
            (192_000, "3m12s"),
            (3_600_000, "1h"),
            (18_420_000, "5h7m"),
            (183_600_000, "2d3h"),
        ] {
            assert_eq!(spell(Duration::from_millis(millis)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_spelt_reads_back_as_what_was_meant(seconds in 0..10_000_000_u64) {
            let duration = Duration::from_secs(seconds);
            let read = parse(&spell(duration)).unwrap();
            let left_out = duration.checked_sub(read);
            prop_assert!(left_out.is_some_and(|left_out| left_out < Duration::from_hours(1)));
            if seconds < 3600 {
                prop_assert_eq!(read, duration);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-z ]{0,30}|.{0,30}") {
            let _ = parse(&text);
        }
    }
}
