//! `/events`: a page of events, their number, or those that come.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hume_core::page::EventCursor;
use hume_proto::rest::{Count, EventJson, EventList, EventQuery, Following, page_items};
use hume_proto::web::{Params, Refusal};

use super::super::problem;
use super::super::state::{Caller, Shared};

pub(super) async fn list(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Params(asked): Params<EventQuery>,
) -> Result<Response, Refusal> {
    let filter = asked.filter()?;
    let limit = page_items(asked.limit)?;
    let before = asked.cursor.as_deref().map(str::parse::<EventCursor>).transpose()?;
    let (source, viewer) = (shared.source(), caller.viewer());
    if let Some(Following { after, wait }) = asked.following()? {
        let read = |after| shared.reader.events_after(filter.clone(), viewer, after, limit);
        let found = shared.followers.next(after, wait, shared.writer.tail(), read).await;
        let found = found.map_err(problem::of_following)?;
        let events = found.items.iter().map(EventJson::from).collect();
        return Ok(Json(EventList { source, events, next: Some(found.next.to_string()) }).into_response());
    }
    if asked.count == Some(true) {
        let count = shared.reader.count_events(filter, viewer).await?;
        return Ok(Json(Count { source, count }).into_response());
    }
    let page = shared.reader.events(filter, viewer, before, limit).await?;
    let events = page.items.iter().map(EventJson::from).collect();
    Ok(Json(EventList { source, events, next: page.next.map(|next| next.to_string()) }).into_response())
}
