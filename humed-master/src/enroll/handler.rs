//! One host's wish to join: checked, given to the registry, answered; whatever goes wrong counts against its address.

use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::{Extension, Json};
use hume_core::{AgentId, ErrorClass, HostName};
use hume_proto::join::JoinAnswer;
use hume_proto::web::Refusal;
use hume_runtime::clock;
use hume_runtime::pki::PublicKey;
use hume_runtime::pki::join::{CHANNEL_BYTES, is_proof};

use super::throttle::Turn;
use super::{BODY_BYTES_MAX, Enroll, request};
use crate::metrics::Refused;
use crate::registry::{Actor, JoinError, JoinRefusal, JoinWish, Joined, Proven, Sign};

/// What the audit log calls it.
const ACTION: &str = "join";

/// What the handler knows of the connection.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    /// What the two ends derive from it; none if that failed.
    pub(super) channel: Option<[u8; CHANNEL_BYTES]>,
}

pub(super) async fn join(
    State(enroll): State<Enroll>,
    Extension(connection): Extension<Connection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<JoinAnswer>, Refusal> {
    let address = connection.peer.ip();
    let actor = Actor { name: "a host".to_owned(), address: address.to_string() };
    turn(&enroll, (address, &actor), (ACTION, Refused::Join)).await?;
    let joined = answer(&enroll, &connection, actor, body.as_deref()).await;
    if let Err(refusal) = &joined {
        (enroll.tell)(Refused::Join, address, &refusal.problem().detail);
        if refusal.problem().code != ErrorClass::Internal.as_str() {
            failed(&enroll, address);
        }
    }
    joined.map(Json)
}

/// Whoever failed too often has to wait; that is counted, and told once a minute.
pub(super) async fn turn(
    enroll: &Enroll,
    (address, actor): (IpAddr, &Actor),
    (action, refused): (&'static str, Refused),
) -> Result<(), Refusal> {
    let turn = enroll.throttle.lock().unwrap_or_else(PoisonError::into_inner).turn(address, Instant::now());
    let Turn::Later { is_news } = turn else { return Ok(()) };
    (enroll.tell)(refused, address, "it failed too often, and waits");
    if is_news {
        note(enroll, actor.clone(), action, String::new(), "failed too often").await;
    }
    Err(Refusal::new(ErrorClass::Busy, "too many failures: try again in a minute", None))
}

/// A failure counts against its address.
pub(super) fn failed(enroll: &Enroll, address: IpAddr) {
    enroll.throttle.lock().unwrap_or_else(PoisonError::into_inner).failed(address, Instant::now());
}

async fn answer(
    enroll: &Enroll,
    connection: &Connection,
    actor: Actor,
    body: Result<&[u8], &BytesRejection>,
) -> Result<JoinAnswer, Refusal> {
    let (wish, proven) = match body.map_err(too_long).and_then(|body| read(connection, body)) {
        Ok(read) => read,
        Err(why) => {
            note(enroll, actor, ACTION, String::new(), "the request is wrong").await;
            return Err(Refusal::new(ErrorClass::Invalid, why, None));
        }
    };
    let host = wish.host.clone();
    let issuer = enroll.issuer.clone();
    let sign: Sign = Box::new(move |agent: AgentId, host: &HostName, key: &PublicKey| {
        issuer.sign_agent(agent, host.as_str(), key, clock::now())
    });
    let joined = enroll.registry.join(wish, proven, sign, actor.clone(), clock::now()).await;
    let (agent, certificate, certificate_expires_at) = match joined.map_err(|error| refusal(&error))? {
        Joined::Issued { agent, certificate_pem, not_after } => {
            tracing::info!(%agent, host = host.as_str(), address = actor.address, "a host has joined");
            (agent, Some(certificate_pem), Some(not_after))
        }
        Joined::Waits { agent } => {
            tracing::info!(%agent, host = host.as_str(), address = actor.address, "a host waits for approval");
            (agent, None, None)
        }
    };
    let (root, relay_port) = (enroll.issuer.root_pem(), enroll.relay_port);
    Ok(JoinAnswer { agent, certificate, certificate_expires_at, root, relay_port })
}

pub(super) fn too_long(_: &BytesRejection) -> String {
    format!("the request is not whole, or beyond {BODY_BYTES_MAX} bytes")
}

/// What is asked, and whether the secret is proved.
fn read(connection: &Connection, body: &[u8]) -> Result<(JoinWish, Proven), String> {
    let (wish, proof) = request::wish(body)?;
    let (channel, spki) = (connection.channel, wish.key.spki());
    let proven: Proven = Box::new(move |public_key: &[u8]| {
        channel.is_some_and(|channel| is_proof(public_key, &channel, &spki, &proof))
    });
    Ok((wish, proven))
}

fn refusal(error: &JoinError) -> Refusal {
    let class = match error {
        JoinError::Refused(JoinRefusal::WrongToken) => ErrorClass::Unauthenticated,
        JoinError::Refused(_) => ErrorClass::Denied,
        JoinError::Registry(error) => error.class(),
        JoinError::Ca(_) => ErrorClass::Internal,
    };
    if class == ErrorClass::Internal {
        tracing::error!(error = error as &dyn std::error::Error, "a host could not join");
    }
    Refusal::new(class, error.to_string(), None)
}

/// A line of the audit log.
pub(super) async fn note(
    enroll: &Enroll,
    actor: Actor,
    action: &'static str,
    subject: String,
    outcome: impl Into<String>,
) {
    if let Err(error) = enroll.registry.note(actor, action, subject, outcome.into(), clock::now()).await {
        tracing::error!(error = &error as &dyn std::error::Error, "an attempt is not in the audit log");
    }
}
