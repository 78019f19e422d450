//! Files and folders that are still there after a power cut: written aside, synced, renamed, folder synced.
//!
//! A reader sees the old content or the new, never half of it. Nothing here is for hot paths: each call syncs.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Names that are tried for what is set aside.
const VACANT_TRIES_MAX: u32 = 1000;

/// A step on a file or folder failed: which step, which path.
#[derive(Debug, thiserror::Error)]
#[error("could not {step} {}", path.display())]
pub struct FileError {
    /// What was tried, as in "could not write".
    pub step: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

/// Makes the folder and its missing ancestors with `mode`, each one synced into its parent. Existing ones are left
/// as they are.
pub fn create_dir(path: &Path, mode: u32) -> Result<(), FileError> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = parent_of(path);
    create_dir(parent, mode)?;
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        Err(source) => return Err(FileError { step: "make the folder", path: path.to_owned(), source }),
    }
    // The umask took bits away; bits such as sticky and setgid are only granted here.
    set_mode(path, mode)?;
    sync_dir(parent)
}

/// Replaces or makes the file at `path` with `bytes` and exactly `mode`, all at once.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let parent = parent_of(path);
    let temporary = temporary_beside(path);
    let written = write_new(&temporary, bytes, mode).and_then(|()| {
        std::fs::rename(&temporary, path).map_err(|source| FileError {
            step: "write",
            path: path.to_owned(),
            source,
        })
    });
    if written.is_err() {
        // The first error is the one to report; a left-over temporary file is only untidy.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    sync_dir(parent)
}

/// Gives what is called `from` the name `to`, whatever was called so before; durable.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    std::fs::rename(from, to).map_err(|source| FileError {
        step: "rename",
        path: from.to_owned(),
        source,
    })?;
    sync_dir(parent_of(to))
}

/// Removes a file, if it is there. Not synced: whoever needs that syncs the folder.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError { step: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// Makes names in the folder durable.
pub fn sync_dir(path: &Path) -> Result<(), FileError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|source| FileError {
        step: "sync the folder",
        path: path.to_owned(),
        source,
    })
}

/// Sets the permission bits, whatever the umask.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), FileError> {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|source| FileError {
        step: "set the mode of",
        path: path.to_owned(),
        source,
    })
}

/// A name beside `path` that no other writer uses; it starts with a dot.
pub fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let salt = u64::from_ne_bytes(crate::random::bytes());
    parent_of(path).join(format!(".{name}.{salt:016x}"))
}

/// The path, or the first of `path-2`, `path-3` and so on that nothing has.
pub fn vacant(path: &Path) -> PathBuf {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("-{number}"));
        PathBuf::from(name)
    };
    let is_vacant = |path: &PathBuf| path.symlink_metadata().is_err();
    std::iter::once(path.to_owned())
        .chain((2..=VACANT_TRIES_MAX).map(numbered))
        .find(is_vacant)
        .unwrap_or_else(|| path.to_owned())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let failed = |source| FileError { step: "write", path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    set_mode(path, mode)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

/// The folder that a name is in; `.` for a bare name.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_twice_has_two_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for name in ["a", "a-2", "a-3"] {
            assert_eq!(vacant(&path), dir.path().join(name));
            std::fs::write(dir.path().join(name), "").unwrap();
        }
    }

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_is_replaced_at_once_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"old", 0o644).unwrap();
        write(&path, b"new", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(mode_of(&path), 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_path_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        let error = write(&path, b"x", 0o600).unwrap_err();
        assert_eq!(error.to_string(), format!("could not write {}", path.display()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn missing_ancestors_get_the_mode_and_existing_folders_keep_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let outer = dir.path().join("outer");
        std::fs::create_dir(&outer).unwrap();
        set_mode(&outer, 0o755).unwrap();
        create_dir(&outer.join("middle/drop"), 0o3777).unwrap();
        assert_eq!(mode_of(&outer), 0o755);
        assert_eq!(mode_of(&outer.join("middle/drop")), 0o3777);
        create_dir(&outer, 0o700).unwrap();
        assert_eq!(mode_of(&outer), 0o755);
    }
}
