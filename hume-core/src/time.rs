//! A moment: UTC, microseconds, always a value that somebody passed in.
//!
//! Nothing here reads a clock. The text form is RFC 3339 with exactly six digits and `Z`.

use std::fmt;
use std::str::FromStr;

/// Microseconds since 1970-01-01T00:00:00Z. Holds the years −9999 to 9999; anything beyond is clamped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

const MICROS_MIN: i64 = -377_705_023_201_000_000;
/// Jiff reads the second that begins here, and takes no number of microseconds within it.
const MICROS_MAX: i64 = 253_402_207_200_000_000;

impl Timestamp {
    /// The moment 1970 began.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// The moment `micros` microseconds after 1970 began, clamped to the years that can be written down.
    pub fn from_micros(micros: i64) -> Timestamp {
        Timestamp(micros.clamp(MICROS_MIN, MICROS_MAX))
    }

    /// Microseconds since 1970 began.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// This moment moved by `micros`, clamped.
    #[must_use]
    pub fn plus_micros(self, micros: i64) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_add(micros))
    }

    /// `20261127T093102Z`, for names of files.
    pub fn compact(self) -> String {
        let text = self.to_string();
        let seconds = text.split('.').next().unwrap_or_default();
        format!("{}Z", seconds.replace(['-', ':'], ""))
    }

    /// Microseconds from `earlier` to this moment; negative when `earlier` is later.
    pub fn micros_since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(f, "{moment:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not an RFC 3339 time such as `2026-11-22T10:00:00Z`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an RFC 3339 time such as 2026-11-22T10:00:00Z")]
pub struct TimeError(String);

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Timestamp, TimeError> {
        text.parse::<jiff::Timestamp>()
            .map(|moment| Timestamp::from_micros(moment.as_microsecond()))
            .map_err(|_| TimeError(text.chars().take(64).collect()))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_is_written_with_six_digits_and_z() {
        assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp::from_micros(1_763_805_600_000_120).to_string(), "2025-11-22T10:00:00.000120Z");
    }

    #[test]
    fn what_is_not_a_time_is_refused_by_name() {
        let error = "yesterday".parse::<Timestamp>().unwrap_err();
        assert!(error.to_string().contains("`yesterday`"), "{error}");
    }

    #[test]
    fn the_ends_of_time_are_written_and_read_as_any_other_moment() {
        for (micros, text) in
            [(i64::MIN, "-009999-01-02T01:59:59.000000Z"), (i64::MAX, "9999-12-30T22:00:00.000000Z")]
        {
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp::from_micros(micros)));
        }
        let within_the_last_second = "9999-12-30T22:00:00.999999999Z".parse();
        assert_eq!(within_the_last_second, Ok(Timestamp::from_micros(i64::MAX)));
    }

    proptest! {
        #[test]
        fn text_and_value_agree(micros in MICROS_MIN..=MICROS_MAX) {
            let moment = Timestamp::from_micros(micros);
            prop_assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
        }

        #[test]
        fn any_number_is_a_moment(micros in any::<i64>()) {
            let _ = Timestamp::from_micros(micros).to_string();
        }
    }
}
