//! Durations as people write them in configurations and on command lines: `90s`, `1h30m`, `2d`. One rule for all of them.

use std::time::Duration;

/// Longest duration that can be written: ten years.
pub const DURATION_MAX: Duration = Duration::from_hours(24 * 3660);

/// Units that can be written, the longest first, in milliseconds.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads whole numbers with units, the longest unit first and each at most once; a day has 24 hours. Nothing else is a
/// duration: no bare number, which would leave the unit to guess. At most [`DURATION_MAX`]; may be nothing.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (word, after) =
            after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let (_, unit) = units.find(|(unit, _)| *unit == word)?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*unit)?)?;
        rest = after;
    }
    let duration = Duration::from_millis(millis);
    (duration <= DURATION_MAX).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_with_units_are_a_duration() {
        for (text, millis) in [
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            ("250ms", 250),
            ("1m5ms", 60_005),
            ("0s", 0),
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
            "2 hours",
            "30m1h",
            "1h1h",
            "5 s",
            "1month",
            "1hé",
            "9999999h",
            "99999999999999999999s",
            "18446744073709551615w",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-zé ]{0,30}|.{0,30}") {
            let _ = parse(&text);
        }
    }
}
