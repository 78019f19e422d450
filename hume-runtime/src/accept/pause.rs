//! How long nothing is taken from the kernel after an error, and which errors are worth a line. Pure: the time is passed in.
//!
//! Without file descriptors or memory the connection stays in the kernel's queue, and to ask again at once would only
//! burn the processor. The pause doubles from [`PAUSE_MIN`] to [`PAUSE_MAX`] until a connection can be taken; when others
//! have made room it is the shortest. One line a minute tells of it.

use std::time::{Duration, Instant};

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_mins(1);

/// The pause, if there is one.
#[derive(Debug, Default)]
pub(super) struct Pause {
    length: Duration,
    until: Option<Instant>,
    told: Option<Instant>,
}

impl Pause {
    /// A connection was taken.
    pub(super) fn after_success(&mut self) {
        self.length = Duration::ZERO;
        self.until = None;
    }

    /// None could be taken, and so many peers were sent away for that. True if it is worth a line.
    pub(super) fn after_error(&mut self, now: Instant, sent_away: usize) -> bool {
        self.length = if sent_away > 0 { PAUSE_MIN } else { (self.length * 2).clamp(PAUSE_MIN, PAUSE_MAX) };
        self.until = Some(now + self.length);
        let is_news = self.told.is_none_or(|told| now.saturating_duration_since(told) >= SILENCE);
        if is_news {
            self.told = Some(now);
        }
        is_news
    }

    /// When it is over; none if it is.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_file_descriptors_the_loop_waits_longer_and_longer_and_says_so_once() {
        let (mut pause, mut now) = (Pause::default(), Instant::now());
        for (round, millis) in [50, 100, 200, 400, 800, 1000, 1000].into_iter().enumerate() {
            assert_eq!(pause.after_error(now, 0), round == 0);
            let over = now + Duration::from_millis(millis);
            assert_eq!(pause.due(now), Some(over));
            assert_eq!(pause.due(over), None);
            now = over;
        }
        pause.after_success();
        assert_eq!(pause.due(now), None);
        assert!(!pause.after_error(now, 0), "it is the same trouble");
        assert_eq!(pause.due(now), Some(now + PAUSE_MIN));
        assert!(pause.after_error(now + SILENCE, 0));
    }

    #[test]
    fn when_others_have_made_room_the_pause_stays_short() {
        let (mut pause, now) = (Pause::default(), Instant::now());
        for _ in 0..9 {
            pause.after_error(now, 1);
            assert_eq!(pause.due(now), Some(now + PAUSE_MIN));
        }
    }
}
