//! For how long the wall clock has gone as time does; one that jumps is believed only after a while.

use std::time::Duration;

use hume_core::Timestamp;

/// Between two looks the wall clock may be wrong by this much.
const DRIFT_MAX: Duration = Duration::from_mins(1);

/// What was seen of the wall clock, beside a clock that never jumps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steady {
    seen: Option<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    wall: Timestamp,
    boot_us: u64,
    since_us: u64,
}

impl Steady {
    /// Looks at both clocks: for how long the wall clock has not jumped.
    pub(super) fn look(&mut self, wall: Timestamp, boot_us: u64) -> Duration {
        let since_us = match self.seen {
            Some(seen) if !has_jumped(seen, wall, boot_us) => seen.since_us,
            Some(_) | None => boot_us,
        };
        self.seen = Some(Seen { wall, boot_us, since_us });
        Duration::from_micros(boot_us.saturating_sub(since_us))
    }

    /// What was seen counts no more.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }
}

fn has_jumped(seen: Seen, wall: Timestamp, boot_us: u64) -> bool {
    let passed_us = i64::try_from(boot_us.saturating_sub(seen.boot_us)).unwrap_or(i64::MAX);
    let off_us = wall.micros_since(seen.wall).saturating_sub(passed_us).unsigned_abs();
    u128::from(off_us) > DRIFT_MAX.as_micros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumped_either_way_begins_to_be_believed_again() {
        let mut steady = Steady::default();
        let mut look = |wall_s: i64, boot_s: u64| {
            steady.look(Timestamp::from_micros(wall_s * 1_000_000), boot_s * 1_000_000).as_secs()
        };
        assert_eq!(look(1000, 0), 0);
        assert_eq!(look(1600, 600), 600);
        // Set by half a minute, as a clock is that is kept right.
        assert_eq!(look(2230, 1200), 1200);
        assert_eq!(look(99_999_999, 1800), 0);
        assert_eq!(look(100_000_599, 2400), 600);
        assert_eq!(look(4000, 3000), 0);
        assert_eq!(look(4600, 3600), 600);
    }
}
