//! `/api/v1`: one file per kind of answer.

mod audit;
mod events;
mod inventory;
mod runs;
mod watches;

use axum::Router;
use axum::routing::get;
use hume_proto::web::{not_found, wrong_method};

use super::state::WebState;

/// All paths below `/api/v1`.
pub(super) fn router() -> Router<WebState> {
    Router::new()
        .route("/events", get(events::list))
        .route("/runs", get(runs::list))
        .route("/latest", get(runs::latest))
        .route("/tasks", get(inventory::tasks))
        .route("/hosts", get(inventory::hosts))
        .route("/agents", get(inventory::agents))
        .route("/status", get(inventory::status))
        .route("/watches", get(watches::watches))
        .route("/slots", get(watches::slots))
        .route("/audit", get(audit::list))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
}
