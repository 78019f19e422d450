//! How many notices may go now: a bucket of tokens, and what becomes of those that are too many. Pure: time is a value.

use std::time::Duration;

use crate::options::Rate;
use crate::transfer::Excess;

/// A bucket that is full at first, holds one period's worth, and fills evenly. Times are durations since any fixed moment.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    /// What is in it at `filled`: the nanoseconds of `rate.per` are one token, so filling loses nothing.
    level: u128,
    filled: Duration,
}

impl Bucket {
    pub(crate) fn new(rate: Rate, now: Duration) -> Bucket {
        Bucket { rate, level: u128::from(rate.count) * rate.per.as_nanos(), filled: now }
    }

    /// Whole tokens that are there.
    pub(crate) fn tokens(&mut self, now: Duration) -> u32 {
        self.fill(now);
        u32::try_from(self.level / self.one()).unwrap_or(u32::MAX)
    }

    /// Takes so many, or what there is.
    pub(crate) fn take(&mut self, count: u32, now: Duration) {
        self.fill(now);
        self.level = self.level.saturating_sub(u128::from(count) * self.one());
    }

    /// How long until the next whole token, when there is none.
    pub(crate) fn until_next(&mut self, now: Duration) -> Duration {
        self.fill(now);
        let missing = self.one().saturating_sub(self.level);
        let nanos = missing.div_ceil(u128::from(self.rate.count));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn one(&self) -> u128 {
        self.rate.per.as_nanos()
    }

    fn fill(&mut self, now: Duration) {
        let since = now.saturating_sub(self.filled).as_nanos();
        let full = u128::from(self.rate.count) * self.one();
        self.level = full.min(self.level + since * u128::from(self.rate.count));
        self.filled = self.filled.max(now);
    }
}

/// What becomes of the notices that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Portion {
    /// None may go now.
    Nothing,
    /// So many of the first go one by one.
    Singly(usize),
    /// So many of the first go one by one, everything after them in one digest.
    AndDigest(usize),
}

/// Decides for `waiting` notices, at least one, with so many tokens. A digest takes one of them.
pub(crate) fn portion(waiting: usize, tokens: u32, excess: Excess) -> Portion {
    let tokens = tokens as usize;
    if tokens == 0 {
        return Portion::Nothing;
    }
    match excess {
        _ if waiting <= tokens => Portion::Singly(waiting),
        Excess::Wait => Portion::Singly(tokens),
        Excess::Fold => Portion::AndDigest(tokens - 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { count: 20, per: Duration::from_mins(1) };

    #[test]
    fn a_full_bucket_is_spent_at_once_and_fills_evenly() {
        let mut bucket = Bucket::new(RATE, Duration::ZERO);
        bucket.take(20, Duration::ZERO);
        assert_eq!(bucket.tokens(Duration::from_millis(2999)), 0);
        assert_eq!(bucket.tokens(Duration::from_secs(3)), 1);
        assert_eq!(bucket.tokens(Duration::from_hours(5)), 20, "no more than one period's worth");
    }

    #[test]
    fn what_is_too_much_is_folded_or_waits() {
        assert_eq!(portion(5, 20, Excess::Fold), Portion::Singly(5));
        assert_eq!(portion(21, 20, Excess::Fold), Portion::AndDigest(19));
        assert_eq!(portion(2, 1, Excess::Fold), Portion::AndDigest(0));
        assert_eq!(portion(21, 20, Excess::Wait), Portion::Singly(20));
        for excess in [Excess::Fold, Excess::Wait] {
            assert_eq!(portion(3, 0, excess), Portion::Nothing);
        }
    }

    proptest! {
        #[test]
        fn never_more_than_two_periods_worth_goes_in_one_period(
            steps in proptest::collection::vec((0_u64..20_000, 1_u32..30), 1..60),
        ) {
            let mut bucket = Bucket::new(RATE, Duration::ZERO);
            let (mut now, mut went) = (Duration::ZERO, Vec::new());
            for (millis, wish) in steps {
                now += Duration::from_millis(millis);
                let count = bucket.tokens(now).min(wish);
                bucket.take(count, now);
                went.push((now, count));
            }
            for (from, _) in &went {
                let within = went.iter().filter(|(at, _)| at >= from && *at < *from + RATE.per);
                prop_assert!(within.map(|(_, count)| count).sum::<u32>() <= 2 * RATE.count);
            }
        }

        #[test]
        fn after_the_wait_there_is_a_token(spent in 1_u32..40, millis in 0_u64..100_000) {
            let mut bucket = Bucket::new(RATE, Duration::ZERO);
            bucket.take(spent, Duration::ZERO);
            let now = Duration::from_millis(millis);
            let then = now + bucket.until_next(now);
            prop_assert!(bucket.tokens(then) >= 1);
        }
    }
}
