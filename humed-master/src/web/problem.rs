//! Failures as RFC 9457 problems: whatever goes wrong, the answer has one shape.

use axum::Json;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hume_core::{BoundError, ErrorClass};
use hume_proto::rest::Problem;

use crate::store::StoreError;

/// A question may be this long.
const URI_BYTES_MAX: usize = 16 * 1024;

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal(Problem);

impl Refusal {
    /// A failure of this class, because of the parameter `field` if there is one.
    pub(super) fn new(class: ErrorClass, detail: impl Into<String>, field: Option<&str>) -> Refusal {
        Refusal(Problem::new(class, detail, field))
    }

    /// An invalid request that HTTP has a word of its own for.
    fn of_http(status: StatusCode, detail: String) -> Refusal {
        let title = status.canonical_reason().unwrap_or_default().to_lowercase();
        Refusal(Problem { status: status.as_u16(), title, ..Problem::new(ErrorClass::Invalid, detail, None) })
    }
}

impl From<BoundError> for Refusal {
    fn from(error: BoundError) -> Refusal {
        Refusal::new(ErrorClass::Invalid, error.to_string(), Some(error.field))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        let class = error.class();
        if class == ErrorClass::Internal {
            tracing::error!(error = &error as &dyn std::error::Error, "could not answer a question");
        }
        Refusal::new(class, error.to_string(), None)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

/// There is nothing at this path.
pub(super) async fn not_found(uri: Uri) -> Refusal {
    Refusal::new(ErrorClass::NotFound, format!("there is nothing at {}", uri.path()), None)
}

/// There is something at this path, but not for this method.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    Refusal::of_http(StatusCode::METHOD_NOT_ALLOWED, format!("{} takes GET, not {method}", uri.path()))
}

/// Refuses questions that are too long to be meant.
pub(super) async fn bound_question(request: Request, next: Next) -> Response {
    let bytes = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    if bytes > URI_BYTES_MAX {
        let detail = format!("the question has {bytes} bytes; at most {URI_BYTES_MAX} are allowed");
        return Refusal::of_http(StatusCode::URI_TOO_LONG, detail).into_response();
    }
    next.run(request).await
}

/// No answer is to be kept by anything in between: it is true now.
pub(super) async fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
