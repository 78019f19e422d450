//! Why an order about the CA is not carried out, and what to do about it.

use std::path::PathBuf;

use hume_core::ErrorClass;
use hume_runtime::pki::CaFolderError;

use crate::registry::RegistryError;

/// An order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The master has no CA.
    #[error("the master has no CA of its own: [tls] in master.toml names certificates of another one")]
    AnotherCa,
    /// It cannot be done without the key of the root.
    #[error(
        "the key of the root is not on this machine: give it for this order with `humeconfig ca rotate --root-key FILE`, or put it back as {} (mode 0600, the master's user)",
        path.display()
    )]
    RootKeyAway {
        /// Where it was.
        path: PathBuf,
    },
    /// A key was given that has nothing to do with this CA.
    #[error(
        "the key that was given is not that of this CA's root, and nothing was changed: `humeconfig ca show` names the root"
    )]
    NotTheRootKey,
    /// The copy of the key is none.
    #[error(
        "what was read back is not the key of the root, which stays where it is: export it again to another file"
    )]
    NotACopy,
    /// A file of the CA, or a certificate.
    #[error(transparent)]
    Folder(CaFolderError),
    /// The audit log cannot be written, so nothing is done.
    #[error("nothing was changed, because the audit log cannot be written")]
    Audit(#[source] RegistryError),
    /// The master stops.
    #[error("the master stops: ask again when it is back")]
    Stopped,
}

impl CaError {
    /// What the other end can do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            CaError::AnotherCa | CaError::RootKeyAway { .. } => ErrorClass::Conflict,
            CaError::NotTheRootKey | CaError::NotACopy => ErrorClass::Invalid,
            CaError::Folder(_) => ErrorClass::Internal,
            CaError::Audit(error) => error.class(),
            CaError::Stopped => ErrorClass::Unavailable,
        }
    }
}
