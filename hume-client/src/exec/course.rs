//! When a command has had its time: SIGTERM at its limit, SIGKILL some time later. Pure: it is told the time.

use std::time::{Duration, Instant};

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Ask it to end.
    Terminate,
    /// End it.
    Kill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running { until: Option<Instant> },
    Terminated { until: Option<Instant> },
    Killed,
}

/// The course of one command.
#[derive(Debug)]
pub(super) struct Course {
    stage: Stage,
    timeout: Option<Duration>,
    kill_after: Duration,
}

impl Course {
    /// Of a command that begins now.
    pub(super) fn new(now: Instant, timeout: Option<Duration>, kill_after: Duration) -> Course {
        let until = timeout.and_then(|timeout| now.checked_add(timeout));
        Course { stage: Stage::Running { until }, timeout, kill_after }
    }

    /// When to ask again; none for never.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.stage {
            Stage::Running { until } | Stage::Terminated { until } => until,
            Stage::Killed => None,
        }
    }

    /// What is to be done, each once.
    pub(super) fn due(&mut self, now: Instant) -> Option<Deed> {
        let is_due = self.next().is_some_and(|until| until <= now);
        match self.stage {
            Stage::Running { .. } if is_due => {
                self.stage = Stage::Terminated { until: now.checked_add(self.kill_after) };
                Some(Deed::Terminate)
            }
            Stage::Terminated { .. } if is_due => {
                self.stage = Stage::Killed;
                Some(Deed::Kill)
            }
            Stage::Running { .. } | Stage::Terminated { .. } | Stage::Killed => None,
        }
    }

    /// The command has ended in time: nothing more is due.
    pub(super) fn end(&mut self) {
        if let Stage::Running { until } = &mut self.stage {
            *until = None;
        }
    }

    /// The limit, when it was reached.
    pub(super) fn timed_out(&self) -> Option<Duration> {
        match self.stage {
            Stage::Running { .. } => None,
            Stage::Terminated { .. } | Stage::Killed => self.timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn at_the_limit_it_is_asked_to_end_and_later_made_to() {
        let now = Instant::now();
        let mut course = Course::new(now, Some(5 * SECOND), 2 * SECOND);
        assert_eq!((course.due(now + 4 * SECOND), course.timed_out()), (None, None));
        assert_eq!(course.due(now + 6 * SECOND), Some(Deed::Terminate));
        assert_eq!(course.timed_out(), Some(5 * SECOND));
        assert_eq!(course.next(), Some(now + 8 * SECOND));
        assert_eq!(course.due(now + 7 * SECOND), None);
        assert_eq!(course.due(now + 8 * SECOND), Some(Deed::Kill));
        assert_eq!((course.due(now + 99 * SECOND), course.next()), (None, None));
    }

    #[test]
    fn without_a_limit_nothing_is_ever_due() {
        let now = Instant::now();
        let mut course = Course::new(now, None, SECOND);
        assert_eq!((course.next(), course.due(now + 1_000_000 * SECOND)), (None, None));
    }

    #[test]
    fn one_that_ended_in_time_has_not_timed_out_and_one_that_was_asked_to_end_is_still_made_to() {
        let now = Instant::now();
        let mut course = Course::new(now, Some(SECOND), SECOND);
        course.end();
        assert_eq!((course.due(now + 9 * SECOND), course.timed_out()), (None, None));
        let mut course = Course::new(now, Some(SECOND), SECOND);
        course.due(now + SECOND);
        course.end();
        assert_eq!(course.due(now + 2 * SECOND), Some(Deed::Kill));
    }
}
