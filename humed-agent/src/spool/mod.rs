//! Events accepted on this host: those the master does not have yet, and a tail of those it has.
//!
//! `append` answers once the rows are on disk, so "accepted" survives a power cut. A row that was not acknowledged is
//! removed only on a host without a master, by its retention. One thread writes; it gathers what waits into one
//! transaction. Readers have connections of their own. Limits: [`config::Config`], [`JOBS_MAX`].

mod config;
mod fold;
mod query;
mod reader;
mod retention;
mod types;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use hume_core::AgentId;
use hume_core::name::{BootId, Epoch};
use hume_runtime::sqlite::{self, DirLock, SqliteOptions};
use hume_runtime::{clock, random, task_group::TaskGroup};

pub use config::{Config, Keeping};
pub use query::Viewer;
pub use reader::SpoolReader;
pub use types::{Appended, EpochRow, Figures, OpenRunRow, RunChange, SpoolError, Tail};
pub use writer::{JOBS_MAX, SpoolWriter};

const APPLICATION_ID: i32 = 0x6875_6d61;
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];
const FILE_NAME: &str = "spool.db";

/// An opened spool: the one writer, any number of readers, and the lock that keeps a second daemon out.
#[derive(Debug)]
pub struct Spool {
    /// Appends, acknowledges.
    pub writer: SpoolWriter,
    /// Reads for the agent itself.
    pub reader: SpoolReader,
    /// Reads for those who ask: however much they ask, the agent goes on.
    pub questions: SpoolReader,
    /// The boot in which the spool was last used, when another than this.
    pub earlier_boot: Option<BootId>,
    _lock: DirLock,
}

impl Spool {
    /// Opens or creates the spool in `dir` and starts its writer in `tasks`.
    ///
    /// # Errors
    /// [`SpoolError`] when the folder is in use, or the file cannot be opened or is of a newer version.
    pub fn open(
        dir: &Path,
        config: &Config,
        agent: Option<AgentId>,
        tasks: &mut TaskGroup,
    ) -> Result<Spool, SpoolError> {
        let lock = sqlite::lock(dir)?;
        let path = dir.join(FILE_NAME);
        let pages = config.bytes_max / u64::from(sqlite::PAGE_BYTES);
        let options = SqliteOptions {
            pages_max: Some(u32::try_from(pages).unwrap_or(u32::MAX)),
            ..SqliteOptions::default()
        };
        let mut connection = sqlite::open_writer(&path, &options)?;
        sqlite::migrate(&mut connection, APPLICATION_ID, &MIGRATIONS)?;
        let boot = clock::boot_id().map(|id| BootId::from_bytes(*id.as_bytes()));
        let earlier_boot = types::exchange_boot(&connection, boot)?;
        let epoch = match types::newest_epoch(&connection)? {
            Some(epoch) => epoch,
            None => types::create_epoch(&connection, Epoch::from_bytes(random::bytes()), clock::now())?,
        };
        let reader = SpoolReader::new(path.clone(), options.clone(), agent);
        let questions = SpoolReader::new(path.clone(), options, agent);
        let keeping = config.keeping(agent.is_some());
        let writer = writer::start(tasks, connection, &path, epoch, agent, keeping)?;
        Ok(Spool { writer, reader, questions, earlier_boot, _lock: lock })
    }

    /// Numbers for status and metrics, read without asking the disk.
    pub fn figures(&self) -> Arc<Figures> {
        self.writer.figures()
    }
}
