//! The sequence spaces of an agent inside the writer's transaction: which there are, which took over from which, and what of them
//! will never come.

use hume_core::{Epoch, EventId, Timestamp};
use hume_proto::relay::{EpochCursor, GapReason};
use rusqlite::{Connection, params};

use super::admit::{seq_of, sql_seq, write_gap};
use crate::store::types::{Cursor, EpochClaim};

/// Takes down what an agent says of its epochs, oldest first; where each of them goes on.
pub(super) fn enter(
    connection: &Connection,
    agent_no: i64,
    claims: &[EpochClaim],
    at: Timestamp,
) -> rusqlite::Result<Vec<Cursor>> {
    let mut cursors = Vec::with_capacity(claims.len());
    for claim in claims {
        let (no, cursor) = begin(connection, agent_no, claim)?;
        link(connection, no, claim, claims)?;
        forget_lost(connection, no)?;
        cursors.push(cursor);
    }
    note_lost(connection, agent_no, claims, at)?;
    Ok(cursors)
}

/// The number of the epoch, which begins here if it is not known yet, and its cursor.
fn begin(connection: &Connection, agent_no: i64, claim: &EpochClaim) -> rusqlite::Result<(i64, Cursor)> {
    connection
        .prepare_cached(
            "INSERT INTO epoch(agent_no, epoch, acked, stored, assigned, forked_after, restamped) \
             VALUES (?1, ?2, 0, 0, ?3, 0, 0) \
             ON CONFLICT DO UPDATE SET assigned = max(assigned, excluded.assigned) RETURNING no, acked, acked_event_id",
        )?
        .query_row(params![agent_no, claim.epoch.as_bytes(), sql_seq(claim.last_assigned)], |row| {
            let event = row.get::<_, Option<[u8; 16]>>(2)?.map(EventId::from_bytes);
            Ok((row.get(0)?, Cursor { seq: seq_of(row.get(1)?), event }))
        })
}

/// Notes from which epoch this one took over, and after which place. The predecessor comes with it until all that moved is here.
fn link(connection: &Connection, no: i64, claim: &EpochClaim, claims: &[EpochClaim]) -> rusqlite::Result<()> {
    let Some(before) = claims.iter().find(|one| claim.predecessor == Some(one.epoch)) else { return Ok(()) };
    connection
        .prepare_cached(
            "UPDATE epoch SET forked_after = ?1, restamped = ?2, predecessor_no = (SELECT no FROM epoch AS before \
             WHERE before.agent_no = epoch.agent_no AND before.epoch = ?3) WHERE no = ?4",
        )?
        .execute(params![
            sql_seq(before.last_assigned),
            sql_seq(claim.restamped),
            before.epoch.as_bytes(),
            no
        ])?;
    Ok(())
}

/// The epoch is there: what was thought lost of it beyond the cursor may still come.
fn forget_lost(connection: &Connection, no: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM gap WHERE epoch_no = ?1 AND reason = ?2 AND from_seq > (SELECT acked FROM epoch WHERE no = ?1)",
        )?
        .execute(params![no, GapReason::LostSpool.as_str()])?;
    Ok(())
}

/// What an epoch was known to have and that nobody will send any more is a gap. The cursor stays: should the agent come back
/// with the epoch after all (another copy of it has said Hello), what it brings is taken, and the gap was none.
fn note_lost(
    connection: &Connection,
    agent_no: i64,
    claims: &[EpochClaim],
    at: Timestamp,
) -> rusqlite::Result<()> {
    let grows = |epoch: Epoch| {
        claims.iter().any(|claim| claim.epoch == epoch)
            && claims.iter().all(|claim| claim.predecessor != Some(epoch))
    };
    // Of what moved into a successor nothing is missing here.
    let mut select = connection.prepare_cached(
        "SELECT no, epoch, max(acked, coalesce((SELECT max(next.forked_after + next.restamped) FROM epoch AS next \
         WHERE next.agent_no = epoch.agent_no AND next.predecessor_no = epoch.no), 0)), assigned \
         FROM epoch WHERE agent_no = ?1 AND assigned > acked",
    )?;
    let unfinished = select.query_map([agent_no], |row| {
        let epoch = Epoch::from_bytes(row.get(1)?);
        Ok((row.get(0)?, epoch, seq_of(row.get(2)?), seq_of(row.get(3)?)))
    })?;
    for (no, epoch, through, assigned) in unfinished.collect::<rusqlite::Result<Vec<_>>>()? {
        if assigned > through && !grows(epoch) {
            forget_lost(connection, no)?;
            write_gap(connection, no, (through.next(), assigned), GapReason::LostSpool, at)?;
        }
    }
    Ok(())
}

/// Notes how far an agent has given out places.
pub(super) fn note_tails(
    connection: &Connection,
    agent: &[u8; 16],
    tails: &[EpochCursor],
) -> rusqlite::Result<()> {
    for EpochCursor { epoch, seq } in tails {
        connection
            .prepare_cached(
                "UPDATE epoch SET assigned = ?1 WHERE epoch = ?2 AND assigned < ?1 \
                 AND agent_no = (SELECT no FROM agent WHERE id = ?3)",
            )?
            .execute(params![sql_seq(*seq), epoch.as_bytes(), agent])?;
    }
    Ok(())
}
