//! How long a task usually takes, learned from its latest runs that went well; what is far beyond that is worth a look.
//!
//! The middle is the median and the spread the median of the distances to it, so a few strange runs change little. The band
//! is wide on purpose: it must not cry when a disk is busy.

use std::time::Duration;

/// Runs that are looked back on.
pub const RUNS_MAX: usize = 30;
/// With fewer, nothing is usual.
pub const RUNS_MIN: usize = 8;
/// So many times the spread is still usual. The spread of a normal distribution is two thirds of its deviation, so that is
/// four deviations.
const SPREADS: u32 = 6;
/// What lies within this of the middle is usual, however regular the runs are.
const ALWAYS_USUAL: Duration = Duration::from_secs(30);

/// What is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// A run that takes less was too short.
    pub shortest: Duration,
    /// A run that takes more is too long.
    pub longest: Duration,
}

impl Band {
    /// Learned from how long runs took, the latest last; nothing with fewer than [`RUNS_MIN`]. At least half of the middle
    /// and twice the middle are usual.
    pub fn learn(took: &[Duration]) -> Option<Band> {
        let latest = took.get(took.len().saturating_sub(RUNS_MAX)..)?;
        if latest.len() < RUNS_MIN {
            return None;
        }
        let middle = median(latest.to_vec());
        let spread = median(latest.iter().map(|took| took.abs_diff(middle)).collect());
        let reach = spread.saturating_mul(SPREADS).max(ALWAYS_USUAL);
        Some(Band {
            shortest: middle.saturating_sub(reach.max(middle / 2)),
            longest: middle.saturating_add(reach.max(middle)),
        })
    }
}

/// The middle one, or half way between the two in the middle. There is at least one.
fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    let middle = all.len() / 2;
    match all.len() % 2 {
        1 => all[middle],
        _ => (all[middle - 1].saturating_add(all[middle])) / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn band(minutes: &[u64]) -> Option<(u64, u64)> {
        let took: Vec<Duration> = minutes.iter().map(|minutes| Duration::from_mins(*minutes)).collect();
        Band::learn(&took).map(|band| (band.shortest.as_secs() / 60, band.longest.as_secs() / 60))
    }

    #[test]
    fn below_eight_runs_nothing_is_usual() {
        assert_eq!(band(&[10; 7]), None);
        assert_eq!(band(&[10; 8]), Some((5, 20)), "half and twice, however regular");
        assert_eq!(band(&[]), None);
    }

    #[test]
    fn a_few_strange_runs_change_little() {
        let regular = [58, 60, 61, 59, 60, 62, 60, 61, 59, 60];
        let strange = [58, 60, 61, 59, 600, 62, 60, 1, 59, 60];
        assert_eq!(band(&regular), Some((30, 120)));
        assert_eq!(band(&strange), Some((30, 120)));
    }

    #[test]
    fn who_varies_much_may_vary_much() {
        let (shortest, longest) = band(&[10, 90, 20, 80, 30, 70, 40, 60, 50]).unwrap();
        assert_eq!((shortest, longest), (0, 170));
    }

    #[test]
    fn only_the_latest_runs_count() {
        let mut minutes = vec![600; 100];
        minutes.extend([10; RUNS_MAX]);
        assert_eq!(band(&minutes), Some((5, 20)));
    }

    #[test]
    fn short_runs_are_not_looked_at_too_closely() {
        let took = [Duration::from_millis(40); 30];
        let band = Band::learn(&took).unwrap();
        assert_eq!((band.shortest, band.longest), (Duration::ZERO, Duration::from_millis(30_040)));
    }

    proptest! {
        #[test]
        fn most_of_the_runs_it_learned_from_are_usual(seconds in proptest::collection::vec(0u64..1_000_000, RUNS_MIN..RUNS_MAX)) {
            let took: Vec<Duration> = seconds.into_iter().map(Duration::from_secs).collect();
            let band = Band::learn(&took).unwrap();
            let usual = took.iter().filter(|took| (band.shortest..=band.longest).contains(took)).count();
            prop_assert!(usual * 2 > took.len(), "{band:?}");
        }
    }
}
