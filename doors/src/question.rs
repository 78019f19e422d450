//! What is asked of `/api/v1`: parameters and cursors. A wrong one is named; a right one means the same when it is asked again.

use std::str::FromStr;

use axum::http::Uri;
use hume_core::BoundError;
use hume_core::event::TAGS_MAX;
use hume_core::filter::Latest;
use hume_core::page::{After, EventCursor, PAGE_ITEMS_MAX, RunCursor};
use hume_proto::rest::{EventQuery, RunQuery, WAIT_SECONDS_MAX, page_items};
use hume_proto::web::{Refusal, URI_BYTES_MAX, params};

pub(crate) fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for path in ["/api/v1/events", "/api/v1/runs"] {
        let Ok(uri) = Uri::from_str(&format!("{path}?{text}")) else { continue };
        if uri.path_and_query().is_some_and(|asked| asked.as_str().len() > URI_BYTES_MAX) {
            continue;
        }
        if path.ends_with("events") { events(&uri) } else { runs(&uri) }
    }
}

fn events(uri: &Uri) {
    let Some(asked) = taken(params::<EventQuery>(uri)) else { return };
    if let Ok(filter) = asked.filter() {
        assert!(filter.tags.len() <= TAGS_MAX);
        let again = EventQuery::from_filter(&filter);
        assert_eq!(again.filter().as_ref(), Ok(&filter), "what was understood can be asked again");
    }
    if let Ok(Some(following)) = asked.following() {
        assert!(following.wait.as_secs() <= WAIT_SECONDS_MAX);
        reads_back(&following.after);
    }
    limited(asked.limit);
    if let Some(cursor) = &asked.cursor {
        cursors(cursor);
    }
}

fn runs(uri: &Uri) {
    let Some(asked) = taken(params::<RunQuery>(uri)) else { return };
    for latest in [Latest::No, Latest::PerTaskAndHost] {
        if let Ok(filter) = asked.filter(latest) {
            assert_eq!(RunQuery::from_filter(&filter).filter(latest).as_ref(), Ok(&filter));
        }
    }
    limited(asked.limit);
    if let Some(cursor) = &asked.cursor {
        cursors(cursor);
    }
}

fn taken<T>(asked: Result<T, Refusal>) -> Option<T> {
    asked
        .map_err(|refusal| {
            let problem = refusal.problem();
            assert_eq!((problem.status, problem.code.as_str()), (400, "invalid"));
            // A field that is not known is told with those that are.
            assert!(problem.detail.len() <= URI_BYTES_MAX + 1024);
        })
        .ok()
}

fn limited(limit: Option<usize>) {
    if let Ok(items) = page_items(limit) {
        assert!((1..=PAGE_ITEMS_MAX).contains(&items));
    }
}

pub(crate) fn cursor(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        cursors(text);
    }
}

fn cursors(text: &str) {
    if let Ok(cursor) = text.parse::<EventCursor>() {
        assert!(cursor >= EventCursor::START && EventCursor::above(cursor.0) >= cursor);
        reads_back(&cursor);
    }
    if let Ok(cursor) = text.parse::<After>() {
        reads_back(&cursor);
    }
    if let Ok(cursor) = text.parse::<RunCursor>() {
        reads_back(&cursor);
    }
}

fn reads_back<T: FromStr<Err = BoundError> + std::fmt::Display + std::fmt::Debug + PartialEq>(cursor: &T) {
    assert_eq!(cursor.to_string().parse::<T>().as_ref(), Ok(cursor));
}
