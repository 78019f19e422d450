//! The disk below the store as its writer meets it, and what it does about a fault.
//!
//! On a full disk the ballast is given up: sessions and the retention still write, events wait at the agents until there is
//! room for it again. After any other fault nothing is appended to the same log, because pages in memory may be cleaner
//! than the disk: what was committed is copied out of it and the file opened anew, once at once and then every ten
//! seconds. Questions are answered all the while.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hume_runtime::sqlite::{self, Ballast, Fault, SqliteError};

use super::open_writer;
use super::writer::Writer;
use crate::store::error::StoreError;

/// A repair that failed is tried again after this time.
const REPAIR_EVERY: Duration = Duration::from_secs(10);
/// Between two looks for room for the ballast.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// The writer's view.
pub(super) struct Disk {
    path: PathBuf,
    ballast: Option<Ballast>,
    look_at: Instant,
    /// Why nothing is written, and when a repair is to be tried again.
    broken: Option<(&'static str, Instant)>,
}

impl Disk {
    /// Without ballast.
    pub(super) fn new(path: PathBuf) -> Disk {
        Disk { path, ballast: None, look_at: Instant::now() + LOOK_EVERY, broken: None }
    }

    pub(super) fn hold(&mut self, bytes: u64) {
        self.ballast = Some(Ballast::new(self.folder(), bytes));
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Why nothing may be written.
    pub(super) fn trouble(&self) -> Option<StoreError> {
        self.broken.map(|(cause, _)| StoreError::Failing { cause })
    }

    /// True while only what takes little may be written.
    pub(super) fn is_full(&self) -> bool {
        self.ballast.as_ref().is_some_and(Ballast::is_out)
    }

    /// Bytes of the log at which it is copied back, where it may have `usual` on a disk with room.
    pub(super) fn log_bytes_max(&self, usual: u64) -> u64 {
        self.ballast.as_ref().map_or(usual, |ballast| ballast.log_bytes_max(usual))
    }

    /// Something was written: there may be room again.
    pub(super) fn wrote(&mut self) {
        if self.is_full() {
            self.restore();
        }
    }

    fn restore(&mut self) {
        let was_out = self.is_full();
        if self.ballast.as_mut().is_some_and(Ballast::restore) && was_out {
            tracing::info!("the disk of the store has room again");
        }
    }
}

impl Writer {
    /// Before each group: a repair that is due, and room for the ballast.
    pub(super) fn look_after_disk(&mut self) {
        let now = Instant::now();
        if self.disk.broken.is_some_and(|(_, again_at)| now >= again_at) {
            self.repair();
        }
        if self.disk.is_full() || now >= self.disk.look_at {
            self.disk.look_at = now + LOOK_EVERY;
            self.disk.restore();
        }
    }

    /// A group was not written: acts on what that says of the disk.
    pub(super) fn suffer(&mut self, error: &StoreError) {
        self.cache.forget();
        let (StoreError::Sqlite { source, .. } | StoreError::Full(source)) = error else { return };
        match Fault::of(source) {
            Some(Fault::Full) => {
                if self.disk.ballast.as_mut().is_some_and(Ballast::release_if_full) {
                    tracing::warn!(
                        "the disk of the store is full: events wait at the agents, and the ballast is given up"
                    );
                }
            }
            Some(Fault::ReadOnly | Fault::Failing) => {
                let cause = sqlite::cause(source, self.disk.folder());
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    cause,
                    "the disk of the store fails: nothing is written"
                );
                self.disk.broken = Some((cause, Instant::now()));
                self.repair();
            }
            // A page that is damaged fails those who need it, and no others; the next start refuses the file.
            Some(Fault::Damaged) | None => {}
        }
    }

    /// Moves all that was committed out of the log, and starts with a new one; or tries that later.
    fn repair(&mut self) {
        match self.try_repair() {
            Ok(()) => {
                self.disk.broken = None;
                tracing::info!("the store goes on");
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the store could not be repaired; trying again"
                );
                if let Some((cause, again_at)) = &mut self.disk.broken {
                    if let SqliteError::Step { source, .. } | SqliteError::Open { source, .. } = &error {
                        *cause = sqlite::cause(source, self.disk.path.parent().unwrap_or(Path::new(".")));
                    }
                    *again_at = Instant::now() + REPAIR_EVERY;
                }
            }
        }
    }

    /// One try.
    pub(super) fn try_repair(&mut self) -> Result<(), SqliteError> {
        sqlite::empty_log(&self.connection)?;
        self.connection = open_writer(&self.disk.path)?;
        self.cache.forget();
        Ok(())
    }
}
