//! What a failure of the spool looks like to those who ask.

use hume_core::ErrorClass;
use hume_proto::web::Refusal;
use tracing::error;

use crate::spool::SpoolError;

impl From<SpoolError> for Refusal {
    fn from(error: SpoolError) -> Refusal {
        let class = error.class();
        if class == ErrorClass::Internal {
            error!(error = &error as &dyn std::error::Error, "could not answer a question");
        }
        Refusal::new(class, error.to_string(), None)
    }
}
