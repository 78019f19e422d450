//! Calendar events of systemd, as `OnCalendar=` has them (systemd.time(7)), to whole seconds.
//!
//! `[weekdays] [date] [time] [zone]`: lists, ranges `a..b`, repetition `a/n`, days from the end of the month after `~`, and
//! the words `hourly`, `daily` and their kind. What was doubtful was measured with systemd 252.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::pattern::{Days, MonthDays, Numbers, Pattern, Run, Times};
use crate::error::BoundError;

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

struct Part {
    name: &'static str,
    least: u32,
    most: u32,
    example: &'static str,
}

const YEAR: Part = Part { name: "year", least: 1970, most: 2199, example: "2027-01-31 02:30" };
const MONTH: Part = Part { name: "month", least: 1, most: 12, example: "*-01,07-01 02:30" };
const DAY: Part = Part { name: "day", least: 1, most: 31, example: "*-*-01,15 02:30" };
/// Every month has 28.
const DAY_FROM_END: Part = Part { name: "day", least: 1, most: 28, example: "*-*~01 02:30" };
const HOUR: Part = Part { name: "hour", least: 0, most: 23, example: "02,14:30" };
const MINUTE: Part = Part { name: "minute", least: 0, most: 59, example: "*:00/15" };
const SECOND: Part = Part { name: "second", least: 0, most: 59, example: "02:30:15" };

impl Part {
    fn refuse(&self, text: &str, why: &str) -> BoundError {
        let text: String = text.chars().take(32).collect();
        BoundError::new(self.name, format!("`{text}` {why}, such as `{}`", self.example))
    }

    fn number(&self, text: &str) -> Result<u32, BoundError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.refuse(text, "is not a whole number"));
        }
        let number = match (text.len(), text.parse::<u32>()) {
            // Two digits of a year, as systemd reads them.
            (2, Ok(short)) if self.name == YEAR.name => {
                Ok(if short < 70 { 2000 + short } else { 1900 + short })
            }
            (_, number) => number,
        };
        let within = number.ok().filter(|number| (self.least..=self.most).contains(number));
        within.ok_or_else(|| self.refuse(text, &format!("is not within {} to {}", self.least, self.most)))
    }

    /// `room` is what lies beyond a number, in the direction of its steps.
    fn run(&self, text: &str, room: impl Fn(u32) -> u32) -> Result<Run, BoundError> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (text, None),
        };
        if range == "*" {
            return Err(self.refuse(text, &format!("repeats a star: write {}/n", self.least)));
        }
        let (from, to) = match range.split_once("..") {
            Some((from, to)) => (self.number(from)?, Some(self.number(to)?)),
            None => (self.number(range)?, None),
        };
        if to.is_some_and(|to| to < from) {
            return Err(self.refuse(text, "is a range that ends before it begins: write two of them"));
        }
        match step {
            None => Ok(Run { from, to: Some(to.unwrap_or(from)), step: 1 }),
            Some(step) => {
                let number = step.parse().ok().filter(|step| *step > 0);
                let step =
                    number.ok_or_else(|| self.refuse(text, "has a step that is no number from 1 on"))?;
                // As systemd has it: what would never be repeated was meant otherwise.
                if to.is_none() && step > room(from) {
                    return Err(self.refuse(text, "has a step beyond the last that there is"));
                }
                Ok(Run { from, to, step })
            }
        }
    }

    fn runs(&self, text: &str) -> Result<Vec<Run>, BoundError> {
        text.split(',').map(|member| self.run(member, |from| self.most - from)).collect()
    }

    /// The set of the numbers; `*` has all.
    fn set(&self, text: &str) -> Result<Numbers, BoundError> {
        if text == "*" {
            return Ok(Numbers::range(self.least, self.most, 1));
        }
        let set = |run: Run| Numbers::range(run.from, run.to.unwrap_or(self.most), run.step);
        Ok(self.runs(text)?.into_iter().map(set).fold(Numbers::default(), Numbers::with))
    }
}

/// The pattern, and the zone that stands at its end.
pub(super) fn parse(text: &str, zones: &TimeZoneDatabase) -> Result<(Pattern, Option<TimeZone>), BoundError> {
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    let zone = match words.as_slice() {
        [_, .., last] if may_be_zone(last) => Some(super::zone(last, zones)?),
        _ => None,
    };
    if zone.is_some() {
        words.pop();
    }
    let words: Vec<&str> = match words.as_slice() {
        [word] => shorthand(word).map_or(vec![*word], |meaning| meaning.split(' ').collect()),
        _ => words,
    };
    let mut words = words.into_iter().peekable();
    let weekdays = match words.next_if(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())) {
        Some(word) => weekdays(word)?,
        None => Numbers::range(0, 6, 1),
    };
    let date = words.next_if(|word| !word.contains(':')).unwrap_or("*-*-*");
    let time = words.next_if(|word| word.contains(':')).unwrap_or("00:00");
    if let Some(rest) = words.next() {
        return Err(BoundError::new(
            "schedule",
            format!(
                "`{}` is not expected at `{}`; write weekdays, date, time and zone, such as \
                 `Mon..Fri *-*-* 02:30 Europe/Berlin`",
                text.chars().take(64).collect::<String>(),
                rest.chars().take(32).collect::<String>()
            ),
        ));
    }
    let (times, is_wild) = times(time)?;
    Ok((Pattern { days: days(date, weekdays)?, times, is_wild }, zone))
}

/// No weekday: it has a slash between letters, or is the name of a zone without one.
fn may_be_zone(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic()) && weekdays(word).is_err()
}

fn shorthand(word: &str) -> Option<&'static str> {
    match word {
        "minutely" => Some("*-*-* *:*:00"),
        "hourly" => Some("*-*-* *:00:00"),
        "daily" => Some("*-*-* 00:00:00"),
        "weekly" => Some("Mon *-*-* 00:00:00"),
        "monthly" => Some("*-*-01 00:00:00"),
        "quarterly" => Some("*-01,04,07,10-01 00:00:00"),
        "semiannually" => Some("*-01,07-01 00:00:00"),
        "yearly" | "annually" => Some("*-01-01 00:00:00"),
        _ => None,
    }
}

fn weekdays(text: &str) -> Result<Numbers, BoundError> {
    let refuse = |part: &str, why: &str| {
        let part: String = part.chars().take(32).collect();
        BoundError::new("weekday", format!("`{part}` {why}, such as `Mon..Fri 02:30`"))
    };
    // Monday is the first day, so that `Sat..Sun` is a range.
    let place = |name: &str| {
        let lower = name.to_ascii_lowercase();
        let day = WEEKDAYS.iter().position(|day| *day == lower || day[..3] == lower);
        day.map(|day| (day as u32 + 6) % 7).ok_or_else(|| refuse(name, "is no weekday"))
    };
    let mut set = Numbers::default();
    for member in text.split(',') {
        let range = member.split_once("..").or_else(|| member.split_once('-'));
        let (from, to) = match range {
            Some((from, to)) => (place(from)?, place(to)?),
            None => (place(member)?, place(member)?),
        };
        if from > to {
            return Err(refuse(member, "is a range that ends before it begins: write two of them"));
        }
        for day in from..=to {
            set = set.with(Numbers::range((day + 1) % 7, (day + 1) % 7, 1));
        }
    }
    Ok(set)
}

fn days(text: &str, weekdays: Numbers) -> Result<Days, BoundError> {
    let (front, from_end) = match text.split_once('~') {
        Some((front, days)) => (front, Some(days)),
        None => (text, None),
    };
    let mut parts: Vec<&str> = front.split('-').collect();
    let days = match from_end {
        Some(days) => {
            let run = |member| DAY_FROM_END.run(member, |from| from - 1);
            MonthDays::FromEnd(days.split(',').map(run).collect::<Result<_, _>>()?)
        }
        None => MonthDays::Numbered(DAY.set(parts.pop().unwrap_or_default())?),
    };
    let (year, month) = match parts.as_slice() {
        [month] => ("*", *month),
        [year, month] => (*year, *month),
        _ => {
            return Err(BoundError::new(
                "schedule",
                format!(
                    "`{}` is not a date; write year-month-day, such as `*-*-01`, or `*-*~01` for the last day",
                    text.chars().take(32).collect::<String>()
                ),
            ));
        }
    };
    let years = if year == "*" { Vec::new() } else { YEAR.runs(year)? };
    Ok(Days::Calendar { years, months: MONTH.set(month)?, days, weekdays })
}

/// The times, and whether they have a star in hours or minutes.
fn times(text: &str) -> Result<(Times, bool), BoundError> {
    let parts: Vec<&str> = text.split(':').collect();
    let (hour, minute, second) = match parts.as_slice() {
        [hour, minute] => (*hour, *minute, "0"),
        [hour, minute, second] => (*hour, *minute, *second),
        _ => {
            return Err(BoundError::new(
                "schedule",
                format!(
                    "`{}` is not a time; write hour:minute or hour:minute:second, such as `02:30`",
                    text.chars().take(32).collect::<String>()
                ),
            ));
        }
    };
    let times = Times { hours: HOUR.set(hour)?, minutes: MINUTE.set(minute)?, seconds: SECOND.set(second)? };
    Ok((times, hour == "*" || minute == "*"))
}
