//! Events accepted on this host: those the master does not have yet, and a tail of those it has.
//!
//! `append` answers once the rows are on disk, so "accepted" survives a power cut. A row that was not acknowledged is
//! removed only on a host without a master, by its retention. One thread writes; it gathers what waits into one
//! transaction. Readers have connections of their own. A spool belongs to the agent that first opened it with an id.
//! Limits: [`config::Config`], [`JOBS_MAX`].

mod config;
mod epochs;
mod fold;
mod query;
mod reader;
mod retention;
mod run_query;
mod types;
mod watermark;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use hume_core::AgentId;
use hume_runtime::sqlite::{self, DirLock, SqliteOptions};
use hume_runtime::task_group::TaskGroup;

pub use config::{Config, Keeping};
pub use epochs::EpochRow;
pub use query::Viewer;
pub use reader::{SpoolReader, Stretch};
pub use run_query::{FirstErrorFor, Forgotten, RUN_EVENTS_MAX, RunEvents, RunRecord};
pub use types::{Appended, FigureValues, Figures, OpenRunRow, RunChange, SpoolError, Tail};
pub use watermark::{Pending, Received};
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
    _lock: DirLock,
}

impl Spool {
    /// Opens or creates the spool in `dir` and starts its writer in `tasks`.
    ///
    /// # Errors
    /// [`SpoolError`] when the folder is in use, the file cannot be opened or is of a newer version, or when it is another
    /// agent's.
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
        if let Some(agent) = agent {
            types::claim(&connection, dir, agent)?;
        }
        let epoch = epochs::newest(&connection)?;
        let reader = SpoolReader::new(path.clone(), options.clone(), agent);
        let questions = SpoolReader::new(path.clone(), options, agent);
        let keeping = config.keeping(agent.is_some());
        let writer = writer::start(tasks, connection, &path, epoch, agent, keeping)?;
        Ok(Spool { writer, reader, questions, _lock: lock })
    }

    /// Numbers for status and metrics, read without asking the disk.
    pub fn figures(&self) -> Arc<Figures> {
        self.writer.figures()
    }
}
