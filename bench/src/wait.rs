//! Waiting for a condition, always with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

/// For what takes a moment on an idle machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// Pause between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Looks until `find` finds something. `what` ends the sentence "gave up waiting until …".
/// # Errors
/// Its own error, or that nothing was found in time.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut find: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        // Asked before the look, so that there is always one look after the deadline.
        let is_last = Instant::now() >= deadline;
        if let Some(found) = find()? {
            return Ok(found);
        }
        if is_last {
            bail!("gave up waiting until {what}");
        }
        thread::park_timeout(POLL_INTERVAL);
    }
}

/// Lets time pass in which nothing is to happen.
pub(crate) fn rest(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}
