//! The latest time that a verified master told, kept over restarts: a host whose clock begins in 1970 knows better.
//!
//! It is the time of an empty file, which is not synced: what is lost of it is regained at the next Welcome. It never
//! goes back, and never beyond the end of the agent's own certificate, so that a master whose clock is wrong cannot make
//! a certificate expire that is still good.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use hume_core::Timestamp;
use tracing::debug;

const FILE_NAME: &str = "master-time";

/// The file, and what it says.
#[derive(Debug)]
pub(super) struct MasterTime {
    file: Option<File>,
    /// Microseconds since 1970; 0 where none was heard.
    latest: AtomicI64,
}

impl MasterTime {
    /// Opens the file in this folder, if there is one, or makes it. Without it, the time is known until the agent stops.
    pub(super) fn open(folder: &Path) -> MasterTime {
        let path = folder.join(FILE_NAME);
        let latest = path.metadata().ok().and_then(|about| {
            let since = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            i64::try_from(since.as_micros()).ok()
        });
        let file = OpenOptions::new().create(true).append(true).open(&path);
        if let Err(error) = &file {
            debug!(path = %path.display(), %error, "the time that the master tells is not kept");
        }
        let time = MasterTime { file: file.ok(), latest: AtomicI64::new(latest.unwrap_or(0)) };
        if latest.is_none() {
            // What was just made has the time of this host's clock, which nobody told.
            time.keep(0);
        }
        time
    }

    /// The latest time heard, before this agent was started as well.
    pub(super) fn latest(&self) -> Option<Timestamp> {
        Some(self.latest.load(Ordering::Relaxed)).filter(|latest| *latest > 0).map(Timestamp::from_micros)
    }

    /// A master that was verified says that it is `told`; the agent's certificate ends at `until`.
    pub(super) fn note(&self, told: Timestamp, until: Timestamp) {
        let told = told.min(until).as_micros();
        if self.latest.fetch_max(told, Ordering::Relaxed) < told {
            self.keep(told);
        }
    }

    fn keep(&self, micros: i64) {
        let since = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        if let Some(file) = &self.file {
            // Only a hint is lost.
            let _ = file.set_modified(UNIX_EPOCH + since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Timestamp {
        Timestamp::from_micros(1_900_000_000_000_000)
    }

    fn later() -> Timestamp {
        told().plus_micros(1_000_000)
    }

    #[test]
    fn a_host_that_starts_in_1970_knows_the_time_its_master_told() {
        let folder = tempfile::tempdir().unwrap();
        let first = MasterTime::open(folder.path());
        assert_eq!(first.latest(), None);
        first.note(told(), later());
        assert_eq!(MasterTime::open(folder.path()).latest(), Some(told()));
    }

    #[test]
    fn a_folder_where_no_master_was_heard_tells_no_time() {
        let folder = tempfile::tempdir().unwrap();
        drop(MasterTime::open(folder.path()));
        assert_eq!(MasterTime::open(folder.path()).latest(), None);
    }

    #[test]
    fn it_never_goes_back_and_never_beyond_the_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let time = MasterTime::open(folder.path());
        time.note(later(), told());
        assert_eq!(time.latest(), Some(told()));
        time.note(Timestamp::from_micros(5), later());
        assert_eq!(time.latest(), Some(told()));
        assert_eq!(MasterTime::open(folder.path()).latest(), Some(told()));
    }
}
