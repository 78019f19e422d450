//! Medians and percentiles: pure, of any number of measurements, in any order.

use std::time::Duration;

/// The smallest measurement that at least `percent` of a hundred are not above (nearest rank); none of nothing.
pub(crate) fn percentile<T: Ord + Copy>(measured: &[T], percent: u32) -> Option<T> {
    let mut sorted = measured.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent.min(100) as usize).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The one in the middle; of an even number, the lower one of the two.
pub(crate) fn median<T: Ord + Copy>(measured: &[T]) -> Option<T> {
    percentile(measured, 50)
}

/// The rate in the middle, per second; none of nothing.
pub(crate) fn median_rate(count: u64, took: &[Duration]) -> Option<f64> {
    median(took).map(|took| rate(count, took))
}

/// So many in this time, per second.
pub(crate) fn rate(count: u64, took: Duration) -> f64 {
    // A time of zero is one below what the clock can tell.
    count as f64 / took.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_measurement_and_never_between_two() {
        let hundred: Vec<u32> = (1..=100).rev().collect();
        let of = |percent| percentile(&hundred, percent).unwrap();
        assert_eq!((of(0), of(1), of(50), of(99), of(100)), (1, 1, 50, 99, 100));
        assert_eq!(percentile(&[7, 3], 99), Some(7));
        assert_eq!(percentile::<u8>(&[], 50), None);
    }

    #[test]
    fn the_median_of_an_even_number_is_the_lower_one() {
        assert_eq!(median(&[4, 1, 3, 2]), Some(2));
        assert_eq!(median(&[5, 1, 9]), Some(5));
    }

    #[test]
    fn a_rate_is_per_second_and_finite() {
        assert!((rate(10, Duration::from_millis(500)) - 20.0).abs() < 1e-9);
        assert!(rate(1, Duration::ZERO).is_finite());
        let took = [1, 2, 10].map(Duration::from_secs);
        assert!((median_rate(10, &took).unwrap() - 5.0).abs() < 1e-9);
    }
}
