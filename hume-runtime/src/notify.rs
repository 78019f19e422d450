//! What systemd is told: ready, reloading, alive, stopping, and one line for `systemctl status`.
//!
//! Nothing happens without `NOTIFY_SOCKET`. A message that cannot be sent is logged and otherwise ignored: a daemon that works
//! must not end over a status line.

use std::fmt;
use std::time::Duration;

use sd_notify::NotifyState;

/// The status is told anew after this time when nobody waits for signs of life.
const STATUS_EVERY: Duration = Duration::from_mins(3);
/// The first sign of life, by which time a session may be there that the status tells of.
pub(crate) const FIRST_SIGN: Duration = Duration::from_secs(5);

/// The daemon has bound its sockets and serves, or goes on after a reload.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// The configuration is read anew; [`ready`] follows.
pub fn reloading() {
    // systemd 253 and newer want to know when, by the clock that it waits by.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

/// The daemon has begun to stop.
pub fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("stopping: what was begun is finished")]);
}

/// The start takes so much longer, counted from now.
pub fn more_time(time: Duration) {
    send(&[NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))]);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    send(&[NotifyState::Status(text)]);
}

/// What a task group tells again and again while it runs: that it lives, and how it is.
pub struct Watchdog {
    /// Half of the time after which the service manager ends a daemon that says nothing.
    pub(crate) every: Duration,
    is_awaited: bool,
    status: Box<dyn Fn() -> String + Send>,
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog")
            .field("every", &self.every)
            .field("is_awaited", &self.is_awaited)
            .finish_non_exhaustive()
    }
}

/// The watchdog that the service manager asks for; none when there is no service manager. `status` must not wait.
pub fn watchdog(status: impl Fn() -> String + Send + 'static) -> Option<Watchdog> {
    std::env::var_os("NOTIFY_SOCKET")?;
    let awaited = sd_notify::watchdog_enabled().filter(|time| !time.is_zero());
    let every = awaited.map_or(STATUS_EVERY, |time| time / 2);
    Some(Watchdog { every, is_awaited: awaited.is_some(), status: Box::new(status) })
}

impl Watchdog {
    /// A sign of life, unless something is stuck: that goes to the log and into the status, and the service manager waits.
    pub(crate) fn tell(&self, stuck: &[&'static str]) {
        let text = if stuck.is_empty() {
            (self.status)()
        } else {
            let stuck = stuck.join(", ");
            tracing::error!(tasks = %stuck, "does not let go of its thread: no sign of life to the service manager");
            format!("stuck: {stuck}")
        };
        let status = NotifyState::Status(&text);
        if self.is_awaited && stuck.is_empty() {
            send(&[NotifyState::Watchdog, status]);
        } else {
            send(&[status]);
        }
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "could not notify the service manager");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_service_manager_nothing_happens() {
        ready();
        status("serving");
        reloading();
        more_time(Duration::from_secs(1));
        stopping();
        assert!(watchdog(String::new).is_none());
    }
}
