//! Times and durations for people: local time, its offset said once, durations in two units.

use hume_core::Timestamp;
use jiff::tz::TimeZone;

/// Date, time and offset of one moment in the zone of the reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Local {
    /// `2026-11-22`
    pub(super) date: String,
    /// `10:00:02`
    pub(super) time: String,
    /// `+01:00`
    pub(super) offset: String,
}

impl Local {
    pub(super) fn of(at: Timestamp, zone: &TimeZone) -> Local {
        match jiff::Timestamp::from_microsecond(at.as_micros()) {
            Ok(moment) => {
                let moment = moment.to_zoned(zone.clone());
                let part = |form: &str| moment.strftime(form).to_string();
                Local { date: part("%Y-%m-%d"), time: part("%H:%M:%S"), offset: part("%:z") }
            }
            // Beyond what a calendar holds: say it in UTC.
            Err(_) => Local { date: at.to_string(), time: String::new(), offset: "+00:00".to_owned() },
        }
    }

    /// `2026-11-22 10:00:02`
    pub(super) fn date_time(&self) -> String {
        format!("{} {}", self.date, self.time)
    }
}

/// Times of one column: the offset goes to the heading when all share it, else to each.
pub(super) struct Times {
    zone: TimeZone,
    shared: Option<String>,
}

impl Times {
    pub(super) fn new(zone: &TimeZone, all: impl Iterator<Item = Timestamp>) -> Times {
        let mut offsets = all.map(|at| Local::of(at, zone).offset);
        let first = offsets.next();
        let shared = first.filter(|first| offsets.all(|offset| offset == *first));
        Times { zone: zone.clone(), shared }
    }

    /// `TIME`, with the offset when it is the same for all.
    pub(super) fn heading(&self, word: &str) -> String {
        self.shared.as_ref().map_or_else(|| word.to_owned(), |offset| format!("{word} {offset}"))
    }

    pub(super) fn text(&self, at: Timestamp) -> String {
        let local = Local::of(at, &self.zone);
        match self.shared {
            Some(_) => local.date_time(),
            None => format!("{}{}", local.date_time(), local.offset),
        }
    }

    /// With its offset, whatever the heading says.
    pub(super) fn full(&self, at: Timestamp) -> String {
        let local = Local::of(at, &self.zone);
        format!("{} {}", local.date_time(), local.offset)
    }

    /// The day.
    pub(super) fn date(&self, at: Timestamp) -> String {
        Local::of(at, &self.zone).date
    }

    pub(super) fn text_or_dash(&self, at: Option<Timestamp>) -> String {
        at.map_or_else(|| "-".to_owned(), |at| self.text(at))
    }
}

/// `0s`, `412ms`, `2.1s`, `3m12s`, `2h05m`, `3d04h`. Never rounds up into the next unit.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 if ms == 0 => "0s".to_owned(),
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}.{}s", ms % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// `+2.1s`, or `-0.4s` for an event that is older than the start of its run.
pub(super) fn offset(micros: i64) -> String {
    let sign = if micros < 0 { '-' } else { '+' };
    format!("{sign}{}", duration(micros.unsigned_abs() / 1000))
}

/// `512 B`, `12.3 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_offset_is_said_once_when_it_is_the_same() {
        let winter = at("2026-11-22T09:00:02Z");
        let summer = at("2026-07-01T09:00:02Z");
        let times = Times::new(&berlin(), [winter].into_iter());
        assert_eq!(times.heading("TIME"), "TIME +01:00");
        assert_eq!(times.text(winter), "2026-11-22 10:00:02");
        let times = Times::new(&berlin(), [winter, summer].into_iter());
        assert_eq!(times.heading("TIME"), "TIME");
        assert_eq!(times.text(summer), "2026-07-01 11:00:02+02:00");
        assert_eq!(Times::new(&TimeZone::UTC, [summer].into_iter()).heading("TIME"), "TIME +00:00");
        assert_eq!(times.text_or_dash(None), "-");
    }

    #[test]
    fn a_duration_has_at_most_two_units() {
        for (ms, text) in [
            (0, "0s"),
            (412, "412ms"),
            (2199, "2.1s"),
            (59_999, "59.9s"),
            (192_000, "3m12s"),
            (7_500_000, "2h05m"),
            (273_600_000, "3d04h"),
        ] {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(offset(2_100_000), "+2.1s");
        assert_eq!(offset(-400_000), "-400ms");
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(12_900_000), "12.3 MiB");
    }
}
