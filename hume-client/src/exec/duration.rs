//! Durations as people read them, `1.2s`, `3m12s`; they write them by the rule of [`hume_core::duration`].

use std::time::Duration;

pub(super) use hume_core::duration::parse;

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
    }
}
