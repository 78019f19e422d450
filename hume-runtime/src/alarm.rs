//! A sleep for which the process wakes once: the kernel keeps the time.
//!
//! Tokio's timers stand in a wheel, and one that is seconds away wakes the process two or three times before its time has come.
//! Beside work that is nothing; of an idle daemon it is most of what it does. What such a daemon does again and again sleeps
//! here. It costs a descriptor for as long as it sleeps, and it is real time: a test with a clock of its own wants tokio's.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Completes after this time, and not before it.
pub async fn sleep(time: Duration) {
    if let Ok(timer) = timer(time) {
        // Nothing but the end of the time makes it readable, and only the end of the runtime an error.
        let _ = timer.readable().await;
    } else {
        // No descriptor is left.
        tokio::time::sleep(time).await;
    }
}

fn timer(time: Duration) -> io::Result<AsyncFd<OwnedFd>> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    // A time of zero would say that it never ends.
    let time = time.max(Duration::from_nanos(1));
    let failed = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let it_value = Timespec::try_from(time).map_err(failed)?;
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
    #[expect(
        deprecated,
        reason = "the other constructor is unsafe; an owned descriptor is what makes this one sound"
    )]
    AsyncFd::with_interest(timer, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_sleep_ends_and_not_before_its_time() {
        for time in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(150)] {
            let began = Instant::now();
            sleep(time).await;
            assert!(began.elapsed() >= time, "{:?} of {time:?}", began.elapsed());
        }
    }

    #[tokio::test]
    async fn of_two_sleeps_the_shorter_one_ends_first_and_the_other_can_be_left() {
        tokio::select! {
            () = sleep(Duration::from_hours(1)) => panic!("an hour passed"),
            () = sleep(Duration::from_millis(1)) => {}
        }
    }
}
