//! `/audit`: a page of the log of who changed what, for administrators.

use axum::extract::State;
use axum::{Extension, Json};
use hume_core::ErrorClass;
use hume_core::scope::Role;
use hume_proto::rest::{AuditJson, AuditList, AuditQuery, page_items};
use hume_proto::web::{Params, Refusal};

use super::super::auth::Asker;
use super::super::state::WebState;
use crate::registry::{AuditFilter, AuditLine, RegistryError};

pub(super) async fn list(
    State(state): State<WebState>,
    Extension(asker): Extension<Asker>,
    Params(query): Params<AuditQuery>,
) -> Result<Json<AuditList>, Refusal> {
    asker.needs(Role::Admin)?;
    let limit = page_items(query.limit)?;
    let (since, until) = query.times()?;
    let filter = AuditFilter {
        since,
        until,
        actor: query.actor.clone(),
        action: query.action.clone(),
        below: query.border()?,
    };
    // One more than the page holds, to learn whether another page follows.
    let mut lines =
        state.registry.audit_lines(filter, limit + 1).await.map_err(|error| of_registry(&error))?;
    let more = lines.len() > limit;
    lines.truncate(limit);
    let next = lines.last().filter(|_| more).map(|line| AuditQuery::cursor_of(line.number));
    Ok(Json(AuditList { source: state.source(), lines: lines.into_iter().map(shown).collect(), next }))
}

fn of_registry(error: &RegistryError) -> Refusal {
    if error.class() == ErrorClass::Internal {
        tracing::error!(error = error as &dyn std::error::Error, "could not answer a question");
    }
    Refusal::new(error.class(), error.to_string(), None)
}

fn shown(line: AuditLine) -> AuditJson {
    let AuditLine { number, time, actor, action, subject, detail, outcome } = line;
    AuditJson { number, time, actor: actor.name, address: actor.address, action, subject, detail, outcome }
}
