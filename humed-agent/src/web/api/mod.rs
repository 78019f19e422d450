//! `/api/v1`: one file per kind of answer.

mod events;
mod inventory;
mod runs;

use axum::Router;
use axum::routing::get;
use hume_core::event::BootClock;
use hume_core::name::BootId;
use hume_core::run::Now;
use hume_proto::web::{not_found, wrong_method};
use hume_runtime::clock;

use super::state::Shared;

/// All paths below `/api/v1`.
pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/events", get(events::list))
        .route("/runs", get(runs::list))
        .route("/latest", get(runs::latest))
        .route("/tasks", get(inventory::tasks))
        .route("/hosts", get(inventory::hosts))
        .route("/agents", get(inventory::agents))
        .route("/status", get(inventory::status))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
}

/// The present on the host itself, where its boot clock is at hand.
fn now() -> Now {
    match clock::boot_id() {
        Some(boot) => {
            let boot = BootId::from_bytes(*boot.as_bytes());
            Now::here(clock::now(), BootClock { boot, micros: clock::boottime_us() })
        }
        None => Now::elsewhere(clock::now()),
    }
}
