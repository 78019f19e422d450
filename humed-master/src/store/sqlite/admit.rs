//! One admission inside the writer's transaction: the cursor decides, then events, their runs and gaps follow.
//!
//! The cursor of the epoch is compared and set in the same transaction (docs/PROTOCOL.md, "Rules"), so a retry stores
//! nothing twice and a place is never left out.

use hume_core::event::Position;
use hume_core::{EventId, Seq, Timestamp};
use hume_proto::relay::GapReason;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::cache::Cache;
use super::pen::Pen;
use super::restamped::{self, Origin};
use crate::store::error::StoreError;
use crate::store::types::{Admission, CommitOutcome, Content, Cursor, Entry};

/// The row of an epoch, with what its agent's row says of sessions.
struct EpochRow {
    no: i64,
    agent_no: i64,
    cursor: Cursor,
    session_no: u64,
    origin: Option<Origin>,
}

/// Where the places `first..=last` stand to a cursor.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// All are at or below it.
    Known,
    /// They go on right after it, when this many have been left out at their beginning.
    Fits { skip: u64 },
    /// They leave a hole.
    Beyond,
}

fn standing(cursor: Seq, first: Seq, last: Seq) -> Standing {
    let next = cursor.get() + 1;
    if last.get() < next {
        Standing::Known
    } else if first.get() > next {
        Standing::Beyond
    } else {
        Standing::Fits { skip: next - first.get() }
    }
}

/// Writes one admission, or finds that it must not be written.
/// # Errors
/// The transaction must be rolled back to where it stood before.
pub(super) fn admit(
    connection: &Connection,
    cache: &mut Cache,
    admission: Admission,
) -> Result<CommitOutcome, StoreError> {
    let Admission { agent, session, epoch, first, arrived_at, content } = admission;
    let failed = |source| StoreError::sqlite("write to", source);
    let Some(row) = epoch_row(connection, agent.as_bytes(), epoch.as_bytes()).map_err(failed)? else {
        return Ok(CommitOutcome::UnknownEpoch);
    };
    if row.session_no != session.0 {
        return Ok(CommitOutcome::Superseded);
    }
    let last = match &content {
        Content::Entries(entries) => first.plus((entries.len() as u64).saturating_sub(1)),
        Content::Gap { through, .. } => *through,
    };
    let skip = match standing(row.cursor.seq, first, last) {
        Standing::Known => return Ok(CommitOutcome::Known { cursor: row.cursor }),
        Standing::Beyond => return Ok(CommitOutcome::Beyond { cursor: row.cursor }),
        Standing::Fits { skip } => skip,
    };
    let (cursor, events, quarantined) = match content {
        Content::Gap { through, reason } => {
            let gap = (row.cursor.seq.next(), through);
            write_gap(connection, row.no, gap, reason, arrived_at).map_err(failed)?;
            (Cursor { seq: through, event: None }, 0, 0)
        }
        Content::Entries(entries) => {
            let known = restamped::known(connection, row.origin, first.plus(skip), last)?;
            let mut passed: Vec<(Seq, Seq)> = Vec::new();
            let mut pen = Pen::new(connection, cache, row.no, row.agent_no, arrived_at);
            let (mut events, mut quarantined, mut latest_id) = (0, 0, None);
            for (offset, entry) in (skip..).zip(entries.into_iter().skip(skip as usize)) {
                let position = Position { agent: Some(agent), epoch, seq: first.plus(offset) };
                if let Entry::Event { event, .. } = &entry
                    && known.get(&position.seq) == Some(&event.id)
                {
                    pen.pass()?;
                    latest_id = Some(event.id);
                    match passed.last_mut() {
                        Some((_, end)) if end.next() == position.seq => *end = position.seq,
                        _ => passed.push((position.seq, position.seq)),
                    }
                    continue;
                }
                latest_id = pen.entry(position, entry)?;
                match latest_id {
                    Some(_) => events += 1,
                    None => quarantined += 1,
                }
            }
            pen.finish()?;
            for gap in passed {
                write_gap(connection, row.no, gap, GapReason::Restamped, arrived_at).map_err(failed)?;
            }
            (Cursor { seq: last, event: latest_id }, events, quarantined)
        }
    };
    move_cursor(connection, &row, cursor, events).map_err(failed)?;
    Ok(CommitOutcome::Stored { cursor, events, quarantined })
}

/// Places that hold no event of their own, and why.
pub(super) fn write_gap(
    connection: &Connection,
    epoch_no: i64,
    (from, to): (Seq, Seq),
    reason: GapReason,
    at: Timestamp,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO gap(epoch_no, from_seq, to_seq, reason, at_us) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![epoch_no, sql_seq(from), sql_seq(to), reason.as_str(), at.as_micros()])?;
    Ok(())
}

fn epoch_row(
    connection: &Connection,
    agent: &[u8; 16],
    epoch: &[u8; 16],
) -> rusqlite::Result<Option<EpochRow>> {
    connection
        .prepare_cached(
            "SELECT epoch.no, agent_no, acked, acked_event_id, session_no, predecessor_no, forked_after, restamped FROM epoch \
             JOIN agent ON agent.no = agent_no WHERE agent.id = ?1 AND epoch = ?2",
        )?
        .query_row([agent, epoch], |row| {
            let event = row.get::<_, Option<[u8; 16]>>(3)?.map(EventId::from_bytes);
            Ok(EpochRow {
                no: row.get(0)?,
                agent_no: row.get(1)?,
                cursor: Cursor { seq: seq_of(row.get(2)?), event },
                session_no: row.get::<_, i64>(4)?.unsigned_abs(),
                origin: match row.get::<_, Option<i64>>(5)? {
                    Some(epoch_no) => {
                        let (after, restamped) = (seq_of(row.get(6)?), seq_of(row.get(7)?));
                        Some(Origin { epoch_no, after, restamped })
                    }
                    None => None,
                },
            })
        })
        .optional()
}

/// Compare and set: the cursor moves only from where it was read, and only for the newest session.
fn move_cursor(connection: &Connection, row: &EpochRow, to: Cursor, events: u64) -> rusqlite::Result<()> {
    let changed = connection
        .prepare_cached(
            "UPDATE epoch SET acked = ?1, acked_event_id = ?2, stored = stored + ?3 WHERE no = ?4 AND acked = ?5 \
             AND (SELECT session_no FROM agent WHERE agent.no = agent_no) = ?6",
        )?
        .execute(params![
            sql_seq(to.seq),
            to.event.as_ref().map(EventId::as_bytes),
            events as i64,
            row.no,
            sql_seq(row.cursor.seq),
            row.session_no as i64
        ])?;
    if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
}

/// A place as SQLite keeps it; [`Seq`] stays below 2⁶³.
pub(super) fn sql_seq(seq: Seq) -> i64 {
    seq.get() as i64
}

/// A place as SQLite kept it.
pub(super) fn seq_of(value: i64) -> Seq {
    Seq::new(value.unsigned_abs()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_what_goes_on_from_the_cursor_is_written(cursor in 0_u64..50, first in 1_u64..60, count in 1_u64..20) {
            let seq = |value| Seq::new(value).unwrap();
            let last = first + count - 1;
            match standing(seq(cursor), seq(first), seq(last)) {
                Standing::Known => prop_assert!(last <= cursor),
                Standing::Beyond => prop_assert!(first > cursor + 1),
                Standing::Fits { skip } => {
                    prop_assert_eq!(first + skip, cursor + 1);
                    prop_assert!(skip < count);
                }
            }
        }
    }
}
