//! The one thread that reads and writes the registry: job after job, a transaction each, the view changed after the commit.

use hume_core::{AgentId, Timestamp};
use hume_runtime::sqlite::{self, Checkpoint};
use hume_runtime::task_group::Stop;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::types::{Actor, RegistryError};
use super::view::View;
use super::{Job, agents, audit};

/// After so many changes the log of the database is copied back.
const CHECKPOINT_CHANGES: u32 = 256;

/// What the thread works at.
pub(super) struct Desk {
    connection: Connection,
    view: View,
    changes: u32,
}

/// One transaction.
pub(super) struct Work<'a> {
    transaction: Transaction<'a>,
    touched: Vec<AgentId>,
}

impl Desk {
    pub(super) fn new(connection: Connection, view: View) -> Desk {
        Desk { connection, view, changes: 0 }
    }

    /// Reads something.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, RegistryError> {
        Ok(read(&self.connection)?)
    }

    /// Does `work` as a whole or not at all. What it touched is in the view when this returns.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, RegistryError> {
        let (done, touched) = {
            let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
            let mut one = Work { transaction, touched: Vec::new() };
            let done = work(&mut one)?;
            let Work { transaction, touched } = one;
            transaction.commit()?;
            (done, touched)
        };
        for agent in touched {
            self.view.put(agent, agents::standing(&self.connection, agent)?);
        }
        self.changes += 1;
        if self.changes >= CHECKPOINT_CHANGES {
            self.changes = 0;
            sqlite::checkpoint(&self.connection, Checkpoint::Passive)?;
        }
        Ok(done)
    }
}

impl Work<'_> {
    /// What is read and written with.
    pub(super) fn connection(&self) -> &Connection {
        &self.transaction
    }

    /// The view must look at this agent again after the commit.
    pub(super) fn touch(&mut self, agent: AgentId) {
        self.touched.push(agent);
    }

    /// A line of the audit log.
    pub(super) fn audit(
        &self,
        actor: &Actor,
        action: &str,
        subject: &str,
        detail: &(impl std::fmt::Display + ?Sized),
        outcome: &str,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        audit::append(&self.transaction, actor, action, subject, &detail.to_string(), outcome, now)
    }
}

/// The thread, ready to run.
pub struct RegistryThread {
    desk: Desk,
    jobs: mpsc::Receiver<Job>,
}

impl RegistryThread {
    pub(super) fn new(desk: Desk, jobs: mpsc::Receiver<Job>) -> RegistryThread {
        RegistryThread { desk, jobs }
    }

    /// Works until `stop`, and then at what waits already. `runtime` is the one that the stop is told in.
    /// # Errors
    /// If the log of the database cannot be emptied at the end.
    pub fn run(self, runtime: &Handle, stop: &Stop) -> anyhow::Result<()> {
        let RegistryThread { mut desk, mut jobs } = self;
        let next = |jobs: &mut mpsc::Receiver<Job>| {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    job = jobs.recv() => job,
                    () = stop.wait() => None,
                }
            })
        };
        while let Some(job) = next(&mut jobs) {
            job(&mut desk);
        }
        if !stop.is_set() {
            // Nobody is left who could ask; a task ends after the stop and not before.
            runtime.block_on(stop.wait());
        }
        sqlite::checkpoint(&desk.connection, Checkpoint::Truncate)?;
        Ok(())
    }
}
