//! The registry of agents inside the writer's transaction: who said Hello, with which epochs, and when he was last heard.

use hume_core::{EventId, Seq, Timestamp};
use hume_proto::relay::{EpochCursor, GapReason};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::admit::{seq_of, sql_seq};
use super::cache::Cache;
use crate::store::types::{Cursor, Departure, Entered, Entrance, EpochClaim, SessionNo, Sighting};

/// Enters the agent, numbers its session, begins unknown epochs in the order given.
pub(super) fn enter(
    connection: &Connection,
    cache: &mut Cache,
    entrance: &Entrance,
) -> rusqlite::Result<Entered> {
    let Entrance { agent, host, version, address, certificate_expires_at, epochs, queue, at } = entrance;
    let (agent_no, session_no): (i64, i64) = connection
        .prepare_cached(
            "INSERT INTO agent(id, host, session_no, version, address, certificate_expires_us, first_seen_us, \
             last_seen_us, queued_events, queued_since_us, last_error, last_error_us, refused_events, lost_events) \
             VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
             ON CONFLICT(id) DO UPDATE SET host = excluded.host, session_no = session_no + 1, \
             version = excluded.version, address = excluded.address, \
             certificate_expires_us = excluded.certificate_expires_us, last_seen_us = excluded.last_seen_us, \
             left_us = NULL, queued_events = excluded.queued_events, queued_since_us = excluded.queued_since_us, \
             last_error = coalesce(excluded.last_error, last_error), \
             last_error_us = coalesce(excluded.last_error_us, last_error_us), \
             refused_events = excluded.refused_events, lost_events = excluded.lost_events \
             RETURNING no, session_no",
        )?
        .query_row(
            params![
                agent.as_bytes(),
                host.as_str(),
                version,
                address,
                certificate_expires_at.as_micros(),
                at.as_micros(),
                queue.events as i64,
                queue.since.map(Timestamp::as_micros),
                queue.last_error,
                queue.last_error_at.map(Timestamp::as_micros),
                queue.refused_events as i64,
                queue.lost_events as i64
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
    let host_no = cache.host_no(connection, host, agent_no)?;
    connection
        .prepare_cached("UPDATE host SET agent_no = ?1 WHERE no = ?2 AND agent_no <> ?1")?
        .execute([agent_no, host_no])?;
    let cursors = epochs.iter().map(|claim| begin_epoch(connection, agent_no, claim));
    let cursors = cursors.collect::<rusqlite::Result<_>>()?;
    account_for_lost(connection, agent_no, epochs, *at)?;
    Ok(Entered { session: SessionNo(session_no.unsigned_abs()), cursors })
}

/// The number of an epoch of this agent.
fn epoch_no(connection: &Connection, agent_no: i64, epoch: &[u8; 16]) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT no FROM epoch WHERE agent_no = ?1 AND epoch = ?2")?
        .query_row(params![agent_no, epoch], |row| row.get(0))
        .optional()
}

fn begin_epoch(connection: &Connection, agent_no: i64, claim: &EpochClaim) -> rusqlite::Result<Cursor> {
    let EpochClaim { epoch, last_assigned, predecessor, restamped } = claim;
    let epoch = epoch.as_bytes();
    note_tail(connection, agent_no, epoch, *last_assigned)?;
    let known = connection
        .prepare_cached("SELECT acked, acked_event_id FROM epoch WHERE agent_no = ?1 AND epoch = ?2")?
        .query_row(params![agent_no, epoch], |row| {
            let event = row.get::<_, Option<[u8; 16]>>(1)?.map(EventId::from_bytes);
            Ok(Cursor { seq: seq_of(row.get(0)?), event })
        })
        .optional()?;
    if let Some(cursor) = known {
        return Ok(cursor);
    }
    let predecessor_no = match predecessor {
        Some(predecessor) => epoch_no(connection, agent_no, predecessor.as_bytes())?,
        None => None,
    };
    connection
        .prepare_cached(
            "INSERT INTO epoch(agent_no, epoch, acked, stored, assigned, predecessor_no, forked_after, restamped) \
             VALUES (?1, ?2, 0, 0, ?3, ?4, 0, ?5)",
        )?
        .execute(params![agent_no, epoch, sql_seq(*last_assigned), predecessor_no, sql_seq(*restamped)])?;
    Ok(Cursor { seq: seq_of(0), event: None })
}

/// Notes how far the agent has given out places.
fn note_tail(connection: &Connection, agent_no: i64, epoch: &[u8; 16], last: Seq) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE epoch SET assigned = ?1 WHERE agent_no = ?2 AND epoch = ?3 AND assigned < ?1",
        )?
        .execute(params![sql_seq(last), agent_no, epoch])?;
    Ok(())
}

fn note_tails(connection: &Connection, agent: &[u8; 16], tails: &[EpochCursor]) -> rusqlite::Result<()> {
    if tails.is_empty() {
        return Ok(());
    }
    let agent_no = connection
        .prepare_cached("SELECT no FROM agent WHERE id = ?1")?
        .query_row([agent], |row| row.get(0))
        .optional()?;
    let Some(agent_no) = agent_no else { return Ok(()) };
    tails.iter().try_for_each(|tail| note_tail(connection, agent_no, tail.epoch.as_bytes(), tail.seq))
}

/// What an epoch was known to have and that nobody will send any more is a gap. The cursor stays: should the agent come back
/// with the epoch after all (another copy of it has said Hello), what it brings is taken, and the gap was none.
fn account_for_lost(
    connection: &Connection,
    agent_no: i64,
    claims: &[EpochClaim],
    at: Timestamp,
) -> rusqlite::Result<()> {
    for claim in claims {
        let Some(no) = epoch_no(connection, agent_no, claim.epoch.as_bytes())? else { continue };
        if let Some(predecessor) = &claim.predecessor
            && let Some(predecessor) = claims.iter().find(|one| one.epoch == *predecessor)
        {
            connection
                .prepare_cached(
                    "UPDATE epoch SET forked_after = ?1, restamped = ?2, predecessor_no = (SELECT no FROM epoch AS before \
                     WHERE before.agent_no = epoch.agent_no AND before.epoch = ?3) WHERE no = ?4",
                )?
                .execute(params![
                    sql_seq(predecessor.last_assigned),
                    sql_seq(claim.restamped),
                    predecessor.epoch.as_bytes(),
                    no
                ])?;
        }
        connection
            .prepare_cached(
                "DELETE FROM gap WHERE epoch_no = ?1 AND reason = ?2 \
                 AND from_seq > (SELECT acked FROM epoch WHERE no = ?1)",
            )?
            .execute(params![no, GapReason::LostSpool.as_str()])?;
    }
    let is_open = |epoch: &[u8; 16]| {
        let mut claims_of = claims.iter().filter(|claim| claim.epoch.as_bytes() == epoch);
        let has_successor =
            claims.iter().any(|claim| claim.predecessor.is_some_and(|one| one.as_bytes() == epoch));
        claims_of.next().is_some() && !has_successor
    };
    let mut select = connection.prepare_cached(
        "SELECT no, epoch, max(acked, coalesce((SELECT max(next.forked_after + next.restamped) FROM epoch AS next \
         WHERE next.predecessor_no = epoch.no), 0)), assigned FROM epoch WHERE agent_no = ?1 AND assigned > acked",
    )?;
    let rows = select.query_map([agent_no], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 16]>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
    })?;
    for (no, epoch, through, assigned) in rows.collect::<rusqlite::Result<Vec<_>>>()? {
        if assigned > through && !is_open(&epoch) {
            connection
                .prepare_cached("INSERT OR REPLACE INTO gap(epoch_no, from_seq, to_seq, reason, at_us) VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute(params![no, through + 1, assigned, GapReason::LostSpool.as_str(), at.as_micros()])?;
        }
    }
    Ok(())
}

/// Notes a sign of life of the newest session.
pub(super) fn seen(connection: &Connection, sighting: &Sighting) -> rusqlite::Result<()> {
    let Sighting { agent, session, queue, tails, behind_us: _, at } = sighting;
    note_tails(connection, agent.as_bytes(), tails)?;
    let queue = queue.as_ref();
    connection
        .prepare_cached(
            "UPDATE agent SET last_seen_us = ?1, queued_events = coalesce(?2, queued_events), \
             queued_since_us = CASE WHEN ?2 IS NULL THEN queued_since_us ELSE ?3 END, \
             last_error = coalesce(?4, last_error), last_error_us = coalesce(?5, last_error_us), \
             refused_events = coalesce(?8, refused_events), lost_events = coalesce(?9, lost_events) \
             WHERE id = ?6 AND session_no = ?7",
        )?
        .execute(params![
            at.as_micros(),
            queue.map(|queue| queue.events as i64),
            queue.and_then(|queue| queue.since).map(Timestamp::as_micros),
            queue.and_then(|queue| queue.last_error.as_ref()),
            queue.and_then(|queue| queue.last_error_at).map(Timestamp::as_micros),
            agent.as_bytes(),
            session.0 as i64,
            queue.map(|queue| queue.refused_events as i64),
            queue.map(|queue| queue.lost_events as i64)
        ])?;
    Ok(())
}

/// Notes the end of the newest session, of which something was last heard at `seen_at`: that the connection is gone may be
/// noticed much later.
pub(super) fn leave(
    connection: &Connection,
    departure: &Departure,
    seen_at: Option<Timestamp>,
    tails: &[EpochCursor],
) -> rusqlite::Result<()> {
    let Departure { agent, session, error, at } = departure;
    note_tails(connection, agent.as_bytes(), tails)?;
    connection
        .prepare_cached(
            "UPDATE agent SET last_seen_us = max(last_seen_us, coalesce(?5, last_seen_us)), left_us = ?1, \
             last_error = coalesce(?2, last_error), \
             last_error_us = CASE WHEN ?2 IS NULL THEN last_error_us ELSE ?1 END WHERE id = ?3 AND session_no = ?4",
        )?
        .execute(params![
            at.as_micros(),
            error,
            agent.as_bytes(),
            session.0 as i64,
            seen_at.map(Timestamp::as_micros)
        ])?;
    Ok(())
}
