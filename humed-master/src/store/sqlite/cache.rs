//! What the writer remembers of the file: numbers of names, the numbers that come next, and the runs that events are being added to.
//!
//! Only the writer changes the file, so what it remembers is right until a rollback; then all of it is forgotten.

use std::collections::HashMap;
use std::hash::Hash;

use hume_core::run::RunState;
use hume_core::{HostName, RunId, Tag, TaskName};
use rusqlite::{Connection, OptionalExtension as _, Params, params};

use super::events::NEXT_ID;

/// Names remembered; with more, all are forgotten and read again.
const NAMES_MAX: usize = 4096;
/// Runs remembered; with more, those that ended go, and those that nothing was added to for long.
const RUNS_MAX: usize = 4096;

/// A run that events are being added to.
pub(super) struct HotRun {
    /// Its row.
    pub(super) no: i64,
    pub(super) task_no: i64,
    pub(super) host_no: i64,
    /// The fold so far.
    pub(super) state: RunState,
    /// Its events so far, of every kind.
    pub(super) events: i64,
    /// How far its row is behind.
    pub(super) row: RunRow,
    /// Nothing was added since the runs were last looked through.
    pub(super) is_idle: bool,
}

/// What the file has of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunRow {
    /// Nothing yet.
    Missing,
    /// An older state.
    Behind,
    /// This one.
    Same,
}

/// What is remembered.
#[derive(Default)]
pub(super) struct Cache {
    tasks: HashMap<TaskName, i64>,
    hosts: HashMap<HostName, i64>,
    tags: HashMap<Tag, i64>,
    /// By agent's number and run.
    pub(super) runs: HashMap<(i64, RunId), HotRun>,
    /// Those whose row is missing or behind.
    pub(super) changed: Vec<(i64, RunId)>,
    /// Somebody said something new of what is expected since that was last told.
    pub(super) has_news: bool,
    next_run_no: Option<i64>,
    next_event_id: Option<i64>,
}

impl Cache {
    /// To be called after every rollback.
    pub(super) fn forget(&mut self) {
        *self = Cache::default();
    }

    /// To be called when names went that nothing mentions any more.
    pub(super) fn forget_names(&mut self) {
        self.tasks.clear();
        self.hosts.clear();
        self.tags.clear();
    }

    /// To be called when rows of runs changed or went.
    pub(super) fn forget_runs(&mut self, is_meant: impl Fn(i64) -> bool) {
        self.runs.retain(|_, run| !is_meant(run.no));
    }

    /// To be called between transactions.
    pub(super) fn trim(&mut self) {
        if self.runs.len() > RUNS_MAX {
            self.runs.retain(|_, run| {
                let stays = run.state.ended_at().is_none() && !run.is_idle;
                run.is_idle = true;
                stays
            });
        }
        if self.runs.len() > 4 * RUNS_MAX {
            self.runs.clear();
        }
        if self.tasks.len() > NAMES_MAX || self.hosts.len() > NAMES_MAX || self.tags.len() > NAMES_MAX {
            self.forget_names();
        }
    }

    /// The number of a task, which gets one if it has none.
    pub(super) fn task_no(&mut self, connection: &Connection, task: &TaskName) -> rusqlite::Result<i64> {
        let (select, insert) =
            ("SELECT no FROM task WHERE name = ?1", "INSERT INTO task(name) VALUES (?1) RETURNING no");
        let name = task.as_str();
        remembered(&mut self.tasks, task, || number(connection, select, name, insert, [name]))
    }

    /// The number of a tag, likewise.
    pub(super) fn tag_no(&mut self, connection: &Connection, tag: &Tag) -> rusqlite::Result<i64> {
        let (select, insert) =
            ("SELECT no FROM tag WHERE name = ?1", "INSERT INTO tag(name) VALUES (?1) RETURNING no");
        let name = tag.as_str();
        remembered(&mut self.tags, tag, || number(connection, select, name, insert, [name]))
    }

    /// The number of a host, likewise, with `agent_no` as the agent that reports for it.
    pub(super) fn host_no(
        &mut self,
        connection: &Connection,
        host: &HostName,
        agent_no: i64,
    ) -> rusqlite::Result<i64> {
        let select = "SELECT no FROM host WHERE name = ?1";
        let insert = "INSERT INTO host(name, agent_no, events) VALUES (?1, ?2, 0) RETURNING no";
        let name = host.as_str();
        remembered(&mut self.hosts, host, || {
            number(connection, select, name, insert, params![name, agent_no])
        })
    }

    /// The number for a new run.
    pub(super) fn next_run_no(&mut self, connection: &Connection) -> rusqlite::Result<i64> {
        take_next(&mut self.next_run_no, connection, "SELECT coalesce(max(no), 0) + 1 FROM run", 1)
    }

    /// The id for the first of so many new events.
    pub(super) fn next_event_id(&mut self, connection: &Connection, events: i64) -> rusqlite::Result<i64> {
        take_next(&mut self.next_event_id, connection, NEXT_ID, events)
    }
}

fn remembered<N: Clone + Eq + Hash>(
    names: &mut HashMap<N, i64>,
    name: &N,
    find: impl FnOnce() -> rusqlite::Result<i64>,
) -> rusqlite::Result<i64> {
    if let Some(no) = names.get(name) {
        return Ok(*no);
    }
    let no = find()?;
    names.insert(name.clone(), no);
    Ok(no)
}

/// What `select` finds by the name, else what `insert` makes.
fn number(
    connection: &Connection,
    select: &str,
    name: &str,
    insert: &str,
    values: impl Params,
) -> rusqlite::Result<i64> {
    let known = connection.prepare_cached(select)?.query_row([name], |row| row.get(0)).optional()?;
    match known {
        Some(no) => Ok(no),
        None => connection.prepare_cached(insert)?.query_row(values, |row| row.get(0)),
    }
}

fn take_next(
    next: &mut Option<i64>,
    connection: &Connection,
    sql: &str,
    count: i64,
) -> rusqlite::Result<i64> {
    let first = match *next {
        Some(next) => next,
        None => connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?,
    };
    *next = Some(first + count);
    Ok(first)
}
