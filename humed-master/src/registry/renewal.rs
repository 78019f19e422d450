//! Certificates follow each other: each has the next generation of its agent, and one that is older than the last that was
//! confirmed is a copy.
//!
//! A generation is confirmed by the agent's word that it is on disk, or by the first session that shows it. Until then the one before
//! may ask again: the answer was lost. Deciding is pure.

use std::time::Duration;

use hume_core::{AgentId, ErrorClass, HostName, Timestamp};
use hume_runtime::pki::{CaFolderError, PkiError, PublicKey};
use hume_runtime::recovery::has_ended;
use rusqlite::{OptionalExtension as _, params};

use super::desk::Work;
use super::issuer::Issuer;
use super::types::{Actor, AgentEntry, AgentState};
use super::{adoption, agents, certificates, decide};

/// Two certificates of one agent are this part of their life apart at least.
const GAP_PART: u32 = 20;

/// What came of the wish for a new certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// A certificate.
    Issued {
        /// With its chain, in PEM.
        chain: String,
    },
    /// None.
    Refused {
        /// What the agent can do.
        class: ErrorClass,
        /// Why.
        why: String,
        /// When it may ask again.
        again: Duration,
    },
}

/// What is known when an agent asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) state: AgentState,
    /// Of the certificate that the session shows; none of one that the registry does not know.
    pub(super) shown: Option<i64>,
    /// Of the last that the agent has for sure.
    pub(super) confirmed: i64,
    /// Since the last certificate was issued.
    pub(super) since_last: Duration,
    /// How long certificates live.
    pub(super) life: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Issue the next generation.
    Issue,
    /// Two have had the same key: nobody speaks with it until an administrator has looked.
    Lock,
    /// Not for this one.
    Deny(&'static str),
    /// Not so soon.
    Wait(Duration),
}

/// What becomes of a wish for a new certificate.
pub(super) fn decide(known: Known) -> Verdict {
    let Known { state, shown, confirmed, since_last, life } = known;
    let gap = life / GAP_PART;
    match (state, shown) {
        (AgentState::Active, None) => Verdict::Deny(
            "its certificate is not in the registry, which may have been put back: let its host join again with a token",
        ),
        (AgentState::Active, Some(shown)) if shown < confirmed => Verdict::Lock,
        (AgentState::Active, Some(_)) if since_last < gap => Verdict::Wait(gap.saturating_sub(since_last)),
        (AgentState::Active, Some(_)) => Verdict::Issue,
        (AgentState::Pending | AgentState::Suspended | AgentState::Revoked, _) => {
            Verdict::Deny("it may not speak")
        }
    }
}

/// The generation of a certificate of this agent.
fn generation(work: &Work<'_>, agent: AgentId, serial: &[u8]) -> rusqlite::Result<Option<i64>> {
    work.connection()
        .prepare_cached("SELECT generation FROM certificate WHERE serial = ?1 AND agent = ?2")?
        .query_row(params![serial, agent.as_bytes()], |row| row.get(0))
        .optional()
}

/// A session shows this certificate, or the agent says that it has it: whatever is older is a copy from now on.
pub(super) fn confirm(work: &mut Work<'_>, agent: AgentId, serial: &[u8]) -> rusqlite::Result<()> {
    let Some(shown) = generation(work, agent, serial)? else { return Ok(()) };
    work.connection()
        .prepare_cached("UPDATE agent SET confirmed = ?2 WHERE id = ?1 AND confirmed < ?2")?
        .execute(params![agent.as_bytes(), shown])?;
    Ok(())
}

/// Issues the next certificate for an agent that shows one of this serial number, or says why not.
pub(super) fn renew(
    work: &mut Work<'_>,
    (agent, serial): (AgentId, &[u8]),
    key: &PublicKey,
    issuer: &Issuer,
    actor: &Actor,
    now: Timestamp,
) -> rusqlite::Result<Result<Renewal, CaFolderError>> {
    let Some(entry) = agents::one(work.connection(), agent)? else {
        return Ok(Ok(denied("the agent is not known here: let its host join with a token")));
    };
    let shown = match generation(work, agent, serial)? {
        Some(shown) => Some(shown),
        None => adoption::adopt(work, &entry, serial, issuer.life(), actor, now)?,
    };
    let known = Known {
        state: entry.state,
        shown,
        confirmed: confirmed(work, agent)?,
        since_last: since_last(work, agent, now)?,
        life: issuer.life(),
    };
    let wish = Wish { action: "renew", entry: &entry, key, issuer, actor };
    wish.carry_out(work, known, decide(known), now)
}

/// A wish of an agent for its next certificate.
pub(super) struct Wish<'a> {
    /// What the audit log calls it.
    pub(super) action: &'static str,
    pub(super) entry: &'a AgentEntry,
    pub(super) key: &'a PublicKey,
    pub(super) issuer: &'a Issuer,
    pub(super) actor: &'a Actor,
}

impl Wish<'_> {
    /// Does what was decided.
    pub(super) fn carry_out(
        &self,
        work: &mut Work<'_>,
        known: Known,
        verdict: Verdict,
        now: Timestamp,
    ) -> rusqlite::Result<Result<Renewal, CaFolderError>> {
        let Wish { action: _, entry, key, issuer, actor } = *self;
        let agent = entry.agent;
        match verdict {
            Verdict::Issue => {
                let (signed, name) = match issuer.sign_agent(agent, &entry.host, key, now) {
                    Ok(signed) => signed,
                    Err(error) => return Ok(Err(error)),
                };
                if has_ended(signed.not_after, now) {
                    return Ok(Err(
                        PkiError::Authority("has ended: the site needs another issuing CA").into()
                    ));
                }
                certificates::insert(work.connection(), agent, &key.fingerprint(), &name, &signed, now)?;
                self.audit(work, known, "done", now)?;
                Ok(Ok(Renewal::Issued { chain: signed.certificate_pem }))
            }
            Verdict::Lock => {
                let after =
                    decide::change(Some(entry.state), decide::Wish::Suspend).unwrap_or(AgentState::Suspended);
                if let Ok(host) = HostName::parse(&entry.host) {
                    agents::set_state(work, agent, &host, after, now)?;
                }
                let why =
                    "locked: an older certificate than the last one asks, so somebody has a copy of its key";
                self.audit(work, known, why, now)?;
                tracing::error!(%agent, host = entry.host, address = actor.address, "{why}");
                Ok(Ok(denied(why)))
            }
            Verdict::Deny(why) => {
                self.audit(work, known, why, now)?;
                Ok(Ok(denied(why)))
            }
            Verdict::Wait(again) => {
                let why = "the last certificate was issued just now".to_owned();
                Ok(Ok(Renewal::Refused { class: ErrorClass::Busy, why, again }))
            }
        }
    }

    /// What became of it, for the audit log.
    pub(super) fn audit(
        &self,
        work: &Work<'_>,
        known: Known,
        outcome: &str,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let (shown, confirmed) = (known.shown.unwrap_or_default(), known.confirmed);
        let detail = format!("generation {shown}, the last confirmed is {confirmed}");
        work.audit(self.actor, self.action, &self.entry.agent.to_string(), &detail, outcome, now)
    }
}

pub(super) fn confirmed(work: &Work<'_>, agent: AgentId) -> rusqlite::Result<i64> {
    work.connection()
        .prepare_cached("SELECT confirmed FROM agent WHERE id = ?1")?
        .query_row([agent.as_bytes()], |row| row.get(0))
}

pub(super) fn since_last(work: &Work<'_>, agent: AgentId, now: Timestamp) -> rusqlite::Result<Duration> {
    let last: Option<i64> = work
        .connection()
        .prepare_cached("SELECT max(issued_us) FROM certificate WHERE agent = ?1 AND spki <> ?2")?
        .query_row(params![agent.as_bytes(), adoption::UNSEEN], |row| row.get(0))?;
    let since_us = last.map_or(i64::MAX, |last| now.as_micros().saturating_sub(last));
    // A clock that was set back makes nobody wait.
    Ok(u64::try_from(since_us).map_or(Duration::MAX, Duration::from_micros))
}

pub(super) fn denied(why: &str) -> Renewal {
    Renewal::Refused { class: ErrorClass::Denied, why: why.to_owned(), again: Duration::from_hours(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_hours(24 * 7);

    fn known(shown: Option<i64>, confirmed: i64) -> Known {
        Known { state: AgentState::Active, shown, confirmed, since_last: LIFE / 2, life: LIFE }
    }

    #[test]
    fn the_last_confirmed_certificate_and_an_unconfirmed_one_get_the_next_and_an_older_one_locks() {
        assert_eq!(decide(known(Some(3), 3)), Verdict::Issue);
        // The answer was lost, and the one before asks again.
        assert_eq!(decide(known(Some(4), 3)), Verdict::Issue);
        assert_eq!(decide(known(Some(2), 3)), Verdict::Lock);
        assert!(matches!(decide(known(None, 3)), Verdict::Deny(_)));
    }

    #[test]
    fn whoever_may_not_speak_gets_none_and_nobody_gets_two_at_once() {
        for state in [AgentState::Pending, AgentState::Suspended, AgentState::Revoked] {
            assert!(matches!(decide(Known { state, ..known(Some(3), 3) }), Verdict::Deny(_)), "{state:?}");
            // Not even a copy changes the state of one that is revoked.
            assert!(matches!(decide(Known { state, ..known(Some(1), 3) }), Verdict::Deny(_)), "{state:?}");
        }
        let soon = Known { since_last: LIFE / 40, ..known(Some(3), 3) };
        assert_eq!(decide(soon), Verdict::Wait(LIFE / 40));
        assert_eq!(decide(Known { since_last: LIFE / 20, ..soon }), Verdict::Issue);
    }
}
