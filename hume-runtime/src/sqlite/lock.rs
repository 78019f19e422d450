//! One daemon per folder: a lock the kernel drops when the process ends, however it ends.
//!
//! The file `lock` also holds the owner's process id, which serves only the error message. It is never removed: another
//! process may hold it open already.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::files::{self, FileError};

/// A predecessor that was killed may take this long to end.
const LOCK_WAIT: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 2 });
/// Between two tries.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// The folder is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by process {owner}: one daemon per folder", path.display())]
    Held {
        /// The folder.
        path: PathBuf,
        /// The process id in the lock file, or `unknown`.
        owner: String,
    },
    /// The lock file could not be used.
    #[error("could not lock {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder could not be made.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Holds the folder until it is dropped.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Takes the folder, which is made (0700) if it is missing. Waits up to 2 s for a predecessor to end.
/// # Errors
/// [`LockError::Held`] if another process, or this one, has it and keeps it.
pub fn lock(dir: &Path) -> Result<DirLock, LockError> {
    files::create_dir(dir, super::FOLDER_MODE)?;
    let path = dir.join("lock");
    let failed = |source| LockError::Lock { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(super::FILE_MODE)
        .open(&path)
        .map_err(failed)?;
    if !flock_within(&file, LOCK_WAIT).map_err(failed)? {
        return Err(LockError::Held { path: dir.to_owned(), owner: owner_in(&mut file) });
    }
    let pid = std::process::id();
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{pid}")).map_err(failed)?;
    Ok(DirLock { _file: file })
}

/// False when another has it for all that time.
fn flock_within(file: &File, wait: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + wait;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                // The kernel has no way to wait for a lock and a time: nobody unparks this thread.
                std::thread::park_timeout(TRY_EVERY);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn owner_in(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    let owner = text.trim();
    if read.is_ok() && !owner.is_empty() { owner.to_owned() } else { "unknown".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_who_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = lock(&state).unwrap();
        let error = lock(&state).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{} is in use by process {}: one daemon per folder", state.display(), std::process::id())
        );
        drop(first);
        lock(&state).unwrap();
    }

    #[test]
    fn a_predecessor_that_is_about_to_end_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::create(dir.path().join("lock")).unwrap();
        let (first, second) = (open(), open());
        assert!(flock_within(&first, Duration::ZERO).unwrap());
        assert!(!flock_within(&second, Duration::ZERO).unwrap());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| flock_within(&second, Duration::from_mins(1)).unwrap());
            drop(first);
            assert!(waiting.join().unwrap());
        });
    }
}
