//! A token bucket: so many per second on average, one second's worth at once. Pure: the time is passed in.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct TokenBucket {
    /// Between two tokens.
    interval: Duration,
    /// How far behind `now` the next token's time may lie: the burst.
    burst: Duration,
    /// When the next token is due.
    next: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(per_second: u32, now: Instant) -> TokenBucket {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let burst = Duration::from_secs(1).saturating_sub(interval);
        TokenBucket { interval, burst, next: now.checked_sub(burst).unwrap_or(now) }
    }

    /// When a token is there; none if one is there now.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        (self.next > now).then_some(self.next)
    }

    /// Takes a token, whether it is there or not: what is taken too early is missing later.
    pub(super) fn take(&mut self, now: Instant) {
        let oldest = now.checked_sub(self.burst).unwrap_or(now);
        self.next = self.next.max(oldest) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what is there at this moment, at most so many.
    fn taken(bucket: &mut TokenBucket, now: Instant, max: usize) -> usize {
        let mut taken = 0;
        while taken < max && bucket.due(now).is_none() {
            bucket.take(now);
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_second_s_worth_is_free_and_then_the_rate_holds() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut bucket = TokenBucket::new(10, start);
        assert_eq!(taken(&mut bucket, start, 100), 10);
        for tenths in 1..5 {
            let due = start + Duration::from_millis(100) * tenths;
            assert_eq!(bucket.due(due.checked_sub(Duration::from_millis(1)).unwrap()), Some(due));
            assert_eq!(taken(&mut bucket, due, 100), 1);
        }
    }

    #[test]
    fn a_quiet_hour_saves_up_one_second_only() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut bucket = TokenBucket::new(10, start);
        assert_eq!(taken(&mut bucket, start + Duration::from_hours(1), 20), 10);
    }
}
