//! Manners of a server of `/api/v1`, the same on every daemon: parameters whose errors name them, failures in one shape.
//!
//! Only with the feature `web`. What is asked and answered is in [`crate::rest`]; a daemon adds only how its own failures
//! become a [`Refusal`].

#![expect(clippy::unused_async, reason = "axum takes handlers and middleware that are async")]

use axum::Json;
use axum::extract::{FromRequestParts, OriginalUri, Query, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hume_core::{BoundError, ErrorClass};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::rest::Problem;

/// A question may be this long.
pub const URI_BYTES_MAX: usize = 16 * 1024;

/// Why a request is not answered: an RFC 9457 problem with the status of its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Box<Problem>);

impl Refusal {
    /// A failure of this class, because of the parameter `field` if there is one.
    pub fn new(class: ErrorClass, detail: impl Into<String>, field: Option<&str>) -> Refusal {
        Refusal(Box::new(Problem::new(class, detail, field)))
    }

    /// The problem as it is answered.
    pub fn problem(&self) -> &Problem {
        &self.0
    }

    /// An invalid request that HTTP has a word of its own for.
    fn of_http(status: StatusCode, detail: String) -> Refusal {
        let title = status.canonical_reason().unwrap_or_default().to_lowercase();
        let problem = Problem::new(ErrorClass::Invalid, detail, None);
        Refusal(Box::new(Problem { status: status.as_u16(), title, ..problem }))
    }
}

impl From<BoundError> for Refusal {
    fn from(error: BoundError) -> Refusal {
        Refusal::new(ErrorClass::Invalid, error.to_string(), Some(error.field))
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

/// The parameters of a question. One that is not known, given twice or out of its form is refused by its name.
#[derive(Clone, Copy, Debug)]
pub struct Params<T>(pub T);

/// No parameters at all.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Params<T>, Refusal> {
        params(&parts.uri).map(Params)
    }
}

/// The parameters of a question at this URI.
///
/// # Errors
/// [`Refusal`] with the name of the one that is wrong.
pub fn params<T: DeserializeOwned>(uri: &Uri) -> Result<T, Refusal> {
    match Query::<T>::try_from_uri(uri) {
        Ok(Query(params)) => Ok(params),
        Err(rejection) => Err(wrong_parameter(&rejection.body_text())),
    }
}

/// What the deserializer says: "Failed to deserialize query string: limit: invalid digit found in string", or "…: unknown
/// field `x`, expected …".
fn wrong_parameter(text: &str) -> Refusal {
    let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text);
    let quoted = |kind: &str| {
        let (_, rest) = text.split_once(kind)?;
        rest.split_once('`').map(|(name, _)| name)
    };
    if let Some(field) = quoted("unknown field `") {
        let expected =
            text.split_once(", expected ").map_or(String::new(), |(_, known)| format!("; known: {known}"));
        let known = expected.replace("one of ", "").replace('`', "");
        let detail = format!("there is no parameter {field}{known}");
        return Refusal::new(ErrorClass::Invalid, detail, Some(field));
    }
    if let Some(field) = quoted("duplicate field `") {
        return Refusal::new(ErrorClass::Invalid, format!("{field} is given twice"), Some(field));
    }
    match text.split_once(": ") {
        Some((field, why))
            if field.chars().all(|character| character.is_ascii_alphanumeric() || character == '_') =>
        {
            Refusal::new(ErrorClass::Invalid, format!("{field} is wrong: {why}"), Some(field))
        }
        _ => Refusal::new(ErrorClass::Invalid, text.to_owned(), None),
    }
}

/// There is nothing at this path.
pub async fn not_found(OriginalUri(uri): OriginalUri) -> Refusal {
    Refusal::new(ErrorClass::NotFound, format!("there is nothing at {}", uri.path()), None)
}

/// There is something at this path, but not for this method.
pub async fn wrong_method(method: Method, OriginalUri(uri): OriginalUri) -> Refusal {
    Refusal::of_http(StatusCode::METHOD_NOT_ALLOWED, format!("{} takes GET, not {method}", uri.path()))
}

/// Refuses questions that are too long to be meant.
pub async fn bound_question(request: Request, next: Next) -> Response {
    let bytes = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    if bytes > URI_BYTES_MAX {
        let detail = format!("the question has {bytes} bytes; at most {URI_BYTES_MAX} are allowed");
        return Refusal::of_http(StatusCode::URI_TOO_LONG, detail).into_response();
    }
    next.run(request).await
}

/// No answer is to be kept by anything in between: it is true now.
pub async fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
