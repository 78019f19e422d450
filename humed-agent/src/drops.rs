//! What lies in the drop folder: which files are meant for the agent, and since when the oldest waits.
//!
//! A file that lies there is an event that happened on this host and is not recorded yet, whatever keeps it: the agent was
//! away, its user has reported enough, the spool is full. Looks at no more than `FILES_LOOKED_AT_MAX` names.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use hume_core::{EventId, Timestamp};
use tracing::warn;

/// The agent's own folder in it.
pub const REJECTED: &str = "rejected";
/// With more files than this nobody looks for the oldest.
const FILES_LOOKED_AT_MAX: usize = if cfg!(test) { 10 } else { 10_000 };

/// How far back the folder goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lying {
    /// Nothing waits.
    Nothing,
    /// Something does, from this moment at the earliest.
    Since(Timestamp),
    /// Nobody can tell: the folder cannot be read, or there is too much in it.
    Unknown,
}

impl Lying {
    /// What may be claimed of all that is recorded, when all that happened before `recorded` is: nothing that lies here
    /// happened at or before it. The beginning of 1970 claims nothing.
    pub fn bound(self, recorded: Timestamp) -> Timestamp {
        match self {
            Lying::Nothing => recorded,
            Lying::Since(oldest) => recorded.min(oldest.plus_micros(-1)),
            Lying::Unknown => Timestamp::EPOCH,
        }
    }

    fn and(self, other: Timestamp) -> Lying {
        match self {
            Lying::Nothing => Lying::Since(other),
            Lying::Since(oldest) => Lying::Since(oldest.min(other)),
            Lying::Unknown => Lying::Unknown,
        }
    }
}

/// The folder, looked at from outside. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Drops(Arc<Path>);

impl Drops {
    /// That at this place; it need not exist yet.
    pub fn at(path: PathBuf) -> Drops {
        Drops(path.into())
    }

    /// What lies there now.
    pub async fn lying(&self) -> Lying {
        let folder = Arc::clone(&self.0);
        let looked = tokio::task::spawn_blocking(move || look(&folder));
        match looked.await {
            Ok(Ok(lying)) => lying,
            Ok(Err(error)) => {
                warn!(folder = %self.0.display(), %error, "the drop folder cannot be looked at: nothing is claimed to be at the master");
                Lying::Unknown
            }
            // It was broken off: the agent stops.
            Err(_) => Lying::Unknown,
        }
    }
}

fn look(folder: &Path) -> io::Result<Lying> {
    let entries = match std::fs::read_dir(folder) {
        // Nobody can have left anything where nothing is.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lying::Nothing),
        other => other?,
    };
    let (mut lying, mut files) = (Lying::Nothing, 0);
    for entry in entries {
        let entry = entry?;
        if is_ours(&entry.file_name()) || entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        files += 1;
        if files > FILES_LOOKED_AT_MAX {
            return Ok(Lying::Unknown);
        }
        match entry.metadata() {
            Ok(about) => lying = lying.and(since(&entry.file_name(), about.modified()?)),
            // Recorded, or set aside, just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(lying)
}

/// From when a file's event is at the earliest: its id says when it was minted, and it was written after it happened.
fn since(name: &OsStr, written: std::time::SystemTime) -> Timestamp {
    let written = written.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let written = Timestamp::from_micros(i64::try_from(written).unwrap_or(i64::MAX));
    named_id(name).and_then(|id| id.minted_at()).map_or(written, |minted| minted.min(written))
}

/// What is no dropped file: one that is still being written, or our own folder.
pub fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || name == REJECTED
}

/// The id in the name `ID.json`.
pub fn named_id(name: &OsStr) -> Option<EventId> {
    EventId::parse(name.to_str()?.strip_suffix(".json")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    /// The name of a file whose event was minted then.
    fn name(minted: Timestamp) -> String {
        format!("{}.json", EventId::mint(minted, [7; 10]))
    }

    #[tokio::test]
    async fn the_oldest_file_counts_by_its_id_or_its_time_and_what_is_no_event_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let drops = Drops::at(folder.path().join("drop"));
        assert_eq!(drops.lying().await, Lying::Nothing, "a folder that is not there yet");
        let put = |name: &str| {
            let path = folder.path().join("drop").join(name);
            std::fs::write(&path, "{}").unwrap();
            std::fs::File::open(&path).unwrap().set_modified(UNIX_EPOCH + std::time::Duration::from_mins(15))
        };
        std::fs::create_dir_all(folder.path().join("drop").join(REJECTED)).unwrap();
        std::fs::create_dir(folder.path().join("drop").join("folder")).unwrap();
        put(".019abc00-0000-7000-8000-000000000001.json").unwrap();
        assert_eq!(drops.lying().await, Lying::Nothing);
        put("by-hand.json").unwrap();
        assert_eq!(drops.lying().await, Lying::Since(at(900_000_000)));
        put(&name(at(1_000_000_000))).unwrap();
        assert_eq!(
            drops.lying().await,
            Lying::Since(at(900_000_000)),
            "it was written before its clock says"
        );
        put(&name(at(500_000_000))).unwrap();
        assert_eq!(drops.lying().await, Lying::Since(at(500_000_000)));
        for number in 0..FILES_LOOKED_AT_MAX {
            put(&format!("{number}.json")).unwrap();
        }
        assert_eq!(drops.lying().await, Lying::Unknown, "too many to look at");
    }

    #[tokio::test]
    async fn of_a_folder_that_cannot_be_read_nobody_can_tell() {
        let folder = tempfile::tempdir().unwrap();
        let no_folder = folder.path().join("file");
        std::fs::write(&no_folder, "").unwrap();
        assert_eq!(Drops::at(no_folder).lying().await, Lying::Unknown);
        assert_eq!(Lying::Unknown.bound(at(1_000)), Timestamp::EPOCH);
    }

    proptest! {
        /// The property: whatever lies there happened after what is claimed, and nothing is claimed beyond what is recorded.
        #[test]
        fn nothing_that_lies_there_is_claimed(files in proptest::collection::vec(1_i64..2_000, 0..8), recorded in 0_i64..2_000) {
            let lying = files.iter().fold(Lying::Nothing, |lying, file| lying.and(at(*file)));
            let claim = lying.bound(at(recorded));
            prop_assert!(claim <= at(recorded));
            prop_assert!(files.iter().all(|file| claim < at(*file)));
            // And no more is held back than must be.
            let is_free = claim == at(recorded) || files.contains(&(claim.as_micros() + 1));
            prop_assert!(is_free);
        }
    }
}
