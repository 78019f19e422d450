//! Runs, newest start first: the stored fold of each, with its gaps and, if asked for, its events.

use hume_core::filter::RunFilter;
use hume_core::page::{EventCursor, Page, RunCursor};
use hume_core::run::{RunNames, RunState};
use hume_core::{AgentId, Epoch, HostName, RunId, Seq, TaskName, Timestamp};
use hume_proto::relay::GapReason;
use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};

use super::admit::seq_of;
use super::events;
use super::readers::{Question, read_failed};
use crate::store::RUN_EVENTS_MAX;
use crate::store::error::StoreError;
use crate::store::predicate::RunPredicate;
use crate::store::presence::Presence;
use crate::store::types::{Gap, RunEvents, RunPage, RunRecord};
use crate::store::watches::RunsAfter;

/// Events of one page of runs; with more, the page ends after the run at hand.
const PAGE_EVENTS_MAX: usize = 2 * RUN_EVENTS_MAX;
/// Gaps told of one run: one is enough to make it incomplete.
const RUN_GAPS_MAX: usize = 100;

/// What [`record`] reads, from `run` and [`RUN_JOINS`].
pub(super) const RUN_COLUMNS: &str = "run.no, run.agent_no, agent.id, agent.last_seen_us, run.id, run.events, run.state, \
     (SELECT name FROM task WHERE no = run.task_no), (SELECT name FROM host WHERE no = run.host_no)";
/// After `run`.
pub(super) const RUN_JOINS: &str = "CROSS JOIN agent ON agent.no = run.agent_no";

/// See [`RunReader::runs`](crate::store::RunReader::runs).
pub(super) fn list(
    question: &Question<'_>,
    presence: &Presence,
    filter: &RunFilter,
    limit: usize,
    after: Option<RunCursor>,
    with_events: RunEvents,
) -> Result<RunPage, StoreError> {
    let RunPredicate { from, conditions } =
        RunPredicate::new(filter, &events::visible(question, &filter.scope)?, after);
    let sql = format!(
        "SELECT {RUN_COLUMNS} FROM {from} {RUN_JOINS} WHERE {} ORDER BY run.started_us DESC, run.id DESC LIMIT ?",
        conditions.text()
    );
    // One more than the page holds, to learn whether another page follows.
    let values = conditions.values.into_iter().chain([Value::Integer(limit as i64 + 1)]);
    let mut statement = question.connection.prepare_cached(&sql).map_err(read_failed)?;
    let mut rows = statement.query(params_from_iter(values)).map_err(read_failed)?;
    let (mut items, mut events) = (Vec::new(), 0);
    while let Some(row) = rows.next().map_err(read_failed)? {
        question.check()?;
        if items.len() >= limit || events > PAGE_EVENTS_MAX {
            let next = items.last().map(cursor_of);
            return Ok(Page { items, next });
        }
        let record = record(question, presence, row, with_events)?;
        events += record.events.len();
        items.push(record);
    }
    Ok(Page { items, next: None })
}

/// See [`Watching::runs_after`](crate::store::Watching::runs_after).
pub(super) fn after(
    question: &Question<'_>,
    presence: &Presence,
    border: EventCursor,
    limit: usize,
) -> Result<RunsAfter, StoreError> {
    let (nos, left) = events::run_nos_after(question, border, limit)?;
    let end = events::end(question.connection).map_err(read_failed)?;
    let sql = format!("SELECT {RUN_COLUMNS} FROM run {RUN_JOINS} WHERE run.no = ?1");
    let mut statement = question.connection.prepare_cached(&sql).map_err(read_failed)?;
    let mut runs = Vec::with_capacity(nos.len());
    for no in nos {
        question.check()?;
        let mut rows = statement.query([no]).map_err(read_failed)?;
        // One that the retention has forgotten since then is nobody's concern any more.
        if let Some(row) = rows.next().map_err(read_failed)? {
            runs.push(record(question, presence, row, RunEvents::Omit)?);
        }
    }
    Ok(RunsAfter { runs, next: left.unwrap_or(end.max(border)), at_end: left.is_none() })
}

/// See [`RunReader::count_runs`](crate::store::RunReader::count_runs).
pub(super) fn count(question: &Question<'_>, filter: &RunFilter) -> Result<u64, StoreError> {
    let RunPredicate { from, conditions } =
        RunPredicate::new(filter, &events::visible(question, &filter.scope)?, None);
    let sql = format!("SELECT count(*) FROM {from} WHERE {}", conditions.text());
    let mut statement = question.connection.prepare_cached(&sql).map_err(read_failed)?;
    let count: i64 =
        statement.query_row(params_from_iter(conditions.values), |row| row.get(0)).map_err(read_failed)?;
    Ok(count.unsigned_abs())
}

fn cursor_of(record: &RunRecord) -> RunCursor {
    RunCursor { started_at: record.state.started_at(), run: record.state.id() }
}

/// Reads [`RUN_COLUMNS`].
pub(super) fn record(
    question: &Question<'_>,
    presence: &Presence,
    row: &Row<'_>,
    with_events: RunEvents,
) -> Result<RunRecord, StoreError> {
    let run_no: i64 = row.get(0).map_err(read_failed)?;
    let agent_no: i64 = row.get(1).map_err(read_failed)?;
    let agent = AgentId::from_bytes(row.get(2).map_err(read_failed)?);
    let on_disk = Timestamp::from_micros(row.get(3).map_err(read_failed)?);
    let id: [u8; 16] = row.get(4).map_err(read_failed)?;
    let events_kept: i64 = row.get(5).map_err(read_failed)?;
    let text = |column| row.get_ref(column).map(|value| value.as_str().unwrap_or_default());
    let (task, host) = (text(7).map_err(read_failed)?, text(8).map_err(read_failed)?);
    let packed = row.get_ref(6).map_err(read_failed)?.as_blob().unwrap_or_default();
    let state = unpack(&id, Some(agent), task, host, packed)?;
    let mut gaps = gaps_of(question, agent_no, &state)?;
    gaps.extend(forgotten_of(question, run_no, RUN_GAPS_MAX - gaps.len())?);
    let events = match with_events {
        RunEvents::Omit => Vec::new(),
        RunEvents::Include => events::of_run(question, run_no, &state, RUN_EVENTS_MAX)?,
    };
    let more_events = match with_events {
        RunEvents::Omit => 0,
        RunEvents::Include => events_kept.unsigned_abs().saturating_sub(events.len() as u64),
    };
    let live = presence.of(agent);
    let agent_seen_at = live.as_ref().map_or(on_disk, |live| live.seen_at);
    let agent_behind_us = live.map_or(0, |live| live.behind_us);
    Ok(RunRecord { state, gaps, events, more_events, agent_seen_at, agent_behind_us })
}

/// Reads the state of a run.
pub(super) fn unpack(
    id: &[u8; 16],
    agent: Option<AgentId>,
    task: &str,
    host: &str,
    packed: &[u8],
) -> Result<RunState, StoreError> {
    let id = RunId::from_bytes(*id);
    let unreadable = |what: &str| StoreError::Unreadable { what: format!("the {what} of run {id}") };
    let names = RunNames {
        id,
        task: TaskName::parse(task).map_err(|_| unreadable("task"))?,
        host: HostName::parse(host).map_err(|_| unreadable("host"))?,
        agent,
    };
    RunState::unpack(names, packed).ok_or_else(|| unreadable("state"))
}

fn gaps_of(question: &Question<'_>, agent_no: i64, state: &RunState) -> Result<Vec<Gap>, StoreError> {
    let mut statement = question
        .connection
        .prepare_cached(
            "SELECT from_seq, to_seq, reason FROM gap WHERE reason <> 'restamped' \
             AND epoch_no = (SELECT no FROM epoch WHERE agent_no = ?1 AND epoch = ?2) ORDER BY from_seq",
        )
        .map_err(read_failed)?;
    let mut gaps = Vec::new();
    for span in state.spans() {
        let epoch = span.epoch();
        let mut rows = statement.query(params![agent_no, epoch.as_bytes()]).map_err(read_failed)?;
        while let Some(row) = rows.next().map_err(read_failed)? {
            let seq = |column| {
                row.get::<_, i64>(column).map(|seq| Seq::new(seq.unsigned_abs()).unwrap_or_default())
            };
            let (from, to) = (seq(0).map_err(read_failed)?, seq(1).map_err(read_failed)?);
            if state.may_have_had(span, from, to) && gaps.len() < RUN_GAPS_MAX {
                gaps.push(Gap { epoch, from, to, reason: row.get(2).map_err(read_failed)? });
            }
        }
    }
    Ok(gaps)
}

/// What the retention has forgotten of a run that is still here.
fn forgotten_of(question: &Question<'_>, run_no: i64, limit: usize) -> Result<Vec<Gap>, StoreError> {
    let mut statement = question
        .connection
        .prepare_cached(
            "SELECT epoch.epoch, from_seq, to_seq FROM forgotten JOIN epoch ON epoch.no = epoch_no \
             WHERE run_no = ?1 ORDER BY epoch_no, from_seq LIMIT ?2",
        )
        .map_err(read_failed)?;
    let gaps = statement.query_map(params![run_no, limit as i64], |row| {
        let (epoch, from, to) = (Epoch::from_bytes(row.get(0)?), seq_of(row.get(1)?), seq_of(row.get(2)?));
        Ok(Gap { epoch, from, to, reason: GapReason::Evicted.as_str().to_owned() })
    });
    gaps.map_err(read_failed)?.collect::<Result<_, _>>().map_err(read_failed)
}
