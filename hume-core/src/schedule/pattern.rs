//! Which days and which times of a day a schedule names, before any time zone is thought of.
//!
//! Cron and systemd write it differently and mean different things by it; what they mean is a [`Pattern`].

use jiff::civil::{Date, DateTime, Time, Weekday};

/// A set of small numbers, such as the minutes of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Numbers(u64);

impl Numbers {
    /// Every number of `from..=to`, both below 64.
    pub(super) fn range(from: u32, to: u32, step: u32) -> Numbers {
        Numbers((from..=to).step_by(step.max(1) as usize).fold(0, |set, number| set | 1 << number))
    }

    pub(super) fn with(self, other: Numbers) -> Numbers {
        Numbers(self.0 | other.0)
    }

    pub(super) fn has(self, number: u32) -> bool {
        self.0 >> number & 1 == 1
    }

    /// The smallest one that is not below `least`.
    fn from(self, least: u32) -> Option<u32> {
        let rest = self.0.checked_shr(least)?;
        (rest != 0).then(|| least + rest.trailing_zeros())
    }
}

/// The times of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) hours: Numbers,
    pub(super) minutes: Numbers,
    pub(super) seconds: Numbers,
}

impl Times {
    /// The first of them that is not before `least`.
    fn from(self, least: Time) -> Option<Time> {
        let (hour, minute, second) = (least.hour() as u32, least.minute() as u32, least.second() as u32);
        if self.hours.has(hour) {
            if self.minutes.has(minute)
                && let Some(second) = self.seconds.from(second)
            {
                return Some(time(hour, minute, second));
            }
            if let Some(minute) = self.minutes.from(minute + 1) {
                return Some(time(hour, minute, self.seconds.from(0)?));
            }
        }
        let hour = self.hours.from(hour + 1)?;
        Some(time(hour, self.minutes.from(0)?, self.seconds.from(0)?))
    }
}

fn time(hour: u32, minute: u32, second: u32) -> Time {
    Time::new(hour as i8, minute as i8, second as i8, 0).expect("sets hold only what a clock shows")
}

/// One member of a list of systemd's: `from`, `from..to`, `from/step` or `from..to/step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) from: u32,
    /// None goes on for ever, by `step`.
    pub(super) to: Option<u32>,
    pub(super) step: u32,
}

impl Run {
    fn has(self, number: u32) -> bool {
        number >= self.from
            && self.to.is_none_or(|to| number <= to)
            && (number - self.from).is_multiple_of(self.step)
    }
}

/// The days of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Days {
    /// Cron's: either of the two day fields is enough, unless one of them begins with a star.
    Cron { months: Numbers, days: Numbers, weekdays: Numbers, either: bool },
    /// systemd's: weekday and date, where days may count from the end of the month. No years are all years.
    Calendar { years: Vec<Run>, months: Numbers, days: MonthDays, weekdays: Numbers },
}

/// Days of a month in a schedule of systemd's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MonthDays {
    /// As they are numbered.
    Numbered(Numbers),
    /// From the end: 1 is the last one.
    FromEnd(Vec<Run>),
}

impl MonthDays {
    fn has(&self, date: Date) -> bool {
        match self {
            MonthDays::Numbered(days) => days.has(date.day() as u32),
            MonthDays::FromEnd(runs) => {
                let from_end = (date.days_in_month() - date.day()) as u32 + 1;
                runs.iter().any(|run| run.has_from_end(from_end))
            }
        }
    }
}

impl Run {
    /// Whether it has a day that is the `number`th from the end: the members of a range are counted from there, as their
    /// steps are; without an end, steps go forward to the end of the month, as systemd has it.
    fn has_from_end(self, number: u32) -> bool {
        match self.to {
            Some(_) => self.has(number),
            None => number <= self.from && (self.from - number).is_multiple_of(self.step),
        }
    }
}

impl Days {
    fn has_month(&self, date: Date) -> bool {
        match self {
            Days::Cron { months, .. } | Days::Calendar { months, .. } => months.has(date.month() as u32),
        }
    }

    fn has(&self, date: Date) -> bool {
        let weekday = number(date.weekday());
        self.has_month(date)
            && match self {
                Days::Cron { months: _, days, weekdays, either } => {
                    match (days.has(date.day() as u32), weekdays.has(weekday)) {
                        (true, true) => true,
                        (true, false) | (false, true) => *either,
                        (false, false) => false,
                    }
                }
                Days::Calendar { years, months: _, days, weekdays } => {
                    let year = u32::try_from(date.year()).unwrap_or(0);
                    (years.is_empty() || years.iter().any(|run| run.has(year)))
                        && weekdays.has(weekday)
                        && days.has(date)
                }
            }
    }
}

/// Sunday is 0, as in cron.
pub(super) fn number(weekday: Weekday) -> u32 {
    weekday.to_sunday_zero_offset() as u32
}

/// What a schedule names in local time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) days: Days,
    pub(super) times: Times,
    /// It has a star in its hours or minutes: by cron's rule it follows the clock wherever that goes.
    pub(super) is_wild: bool,
}

impl Pattern {
    /// The first moment of local time in `from..until` that is meant.
    pub(super) fn first(&self, from: DateTime, until: DateTime) -> Option<DateTime> {
        let mut at = from;
        while at < until {
            if self.days.has(at.date())
                && let Some(time) = self.times.from(at.time())
            {
                let found = at.date().to_datetime(time);
                return (found < until).then_some(found);
            }
            let next = if self.days.has_month(at.date()) {
                at.date().tomorrow()
            } else {
                at.date().last_of_month().tomorrow()
            };
            at = next.ok()?.to_datetime(Time::midnight());
        }
        None
    }
}
