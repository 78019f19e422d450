//! Small file systems that can be full, and copies of folders as a snapshot of a disk would keep them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Size of such a file system.
const DISK_BYTES: u64 = 64 * 1024 * 1024;
const FILLER: &str = "filler";

/// A tmpfs of its own. Dropping it takes it away.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// None where this user may not mount one.
    pub fn mount(path: &Path) -> Option<Disk> {
        fs::create_dir_all(path).ok()?;
        let size = format!("size={DISK_BYTES}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "hume-test"]).arg(path).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Disk { path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes whatever room is left, as another process would. Again and again, when something is given up.
    /// # Errors
    /// If there is no room for the name of what takes it.
    pub fn fill(&self) -> io::Result<()> {
        let mut filler = File::options().create(true).append(true).open(self.path.join(FILLER))?;
        for size in [1 << 20, 4096] {
            while filler.write_all(&vec![0x5a; size]).is_ok() {}
        }
        Ok(())
    }

    /// Gives that room back.
    /// # Errors
    /// If none was taken.
    pub fn empty(&self) -> io::Result<()> {
        fs::remove_file(self.path.join(FILLER))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a daemon that is about to end may still have it.
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}

/// Puts the files of a folder, with the times of their last change, into another one, in the place of what that had.
/// # Errors
/// If something cannot be read or written.
pub fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            fs::copy(&from, &to)?;
            File::open(&to)?.set_modified(fs::metadata(&from)?.modified()?)?;
        }
    }
    Ok(())
}
