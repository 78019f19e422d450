//! What systemd is told: ready, stopping, status. Nothing happens without `NOTIFY_SOCKET`.
//!
//! A message that cannot be sent is logged and otherwise ignored: a daemon that works must not end over a status line.

use std::time::Duration;

use sd_notify::NotifyState;

/// The daemon has bound its sockets and serves.
pub fn ready() {
    send(&NotifyState::Ready);
}

/// The daemon has begun to stop.
pub fn stopping() {
    send(&NotifyState::Stopping);
}

/// The start takes so much longer, counted from now.
pub fn more_time(time: Duration) {
    send(&NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX)));
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    send(&NotifyState::Status(text));
}

fn send(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
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
        more_time(Duration::from_secs(1));
        stopping();
    }
}
