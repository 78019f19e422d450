//! What a failure of the store looks like to those who ask.

use hume_core::ErrorClass;
use hume_proto::web::Refusal;
use hume_runtime::follow::FollowError;

use crate::store::StoreError;

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        let class = error.class();
        if class == ErrorClass::Internal {
            tracing::error!(error = &error as &dyn std::error::Error, "could not answer a question");
        }
        let field = matches!(error, StoreError::Beyond).then_some("after");
        Refusal::new(class, error.to_string(), field)
    }
}

/// What a failure to follow looks like.
pub(super) fn of_following(error: FollowError<StoreError>) -> Refusal {
    match error {
        FollowError::Full { .. } => Refusal::new(ErrorClass::Busy, error.to_string(), None),
        FollowError::Read(error) => error.into(),
    }
}
