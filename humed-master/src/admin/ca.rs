//! The CA, for root and the master's own user alone: whoever has its key makes agents.

use axum::body::Bytes;
use axum::extract::State;
use axum::{Extension, Json};
use hume_core::ErrorClass;
use hume_proto::admin::{AdminCa, AdminCertificate, AdminRootKey, AdminRootKeyRemoval, AdminRotation};
use hume_runtime::pki::Summary;
use hume_runtime::secret::SecretText;
use serde::de::DeserializeOwned;

use super::problem::Trouble;
use super::{Admin, Caller};
use crate::ca::{CaError, CaState};
use crate::registry::Actor;

pub(super) async fn show(State(admin): State<Admin>) -> Result<Json<AdminCa>, Trouble> {
    Ok(Json(told(admin.ca.state().await?)))
}

pub(super) async fn rotate(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Extension(actor): Extension<Actor>,
    body: Bytes,
) -> Result<Json<AdminCa>, Trouble> {
    caller.needs_owner()?;
    let AdminRotation { instead_of, root_key } = wish(&body)?;
    let state = admin.ca.rotate(instead_of, root_key.map(SecretText::new), actor).await?;
    Ok(Json(told(state)))
}

pub(super) async fn root_key(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Extension(actor): Extension<Actor>,
    _: Bytes,
) -> Result<Json<AdminRootKey>, Trouble> {
    caller.needs_owner()?;
    let key = admin.ca.root_key(actor).await?;
    Ok(Json(AdminRootKey { key: key.expose().to_owned() }))
}

pub(super) async fn remove_root_key(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Extension(actor): Extension<Actor>,
    body: Bytes,
) -> Result<Json<AdminCa>, Trouble> {
    caller.needs_owner()?;
    let AdminRootKeyRemoval { copy_sha256 } = wish(&body)?;
    Ok(Json(told(admin.ca.remove_root_key(copy_sha256, actor).await?)))
}

/// What is wished for. An error says where it is wrong, and nothing of what stands there.
fn wish<T: DeserializeOwned>(body: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Trouble::new(ErrorClass::Invalid, format!("the order is wrong at line {line}, column {column}"))
    })
}

fn told(state: CaState) -> AdminCa {
    let CaState {
        trust_domain,
        root_pem,
        root,
        has_root_key,
        issuing,
        rotation_due,
        earlier,
        master,
        trouble,
    } = state;
    AdminCa {
        trust_domain,
        root: certificate(root),
        root_pem,
        root_key_here: has_root_key,
        issuing: certificate(issuing),
        rotation_due_at: rotation_due,
        earlier: earlier.into_iter().map(certificate).collect(),
        master: certificate(master),
        trouble,
    }
}

fn certificate(summary: Summary) -> AdminCertificate {
    let Summary { fingerprint, not_before, not_after } = summary;
    AdminCertificate { fingerprint, begins_at: not_before, ends_at: not_after }
}

impl From<CaError> for Trouble {
    fn from(error: CaError) -> Trouble {
        if error.class() == ErrorClass::Internal {
            tracing::error!(error = &error as &dyn std::error::Error, "an order about the CA failed");
        }
        Trouble::new(error.class(), error.to_string())
    }
}
