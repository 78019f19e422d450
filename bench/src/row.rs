//! One line of the result: what, measured, beside what, and how far it should reach. Judges, and measures nothing.

use std::fmt;
use std::time::Duration;

use crate::args::Part;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Events,
    EventsPerSecond,
    EventsPerSync,
    PerMinute,
    Microseconds,
    Bytes,
    Instructions,
    Factor,
}

impl Unit {
    /// The word in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Unit::Events => "events",
            Unit::EventsPerSecond => "events/s",
            Unit::EventsPerSync => "events/sync",
            Unit::PerMinute => "1/min",
            Unit::Microseconds => "us",
            Unit::Bytes => "bytes",
            Unit::Instructions => "instructions",
            Unit::Factor => "x",
        }
    }
}

/// A number with its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantity {
    pub(crate) value: f64,
    pub(crate) unit: Unit,
}

impl Quantity {
    pub(crate) fn new(value: f64, unit: Unit) -> Quantity {
        Quantity { value, unit }
    }

    pub(crate) fn rate(per_second: f64) -> Quantity {
        Quantity::new(per_second, Unit::EventsPerSecond)
    }

    pub(crate) fn time(took: Duration) -> Quantity {
        Quantity::new(took.as_secs_f64() * 1e6, Unit::Microseconds)
    }

    pub(crate) fn bytes(bytes: u64) -> Quantity {
        Quantity::new(bytes as f64, Unit::Bytes)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quantity { value, unit } = *self;
        let text = match unit {
            Unit::Events => format!("{} events", grouped(value)),
            Unit::EventsPerSecond => format!("{} events/s", grouped(value)),
            Unit::EventsPerSync => format!("{value:.1} events/sync"),
            Unit::PerMinute => format!("{value:.1}/min"),
            Unit::Microseconds if value < 1000.0 => format!("{value:.0} µs"),
            Unit::Microseconds if value < 1e6 => format!("{:.2} ms", value / 1e3),
            Unit::Microseconds => format!("{:.2} s", value / 1e6),
            Unit::Bytes if value < 10_240.0 => format!("{value:.0} bytes"),
            Unit::Bytes if value < 1024.0 * 1024.0 => format!("{:.1} KiB", value / 1024.0),
            Unit::Bytes => format!("{:.2} MiB", value / 1024.0 / 1024.0),
            Unit::Instructions => grouped(value),
            Unit::Factor => format!("{value:.2} ×"),
        };
        f.pad(&text)
    }
}

/// `1,234,567`
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// On which side of a limit the measured number should lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    AtMost,
    AtLeast,
}

/// What should be reached.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Goal {
    side: Side,
    limit: f64,
    unit: Unit,
    formula: String,
}

/// One line of the result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) part: Part,
    pub(crate) what: String,
    pub(crate) measured: Quantity,
    pub(crate) baseline: Option<(String, Quantity)>,
    pub(crate) goal: Option<Goal>,
}

impl Row {
    /// Measured, beside nothing, with nothing to reach.
    pub(crate) fn new(part: Part, what: impl Into<String>, measured: Quantity) -> Row {
        Row { part, what: what.into(), measured, baseline: None, goal: None }
    }

    /// What was measured in the same run to compare with.
    pub(crate) fn beside(mut self, name: impl Into<String>, baseline: Quantity) -> Row {
        self.baseline = Some((name.into(), baseline));
        self
    }

    /// Should be at most `limit`, in the unit of what was measured. `formula` says where the limit comes from.
    pub(crate) fn at_most(self, limit: f64, formula: impl Into<String>) -> Row {
        self.goal(Side::AtMost, limit, formula.into())
    }

    /// Should be at least `limit`, likewise.
    pub(crate) fn at_least(self, limit: f64, formula: impl Into<String>) -> Row {
        self.goal(Side::AtLeast, limit, formula.into())
    }

    fn goal(mut self, side: Side, limit: f64, formula: String) -> Row {
        self.goal = Some(Goal { side, limit, unit: self.measured.unit, formula });
        self
    }

    /// Measured by baseline, when the two have one unit.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let (_, baseline) = self.baseline.as_ref()?;
        (baseline.unit == self.measured.unit && baseline.value > 0.0)
            .then(|| self.measured.value / baseline.value)
    }

    /// Whether the goal was reached, if there is one.
    pub(crate) fn is_reached(&self) -> Option<bool> {
        let Goal { side, limit, unit: _, formula: _ } = self.goal.as_ref()?;
        Some(match side {
            Side::AtMost => self.measured.value <= *limit,
            Side::AtLeast => self.measured.value >= *limit,
        })
    }
}

impl Goal {
    /// The limit alone.
    pub(crate) fn limit(&self) -> Quantity {
        Quantity::new(self.limit, self.unit)
    }

    /// The word in JSON.
    pub(crate) fn side(&self) -> &'static str {
        match self.side {
            Side::AtMost => "at_most",
            Side::AtLeast => "at_least",
        }
    }

    /// Where the limit comes from; empty if it is a number of its own.
    pub(crate) fn formula(&self) -> &str {
        &self.formula
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.side {
            Side::AtMost => '≤',
            Side::AtLeast => '≥',
        };
        let text = match self.formula.as_str() {
            "" => format!("{sign} {}", self.limit()),
            formula => format!("{sign} {} ({formula})", self.limit()),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_belongs_to_what_reaches_it() {
        let row = Row::new(Part::Intake, "rate", Quantity::rate(100.0));
        assert_eq!(row.clone().is_reached(), None);
        assert_eq!(row.clone().at_least(100.0, "").is_reached(), Some(true));
        assert_eq!(row.clone().at_least(100.1, "").is_reached(), Some(false));
        assert_eq!(row.clone().at_most(100.0, "").is_reached(), Some(true));
        assert_eq!(row.at_most(99.9, "").is_reached(), Some(false));
    }

    #[test]
    fn only_equal_units_have_a_ratio() {
        let row = Row::new(Part::Intake, "rate", Quantity::rate(100.0));
        assert_eq!(row.clone().beside("raw", Quantity::rate(400.0)).ratio(), Some(0.25));
        assert_eq!(row.clone().beside("raw", Quantity::bytes(400)).ratio(), None);
        assert_eq!(row.beside("raw", Quantity::rate(0.0)).ratio(), None);
    }

    #[test]
    fn numbers_are_written_for_people() {
        let text = |value, unit| Quantity::new(value, unit).to_string();
        assert_eq!(text(1_234_567.4, Unit::EventsPerSecond), "1,234,567 events/s");
        assert_eq!(text(940.0, Unit::Microseconds), "940 µs");
        assert_eq!(text(1_940.0, Unit::Microseconds), "1.94 ms");
        assert_eq!(text(2_500_000.0, Unit::Microseconds), "2.50 s");
        assert_eq!(text(300.0, Unit::Bytes), "300 bytes");
        assert_eq!(text(61_440.0, Unit::Bytes), "60.0 KiB");
        assert_eq!(text(2_097_152.0, Unit::Bytes), "2.00 MiB");
        assert_eq!(text(1_000.0, Unit::Events), "1,000 events");
        let row = Row::new(Part::Intake, "x", Quantity::rate(1.0)).at_least(5000.0, "half of it");
        assert_eq!(row.goal.unwrap().to_string(), "≥ 5,000 events/s (half of it)");
    }
}
