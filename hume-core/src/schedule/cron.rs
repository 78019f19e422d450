//! Cron's five fields, in the meaning of Vixie's cron and its heirs (crontab(5) of Debian, cronie and ISC).
//!
//! Lists, ranges, steps, names of months and weekdays, `@daily` and its kind. What other dialects add is refused by name:
//! seconds, years, `L`, `W`, `#`, `?`, `~`. Where cron itself is lenient and silent, so is this: `*/90` is minute 0.

use super::pattern::{Days, Numbers, Pattern, Times};
use crate::error::BoundError;

/// One of the five fields.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// Words for the numbers from `least` on.
    words: &'static [&'static str],
    example: &'static str,
}

const MINUTE: Field = Field { name: "minute", least: 0, most: 59, words: &[], example: "30 2 * * *" };
const HOUR: Field = Field { name: "hour", least: 0, most: 23, words: &[], example: "30 2,14 * * *" };
const DAY: Field = Field { name: "day", least: 1, most: 31, words: &[], example: "30 2 1,15 * *" };
const MONTH: Field = Field {
    name: "month",
    least: 1,
    most: 12,
    words: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    example: "30 2 1 jan,jul *",
};
/// Sunday is 0 and 7.
const WEEKDAY: Field = Field {
    name: "weekday",
    least: 0,
    most: 7,
    words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    example: "30 2 * * mon-fri",
};

impl Field {
    fn refuse(&self, text: &str, why: &str) -> BoundError {
        let text: String = text.chars().take(32).collect();
        BoundError::new(self.name, format!("`{text}` {why}, such as `{}`", self.example))
    }

    fn out_of_range(&self, text: &str) -> BoundError {
        self.refuse(text, &format!("is not within {} to {}", self.least, self.most))
    }

    fn number(&self, text: &str) -> Result<u32, BoundError> {
        let word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        if let Some(place) = word {
            return Ok(self.least + place as u32);
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            let known = "is none of cron's numbers and words (no ?, L, W, #, ~)";
            return Err(self.refuse(text, known));
        }
        let number = text.parse::<u32>().ok().filter(|number| (self.least..=self.most).contains(number));
        number.ok_or_else(|| self.out_of_range(text))
    }

    /// `*`, `a`, `a-b`, each of which but the second with `/step`.
    fn member(&self, text: &str) -> Result<Numbers, BoundError> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(self.step(text, step)?)),
            None => (text, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.most),
            Some((from, to)) => (self.number(from)?, self.last(to)?),
            None if step.is_some() => {
                return Err(
                    self.refuse(text, &format!("has a step without a range: write {range}-{}/n", self.most))
                );
            }
            None => (self.number(range)?, self.number(range)?),
        };
        if from > to {
            return Err(self.refuse(text, "is a range that ends before it begins: write two of them"));
        }
        Ok(Numbers::range(from, to, step.unwrap_or(1)))
    }

    /// The end of a range: `fri-sun` is 5-7.
    fn last(&self, text: &str) -> Result<u32, BoundError> {
        if self.most == WEEKDAY.most && text.eq_ignore_ascii_case("sun") { Ok(7) } else { self.number(text) }
    }

    fn step(&self, whole: &str, step: &str) -> Result<u32, BoundError> {
        let number = step.parse::<u32>().ok().filter(|number| *number > 0);
        number.ok_or_else(|| self.refuse(whole, "has a step that is no number from 1 on"))
    }

    fn list(&self, text: &str) -> Result<Numbers, BoundError> {
        let mut set = Numbers::default();
        for member in text.split(',') {
            set = set.with(self.member(member)?);
        }
        Ok(set)
    }
}

/// The pattern of five fields, or of a word with `@`.
pub(super) fn parse(text: &str) -> Result<Pattern, BoundError> {
    let fields: Vec<&str> = match text.strip_prefix('@') {
        Some(word) => nickname(word)?.split(' ').collect(),
        None => text.split_ascii_whitespace().collect(),
    };
    let &[minute, hour, day, month, weekday] = fields.as_slice() else {
        return Err(BoundError::new(
            "schedule",
            format!(
                "`{}` has {} fields; cron has five, minute hour day month weekday, such as `30 2 * * mon-fri`, \
                 with neither seconds nor a command",
                text.chars().take(64).collect::<String>(),
                fields.len()
            ),
        ));
    };
    let days = DAY.list(day)?;
    let weekdays = WEEKDAY.list(weekday)?;
    let months = MONTH.list(month)?;
    let sunday = if weekdays.has(7) { Numbers::range(0, 0, 1) } else { Numbers::default() };
    // By the first character alone, so `*/2` counts as a star: so does the cron of Vixie.
    let either = !day.starts_with('*') && !weekday.starts_with('*');
    Ok(Pattern {
        days: Days::Cron { months, days, weekdays: weekdays.with(sunday), either },
        times: Times {
            hours: HOUR.list(hour)?,
            minutes: MINUTE.list(minute)?,
            seconds: Numbers::range(0, 0, 1),
        },
        is_wild: minute.starts_with('*') || hour.starts_with('*'),
    })
}

fn nickname(word: &str) -> Result<&'static str, BoundError> {
    match word {
        "yearly" | "annually" => Ok("0 0 1 1 *"),
        "monthly" => Ok("0 0 1 * *"),
        "weekly" => Ok("0 0 * * 0"),
        "daily" | "midnight" => Ok("0 0 * * *"),
        "hourly" => Ok("0 * * * *"),
        "reboot" => Err(BoundError::new(
            "schedule",
            "`@reboot` has no time at which a run could be missed; write a time, such as `30 2 * * *`",
        )),
        _ => Err(BoundError::new(
            "schedule",
            format!(
                "`@{}` is none of @yearly, @monthly, @weekly, @daily, @hourly",
                word.chars().take(32).collect::<String>()
            ),
        )),
    }
}
