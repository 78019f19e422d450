//! A set of files that appears as a whole or not at all.
//!
//! Everything is written and synced in a hidden folder beside its place; `publish` renames piece by piece and takes all
//! renames back if one fails. A piece that is replaced keeps living as `NAME.old-SECONDS`.

use std::fs;
use std::path::{Path, PathBuf};

use hume_core::Timestamp;
use hume_runtime::files::{self, FileError};

const ROOT_MODE: u32 = 0o755;

pub(crate) struct Staging {
    root: PathBuf,
    folder: PathBuf,
    /// The root did not exist before: it goes again if nothing is published.
    made_root: bool,
}

/// What happens to a piece that exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfPresent {
    /// It is moved aside and kept.
    Replace,
    /// It stays, and the staged one is dropped.
    Keep,
}

/// What a publication did, for the report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Published {
    Made(PathBuf),
    Replaced { path: PathBuf, old: PathBuf },
    Kept(PathBuf),
}

impl Staging {
    /// Prepares to make files in `root`, which is made if it is missing.
    pub(crate) fn new(root: &Path) -> Result<Staging, FileError> {
        let made_root = !root.exists();
        files::create_dir(root, ROOT_MODE)?;
        let folder = files::temporary_beside(&root.join("humeconfig"));
        let staging = Staging { root: root.to_owned(), folder, made_root };
        files::create_dir(&staging.folder, 0o700)?;
        Ok(staging)
    }

    /// Stages a folder.
    pub(crate) fn folder(&self, name: &str, mode: u32) -> Result<(), FileError> {
        files::create_dir(&self.folder.join(name), mode)
    }

    /// Stages a file.
    pub(crate) fn file(&self, name: &str, text: &str, mode: u32) -> Result<(), FileError> {
        files::write(&self.folder.join(name), text.as_bytes(), mode)
    }

    /// Moves the staged pieces to their places, all or none.
    pub(crate) fn publish(
        mut self,
        pieces: &[(&str, IfPresent)],
        now: Timestamp,
    ) -> Result<Vec<Published>, FileError> {
        let mut done = Vec::new();
        for (name, if_present) in pieces {
            match self.publish_one(name, *if_present, now) {
                Ok(published) => done.push(published),
                Err(error) => {
                    self.take_back(&done);
                    return Err(error);
                }
            }
        }
        if let Err(error) = files::sync_dir(&self.root) {
            self.take_back(&done);
            return Err(error);
        }
        self.made_root = false;
        Ok(done)
    }

    fn publish_one(&self, name: &str, if_present: IfPresent, now: Timestamp) -> Result<Published, FileError> {
        let (staged, path) = (self.folder.join(name), self.root.join(name));
        if fs::symlink_metadata(&path).is_err() {
            rename(&staged, &path)?;
            return Ok(Published::Made(path));
        }
        if if_present == IfPresent::Keep {
            return Ok(Published::Kept(path));
        }
        let old = free_name(&self.root.join(format!("{name}.old-{}", now.as_micros() / 1_000_000)));
        rename(&path, &old)?;
        if let Err(error) = rename(&staged, &path) {
            // Best effort: the error to report is the first one.
            let _ = fs::rename(&old, &path);
            return Err(error);
        }
        Ok(Published::Replaced { path, old })
    }

    /// Best effort: the error to report is the one that led here.
    fn take_back(&self, done: &[Published]) {
        for published in done.iter().rev() {
            match published {
                Published::Made(path) => drop(self.unpublish(path)),
                Published::Replaced { path, old } => {
                    let _ = self.unpublish(path).and_then(|()| fs::rename(old, path));
                }
                Published::Kept(_) => {}
            }
        }
    }

    fn unpublish(&self, path: &Path) -> std::io::Result<()> {
        fs::rename(path, self.folder.join(path.file_name().unwrap_or_default()))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed is hidden, and for its owner alone.
        let _ = fs::remove_dir_all(&self.folder);
        if self.made_root {
            let _ = fs::remove_dir(&self.root);
        }
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(|source| FileError { step: "make", path: to.to_owned(), source })
}

/// `path`, or with a number if two runs fall into one second.
pub(crate) fn free_name(path: &Path) -> PathBuf {
    let numbered = (1..).map(|number| PathBuf::from(format!("{}.{number}", path.display())));
    let mut names = std::iter::once(path.to_owned()).chain(numbered);
    names.find(|name| fs::symlink_metadata(name).is_err()).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_805_600_000_000;

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn stage(root: &Path, text: &str) -> Staging {
        let staging = Staging::new(root).unwrap();
        staging.folder("pki", 0o700).unwrap();
        staging.file("pki/ca.pem", text, 0o644).unwrap();
        staging.file("master.toml", text, 0o644).unwrap();
        staging
    }

    #[test]
    fn pieces_appear_together_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("site");
        let pieces = [("pki", IfPresent::Replace), ("master.toml", IfPresent::Replace)];
        stage(&root, "one").publish(&pieces, Timestamp::from_micros(NOW)).unwrap();
        assert_eq!(names(&root), ["master.toml", "pki"]);
    }

    #[test]
    fn what_is_replaced_is_kept_and_what_is_kept_stays() {
        let dir = tempfile::tempdir().unwrap();
        let pieces = [("pki", IfPresent::Keep), ("master.toml", IfPresent::Replace)];
        for text in ["one", "two", "three"] {
            stage(dir.path(), text).publish(&pieces, Timestamp::from_micros(NOW)).unwrap();
        }
        assert_eq!(
            names(dir.path()),
            ["master.toml", "master.toml.old-1763805600", "master.toml.old-1763805600.1", "pki"]
        );
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!([read("pki/ca.pem"), read("master.toml")], ["one", "three"]);
        assert_eq!(read("master.toml.old-1763805600"), "one");
    }

    #[test]
    fn a_run_that_fails_half_way_leaves_everything_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("site");
        let pieces = [("pki", IfPresent::Replace), ("never-staged", IfPresent::Replace)];
        assert!(stage(&root, "one").publish(&pieces, Timestamp::from_micros(NOW)).is_err());
        assert!(!root.exists());

        fs::create_dir_all(root.join("pki")).unwrap();
        fs::write(root.join("pki/ca.pem"), "precious").unwrap();
        assert!(stage(&root, "one").publish(&pieces, Timestamp::from_micros(NOW)).is_err());
        assert_eq!(names(&root), ["pki"]);
        assert_eq!(fs::read_to_string(root.join("pki/ca.pem")).unwrap(), "precious");
    }
}
