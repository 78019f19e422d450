//! The registry of agents inside the writer's transaction: who said Hello, with which epochs, and when he was last heard.

use hume_core::Timestamp;
use hume_core::name::Tag;
use rusqlite::{Connection, params};

use super::cache::Cache;
use super::epochs;
use crate::store::presence::Live;
use crate::store::types::{Departure, Entered, Entrance, HostWord, SessionNo, Sighting};

/// Enters the agent, numbers its session, begins unknown epochs in the order given.
pub(super) fn enter(
    connection: &Connection,
    cache: &mut Cache,
    entrance: &Entrance,
) -> rusqlite::Result<Entered> {
    let Entrance {
        agent,
        host,
        version,
        address,
        certificate_expires_at,
        epochs,
        queue,
        about: HostWord { boot, zone, tags },
        behind_us: _,
        at,
    } = entrance;
    let (agent_no, session_no): (i64, i64) = connection
        .prepare_cached(
            "INSERT INTO agent(id, host, session_no, version, address, certificate_expires_us, first_seen_us, \
             last_seen_us, queued_events, queued_since_us, last_error, last_error_us, refused_events, lost_events, boot_id, zone, tags) \
             VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) \
             ON CONFLICT(id) DO UPDATE SET host = excluded.host, session_no = session_no + 1, \
             version = excluded.version, address = excluded.address, \
             certificate_expires_us = excluded.certificate_expires_us, last_seen_us = excluded.last_seen_us, \
             left_us = NULL, goodbye_us = NULL, boot_id = excluded.boot_id, zone = excluded.zone, \
             tags = excluded.tags, queued_events = excluded.queued_events, queued_since_us = excluded.queued_since_us, \
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
                queue.lost_events as i64,
                boot.map(|boot| *boot.as_bytes()),
                zone,
                tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(",")
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
    let host_no = cache.host_no(connection, host, agent_no)?;
    connection
        .prepare_cached("UPDATE host SET agent_no = ?1 WHERE no = ?2 AND agent_no <> ?1")?
        .execute([agent_no, host_no])?;
    let cursors = epochs::enter(connection, agent_no, epochs, *at)?;
    Ok(Entered { session: SessionNo(session_no.unsigned_abs()), cursors })
}

/// Notes a sign of life of the newest session.
pub(super) fn seen(connection: &Connection, sighting: &Sighting) -> rusqlite::Result<()> {
    let Sighting { agent, session, queue, tails, behind_us: _, watermark, at } = sighting;
    epochs::note_tails(connection, agent.as_bytes(), tails)?;
    let queue = queue.as_ref();
    connection
        .prepare_cached(
            "UPDATE agent SET last_seen_us = ?1, queued_events = coalesce(?2, queued_events), \
             queued_since_us = CASE WHEN ?2 IS NULL THEN queued_since_us ELSE ?3 END, \
             last_error = coalesce(?4, last_error), last_error_us = coalesce(?5, last_error_us), \
             refused_events = coalesce(?8, refused_events), lost_events = coalesce(?9, lost_events), \
             watermark_us = coalesce(?10, watermark_us) \
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
            queue.map(|queue| queue.lost_events as i64),
            watermark.map(Timestamp::as_micros)
        ])?;
    Ok(())
}

/// Notes the end of the newest session, with what was last heard of it: that the connection is gone may be noticed much
/// later.
pub(super) fn leave(
    connection: &Connection,
    departure: &Departure,
    live: Option<&Live>,
) -> rusqlite::Result<()> {
    let Departure { agent, session, error, goodbye, at } = departure;
    let tails = live.map_or(&[][..], |live| &live.tails);
    epochs::note_tails(connection, agent.as_bytes(), tails)?;
    connection
        .prepare_cached(
            "UPDATE agent SET last_seen_us = max(last_seen_us, coalesce(?5, last_seen_us)), left_us = ?1, \
             goodbye_us = CASE WHEN ?6 THEN ?1 END, watermark_us = coalesce(?7, watermark_us), \
             last_error = coalesce(?2, last_error), \
             last_error_us = CASE WHEN ?2 IS NULL THEN last_error_us ELSE ?1 END WHERE id = ?3 AND session_no = ?4",
        )?
        .execute(params![
            at.as_micros(),
            error,
            agent.as_bytes(),
            session.0 as i64,
            live.map(|live| live.seen_at.as_micros()),
            goodbye,
            live.and_then(|live| live.watermark).map(Timestamp::as_micros)
        ])?;
    Ok(())
}
