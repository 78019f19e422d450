//! Waiting for a condition, always with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

/// Pause between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Looks until `condition` holds.
/// # Errors
/// Its own error, or that `what` did not come true before the deadline.
pub(super) fn until(
    what: &str,
    deadline: Instant,
    mut condition: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    while !condition()? {
        if Instant::now() >= deadline {
            bail!("gave up waiting until {what}");
        }
        thread::park_timeout(POLL_INTERVAL);
    }
    Ok(())
}
