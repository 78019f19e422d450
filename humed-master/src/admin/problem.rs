//! How failures of the registry and the store become refusals of `/admin/v1`.

use axum::response::{IntoResponse, Response};
use hume_core::ErrorClass;
use hume_proto::web::Refusal;

use crate::registry::RegistryError;
use crate::store::StoreError;

/// Why an order is not carried out.
pub(super) struct Trouble(Refusal);

impl Trouble {
    pub(super) fn new(class: ErrorClass, detail: impl Into<String>) -> Trouble {
        Trouble(Refusal::new(class, detail, None))
    }
}

impl From<RegistryError> for Trouble {
    fn from(error: RegistryError) -> Trouble {
        if error.class() == ErrorClass::Internal {
            tracing::error!(error = &error as &dyn std::error::Error, "an order of an administrator failed");
        }
        Trouble::new(error.class(), error.to_string())
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        tracing::error!(error = &error as &dyn std::error::Error, "an order of an administrator failed");
        Trouble::new(error.class(), error.to_string())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}
