//! A spool that cannot go on gives way to a new one with all that can be read of it; its own files are set aside, never
//! deleted.
//!
//! The new file is built beside the old one and takes its name last, in steps that a crash may cut anywhere: before
//! [`RESCUED`] is there it begins anew, from then on [`finish`] ends it. A new epoch begins on top, because the old one may
//! have given out places that nobody remembers.

use std::io;
use std::path::{Path, PathBuf};

use hume_core::{AgentId, Timestamp};
use hume_proto::relay::EpochReason;
use hume_runtime::clock;
use hume_runtime::files::{self, FileError};
use hume_runtime::sqlite::{self, Checkpoint, SqliteError, SqliteOptions};
use rusqlite::Connection;

use super::epochs::{self, EpochRow};
use super::salvage::{Salvage, salvage};
use super::types::SpoolError;
use super::upgrade;

/// The new file while it is built.
const BUILDING: &str = ".rescue";
/// The new file when it is whole.
const RESCUED: &str = ".rescued";
/// What `SQLite` has beside a database.
const TAILS: [&str; 2] = ["-wal", "-shm"];
/// In the names of what was set aside.
const ASIDE: &str = ".damaged-";

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rescued {
    /// Where the old file lies, if there was one.
    pub(super) aside: Option<PathBuf>,
    /// What became of its events.
    pub(super) salvage: Salvage,
}

/// Puts a new spool at `path` with what `old` still tells. Whoever has `old` open has only that: nothing stands behind its
/// name any more.
///
/// # Errors
/// [`SpoolError`]: what stood at `path` still stands there.
pub(super) fn rescue(
    old: Option<&Connection>,
    path: &Path,
    options: &SqliteOptions,
    agent: Option<AgentId>,
) -> Result<Rescued, SpoolError> {
    let building = sqlite::beside(path, BUILDING);
    remove_all(&building)?;
    let salvage = build(old, &building, options, agent)?;
    let aside = set_aside(path, clock::now()).map_err(open_error)?;
    files::rename(&building, &sqlite::beside(path, RESCUED)).map_err(open_error)?;
    finish(path)?;
    Ok(Rescued { aside, salvage })
}

/// Ends a rescue that was cut short after its new file was whole.
///
/// # Errors
/// [`SpoolError`]: the next start tries again.
pub(super) fn finish(path: &Path) -> Result<(), SpoolError> {
    let rescued = sqlite::beside(path, RESCUED);
    if !rescued.exists() {
        return Ok(());
    }
    // They belong to the old file, which is set aside together with them; the new one would take them for its own.
    for tail in TAILS {
        files::remove(&sqlite::beside(path, tail)).map_err(open_error)?;
    }
    files::sync_dir(files::parent_of(path)).map_err(open_error)?;
    files::rename(&rescued, path).map_err(open_error)
}

/// Spools that were set aside in this folder and still lie there.
pub(super) fn count_aside(path: &Path) -> u64 {
    let begin = format!("{}{ASIDE}", path.file_name().unwrap_or_default().to_string_lossy());
    let Ok(entries) = std::fs::read_dir(files::parent_of(path)) else { return 0 };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&begin) && !TAILS.iter().any(|tail| name.ends_with(tail))).count()
        as u64
}

/// The epoch that begins on top of what was saved: the one place that decides what follows what.
fn begin_anew(new: &Connection) -> Result<EpochRow, SpoolError> {
    match epochs::all(new)?.pop() {
        Some(newest) => epochs::succeed(new, newest.epoch, EpochReason::Salvaged),
        None => epochs::newest(new),
    }
}

/// Makes the new file, whole and synced, with nothing beside it.
fn build(
    old: Option<&Connection>,
    building: &Path,
    options: &SqliteOptions,
    agent: Option<AgentId>,
) -> Result<Salvage, SpoolError> {
    let mut new = sqlite::open_writer(building, options)?;
    upgrade::to_both(&mut new)?;
    let salvage = match old {
        Some(old) => salvage(old, &mut new, agent)?,
        None => Salvage::default(),
    };
    upgrade::to_newest(&mut new)?;
    let transaction = new.transaction()?;
    begin_anew(&transaction)?;
    transaction.commit()?;
    sqlite::checkpoint(&new, Checkpoint::Truncate)?;
    drop(new);
    for tail in TAILS {
        files::remove(&sqlite::beside(building, tail)).map_err(open_error)?;
    }
    Ok(salvage)
}

/// Gives what stands at `path` another name as well, with what is beside it. None if nothing stands there.
fn set_aside(path: &Path, now: Timestamp) -> Result<Option<PathBuf>, FileError> {
    let mut aside = sqlite::beside(path, &format!("{ASIDE}{}", now.compact()));
    while aside.exists() {
        // Two within a second.
        aside = sqlite::beside(&aside, "+");
    }
    let mut is_there = false;
    for tail in ["", "-wal", "-shm"] {
        let (from, to) = (sqlite::beside(path, tail), sqlite::beside(&aside, tail));
        match std::fs::hard_link(&from, &to) {
            Ok(()) => is_there = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(FileError { step: "set aside", path: from, source }),
        }
    }
    files::sync_dir(files::parent_of(path))?;
    Ok(is_there.then_some(aside))
}

fn remove_all(path: &Path) -> Result<(), SpoolError> {
    for tail in ["", "-wal", "-shm"] {
        files::remove(&sqlite::beside(path, tail)).map_err(open_error)?;
    }
    Ok(())
}

fn open_error(error: FileError) -> SpoolError {
    SpoolError::Open(SqliteError::File(error))
}
