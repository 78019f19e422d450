//! `/events`: a page of events, their number, or those that come.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hume_core::filter::EventFilter;
use hume_core::page::EventCursor;
use hume_proto::rest::{Count, EventJson, EventList, EventQuery, Following, page_items};
use hume_proto::web::{Params, Refusal};

use super::super::auth::Asker;
use super::super::problem;
use super::super::state::WebState;

pub(super) async fn list(
    State(state): State<WebState>,
    Extension(asker): Extension<Asker>,
    Params(query): Params<EventQuery>,
) -> Result<Response, Refusal> {
    let filter = EventFilter { scope: asker.scope, ..query.filter()? };
    let limit = page_items(query.limit)?;
    let after = query.cursor.as_deref().map(str::parse::<EventCursor>).transpose()?;
    if let Some(Following { after, wait }) = query.following()? {
        let read = |after| state.store.events_after(filter.clone(), limit, after);
        let found = state.followers.next(after, wait, state.store.end(), read).await;
        let found = found.map_err(problem::of_following)?;
        return Ok(Json(EventList {
            source: state.source(),
            events: found.items.iter().map(EventJson::from).collect(),
            next: Some(found.next.to_string()),
        })
        .into_response());
    }
    if query.count == Some(true) {
        let count = state.store.count_events(filter).await?;
        return Ok(Json(Count { source: state.source(), count }).into_response());
    }
    let page = state.store.events(filter, limit, after).await?;
    Ok(Json(EventList {
        source: state.source(),
        events: page.items.iter().map(EventJson::from).collect(),
        next: page.next.map(|cursor| cursor.to_string()),
    })
    .into_response())
}
