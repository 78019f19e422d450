//! What `HUME_FAULTS` asks for: `name=action[@count]` with `;` between them, read once and without effect of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Point;

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The process kills itself, after this time: 0 is at the point, more is in the middle of what follows it.
    Kill(Duration),
    /// The process stops until somebody continues it.
    Stop,
    /// The thread waits.
    Pause(Duration),
    /// What the point stands for fails.
    Error,
}

/// An action, and at which reach of its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) action: Action,
    pub(super) count: u64,
}

/// All that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) at: BTreeMap<Point, Fault>,
    pub(super) clock_shift_us: i64,
}

impl Faults {
    /// Reads the variable.
    /// # Errors
    /// The part that makes no sense.
    pub(super) fn parse(text: &str) -> Result<Faults, &str> {
        let mut faults = Faults::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, what) = part.split_once('=').ok_or(part)?;
            if name == "clock" {
                let seconds: i64 =
                    inside(what, "shift").and_then(|number| number.parse().ok()).ok_or(part)?;
                faults.clock_shift_us = seconds.saturating_mul(1_000_000);
                continue;
            }
            let point = Point::ALL.iter().find(|point| point.name() == name).ok_or(part)?;
            let (action, count) = match what.split_once('@') {
                Some((action, count)) => (action, count.parse().ok().filter(|count| *count > 0).ok_or(part)?),
                None => (what, 1),
            };
            faults.at.insert(*point, Fault { action: Action::parse(action).ok_or(part)?, count });
        }
        Ok(faults)
    }
}

impl Action {
    fn parse(text: &str) -> Option<Action> {
        match text {
            "kill" => Some(Action::Kill(Duration::ZERO)),
            "stop" => Some(Action::Stop),
            "error" => Some(Action::Error),
            _ => {
                let number = |name| inside(text, name).and_then(|number| number.parse().ok());
                let pause = number("pause").map(|ms| Action::Pause(Duration::from_millis(ms)));
                pause.or_else(|| number("kill").map(|us| Action::Kill(Duration::from_micros(us))))
            }
        }
    }
}

/// What stands in the brackets of `name(…)`.
fn inside<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_read_at_every_point() {
        for point in Point::ALL {
            for (text, action, count) in [
                ("kill", Action::Kill(Duration::ZERO), 1),
                ("kill(250)@2", Action::Kill(Duration::from_micros(250)), 2),
                ("stop@7", Action::Stop, 7),
                ("pause(1500)", Action::Pause(Duration::from_millis(1500)), 1),
                ("error", Action::Error, 1),
            ] {
                let text = format!("{}={text}", point.name());
                let faults = Faults::parse(&text).unwrap();
                assert_eq!(faults.at, BTreeMap::from([(*point, Fault { action, count })]), "{text}");
            }
        }
    }

    #[test]
    fn several_are_read_and_the_clock_with_them() {
        let faults =
            Faults::parse(" agent.in_trim=kill@3; clock=shift(-3600);;master.received=stop ").unwrap();
        assert_eq!((faults.at.len(), faults.clock_shift_us), (2, -3_600_000_000));
        assert_eq!(Faults::parse(""), Ok(Faults::default()));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for text in [
            "agent.in_trim",
            "agent.in_time=kill",
            "agent.in_trim=kil",
            "agent.in_trim=kill@0",
            "agent.in_trim=kill@x",
            "agent.in_trim=pause",
            "agent.in_trim=pause(x)",
            "clock=kill",
        ] {
            assert_eq!(Faults::parse(&format!("master.received=stop;{text}")), Err(text));
        }
    }
}
