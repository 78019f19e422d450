//! Waiting for a condition, always with a deadline and never by sleeping for a guessed time.

use std::thread;
use std::time::{Duration, Instant};

/// A deadline for what takes a moment on an idle machine, far enough away for a busy one.
pub const SOON: Duration = Duration::from_mins(1);

/// Pause between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Looks until `condition` holds. `what` ends the sentence "gave up waiting until …".
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, limit, || condition().then_some(()));
}

/// Looks until `find` finds something.
pub fn wait_for<T>(what: &str, limit: Duration, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        // Asked before the look, so that there is always one look after the deadline.
        let is_last = Instant::now() >= deadline;
        if let Some(found) = find() {
            return found;
        }
        assert!(!is_last, "gave up waiting until {what}");
        thread::park_timeout(POLL_INTERVAL);
    }
}

/// Lets time pass, for what has to happen at a moment of nobody's choosing; earlier when `is_over`. Nothing is concluded from it.
pub fn let_pass(time: Duration, mut is_over: impl FnMut() -> bool) {
    let until = Instant::now() + time;
    while !is_over()
        && let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    {
        thread::park_timeout(left.min(POLL_INTERVAL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_true_late_is_seen() {
        let mut looks = 0;
        let found = wait_for("the third look", SOON, || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found, 3);
    }

    #[test]
    #[should_panic(expected = "gave up waiting until pigs fly")]
    fn what_never_comes_true_is_named() {
        wait_until("pigs fly", Duration::ZERO, || false);
    }
}
