//! What the writer remembers of the file: numbers of names, and the runs that events are being added to.
//!
//! Only the writer changes the file, so what it remembers is right until a rollback; then all of it is forgotten.

use std::collections::HashMap;

use hume_core::run::RunState;
use hume_core::{HostName, RunId, TaskName};
use rusqlite::{Connection, OptionalExtension as _, params};

/// Names or runs remembered; with more, all are forgotten and read again.
const REMEMBERED_MAX: usize = 4096;

/// A run that events are being added to.
pub(super) struct HotRun {
    /// Its row.
    pub(super) no: i64,
    /// The fold so far.
    pub(super) state: RunState,
}

/// What is remembered.
#[derive(Default)]
pub(super) struct Cache {
    tasks: HashMap<TaskName, i64>,
    hosts: HashMap<HostName, i64>,
    /// By agent's number and run.
    pub(super) runs: HashMap<(i64, RunId), HotRun>,
}

impl Cache {
    /// To be called after every rollback.
    pub(super) fn forget(&mut self) {
        *self = Cache::default();
    }

    /// To be called between transactions.
    pub(super) fn trim(&mut self) {
        if self.runs.len() > REMEMBERED_MAX {
            self.runs.clear();
        }
        if self.tasks.len() > REMEMBERED_MAX || self.hosts.len() > REMEMBERED_MAX {
            self.tasks.clear();
            self.hosts.clear();
        }
    }

    /// The number of a task, which gets one if it has none.
    pub(super) fn task_no(&mut self, connection: &Connection, task: &TaskName) -> rusqlite::Result<i64> {
        if let Some(no) = self.tasks.get(task) {
            return Ok(*no);
        }
        let name = task.as_str();
        let known = connection
            .prepare_cached("SELECT no FROM task WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        let no = match known {
            Some(no) => no,
            None => connection
                .prepare_cached("INSERT INTO task(name) VALUES (?1) RETURNING no")?
                .query_row([name], |row| row.get(0))?,
        };
        self.tasks.insert(task.clone(), no);
        Ok(no)
    }

    /// The number of a host, which gets one, and `agent_no` as the agent that reports for it, if it has none.
    pub(super) fn host_no(
        &mut self,
        connection: &Connection,
        host: &HostName,
        agent_no: i64,
    ) -> rusqlite::Result<i64> {
        if let Some(no) = self.hosts.get(host) {
            return Ok(*no);
        }
        let name = host.as_str();
        let known = connection
            .prepare_cached("SELECT no FROM host WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        let no = match known {
            Some(no) => no,
            None => connection
                .prepare_cached("INSERT INTO host(name, agent_no, events) VALUES (?1, ?2, 0) RETURNING no")?
                .query_row(params![name, agent_no], |row| row.get(0))?,
        };
        self.hosts.insert(host.clone(), no);
        Ok(no)
    }
}
