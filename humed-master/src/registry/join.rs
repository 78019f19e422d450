//! A host joins: the rule, and the one transaction that uses the token up, enters the agent and issues its certificate.

use std::time::Duration;

use hume_core::{AgentId, HostName, Timestamp};
use hume_runtime::pki::{CaFolderError, PublicKey, Signed};
use wildmatch::WildMatch;

use super::desk::Work;
use super::types::{Actor, AgentState, NewToken, RegistryError, TokenEntry};
use super::{Registry, agents, certificates, tokens};

/// Whoever asks again with the same key within this time gets the same certificate: the answer may have been lost.
const ASK_AGAIN_MAX: Duration = Duration::from_mins(15);

/// What a host asks for.
#[derive(Clone, Debug)]
pub struct JoinWish {
    /// The token's name.
    pub token: String,
    /// The host it says it is.
    pub host: HostName,
    /// The key that is to be certified.
    pub key: PublicKey,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is in.
    Issued {
        /// Who it is from now on.
        agent: AgentId,
        /// Its certificate with its chain, in PEM.
        certificate_pem: String,
        /// When that ends.
        not_after: Timestamp,
    },
    /// Somebody must approve it first.
    Waits {
        /// Who it will be.
        agent: AgentId,
    },
}

/// Why a host may not join. The text is for the host, and tells nothing to somebody who has no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// There is no such token, or the secret is wrong.
    #[error("the token is unknown, or it was changed on its way")]
    WrongToken,
    /// Its time is over.
    #[error("the token has expired: make a new one with `humeconfig token new`")]
    Expired,
    /// It was used as often as it may be.
    #[error("the token was used already: make a new one with `humeconfig token new`")]
    Used,
    /// It was taken back.
    #[error("the token was taken back: make a new one with `humeconfig token new`")]
    TakenBack,
    /// It is for another host.
    #[error("the token is for another host: say which this is with --host, or make a token for it")]
    WrongHost,
    /// The agent that joined with it may not speak.
    #[error("the agent that joined with this token and key is suspended or revoked")]
    MayNotSpeak,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It may not join.
    #[error(transparent)]
    Refused(#[from] JoinRefusal),
    /// The certificate could not be made.
    #[error("the certificate could not be made")]
    Ca(#[from] CaFolderError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Issues a certificate for this agent, host and key; the issuer's name is the second.
pub type Sign =
    Box<dyn FnOnce(AgentId, &HostName, &PublicKey) -> Result<(Signed, String), CaFolderError> + Send>;
/// Whether the host has proved that it has the secret of the token with this public key.
pub type Proven = Box<dyn FnOnce(&[u8]) -> bool + Send>;

/// What the key and the token have led to before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Earlier<'a> {
    state: AgentState,
    host: &'a str,
    /// When a certificate was issued, if one was.
    issued_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// A new agent, in this state.
    Enter(AgentState),
    /// The one it became goes on waiting.
    Wait,
    /// The one it became was approved.
    Issue,
    /// The answer was lost.
    Repeat,
}

impl Registry {
    /// Makes a token known.
    /// # Errors
    /// [`RegistryError`].
    pub async fn add_token(
        &self,
        token: NewToken,
        actor: Actor,
        now: Timestamp,
    ) -> Result<(), RegistryError> {
        self.ask(move |desk| {
            desk.write(|work| {
                tokens::insert(work.connection(), &token, &actor.name, now)?;
                let host = token.host.as_deref().unwrap_or("any host");
                let detail = format!("for {host}, {} uses, until {}", token.uses, token.expires_at);
                work.audit(&actor, "token new", &token.id, &detail, "done", now)
            })
        })
        .await
    }

    /// All tokens, the newest first.
    /// # Errors
    /// [`RegistryError`].
    pub async fn tokens(&self) -> Result<Vec<TokenEntry>, RegistryError> {
        self.ask(|desk| desk.read(tokens::all)).await
    }

    /// Takes a token back; false if there is none of this name.
    /// # Errors
    /// [`RegistryError`].
    pub async fn take_token_back(
        &self,
        id: String,
        actor: Actor,
        now: Timestamp,
    ) -> Result<bool, RegistryError> {
        self.ask(move |desk| {
            desk.write(|work| {
                let known = tokens::one(work.connection(), &id)?.is_some();
                tokens::revoke(work.connection(), &id, now)?;
                work.audit(&actor, "token revoke", &id, "", if known { "done" } else { "unknown" }, now)?;
                Ok(known)
            })
        })
        .await
    }

    /// Lets a host join, or says why not; either is in the audit log.
    /// # Errors
    /// [`JoinError`]; the token is as it was then.
    pub async fn join(
        &self,
        wish: JoinWish,
        proven: Proven,
        sign: Sign,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Joined, JoinError> {
        self.ask(move |desk| {
            let mut failed = None;
            let written = desk.write(|work| match join(work, &wish, proven, sign, now)? {
                Ok((joined, told)) => {
                    if let Some(told) = told {
                        work.audit(&actor, "join", &wish.token, wish.host.as_str(), told, now)?;
                    }
                    Ok(Ok(joined))
                }
                Err(JoinError::Refused(why)) => {
                    work.audit(&actor, "join", &wish.token, wish.host.as_str(), &why.to_string(), now)?;
                    Ok(Err(JoinError::Refused(why)))
                }
                // Nothing of it is kept.
                Err(error) => {
                    failed = Some(error);
                    Err(rusqlite::Error::QueryReturnedNoRows)
                }
            });
            match failed {
                Some(error) => Ok(Err(error)),
                None => written,
            }
        })
        .await?
    }

    /// Puts a line into the audit log, of something that the registry was not asked for.
    /// # Errors
    /// [`RegistryError`].
    pub async fn note(
        &self,
        actor: Actor,
        action: &'static str,
        subject: String,
        outcome: String,
        now: Timestamp,
    ) -> Result<(), RegistryError> {
        self.ask(move |desk| desk.write(|work| work.audit(&actor, action, &subject, "", &outcome, now))).await
    }
}

/// What became of it, and what the audit log says of it, if anything.
fn join(
    work: &mut Work<'_>,
    wish: &JoinWish,
    proven: Proven,
    sign: Sign,
    now: Timestamp,
) -> rusqlite::Result<Result<(Joined, Option<&'static str>), JoinError>> {
    let spki = wish.key.fingerprint();
    let token = tokens::one(work.connection(), &wish.token)?;
    let token = token.filter(|token| proven(&token.key));
    let before = match tokens::joined(work.connection(), &wish.token, &spki)? {
        Some(agent) => agents::one(work.connection(), agent)?,
        None => None,
    };
    let certificate = match &before {
        Some(entry) => certificates::of_key(work.connection(), entry.agent, &spki)?,
        None => None,
    };
    let issued_at = certificate.as_ref().map(|certificate| certificate.issued_at);
    let earlier = before.as_ref().map(|entry| Earlier { state: entry.state, host: &entry.host, issued_at });
    let course = match decide(token.as_ref(), earlier, &wish.host, now) {
        Ok(course) => course,
        Err(why) => return Ok(Err(why.into())),
    };
    let agent = before.map_or_else(|| AgentId::mint(now, hume_runtime::random::bytes()), |entry| entry.agent);
    if let Course::Enter(state) = course {
        agents::set_state(work, agent, &wish.host, state, now)?;
        tokens::take(work.connection(), &wish.token, &spki, agent, now)?;
    }
    match (course, certificate) {
        (Course::Enter(AgentState::Pending), _) => {
            Ok(Ok((Joined::Waits { agent }, Some("waits for approval"))))
        }
        // It asks again and again; the log has it once.
        (Course::Wait, _) => Ok(Ok((Joined::Waits { agent }, None))),
        (Course::Repeat, Some(certificate)) => {
            let certificates::Kept { pem, not_after, issued_at: _ } = certificate;
            Ok(Ok((Joined::Issued { agent, certificate_pem: pem, not_after }, Some("answered again"))))
        }
        (Course::Enter(_) | Course::Issue | Course::Repeat, _) => {
            let (signed, issuer) = match sign(agent, &wish.host, &wish.key) {
                Ok(signed) => signed,
                Err(error) => return Ok(Err(error.into())),
            };
            certificates::insert(work.connection(), agent, &spki, &issuer, &signed, now)?;
            let Signed { certificate_pem, not_after, .. } = signed;
            Ok(Ok((Joined::Issued { agent, certificate_pem, not_after }, Some("done"))))
        }
    }
}

/// What follows. `token` is none unless the secret was proved.
fn decide(
    token: Option<&TokenEntry>,
    earlier: Option<Earlier<'_>>,
    host: &HostName,
    now: Timestamp,
) -> Result<Course, JoinRefusal> {
    let token = token.ok_or(JoinRefusal::WrongToken)?;
    if let Some(Earlier { state, host: joined_as, issued_at }) = earlier {
        if joined_as != host.as_str() {
            return Err(JoinRefusal::WrongHost);
        }
        let again_us = i64::try_from(ASK_AGAIN_MAX.as_micros()).unwrap_or(i64::MAX);
        return match (state, issued_at) {
            (AgentState::Suspended | AgentState::Revoked, _) => Err(JoinRefusal::MayNotSpeak),
            (AgentState::Pending, _) => Ok(Course::Wait),
            (AgentState::Active, None) => Ok(Course::Issue),
            (AgentState::Active, Some(at)) if now.micros_since(at) <= again_us => Ok(Course::Repeat),
            (AgentState::Active, Some(_)) => Err(JoinRefusal::Used),
        };
    }
    if token.revoked {
        return Err(JoinRefusal::TakenBack);
    }
    if now >= token.expires_at {
        return Err(JoinRefusal::Expired);
    }
    if token.uses_left == 0 {
        return Err(JoinRefusal::Used);
    }
    if token.host.as_ref().is_some_and(|pattern| !WildMatch::new(pattern).matches(host.as_str())) {
        return Err(JoinRefusal::WrongHost);
    }
    Ok(Course::Enter(if token.approve { AgentState::Pending } else { AgentState::Active }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn token() -> TokenEntry {
        TokenEntry {
            id: "t".to_owned(),
            host: Some("web*".to_owned()),
            approve: false,
            uses_left: 1,
            expires_at: at(3600),
            made_by: "uid 0".to_owned(),
            made_at: at(0),
            revoked: false,
            key: Vec::new(),
        }
    }

    fn host(name: &str) -> HostName {
        HostName::parse(name).unwrap()
    }

    #[test]
    fn a_token_lets_its_host_in_while_it_lives_and_no_other() {
        let of = |token: &TokenEntry, name, now| decide(Some(token), None, &host(name), at(now));
        assert_eq!(of(&token(), "web1", 3599), Ok(Course::Enter(AgentState::Active)));
        assert_eq!(of(&token(), "web1", 3600), Err(JoinRefusal::Expired));
        assert_eq!(of(&token(), "db1", 1), Err(JoinRefusal::WrongHost));
        assert_eq!(of(&TokenEntry { uses_left: 0, ..token() }, "web1", 1), Err(JoinRefusal::Used));
        assert_eq!(of(&TokenEntry { revoked: true, ..token() }, "web1", 1), Err(JoinRefusal::TakenBack));
        assert_eq!(
            of(&TokenEntry { host: None, ..token() }, "db1", 1),
            Ok(Course::Enter(AgentState::Active))
        );
        let waiting = TokenEntry { approve: true, ..token() };
        assert_eq!(of(&waiting, "web1", 1), Ok(Course::Enter(AgentState::Pending)));
        assert_eq!(decide(None, None, &host("web1"), at(1)), Err(JoinRefusal::WrongToken));
    }

    #[test]
    fn the_same_key_is_answered_again_for_a_while_and_never_after_it_may_not_speak() {
        let used = TokenEntry { uses_left: 0, revoked: true, ..token() };
        let of = |state, issued_at: Option<i64>, now| {
            let earlier = Earlier { state, host: "web1", issued_at: issued_at.map(at) };
            decide(Some(&used), Some(earlier), &host("web1"), at(now))
        };
        assert_eq!(of(AgentState::Active, Some(10), 910), Ok(Course::Repeat));
        assert_eq!(of(AgentState::Active, Some(10), 911), Err(JoinRefusal::Used));
        assert_eq!(of(AgentState::Active, None, 100_000), Ok(Course::Issue));
        assert_eq!(of(AgentState::Pending, None, 100_000), Ok(Course::Wait));
        for state in [AgentState::Suspended, AgentState::Revoked] {
            assert_eq!(of(state, Some(10), 11), Err(JoinRefusal::MayNotSpeak));
        }
        let earlier = Earlier { state: AgentState::Active, host: "web2", issued_at: Some(at(10)) };
        assert_eq!(decide(Some(&used), Some(earlier), &host("web1"), at(11)), Err(JoinRefusal::WrongHost));
    }
}
