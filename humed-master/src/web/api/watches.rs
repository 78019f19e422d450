//! `/watches`, `/slots`: what is expected, and what became of it.

use axum::extract::State;
use axum::{Extension, Json};
use hume_core::HostName;
use hume_core::name::WatchName;
use hume_proto::rest::{SlotJson, SlotList, SlotQuery, WatchJson, WatchList, page_items};
use hume_proto::web::{Nothing, Params, Refusal};

use super::super::auth::Asker;
use super::super::state::WebState;
use crate::store::{Roll, SlotFilter, SlotRecord, WatchRecord};

pub(super) async fn watches(
    State(state): State<WebState>,
    Extension(asker): Extension<Asker>,
    _: Params<Nothing>,
) -> Result<Json<WatchList>, Refusal> {
    let Roll { items, truncated } = state.store.watch_list(asker.scope).await?;
    let shown = |WatchRecord { name, task, schedule, hosts, next_at }| WatchJson {
        name,
        task,
        schedule,
        hosts,
        next_at,
    };
    let watches = items.into_iter().map(shown).collect();
    Ok(Json(WatchList { source: state.source(), watches, truncated }))
}

pub(super) async fn slots(
    State(state): State<WebState>,
    Extension(asker): Extension<Asker>,
    Params(query): Params<SlotQuery>,
) -> Result<Json<SlotList>, Refusal> {
    let limit = page_items(query.limit)?;
    let watch = query.watch.as_deref().map(WatchName::parse).transpose()?;
    let host = query.host.as_deref().map(HostName::parse).transpose()?;
    let filter = SlotFilter { watch, host, scope: asker.scope };
    let Roll { items, truncated } = state.store.slots(filter, limit).await?;
    let slots = items.into_iter().map(shown).collect();
    Ok(Json(SlotList { source: state.source(), slots, truncated }))
}

fn shown(record: SlotRecord) -> SlotJson {
    let SlotRecord { watch, host, slot } = record;
    SlotJson {
        watch,
        host,
        at: slot.at,
        due: slot.due,
        state: slot.state.as_str().to_owned(),
        reason: slot.state.reason().map(str::to_owned),
        run: slot.run.map(|run| run.id),
        started_at: slot.run.map(|run| run.started_at),
        ended_at: slot.run.and_then(|run| run.ended).map(|(at, _)| at),
        reported_late: slot.is_reported_late,
        overdue: slot.is_overdue,
    }
}
