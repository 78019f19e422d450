//! How much each user may report: so many events a minute, so many bytes a day, and no more at once than in that time.
//!
//! What was used comes back evenly, so nobody waits for midnight and no clock of the day matters. It is kept in memory: after a
//! start everybody has the whole of it. Of at most [`USERS_MAX`] users apart; those beyond share one allowance.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Users who are counted apart, as long as they have used something.
const USERS_MAX: usize = 4096;
/// Those who are one too many are counted together, under a number that no user has.
const OTHERS: u32 = u32::MAX;

/// So much in a time; 0 is no bound.
#[derive(Clone, Copy, Debug)]
struct Bound {
    most: u64,
    every: Duration,
}

impl Bound {
    /// When a bucket that is empty at this moment is empty after this amount, in nanoseconds; none when it does not fit in now.
    /// What alone is more than the bound fits into an empty one, since it never would otherwise.
    fn add(self, empty_at: u64, amount: u64, now: u64) -> Option<u64> {
        if self.most == 0 {
            return Some(empty_at);
        }
        let every = u64::try_from(self.every.as_nanos()).unwrap_or(u64::MAX);
        let takes = u128::from(amount) * u128::from(every) / u128::from(self.most);
        let takes = u64::try_from(takes).unwrap_or(u64::MAX);
        let filled = empty_at.saturating_sub(now);
        (filled == 0 || filled.saturating_add(takes) <= every)
            .then(|| now.saturating_add(filled).saturating_add(takes))
    }
}

/// When what a user has used will have come back.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    events: u64,
    bytes: u64,
}

/// A user has reported as much as he may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Over {
    /// In the last minute.
    #[error("this user has reported {0} events within a minute (intake.user_events_per_minute)")]
    Events(u64),
    /// In the last day.
    #[error("this user has reported {0} bytes within a day (intake.user_bytes_per_day)")]
    Bytes(u64),
}

/// What users have used.
#[derive(Debug)]
pub(super) struct Allowances {
    events: Bound,
    bytes: Bound,
    used: Mutex<HashMap<u32, Used>>,
}

impl Allowances {
    /// Nobody has used anything yet.
    pub(super) fn new(events_per_minute: u64, bytes_per_day: u64) -> Allowances {
        Allowances {
            events: Bound { most: events_per_minute, every: Duration::from_mins(1) },
            bytes: Bound { most: bytes_per_day, every: Duration::from_hours(24) },
            used: Mutex::default(),
        }
    }

    /// One event of so many bytes, `now_us` by a clock that nobody sets.
    ///
    /// # Errors
    /// What there is too much of; nothing is counted then.
    pub(super) fn take(&self, uid: u32, bytes: u64, now_us: u64) -> Result<(), Over> {
        let now = now_us.saturating_mul(1000);
        let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= USERS_MAX && !all.contains_key(&uid) {
            all.retain(|_, used| used.events > now || used.bytes > now);
        }
        let key = if all.len() >= USERS_MAX && !all.contains_key(&uid) { OTHERS } else { uid };
        let used = all.get(&key).copied().unwrap_or_default();
        let events = self.events.add(used.events, 1, now).ok_or(Over::Events(self.events.most))?;
        let bytes = self.bytes.add(used.bytes, bytes, now).ok_or(Over::Bytes(self.bytes.most))?;
        all.insert(key, Used { events, bytes });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000;
    const DAY: u64 = 86_400 * SECOND;

    #[test]
    fn what_was_used_comes_back_evenly_and_each_user_has_his_own() {
        let allowances = Allowances::new(60, 0);
        let take = |uid, at| allowances.take(uid, 1, at);
        assert!((0..60).all(|_| take(7, 0).is_ok()), "all of a minute at once");
        assert_eq!(take(7, 0), Err(Over::Events(60)));
        assert_eq!(take(8, 0), Ok(()));
        assert_eq!((take(7, SECOND), take(7, SECOND)), (Ok(()), Err(Over::Events(60))));
        // Nothing is saved beyond it.
        assert_eq!((0..1000).filter(|_| take(7, DAY).is_ok()).count(), 60);
    }

    #[test]
    fn bytes_of_a_day_are_a_bound_of_their_own_and_what_is_refused_is_not_counted() {
        let allowances = Allowances::new(2, 1000);
        assert_eq!(allowances.take(7, 900, 0), Ok(()));
        assert_eq!(allowances.take(7, 200, 0), Err(Over::Bytes(1000)));
        assert_eq!(allowances.take(7, 100, 0), Ok(()), "the refused one was no event either");
        assert_eq!(allowances.take(7, 1, DAY / 2), Ok(()));
        // Larger than the bound, and alone.
        assert_eq!(allowances.take(8, 5000, 0), Ok(()));
        assert_eq!(allowances.take(8, 1, DAY), Err(Over::Bytes(1000)));
        assert_eq!(allowances.take(8, 1, 5 * DAY), Ok(()));
    }

    #[test]
    fn without_bounds_nothing_is_too_much() {
        let allowances = Allowances::new(0, 0);
        assert!((0..100_000).all(|_| allowances.take(7, u64::MAX, 0).is_ok()));
    }

    #[test]
    fn users_beyond_those_who_are_counted_share_and_the_idle_make_room() {
        let allowances = Allowances::new(2, 0);
        let users = u32::try_from(USERS_MAX).unwrap();
        for uid in 0..users {
            allowances.take(uid, 1, 0).unwrap();
        }
        let take = |uid, at| allowances.take(users + uid, 1, at).is_ok();
        assert_eq!([take(1, 0), take(2, 0), take(3, 0)], [true, true, false]);
        assert!(allowances.take(0, 1, 0).is_ok(), "who is counted apart has his own");
        assert!(take(3, 60 * SECOND) && take(4, 60 * SECOND) && take(5, 60 * SECOND));
    }

    proptest! {
        #[test]
        fn no_time_lets_more_through_than_its_share_and_once_the_whole(
            steps in proptest::collection::vec((0u64..5 * SECOND, 1u64..400), 1..200),
        ) {
            let allowances = Allowances::new(0, 1000);
            let (mut now, mut taken) = (0, 0);
            for (wait, bytes) in steps {
                now += wait * 1000;
                if allowances.take(7, bytes, now).is_ok() {
                    taken += bytes;
                }
            }
            prop_assert!(u128::from(taken) <= 1001 + 1000 * u128::from(now) / u128::from(DAY));
        }
    }
}
