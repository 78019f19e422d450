//! What the master does not have is given up on the word of an administrator, while no agent runs.
//!
//! Before the first row goes, its epoch notes through which place something was given up: the master is told of every hole
//! there, with this reason, and counts it as lost. Removed in steps of [`ROWS_PER_STEP`], so that a full disk has room for each.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;

use hume_core::name::Seq;
use hume_core::{AgentId, TaskName};
use hume_runtime::sqlite::{self, Checkpoint};
use rusqlite::{Connection, params};

use super::blocks;
use super::config::Config;
use super::epochs::{self, EpochRow};
use super::query::Shelf;
use super::retention::{self, Parting, ROWS_PER_STEP};
use super::types::{self, SpoolError, row_of, rows_from};
use super::{FILE_NAME, opening, options};

/// Events that the master does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsent {
    /// Those that were asked for.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The others.
    pub others: u64,
}

/// What [`discard`] with the same words would give up. Changes nothing.
///
/// # Errors
/// [`SpoolError`] when an agent has the spool, it is another agent's, or cannot be read.
pub fn unsent(
    dir: &Path,
    config: &Config,
    agent: AgentId,
    task: Option<&TaskName>,
) -> Result<Unsent, SpoolError> {
    each(dir, config, agent, task, |_, _| Ok(()))
}

/// Gives up what the master does not have, of one task or of all. What it says is what was given up.
///
/// # Errors
/// [`SpoolError`] as for [`unsent`], or when it cannot be written: said again, it goes on where it ended.
pub fn discard(
    dir: &Path,
    config: &Config,
    agent: AgentId,
    task: Option<&TaskName>,
) -> Result<Unsent, SpoolError> {
    each(dir, config, agent, task, |connection, step| {
        let Step { epoch, parting, runs, .. } = step;
        if parting.is_empty() {
            return Ok(());
        }
        let transaction = connection.unchecked_transaction()?;
        transaction.execute(
            "UPDATE epoch SET purged = ?2 WHERE no = ?1 AND purged < ?2",
            params![epoch.no, epoch.last().get() as i64],
        )?;
        retention::remove(&transaction, parting, runs)?;
        transaction.commit()?;
        sqlite::checkpoint(connection, Checkpoint::Truncate)?;
        Ok(())
    })
}

/// Some rows of an epoch that were not acknowledged.
struct Step<'a> {
    epoch: &'a EpochRow,
    /// Those that were asked for.
    parting: Vec<Parting>,
    events: u64,
    runs: HashSet<i64>,
    bytes: u64,
    looked_at: u64,
    after: i64,
    is_last: bool,
}

/// Has `act` look at everything that was not acknowledged, step by step.
fn each(
    dir: &Path,
    config: &Config,
    agent: AgentId,
    task: Option<&TaskName>,
    mut act: impl FnMut(&Connection, &Step<'_>) -> Result<(), SpoolError>,
) -> Result<Unsent, SpoolError> {
    let _lock = sqlite::lock(dir)?;
    let (connection, _) = opening::open(&dir.join(FILE_NAME), &options(config), Some(agent))?;
    types::claim(&connection, dir, agent)?;
    let mut unsent = Unsent::default();
    for epoch in epochs::all(&connection)? {
        let mut after = row_of(epoch.no, epoch.acked);
        loop {
            let step = look(&connection, &epoch, after, task)?;
            unsent.events += step.events;
            unsent.others += step.looked_at - step.events;
            unsent.bytes += step.bytes;
            act(&connection, &step)?;
            if step.is_last {
                break;
            }
            after = step.after;
        }
    }
    Ok(unsent)
}

fn look<'a>(
    connection: &Connection,
    epoch: &'a EpochRow,
    after: i64,
    task: Option<&TaskName>,
) -> Result<Step<'a>, SpoolError> {
    let mut step = Step {
        epoch,
        parting: Vec::new(),
        events: 0,
        runs: HashSet::new(),
        bytes: 0,
        looked_at: 0,
        after,
        is_last: true,
    };
    let mut shelf = Shelf::new(connection, None)?;
    blocks::heads(connection, after + 1..rows_from(epoch.no, Seq::ZERO).end, |head| {
        if step.looked_at >= ROWS_PER_STEP as u64 {
            step.is_last = false;
            return Ok(ControlFlow::Break(()));
        }
        step.after = head.last;
        let Some(marks) = &head.marks else {
            step.looked_at += head.events;
            // What cannot be read is of no task.
            if task.is_none() {
                step.events += head.events;
                step.bytes += head.bytes;
                step.parting.push(Parting::new(head, HashSet::new()));
            }
            return Ok::<_, SpoolError>(ControlFlow::Continue(()));
        };
        let mut going = HashSet::new();
        for (offset, mark) in marks.iter().enumerate().filter(|(_, mark)| mark.row > after) {
            step.looked_at += 1;
            let is_meant = match task {
                Some(task) => shelf.event(&head, offset).is_ok_and(|stored| stored.event.task == *task),
                None => true,
            };
            if is_meant {
                going.insert(mark.row);
                step.runs.extend(mark.run_no);
                step.bytes += mark.bytes;
            }
        }
        step.events += going.len() as u64;
        if !going.is_empty() {
            step.parting.push(Parting::new(head, going));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(step)
}

#[cfg(test)]
mod tests {
    use hume_core::name::Epoch;
    use hume_proto::relay::{EpochReason, GapReason};
    use tempfile::TempDir;

    use super::super::tests::{open_with, until};
    use super::super::{SpoolReader, Stretch};
    use super::*;

    const EVENTS: u64 = 30;
    const ACKED: u64 = 10;

    fn agent() -> AgentId {
        AgentId::from_bytes([7; 16])
    }

    /// A spool that was closed, of whose events the master has some.
    async fn closed(dir: &TempDir) -> Epoch {
        let open = open_with(dir, &Config::default(), Some(agent()));
        let epoch = open.append(0..EVENTS).await.epoch;
        open.spool.writer.acknowledge(epoch, Seq::new(ACKED).unwrap()).unwrap();
        let figures = open.spool.figures();
        until("the ack is counted", async || figures.get().unacked_events == EVENTS - ACKED).await;
        open.close().await;
        epoch
    }

    async fn stretch(reader: &SpoolReader, epoch: Epoch, from: u64) -> Stretch {
        reader.stretch(epoch, Seq::new(from).unwrap(), 100, usize::MAX).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_given_up_is_a_hole_that_says_so_and_what_comes_later_is_not() {
        let dir = TempDir::new().unwrap();
        let epoch = closed(&dir).await;
        let would = unsent(dir.path(), &Config::default(), agent(), None).unwrap();
        assert_eq!((would.events, would.others), (EVENTS - ACKED, 0));
        assert_eq!(discard(dir.path(), &Config::default(), agent(), None).unwrap(), would);
        let open = open_with(&dir, &Config::default(), Some(agent()));
        assert_eq!(open.append(100..101).await.first, Seq::new(EVENTS + 1).unwrap());
        let hole = Stretch::Hole { through: Seq::new(EVENTS).unwrap(), reason: GapReason::Purged };
        assert_eq!(stretch(&open.spool.reader, epoch, ACKED + 1).await, hole);
        assert!(matches!(stretch(&open.spool.reader, epoch, 1).await, Stretch::Events(_)), "the tail stays");
        assert_eq!(open.spool.figures().get().unacked_events, 1);
        open.close().await;
    }

    #[tokio::test]
    async fn of_one_task_only_its_events_go_also_where_they_move_into_a_new_epoch() {
        let dir = TempDir::new().unwrap();
        let epoch = closed(&dir).await;
        // Every third is of BACKUP: 12 to 29, at the places 13 to 28.
        let task = TaskName::parse("BACKUP").unwrap();
        let gone = discard(dir.path(), &Config::default(), agent(), Some(&task)).unwrap();
        assert_eq!((gone.events, gone.others), (6, 14));
        assert_eq!(discard(dir.path(), &Config::default(), agent(), Some(&task)).unwrap().events, 0);
        let open = open_with(&dir, &Config::default(), Some(agent()));
        let next = open.spool.writer.succeed(epoch, EpochReason::Forked).await.unwrap();
        let hole = Stretch::Hole { through: Seq::new(3).unwrap(), reason: GapReason::Purged };
        assert_eq!(stretch(&open.spool.reader, next.epoch, 3).await, hole);
        assert!(
            matches!(stretch(&open.spool.reader, next.epoch, 4).await, Stretch::Events(two) if two.len() == 2)
        );
        open.close().await;
    }

    #[tokio::test]
    async fn an_agent_that_runs_keeps_everything() {
        let dir = TempDir::new().unwrap();
        let open = open_with(&dir, &Config::default(), Some(agent()));
        open.append(0..5).await;
        let refused = discard(dir.path(), &Config::default(), agent(), None);
        assert!(matches!(refused, Err(SpoolError::Lock(_))), "{refused:?}");
        assert_eq!(open.spool.figures().get().events, 5);
        open.close().await;
    }
}
