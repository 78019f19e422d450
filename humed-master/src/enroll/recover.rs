//! One agent whose certificate has ended: the proof is checked, the registry decides, the answer is told once.
//!
//! Who proves nothing counts against its address, as a host that may not join. Who proves to be an agent and is refused does not: it
//! asks again and again, and hosts behind the same address are not to suffer for it.

use std::sync::PoisonError;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::{Extension, Json};
use hume_core::{AgentId, ErrorClass};
use hume_proto::join::RecoverAnswer;
use hume_proto::web::Refusal;
use hume_runtime::clock;
use hume_runtime::pki::PublicKey;
use hume_runtime::recovery::{self, Proven};
use hume_runtime::tls::Roots;

use super::handler::{Connection, failed, note, too_long, turn};
use super::{Enroll, request};
use crate::metrics::Refused;
use crate::registry::{Actor, Renewal};

/// What the audit log calls it.
const ACTION: &str = "recover";

pub(super) async fn recover(
    State(enroll): State<Enroll>,
    Extension(connection): Extension<Connection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<RecoverAnswer>, Refusal> {
    let address = connection.peer.ip();
    let stranger = Actor { name: "a host".to_owned(), address: address.to_string() };
    turn(&enroll, (address, &stranger), (ACTION, Refused::Recovery)).await?;
    let read = body.as_deref().map_err(too_long).and_then(|body| read(&enroll, &connection, body));
    let (proven, key) = match read {
        Ok(read) => read,
        Err(why) => {
            failed(&enroll, address);
            (enroll.tell)(Refused::Recovery, address, &why);
            note(&enroll, stranger, ACTION, String::new(), why.clone()).await;
            return Err(Refusal::new(ErrorClass::Unauthenticated, why, None));
        }
    };
    let agent = AgentId::from(proven.agent.id);
    let actor = Actor { name: format!("agent {agent}"), address: address.to_string() };
    let (issuer, grace) = (enroll.issuer.clone(), enroll.grace);
    let recovered = enroll.registry.recover(proven, key, (issuer, grace), actor.clone(), clock::now()).await;
    let (class, why) = match recovered {
        Ok(Renewal::Issued { chain }) => {
            tracing::info!(%agent, %address, "an agent whose certificate had ended has a new one");
            enroll.metrics.recovered();
            return Ok(Json(RecoverAnswer { certificate: chain, master_time: clock::now() }));
        }
        Ok(Renewal::Refused { class, why, again: _ }) => (class, why),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, %agent, "an agent could not be recovered");
            (error.class(), error.to_string())
        }
    };
    enroll.metrics.refused(Refused::Recovery);
    let is_news =
        enroll.told.lock().unwrap_or_else(PoisonError::into_inner).is_news(agent, &why, Instant::now());
    if is_news {
        tracing::warn!(%agent, %address, reason = why, "refused to recover an agent");
        note(&enroll, actor, ACTION, agent.to_string(), why.clone()).await;
    }
    Err(Refusal::new(class, why, None))
}

/// Who asks, and for which key, if both are proved.
fn read(enroll: &Enroll, connection: &Connection, body: &[u8]) -> Result<(Proven, PublicKey), String> {
    let (chain, key, proof) = request::recovery(body)?;
    let channel = connection.channel.ok_or_else(|| "the connection cannot be named".to_owned())?;
    let roots = Roots::from_pem(&enroll.issuer.root_pem()).map_err(|error| error.to_string())?;
    let proven =
        recovery::check(&roots, &chain, &channel, &key.spki(), &proof).map_err(|error| error.to_string())?;
    Ok((proven, key))
}
