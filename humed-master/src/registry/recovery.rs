//! An agent whose certificate has ended gets the next one, if that was not too long ago and nothing else speaks against it.
//!
//! The certificate that is shown must be, byte for byte, one that the registry has: a CA that was stolen makes none that is good
//! here. One that ended too long ago has no power, not even to lock its agent; else the rule of `renewal.rs` holds. One that has not
//! begun was made while the clock of this master was ahead, and is as useless as one that has just ended. Deciding is pure.

use std::time::Duration;

use hume_core::{AgentId, ErrorClass, Timestamp};
use hume_runtime::pki::{CaFolderError, PublicKey};
use hume_runtime::recovery::{Proven, has_ended};
use hume_runtime::tls;
use rusqlite::{OptionalExtension as _, params};

use super::agents;
use super::desk::Work;
use super::issuer::Issuer;
use super::renewal::{self, Known, Renewal, Verdict, Wish, denied};
use super::types::{Actor, AgentState};

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// The answer was lost: this key has got the newest certificate already.
    Repeat,
    /// The certificate is as good as ever.
    NotEnded,
    /// As for a renewal.
    Renewal(Verdict),
}

/// What is known when an agent asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    known: Known,
    /// Since the certificate that is shown has ended; nothing if it has not begun, none if it is good.
    ended_for: Option<Duration>,
    /// For so long it can be recovered.
    grace: Duration,
    /// The newest certificate is one for the same new key, and lives.
    has_newest: bool,
}

/// What becomes of an agent that shows a certificate which should have ended.
fn decide(asked: Asked) -> Course {
    let Asked { known, ended_for, grace, has_newest } = asked;
    let deny = |why| Course::Renewal(Verdict::Deny(why));
    let Known { state, shown, confirmed, .. } = known;
    match state {
        AgentState::Active => {}
        AgentState::Pending => {
            return deny("it waits for approval: `humeconfig agents approve` on the master");
        }
        AgentState::Suspended => {
            return deny("it is suspended: `humeconfig agents approve` on the master lets it speak again");
        }
        AgentState::Revoked => {
            return deny("it is revoked: its host must join again (`humeconfig join --force`)");
        }
    }
    let Some(ended_for) = ended_for else { return Course::NotEnded };
    if ended_for > grace {
        return deny(
            "it ended too long ago: raise `enroll.grace` on the master for as long as this takes, or let its host join again (`humeconfig join --force`)",
        );
    }
    match shown {
        Some(shown) if shown >= confirmed && has_newest => Course::Repeat,
        _ => Course::Renewal(renewal::decide(known)),
    }
}

/// How long this certificate has been over; nothing if it has not begun, none if it is good.
fn ended_for(shown: &Proven, now: Timestamp) -> Option<Duration> {
    let (since, until) = (shown.since, shown.agent.not_after);
    let is_good = now >= since && !has_ended(until, now);
    let ended_us = now.micros_since(until).max(0);
    (!is_good).then(|| Duration::from_micros(u64::try_from(ended_us).unwrap_or_default()))
}

/// The newest certificate of an agent.
struct Newest {
    spki: String,
    pem: String,
    generation: i64,
    not_after: Timestamp,
}

fn newest(work: &Work<'_>, agent: AgentId) -> rusqlite::Result<Option<Newest>> {
    work.connection()
        .prepare_cached(
            "SELECT spki, pem, generation, not_after_us FROM certificate WHERE agent = ?1 \
             ORDER BY generation DESC LIMIT 1",
        )?
        .query_row([agent.as_bytes()], |row| {
            Ok(Newest {
                spki: row.get(0)?,
                pem: row.get(1)?,
                generation: row.get(2)?,
                not_after: Timestamp::from_micros(row.get(3)?),
            })
        })
        .optional()
}

/// The generation of the certificate that is shown, if it is one of the registry's.
fn generation(work: &Work<'_>, agent: AgentId, shown: &Proven) -> rusqlite::Result<Option<i64>> {
    let kept: Option<(i64, String)> = work
        .connection()
        .prepare_cached("SELECT generation, pem FROM certificate WHERE serial = ?1 AND agent = ?2")?
        .query_row(params![shown.agent.serial, agent.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let is_same = |pem: &str| {
        tls::first_of_pem(pem).is_ok_and(|certificate| tls::fingerprint(&certificate) == shown.fingerprint)
    };
    Ok(kept.filter(|(_, pem)| is_same(pem)).map(|(generation, _)| generation))
}

/// Issues the next certificate, for this key, to an agent that proved to have the key of one that has ended; or says why not.
/// A refusal is not in the audit log: the agent asks again and again.
pub(super) fn recover(
    work: &mut Work<'_>,
    shown: &Proven,
    key: &PublicKey,
    (issuer, grace): (&Issuer, Duration),
    actor: &Actor,
    now: Timestamp,
) -> rusqlite::Result<Result<Renewal, CaFolderError>> {
    let agent = AgentId::from(shown.agent.id);
    let Some(entry) = agents::one(work.connection(), agent)? else {
        return Ok(Ok(denied("it is not known here: let its host join again (`humeconfig join --force`)")));
    };
    let known = Known {
        state: entry.state,
        shown: generation(work, agent, shown)?,
        confirmed: renewal::confirmed(work, agent)?,
        since_last: renewal::since_last(work, agent, now)?,
        life: issuer.life(),
    };
    let newest = newest(work, agent)?;
    let repeated = newest.filter(|newest| {
        newest.spki == key.fingerprint()
            && known.shown.is_some_and(|shown| shown < newest.generation)
            && !has_ended(newest.not_after, now)
    });
    let asked = Asked { known, ended_for: ended_for(shown, now), grace, has_newest: repeated.is_some() };
    let wish = Wish { action: "recover", entry: &entry, key, issuer, actor };
    match (decide(asked), repeated) {
        (Course::Repeat, Some(newest)) => {
            wish.audit(work, known, "answered again", now)?;
            Ok(Ok(Renewal::Issued { chain: newest.pem }))
        }
        (Course::NotEnded, _) => Ok(Ok(Renewal::Refused {
            class: ErrorClass::Conflict,
            why: "it has not ended: it is renewed over the session".to_owned(),
            again: Duration::ZERO,
        })),
        (Course::Renewal(Verdict::Deny(why)), _) => Ok(Ok(denied(why))),
        (Course::Renewal(verdict), _) => wish.carry_out(work, known, verdict, now),
        (Course::Repeat, None) => unreachable!("nothing is repeated that is not there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const LIFE: Duration = Duration::from_hours(7 * 24);

    fn asked(shown: Option<i64>, confirmed: i64, ended_days: Option<u32>) -> Asked {
        let known = Known { state: AgentState::Active, shown, confirmed, since_last: 2 * LIFE, life: LIFE };
        Asked { known, ended_for: ended_days.map(|days| days * DAY), grace: 30 * DAY, has_newest: false }
    }

    #[test]
    fn a_certificate_is_good_from_its_beginning_through_its_last_second() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let agent = tls::PeerAgent {
            trust_domain: String::new(),
            id: uuid::Uuid::nil(),
            not_after: at(200),
            serial: Vec::new(),
        };
        let shown = Proven { agent, since: at(100), fingerprint: String::new() };
        for (now, expected) in [(99, Some(0)), (100, None), (200, None), (201, Some(1)), (260, Some(60))] {
            assert_eq!(ended_for(&shown, at(now)), expected.map(Duration::from_secs), "{now}");
        }
    }

    fn is_denied(course: Course) -> bool {
        matches!(course, Course::Renewal(Verdict::Deny(_)))
    }

    #[test]
    fn a_certificate_is_recovered_until_the_grace_is_over_and_not_before_it_has_ended() {
        let issue = Course::Renewal(Verdict::Issue);
        for (ended, expected) in [(None, Course::NotEnded), (Some(0), issue), (Some(30), issue)] {
            assert_eq!(decide(asked(Some(3), 3, ended)), expected, "{ended:?}");
        }
        assert!(is_denied(decide(asked(Some(3), 3, Some(31)))));
        // Without a grace none is recovered.
        let off = Asked { grace: Duration::ZERO, ..asked(Some(3), 3, Some(1)) };
        assert!(is_denied(decide(off)));
    }

    #[test]
    fn an_older_certificate_locks_its_agent_within_the_grace_and_has_no_power_after_it() {
        assert_eq!(decide(asked(Some(2), 3, Some(5))), Course::Renewal(Verdict::Lock));
        assert!(is_denied(decide(asked(Some(2), 3, Some(31)))));
        // Nor while it has not ended: that is the session's to judge.
        assert_eq!(decide(asked(Some(2), 3, None)), Course::NotEnded);
        // A copy does not get the answer of the one that it was copied from.
        let copy = Asked { has_newest: true, ..asked(Some(2), 3, Some(5)) };
        assert_eq!(decide(copy), Course::Renewal(Verdict::Lock));
    }

    #[test]
    fn a_certificate_that_the_registry_does_not_have_and_an_agent_that_may_not_speak_get_nothing() {
        assert!(is_denied(decide(asked(None, 3, Some(5)))));
        for state in [AgentState::Pending, AgentState::Suspended, AgentState::Revoked] {
            for (shown, ended) in [(Some(3), Some(5)), (Some(2), Some(5)), (Some(3), None)] {
                let mut one = asked(shown, 3, ended);
                one.known.state = state;
                assert!(is_denied(decide(Asked { has_newest: true, ..one })), "{state:?}");
            }
        }
    }

    #[test]
    fn an_answer_that_was_lost_is_repeated_for_its_key_and_another_key_waits() {
        let mut lost = asked(Some(3), 3, Some(5));
        lost.known.since_last = Duration::from_secs(10);
        assert_eq!(decide(Asked { has_newest: true, ..lost }), Course::Repeat);
        assert!(matches!(decide(lost), Course::Renewal(Verdict::Wait(_))));
    }
}
