//! Every failure is an `application/problem+json` with the status of its class.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hume_core::{BoundError, ErrorClass};
use hume_proto::rest::Problem;
use tracing::error;

use crate::spool::SpoolError;

/// A failed request.
#[derive(Debug)]
pub(super) struct Failure(Box<Problem>);

impl Failure {
    pub(super) fn new(class: ErrorClass, detail: impl Into<String>) -> Failure {
        Failure(Box::new(Problem::new(class, detail, None)))
    }

    /// A failure with a status of its own, such as 405.
    pub(super) fn with_status(mut self, status: StatusCode) -> Failure {
        self.0.status = status.as_u16();
        self
    }
}

impl From<BoundError> for Failure {
    fn from(error: BoundError) -> Failure {
        Failure(Box::new(Problem::new(ErrorClass::Invalid, error.to_string(), Some(error.field))))
    }
}

impl From<SpoolError> for Failure {
    fn from(error: SpoolError) -> Failure {
        error!(%error, "could not answer a question");
        Failure::new(error.class(), error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}
