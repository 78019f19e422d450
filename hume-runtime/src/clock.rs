//! The only reader of the clocks; everything else gets the time as an argument.
//!
//! The wall clock may jump in both directions. Durations on one boot are measured with [`boottime_us`], which does not
//! jump and goes on counting while the machine sleeps.

use std::sync::OnceLock;

use hume_core::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};
use uuid::Uuid;

use crate::points;

/// The wall clock now (`CLOCK_REALTIME`), cut to microseconds.
pub fn now() -> Timestamp {
    let micros = micros(clock_gettime(ClockId::Realtime));
    Timestamp::from_micros(micros.saturating_add(points::clock_shift_us()))
}

/// Microseconds since the machine booted (`CLOCK_BOOTTIME`), time asleep included.
pub fn boottime_us() -> u64 {
    u64::try_from(micros(clock_gettime(ClockId::Boottime))).unwrap_or(0)
}

/// The kernel's name for this boot, read once; `None` where `/proc` is not mounted.
pub fn boot_id() -> Option<Uuid> {
    static BOOT_ID: OnceLock<Option<Uuid>> = OnceLock::new();
    *BOOT_ID.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Uuid::try_parse(text.trim()).ok()
    })
}

fn micros(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_reads_a_plausible_time() {
        let first_commit = Timestamp::from_micros(1_700_000_000_000_000);
        assert!(now() > first_commit);
    }

    #[test]
    fn boot_time_never_runs_backwards() {
        let before = boottime_us();
        assert!(before > 0);
        assert!(boottime_us() >= before);
    }

    #[test]
    fn a_boot_keeps_its_name() {
        assert!(boot_id().is_some());
        assert_eq!(boot_id(), boot_id());
    }
}
