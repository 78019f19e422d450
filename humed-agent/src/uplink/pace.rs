//! How much a session may have in flight before the link has shown what it carries.
//!
//! A ping of HTTP/2 waits behind what is on its way already, and one that is not answered within 20 s ends the session. So a
//! session begins with what passes a link of 1 kB/s in time. Of what did pass within five seconds twice as much may be in flight,
//! which takes ten; when something took fifteen, half as much as before. Little traffic proves little, and allows no more.

use std::time::Duration;

/// In flight until the first ack of a session.
pub(super) const START_BYTES: usize = 8 * 1024;
/// Of what was acknowledged within this time twice as much passes in time as well.
pub(super) const SOON: Duration = Duration::from_secs(5);
/// What takes this long is too much.
pub(super) const LATE: Duration = Duration::from_secs(15);

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    bytes: usize,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace { bytes: START_BYTES }
    }

    /// So many bytes may be in flight.
    pub(super) fn bytes(self) -> usize {
        self.bytes
    }

    /// A batch was acknowledged so long after it was sent, when with it so many bytes were in flight. More than `window_bytes`
    /// is of no use.
    pub(super) fn passed(&mut self, in_flight_bytes: usize, took: Duration, window_bytes: usize) {
        if took <= SOON {
            let proven = in_flight_bytes.saturating_mul(2).min(window_bytes);
            self.bytes = self.bytes.max(proven);
        } else if took >= LATE {
            self.bytes = (self.bytes / 2).max(START_BYTES);
        }
    }
}
