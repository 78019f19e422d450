//! What a failure of the spool looks like to those who ask.

use hume_core::ErrorClass;
use hume_proto::web::Refusal;
use hume_runtime::follow::FollowError;
use tracing::error;

use crate::spool::SpoolError;

impl From<SpoolError> for Refusal {
    fn from(error: SpoolError) -> Refusal {
        let class = error.class();
        if class == ErrorClass::Internal {
            error!(error = &error as &dyn std::error::Error, "could not answer a question");
        }
        let field = matches!(error, SpoolError::Beyond).then_some("after");
        Refusal::new(class, error.to_string(), field)
    }
}

/// What a failure to follow looks like.
pub(super) fn of_following(error: FollowError<SpoolError>) -> Refusal {
    match error {
        FollowError::Full { .. } => Refusal::new(ErrorClass::Busy, error.to_string(), None),
        FollowError::Read(error) => error.into(),
    }
}
