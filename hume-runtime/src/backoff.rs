//! How long to wait before the next try: full jitter, so that a fleet that failed together does not return together.
//!
//! Each delay is drawn uniformly from (0, step]; the steps grow from `min` by `factor` up to `max`. Reads no clock.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The state of one chain of retries.
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    steps: ExponentialBackoff,
    max: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// Steps of `min`, `min × factor`, `min × factor²`, … up to `max`. `factor` is at least 1.
    pub fn new(min: Duration, factor: f32, max: Duration) -> Backoff {
        // Jitter is ours: backon adds it on top of the step, and two clients would never wait less than the step.
        let builder = ExponentialBuilder::new()
            .with_min_delay(min.min(max))
            .with_factor(factor.max(1.0))
            .with_max_delay(max)
            .without_max_times();
        Backoff { builder, steps: builder.build(), max, random: fastrand::Rng::new() }
    }

    /// The next delay: longer than zero, at most the current step.
    pub fn next_delay(&mut self) -> Duration {
        let step = self.steps.next().unwrap_or(self.max);
        let nanos = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.random.u64(1..=nanos))
    }

    /// The trouble is over: the next delay starts again from `min`.
    pub fn reset(&mut self) {
        self.steps = self.builder.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_delay_is_positive_and_never_beyond_its_step(
            min_ms in 1_u64..10_000,
            factor in 1_u8..5,
            max_ms in 1_u64..200_000,
            tries in 1_usize..40,
        ) {
            let max = Duration::from_millis(max_ms);
            let mut backoff = Backoff::new(Duration::from_millis(min_ms), f32::from(factor), max);
            let mut step = Duration::from_millis(min_ms.min(max_ms));
            for _ in 0..tries {
                let delay = backoff.next_delay();
                prop_assert!(delay > Duration::ZERO);
                // backon multiplies in 32-bit floats: allow its rounding.
                prop_assert!(delay <= step.mul_f64(1.001).min(max), "{delay:?} > {step:?}");
                step = (step * u32::from(factor)).min(max);
            }
        }

        #[test]
        fn after_a_reset_the_first_step_counts_again(tries in 1_usize..20) {
            let mut backoff = Backoff::new(Duration::from_millis(10), 2.0, Duration::from_mins(2));
            for _ in 0..tries {
                backoff.next_delay();
            }
            backoff.reset();
            prop_assert!(backoff.next_delay() <= Duration::from_millis(10));
        }
    }

    #[test]
    fn delays_use_the_whole_range() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 1.0, second);
        let delays: Vec<Duration> = (0..1000).map(|_| backoff.next_delay()).collect();
        assert!(delays.iter().any(|delay| *delay < second / 10));
        assert!(delays.iter().any(|delay| *delay > second / 10 * 9));
    }
}
