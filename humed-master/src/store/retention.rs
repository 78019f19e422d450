//! What of the store may be forgotten, and by which time. Pure.
//!
//! Nothing goes unless the configuration says so. Runs that are open, the latest of each task on each host and the last
//! failed ones never go, whatever their age. A clock that jumped forward makes nothing old. What transfers have not told yet
//! stays [`RETENTION_WAITS`] longer, unless room is wanted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hume_core::Timestamp;
use hume_core::page::EventCursor;
use hume_core::policy::{Policies, Span};
use hume_core::run::{Now, RunState};
use hume_core::status::{Circumstances, Outcome, judge};
use hume_transfer::RETENTION_WAITS;
use serde::Deserialize;

/// The clock may be ahead by this much of the time that surely passed; beyond, it is not believed.
pub(super) const CLOCK_JUMP_MAX: Duration = Duration::from_hours(24);

/// The section `[retention]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Events that came longer ago may go.
    pub age: Span,
    /// The oldest may go when the store has more bytes; 0 is no bound.
    pub bytes_max: u64,
    /// So many failed runs of each task on each host are kept, the latest ones.
    pub keep_failed_runs: usize,
}

impl Default for RetentionConfig {
    /// Nothing goes.
    fn default() -> RetentionConfig {
        RetentionConfig { age: Span::Never, bytes_max: 0, keep_failed_runs: 10 }
    }
}

impl RetentionConfig {
    /// What may go at this time, when transfers have not told what is above `untold`; none when nothing ever does.
    pub fn bounds(
        &self,
        now: Timestamp,
        untold: Option<EventCursor>,
        policies: &Arc<Policies>,
    ) -> Option<Bounds> {
        let RetentionConfig { age, bytes_max, keep_failed_runs } = self;
        let old_before = match age {
            Span::Never => None,
            Span::Of(age) => Some(now.plus_micros(-i64::try_from(age.as_micros()).unwrap_or(i64::MAX))),
        };
        let bytes_max = Some(*bytes_max).filter(|bytes| *bytes > 0);
        (old_before.is_some() || bytes_max.is_some()).then(|| Bounds {
            old_before,
            bytes_max,
            untold,
            keep_failed_runs: *keep_failed_runs,
            policies: Arc::clone(policies),
        })
    }
}

/// What may go.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// What came before.
    pub old_before: Option<Timestamp>,
    /// The oldest, while the store has more bytes.
    pub bytes_max: Option<u64>,
    /// Transfers have not told what is above this; none when there is nothing to wait for.
    pub untold: Option<EventCursor>,
    /// But not so many failed runs of each task on each host, the latest ones.
    pub keep_failed_runs: usize,
    /// Which say what is a failure.
    pub policies: Arc<Policies>,
}

impl Bounds {
    /// Whether what came then is old.
    pub(super) fn is_old(&self, arrived_at: Timestamp) -> bool {
        self.old_before.is_some_and(|border| arrived_at < border)
    }

    /// Whether transfers have not told everything below this border.
    pub(super) fn is_untold(&self, above: EventCursor) -> bool {
        self.untold.is_some_and(|untold| above > untold)
    }

    /// Whether what came then waits for transfers no longer.
    pub(super) fn has_waited(&self, arrived_at: Timestamp) -> bool {
        let wait_us = i64::try_from(RETENTION_WAITS.as_micros()).unwrap_or(i64::MAX);
        self.is_old(arrived_at.plus_micros(wait_us))
    }

    /// How many bytes in use are too many. Some room is made with them: freed pages take what comes next.
    pub(super) fn excess(&self, used_bytes: u64) -> u64 {
        self.bytes_max.map_or(0, |max| used_bytes.saturating_sub(max - max / 20))
    }

    /// Whether a run that has ended counts as failed: critical, failed or aborted, by the policy of its task.
    pub(super) fn is_failed(&self, run: &RunState) -> bool {
        let now = Now::elsewhere(run.ended_at().unwrap_or_default());
        let circumstances = Circumstances { now, complete: true, agent_silent_for: Duration::ZERO };
        match judge(run, &self.policies.of(&run.task()), circumstances).outcome {
            Some(Outcome::Failed | Outcome::Critical | Outcome::Aborted) => true,
            Some(Outcome::Ok | Outcome::Warning | Outcome::Unknown) | None => false,
        }
    }
}

/// Where one look through the log, oldest first, goes on, and what it has learnt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Everything up to this id was looked at.
    pub(super) after: i64,
    /// The failed runs that stay, by the numbers of task and host.
    pub(super) kept_failed: HashMap<(i64, i64), Vec<i64>>,
}

/// What one step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Events that went.
    pub events: u64,
    /// Runs of which nothing is left.
    pub runs: u64,
    /// What went though transfers had not told it: the border below the last event of each piece, and how many events.
    pub untold: Vec<(EventCursor, u64)>,
    /// Where the next step goes on.
    pub round: Round,
    /// True when more may go.
    pub more: bool,
    /// So many bytes in use are still too many.
    pub excess_bytes: u64,
}

/// The time by which things are old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetentionNow {
    /// The clock's.
    Believed(Timestamp),
    /// The clock is ahead of all that surely passed: by that instead.
    Doubted {
        /// The last time that was believed, and what passed since.
        now: Timestamp,
        /// The clock is so much ahead of it.
        ahead: Duration,
    },
}

/// The time to go by, when `believed` was believed `passed` ago by a clock that does not jump, and the clock now says `wall`.
///
/// A clock that went back makes nothing old, and is believed.
pub(super) fn retention_now(wall: Timestamp, believed: Timestamp, passed: Duration) -> RetentionNow {
    let now = believed.plus_micros(i64::try_from(passed.as_micros()).unwrap_or(i64::MAX));
    let ahead = Duration::from_micros(u64::try_from(wall.micros_since(now)).unwrap_or(0));
    if ahead > CLOCK_JUMP_MAX { RetentionNow::Doubted { now, ahead } } else { RetentionNow::Believed(wall) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    #[test]
    fn a_clock_is_believed_as_far_as_time_has_surely_passed_and_a_day_more() {
        // Hours: what was believed, what passed since, what the clock says; what counts, and by how much it is ahead.
        for (believed, passed, wall, now, ahead) in [
            (1000, 0, 1000, 1000, None),
            (1000, 1, 1001, 1001, None),
            // A jump of a day, also while much time passes.
            (1000, 1, 1025, 1025, None),
            (1000, 500, 1524, 1524, None),
            // A jump of more: a year, a day and an hour, with and without time that passed.
            (1000, 0, 1025, 1000, Some(25)),
            (1000, 1, 9766, 1001, Some(8765)),
            (1000, 8000, 9766, 9000, Some(766)),
            // Back to 1970 or a little, and forward again.
            (1000, 1, 0, 0, None),
            (1000, 1, 990, 990, None),
            (1000, 1, 1010, 1010, None),
            // What was believed came from the future: it waits.
            (9000, 0, 1000, 1000, None),
        ] {
            let at = |hours: i64| Timestamp::from_micros(hours * HOUR * 1_000_000);
            let span = |hours: i64| Duration::from_secs((hours * HOUR).unsigned_abs());
            let expected = match ahead {
                None => RetentionNow::Believed(at(now)),
                Some(hours) => RetentionNow::Doubted { now: at(now), ahead: span(hours) },
            };
            let found = retention_now(at(wall), at(believed), span(passed));
            assert_eq!(found, expected, "{believed} + {passed}, the clock says {wall}");
        }
    }

    #[test]
    fn nothing_goes_unless_it_is_said() {
        let policies = Arc::new(Policies::default());
        let now = Timestamp::from_micros(10_000_000);
        assert!(RetentionConfig::default().bounds(now, None, &policies).is_none());
        let age = RetentionConfig { age: Span::Of(Duration::from_secs(3)), ..RetentionConfig::default() };
        let bounds = age.bounds(now, None, &policies).unwrap();
        assert_eq!((bounds.old_before, bounds.bytes_max), (Some(Timestamp::from_micros(7_000_000)), None));
        let old = |micros| bounds.is_old(Timestamp::from_micros(micros));
        assert!(old(6_999_999) && !old(7_000_000));
        let size = RetentionConfig { bytes_max: 1000, ..RetentionConfig::default() };
        let bounds = size.bounds(now, None, &policies).unwrap();
        assert_eq!([900, 950, 1000].map(|used| bounds.excess(used)), [0, 0, 50]);
        assert!(!bounds.is_old(Timestamp::EPOCH));
    }

    #[test]
    fn what_is_untold_waits_a_week_longer() {
        let age = RetentionConfig { age: Span::Of(Duration::from_hours(1)), ..RetentionConfig::default() };
        let now = Timestamp::from_micros(1000 * HOUR * 1_000_000);
        let bounds = age.bounds(now, Some(EventCursor(7)), &Arc::new(Policies::default())).unwrap();
        let hours_ago = |hours: i64| now.plus_micros(-hours * HOUR * 1_000_000 - 1);
        assert!(!bounds.has_waited(hours_ago(1)) && !bounds.has_waited(hours_ago(7 * 24)));
        assert!(bounds.has_waited(hours_ago(7 * 24 + 1)));
        assert!(!bounds.is_untold(EventCursor(7)) && bounds.is_untold(EventCursor(8)));
    }
}
