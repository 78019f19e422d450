//! Events accepted on this host: those the master does not have yet, and a tail of those it has.
//!
//! `append` answers once the rows are on disk, so "accepted" survives a power cut. A row that was not acknowledged is
//! removed only on a host without a master, by its retention, or where the operator chose so for a full spool. One thread
//! writes; it gathers what waits into one transaction. Readers have connections of their own. A spool belongs to the agent
//! that first opened it with an id. Limits: [`config::Config`], [`JOBS_MAX`].

mod acks;
mod block;
mod blocks;
mod config;
mod discard;
mod disk;
mod epochs;
mod fold;
mod housekeeping;
mod opening;
mod query;
mod reader;
mod repair;
mod rescue;
mod retention;
mod run_query;
mod salvage;
mod types;
mod upgrade;
mod watermark;
mod writer;

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use hume_core::AgentId;
use hume_runtime::sqlite::{self, DirLock, SqliteOptions};
use hume_runtime::task_group::TaskGroup;
use hume_transfer::Board;

use disk::Disk;
use reader::Renewals;

pub use config::{Config, Keeping, WhenFull};
pub use discard::{Unsent, discard, unsent};
pub use epochs::EpochRow;
pub use query::Viewer;
pub use reader::{SpoolReader, Stretch};
pub use run_query::{FirstErrorFor, Forgotten, RUN_EVENTS_MAX, RunEvents, RunRecord};
pub use types::{Appended, FigureValues, Figures, OpenRunRow, RunChange, SpoolError, Tail, Trouble};
pub use watermark::{Pending, Received};
pub use writer::{JOBS_MAX, SpoolWriter};

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
    /// Opens or creates the spool in `dir` and starts its writer in `tasks`. Its retention waits for `transfers`.
    ///
    /// # Errors
    /// [`SpoolError`] when the folder is in use, the file cannot be opened or is of a newer version, or when it is another
    /// agent's.
    pub fn open(
        dir: &Path,
        config: &Config,
        agent: Option<AgentId>,
        transfers: Board,
        tasks: &mut TaskGroup,
    ) -> Result<Spool, SpoolError> {
        let lock = sqlite::lock(dir)?;
        let path = dir.join(FILE_NAME);
        let options = options(config);
        let figures = Arc::new(Figures::default());
        let (connection, rescued) = opening::open(&path, &options, agent)?;
        if let Some(rescued) = &rescued {
            repair::tell(rescued, &figures);
        }
        figures.update(|values| values.set_aside = rescue::count_aside(&path));
        if let Some(agent) = agent {
            types::claim(&connection, dir, agent)?;
        }
        let epoch = epochs::newest(&connection)?;
        let renewals = Renewals::default();
        let reader = SpoolReader::new(path.clone(), options.clone(), agent, renewals.clone());
        let questions = SpoolReader::new(path.clone(), options.clone(), agent, renewals.clone());
        let beginning = writer::Beginning {
            connection,
            disk: Disk::new(&path, options, config),
            epoch,
            agent,
            keeping: config.keeping(agent.is_some()),
            when_full: config.when_full,
            transfers,
            renewals,
            figures,
        };
        let writer = writer::start(tasks, beginning)?;
        Ok(Spool { writer, reader, questions, _lock: lock })
    }

    /// Numbers for status and metrics, read without asking the disk.
    pub fn figures(&self) -> Arc<Figures> {
        self.writer.figures()
    }
}

fn options(config: &Config) -> SqliteOptions {
    let pages = config.bytes_max / u64::from(sqlite::PAGE_BYTES);
    SqliteOptions {
        pages_max: Some(u32::try_from(pages).unwrap_or(u32::MAX)),
        allow_network: config.allow_network,
        ..SqliteOptions::default()
    }
}
