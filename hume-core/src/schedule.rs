//! When a task should run: cron, systemd's calendar events, `every 6h`, or once in each day, week or month.
//!
//! [`Schedule::parse`] reads one line and refuses what can never be, naming the field. A [`Timetable`] is several of them in
//! a zone, and answers with moments: what a change of the clocks does to them is decided here and nowhere else.
//!
//! The crates for cron were weighed and not taken: none knows systemd's form, their errors do not name the field,
//! `30 2 30 2 *` parses and never comes, and the one with cron's own rule for changes of the clock applies it to single values
//! only, while Vixie's holds for lists and ranges as well. Nothing here reads a clock or a file: zones come as a value.

mod calendar;
mod cron;
mod instants;
mod pattern;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use jiff::civil::date;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use self::instants::Rule;
use self::pattern::{Days, MonthDays, Numbers, Pattern, Times};
use crate::duration;
use crate::error::BoundError;
use crate::time::Timestamp;

pub use self::instants::Dst;

/// Longest text of one schedule, in bytes.
pub const SCHEDULE_BYTES_MAX: usize = 256;
/// An interval below this is no schedule.
pub const EVERY_MIN: Duration = Duration::from_mins(1);

/// A part of the calendar in which a task should run once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week; it begins on Monday.
    Week,
    /// A month.
    Month,
    /// Three months from January, April, July or October on.
    Quarter,
    /// A year.
    Year,
}

impl Period {
    /// All of them, the shortest first.
    pub const ALL: [Period; 6] =
        [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Quarter, Period::Year];

    /// The word of schedules.
    pub fn as_str(self) -> &'static str {
        match self {
            Period::Hour => "hourly",
            Period::Day => "daily",
            Period::Week => "weekly",
            Period::Month => "monthly",
            Period::Quarter => "quarterly",
            Period::Year => "yearly",
        }
    }

    /// The one with this word.
    pub fn from_word(word: &str) -> Option<Period> {
        Period::ALL.into_iter().find(|period| period.as_str() == word)
    }

    /// When periods of this kind begin.
    fn begins(self) -> (Pattern, Rule) {
        let all = Numbers::range(1, 12, 1);
        let first = Numbers::range(1, 1, 1);
        let any_day = Numbers::range(1, 31, 1);
        let any_weekday = Numbers::range(0, 6, 1);
        let (months, days, weekdays) = match self {
            Period::Hour | Period::Day => (all, any_day, any_weekday),
            Period::Week => (all, any_day, first),
            Period::Month => (all, first, any_weekday),
            Period::Quarter => (Numbers::range(1, 12, 3), first, any_weekday),
            Period::Year => (first, first, any_weekday),
        };
        let zero = Numbers::range(0, 0, 1);
        let hours = if self == Period::Hour { Numbers::range(0, 23, 1) } else { zero };
        let days = Days::Calendar { years: Vec::new(), months, days: MonthDays::Numbered(days), weekdays };
        let pattern = Pattern {
            days,
            times: Times { hours, minutes: zero, seconds: zero },
            is_wild: self == Period::Hour,
        };
        (pattern, if self == Period::Hour { Rule::HOUR } else { Rule::PERIOD })
    }
}

/// One line of a schedule. Two are equal when they were written alike.
#[derive(Clone)]
pub struct Schedule {
    text: String,
    meaning: Meaning,
}

#[derive(Clone)]
enum Meaning {
    Times { pattern: Pattern, dst: Dst, zone: Option<TimeZone> },
    Every(Duration),
    Once(Period),
}

impl Schedule {
    /// Reads a line: five fields or `@daily` are cron; `every 6h` an interval; `daily` alone once in each day; anything
    /// else, or what begins with `OnCalendar=`, a calendar event of systemd.
    /// # Errors
    /// [`BoundError`] naming the field, with an example, when the line cannot be read or can never come true.
    pub fn parse(text: &str, zones: &TimeZoneDatabase) -> Result<Schedule, BoundError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(BoundError::new("schedule", "must not be empty: write a time, such as `30 2 * * *`"));
        }
        if text.len() > SCHEDULE_BYTES_MAX {
            return Err(BoundError::new(
                "schedule",
                format!("has {} bytes; at most {SCHEDULE_BYTES_MAX} are allowed", text.len()),
            ));
        }
        let meaning = Meaning::parse(text, zones)?;
        if let Meaning::Times { pattern, .. } = &meaning {
            check_possible(text, pattern)?;
        }
        Ok(Schedule { text: text.to_owned(), meaning })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The interval, when it is one.
    pub fn every(&self) -> Option<Duration> {
        match self.meaning {
            Meaning::Every(interval) => Some(interval),
            Meaning::Times { .. } | Meaning::Once(_) => None,
        }
    }

    /// The period, when it is one.
    pub fn period(&self) -> Option<Period> {
        match self.meaning {
            Meaning::Once(period) => Some(period),
            Meaning::Times { .. } | Meaning::Every(_) => None,
        }
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Schedule) -> bool {
        self.text == other.text
    }
}

impl Eq for Schedule {}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Meaning {
    fn parse(text: &str, zones: &TimeZoneDatabase) -> Result<Meaning, BoundError> {
        if let Some(interval) = text.strip_prefix("every ") {
            let interval = duration::parse(interval.trim()).filter(|interval| *interval >= EVERY_MIN);
            let refusal = "is `every` and a duration from 1m on, such as `every 6h`";
            return interval.map(Meaning::Every).ok_or(BoundError::new("schedule", refusal));
        }
        if let Some(period) = Period::from_word(text) {
            return Ok(Meaning::Once(period));
        }
        let calendar = text.strip_prefix("OnCalendar=");
        if calendar.is_none() && is_meant_for_cron(text) {
            return Ok(Meaning::Times { pattern: cron::parse(text)?, dst: Dst::Vixie, zone: None });
        }
        let (pattern, zone) = calendar::parse(calendar.unwrap_or(text), zones)?;
        Ok(Meaning::Times { pattern, dst: Dst::Systemd, zone })
    }
}

/// Five fields and more, and fewer that nothing makes a calendar event.
fn is_meant_for_cron(text: &str) -> bool {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let begins_with_field = words[0].starts_with(|c: char| c.is_ascii_digit() || c == '*');
    let is_of_calendar = text.contains(':') || words[0].contains(['-', '~']);
    text.starts_with('@') || words.len() >= 5 || (begins_with_field && !is_of_calendar)
}

/// A day that no calendar has is refused.
fn check_possible(text: &str, pattern: &Pattern) -> Result<(), BoundError> {
    // From and to what years can be written; a leap day on some weekday needs 40 years at most.
    let (from, until) = (date(1970, 1, 1).at(0, 0, 0, 0), date(2200, 1, 1).at(0, 0, 0, 0));
    match pattern.first(from, until) {
        Some(_) => Ok(()),
        None => Err(BoundError::new(
            "day",
            format!("of `{text}` never comes; write a day that its months have, such as `30 2 28 2 *`"),
        )),
    }
}

/// The zone with this name.
/// # Errors
/// [`BoundError`] when there is none.
pub fn zone(name: &str, zones: &TimeZoneDatabase) -> Result<TimeZone, BoundError> {
    zones.get(name).map_err(|_| {
        let name: String = name.chars().take(64).collect();
        BoundError::new(
            "zone",
            format!("`{name}` is not known; write a name such as `Europe/Berlin`, or `UTC`"),
        )
    })
}

/// The moments of several lines in one zone: when one of them is due.
#[derive(Clone, Debug)]
pub struct Timetable {
    lines: Vec<(Pattern, Rule, TimeZone)>,
}

impl Timetable {
    /// The moments of these lines. A line with a zone of its own keeps it; `dst` replaces the rule of each line. Intervals
    /// have no moments of their own, and bring none.
    pub fn new(schedules: &[Schedule], zone: &TimeZone, dst: Option<Dst>) -> Timetable {
        let line = |schedule: &Schedule| match &schedule.meaning {
            Meaning::Times { pattern, dst: own, zone: own_zone } => {
                let rule = Rule::of(dst.unwrap_or(*own), pattern);
                Some((pattern.clone(), rule, own_zone.as_ref().unwrap_or(zone).clone()))
            }
            Meaning::Once(period) => {
                let (pattern, rule) = period.begins();
                Some((pattern, rule, zone.clone()))
            }
            Meaning::Every(_) => None,
        };
        Timetable { lines: schedules.iter().filter_map(line).collect() }
    }

    /// The first moment after this one, in whole seconds; none when nothing comes within 40 years.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_second(after.as_micros().div_euclid(1_000_000)).ok()?;
        let next = self
            .lines
            .iter()
            .filter_map(|(pattern, rule, zone)| instants::next_after(pattern, *rule, zone, after));
        next.min().map(|moment| Timestamp::from_micros(moment.as_microsecond()))
    }

    /// The last moment that is not after this one; none when nothing came within 40 years.
    pub fn last_until(&self, until: Timestamp) -> Option<Timestamp> {
        let second = |second: i64| Timestamp::from_micros(second.saturating_mul(1_000_000));
        let until = until.as_micros().div_euclid(1_000_000);
        let found = |after: i64| {
            let next = self.next_after(second(after))?.as_micros().div_euclid(1_000_000);
            (next <= until).then_some(next)
        };
        // Steps back that double, then halves: few questions, however dense or rare the moments are.
        let mut back = 60;
        let mut last = loop {
            match found(until - back) {
                Some(moment) => break moment,
                None if back > LOOK_BACK_SECONDS => return None,
                None => back *= 2,
            }
        };
        let mut beyond = until;
        while last < beyond {
            let middle = last + (beyond - last) / 2;
            match found(middle) {
                Some(later) => last = later,
                None => beyond = middle,
            }
        }
        Some(second(last))
    }
}

/// A little more than 40 years.
const LOOK_BACK_SECONDS: i64 = 41 * 366 * 86_400;
