//! What a failure of the store looks like to those who ask.

use hume_core::ErrorClass;
use hume_proto::web::Refusal;

use crate::store::StoreError;

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        let class = error.class();
        if class == ErrorClass::Internal {
            tracing::error!(error = &error as &dyn std::error::Error, "could not answer a question");
        }
        Refusal::new(class, error.to_string(), None)
    }
}
