//! A registry that was put back does not know the certificates that came after its backup: each agent has one of them taken for known.
//!
//! Rows of certificates are never removed, so one that is missing was issued after the backup, or by somebody who stole the CA. One for
//! each agent is let through, for as long as such a one can live, and is in the audit log; a second one is not: one of the two is a
//! copy. Deciding is pure.

use std::time::Duration;

use hume_core::{AgentId, Timestamp};
use rusqlite::{OptionalExtension as _, params};

use super::copies::RESTORE;
use super::desk::Work;
use super::types::{Actor, AgentEntry, AgentState};

/// Stands in the place of the key of a certificate that the registry has never seen.
pub(super) const UNSEEN: &str = "adopted";

/// What is known of an agent that shows a certificate which is not in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    state: AgentState,
    /// When the registry was last put back.
    restored_at: Option<Timestamp>,
    /// Another one of this agent was taken for known since.
    has_one: bool,
    /// How long certificates live.
    life: Duration,
}

fn may_adopt(known: Known, now: Timestamp) -> bool {
    let Known { state, restored_at, has_one, life } = known;
    let life_us = i64::try_from(life.as_micros()).unwrap_or(i64::MAX);
    let is_recent = restored_at.is_some_and(|at| (0..life_us).contains(&now.micros_since(at)));
    state == AgentState::Active && is_recent && !has_one
}

/// The generation that this certificate has from now on, if it is taken for known.
pub(super) fn adopt(
    work: &mut Work<'_>,
    entry: &AgentEntry,
    serial: &[u8],
    life: Duration,
    actor: &Actor,
    now: Timestamp,
) -> rusqlite::Result<Option<i64>> {
    let restored_at = restored_at(work)?;
    let has_one = match restored_at {
        Some(at) => has_one_since(work, entry.agent, at)?,
        None => false,
    };
    if !may_adopt(Known { state: entry.state, restored_at, has_one, life }, now) {
        return Ok(None);
    }
    let generation: i64 = work
        .connection()
        .prepare_cached(
            "UPDATE agent SET issued = issued + 1, confirmed = issued + 1 WHERE id = ?1 RETURNING issued",
        )?
        .query_row([entry.agent.as_bytes()], |row| row.get(0))?;
    let ends = now.plus_micros(i64::try_from(life.as_micros()).unwrap_or(i64::MAX));
    // Of what it has never seen the registry knows the number alone. It was issued before the restore, so the next may come at once.
    work.connection()
        .prepare_cached(
            "INSERT INTO certificate(serial, agent, generation, spki, issuer, not_before_us, not_after_us, \
             issued_us, pem) VALUES (?1, ?2, ?3, ?4, '', ?5, ?6, ?5, '')",
        )?
        .execute(params![
            serial,
            entry.agent.as_bytes(),
            generation,
            UNSEEN,
            restored_at.map(Timestamp::as_micros),
            ends.as_micros()
        ])?;
    let detail = format!("generation {generation}, a certificate that was issued after the backup");
    work.audit(actor, "adopt", &entry.agent.to_string(), &detail, "done", now)?;
    Ok(Some(generation))
}

fn restored_at(work: &Work<'_>) -> rusqlite::Result<Option<Timestamp>> {
    let at: Option<i64> = work
        .connection()
        .prepare_cached("SELECT max(time_us) FROM audit WHERE action = ?1")?
        .query_row([RESTORE], |row| row.get(0))?;
    Ok(at.map(Timestamp::from_micros))
}

fn has_one_since(work: &Work<'_>, agent: AgentId, at: Timestamp) -> rusqlite::Result<bool> {
    work.connection()
        .prepare_cached("SELECT 1 FROM certificate WHERE agent = ?1 AND spki = ?2 AND issued_us >= ?3")?
        .query_row(params![agent.as_bytes(), UNSEEN, at.as_micros()], |_| Ok(()))
        .optional()
        .map(|found| found.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unknown_certificate_of_an_agent_that_may_speak_is_taken_for_known_soon_after_a_restore() {
        let at = |hours: i64| Timestamp::from_micros(hours * 3_600_000_000);
        let known = Known {
            state: AgentState::Active,
            restored_at: Some(at(100)),
            has_one: false,
            life: Duration::from_hours(168),
        };
        assert!(may_adopt(known, at(100)) && may_adopt(known, at(267)));
        assert!(!may_adopt(known, at(268)), "it has ended by then");
        assert!(!may_adopt(known, at(99)), "a clock that was set back");
        assert!(!may_adopt(Known { restored_at: None, ..known }, at(100)));
        assert!(!may_adopt(Known { has_one: true, ..known }, at(100)));
        for state in [AgentState::Pending, AgentState::Suspended, AgentState::Revoked] {
            assert!(!may_adopt(Known { state, ..known }, at(100)), "{state:?}");
        }
    }
}
