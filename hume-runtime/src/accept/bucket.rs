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

    /// Takes a token; `Some` is how long to wait until it is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<Duration> {
        let oldest = now.checked_sub(self.burst).unwrap_or(now);
        let due = self.next.max(oldest);
        self.next = due + self.interval;
        due.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_is_free_and_then_the_rate_holds() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut bucket = TokenBucket::new(10, start);
        let waits: Vec<_> = (0..12).map(|_| bucket.take(start)).collect();
        assert!(waits[..10].iter().all(Option::is_none), "{waits:?}");
        assert_eq!(waits[10..], [Some(Duration::from_millis(100)), Some(Duration::from_millis(200))]);
    }

    #[test]
    fn a_quiet_hour_saves_up_one_second_only() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut bucket = TokenBucket::new(10, start);
        let later = start + Duration::from_hours(1);
        assert_eq!((0..20).filter(|_| bucket.take(later).is_none()).count(), 10);
    }
}
