//! When this host was last looked after: the time of a file that is touched while runs are open.
//!
//! Not synced: it only narrows down when a process ended that nobody watched. Touched every [`BEAT_EVERY`] at most.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hume_core::Timestamp;
use tracing::debug;

/// Between two touches.
pub(super) const BEAT_EVERY: Duration = Duration::from_secs(10);

const FILE_NAME: &str = "pulse";

/// The file, and what it said when it was opened.
#[derive(Debug)]
pub struct Pulse {
    file: Option<File>,
    last: Option<Timestamp>,
}

impl Pulse {
    /// Opens or makes the file in this folder. Without it, ends are only known less exactly.
    pub fn open(folder: &Path) -> Pulse {
        let path = folder.join(FILE_NAME);
        let last = path.metadata().and_then(|about| about.modified()).ok().and_then(timestamp);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        if let Err(error) = &file {
            debug!(path = %path.display(), %error, "the time of the last look around is not kept");
        }
        Pulse { file: file.ok(), last }
    }

    /// When an agent last looked after this host, before this one.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// This host is looked after.
    pub(super) fn beat(&self, now: Timestamp) {
        let since = u64::try_from(now.as_micros()).unwrap_or(0);
        if let Some(file) = &self.file {
            // Only a hint is lost.
            let _ = file.set_modified(UNIX_EPOCH + Duration::from_micros(since));
        }
    }
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let micros = time.duration_since(UNIX_EPOCH).ok()?.as_micros();
    i64::try_from(micros).ok().map(Timestamp::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_agent_knows_when_the_last_one_looked() {
        let folder = tempfile::tempdir().unwrap();
        let first = Pulse::open(folder.path());
        assert_eq!(first.last(), None);
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        first.beat(now);
        assert_eq!(Pulse::open(folder.path()).last(), Some(now));
    }
}
