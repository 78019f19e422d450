//! Room that is held for bad times: a file beside the database, given up when the disk is full.
//!
//! What it held is for small things (acknowledgements, trims, checkpoints), by which a store makes room of its own; while
//! it is given up nothing else may be written. It is made again when the disk has room for it and a quarter more.
//!
//! Whatever stands in the log takes about as much room again in the database, before the log gives any back. So the log of a disk that
//! is nearly full is kept so small that the ballast has room for its copy.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

const FILE_NAME: &str = "ballast";
/// What is written at a time where the file system cannot reserve room by itself.
const CHUNK_BYTES: usize = 64 * 1024;
/// A part of its size must stay free when it is made: taking the last room would help nobody. Not more, because a small store can
/// give back little more than it holds.
const LEFT_PART: u64 = 4;
/// A disk is nearly full when it has less room than so many of the largest logs: others must not fill it before the next look.
const LOGS_MIN: u64 = 4;

/// The file, held or given up.
#[derive(Debug)]
pub struct Ballast {
    folder: PathBuf,
    bytes: u64,
    is_held: bool,
}

impl Ballast {
    /// Ballast of `bytes` in `folder`; 0 for none at all. Made now if there is room.
    pub fn new(folder: &Path, bytes: u64) -> Ballast {
        let mut ballast = Ballast { folder: folder.to_owned(), bytes, is_held: false };
        if bytes == 0 {
            // What an earlier configuration left.
            let _ = std::fs::remove_file(ballast.path());
        }
        ballast.restore();
        ballast
    }

    /// True while its room is given up: only what is small, or makes room, may be written.
    pub fn is_out(&self) -> bool {
        self.bytes > 0 && !self.is_held
    }

    /// Gives up the room if the disk has less than that left. True when it did.
    pub fn release_if_full(&mut self) -> bool {
        if !self.is_held || self.available().is_some_and(|available| available >= self.bytes) {
            return false;
        }
        self.is_held =
            std::fs::remove_file(self.path()).is_err_and(|error| error.kind() != io::ErrorKind::NotFound);
        !self.is_held
    }

    /// Makes it again if it is not there and there is room enough. True when it is held.
    pub fn restore(&mut self) -> bool {
        if self.bytes == 0 {
            return false;
        }
        // Somebody may have removed it to make room.
        self.is_held = std::fs::metadata(self.path()).is_ok_and(|about| about.len() == self.bytes);
        let needed = self.bytes.saturating_add(self.bytes / LEFT_PART);
        let has_room = || self.available().is_some_and(|available| available >= needed);
        if !self.is_held && has_room() {
            self.is_held = fill(&self.path(), self.bytes).is_ok();
            if !self.is_held {
                // Half a ballast only takes room; without it the next look tries again.
                let _ = std::fs::remove_file(self.path());
            }
        }
        self.is_held
    }

    /// Bytes of the log at which it is to be copied back, where it may have `usual` on a disk with room.
    pub fn log_bytes_max(&self, usual: u64) -> u64 {
        log_bytes_max(usual, self.bytes, self.available())
    }

    /// Bytes that the disk has left for us.
    fn available(&self) -> Option<u64> {
        let about = rustix::fs::statvfs(&self.folder).ok()?;
        Some(about.f_bavail.saturating_mul(about.f_frsize))
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE_NAME)
    }
}

fn log_bytes_max(usual: u64, ballast_bytes: u64, available: Option<u64>) -> u64 {
    let is_nearly_full = available.is_some_and(|available| available < usual.saturating_mul(LOGS_MIN));
    // The other half is for what comes until it is copied.
    if is_nearly_full && ballast_bytes > 0 { usual.min(ballast_bytes / 2) } else { usual }
}

/// Gives up what an earlier process held in this folder. True when there was some.
pub(super) fn give_up(folder: &Path) -> bool {
    std::fs::remove_file(folder.join(FILE_NAME)).is_ok()
}

fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(super::FILE_MODE).open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_out(&mut file, bytes),
        Err(error) => Err(error.into()),
    }
}

fn write_out(file: &mut File, bytes: u64) -> io::Result<()> {
    // Not zeros: a file system that packs its files would keep none of them.
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        fastrand::fill(&mut chunk);
        let now = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        file.write_all(&chunk[..now])?;
        left -= now as u64;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn ballast_takes_real_room_and_stays_while_the_disk_has_some() {
        let folder = tempfile::tempdir().unwrap();
        let mut ballast = Ballast::new(folder.path(), 128 * 1024);
        let about = std::fs::metadata(folder.path().join(FILE_NAME)).unwrap();
        assert_eq!((about.len(), about.blocks() * 512 >= about.len()), (128 * 1024, true));
        assert!(!ballast.is_out() && !ballast.release_if_full());
        std::fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
        assert!(ballast.restore() && folder.path().join(FILE_NAME).exists());
    }

    #[test]
    fn ballast_larger_than_the_disk_is_given_up_and_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut ballast = Ballast { folder: folder.path().to_owned(), bytes: u64::MAX, is_held: true };
        std::fs::write(folder.path().join(FILE_NAME), "x").unwrap();
        assert!(ballast.release_if_full() && ballast.is_out());
        assert!(!folder.path().join(FILE_NAME).exists());
        assert!(!ballast.restore() && ballast.is_out());
    }

    #[test]
    fn without_ballast_nothing_is_ever_out_and_an_old_file_goes() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Ballast::new(folder.path(), 4096).is_out());
        let mut none = Ballast::new(folder.path(), 0);
        assert!(!none.is_out() && !none.restore() && !none.release_if_full());
        assert!(!folder.path().join(FILE_NAME).exists());
    }

    #[test]
    fn ballast_of_another_size_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Ballast::new(folder.path(), 4096).is_out());
        assert!(!Ballast::new(folder.path(), 8192).is_out());
        assert_eq!(std::fs::metadata(folder.path().join(FILE_NAME)).unwrap().len(), 8192);
    }

    #[test]
    fn the_log_of_a_nearly_full_disk_has_room_for_its_copy_where_the_ballast_was() {
        assert_eq!(log_bytes_max(16, 4, Some(64)), 16);
        assert_eq!(log_bytes_max(16, 4, Some(63)), 2);
        assert_eq!(log_bytes_max(16, 4, Some(0)), 2);
        assert_eq!(log_bytes_max(16, 100, Some(0)), 16, "never more than usual");
        assert_eq!(log_bytes_max(16, 0, Some(0)), 16, "there is no ballast");
        assert_eq!(log_bytes_max(16, 4, None), 16, "nobody knows");
    }

    #[test]
    fn what_cannot_be_reserved_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        write_out(&mut File::create(&path).unwrap(), CHUNK_BYTES as u64 + 5).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), CHUNK_BYTES as u64 + 5);
    }
}
