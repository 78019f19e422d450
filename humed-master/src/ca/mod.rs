//! What the ports show and who signs: the master's own CA, or the files of another one that `[tls]` names; kept by one task.
//!
//! The custodian does one thing at a time: it answers orders ([`Ca`]), and looks every [`LOOK_EVERY`] whether something is due (`due.rs`
//! decides). What changes is on disk before anybody sees it, and in the audit log; open connections keep what they were shown.

mod clock;
mod custodian;
mod due;
mod error;
mod shown;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hume_core::Timestamp;
use hume_runtime::pki::{CaFolder, CaFolderError, Summary};
use hume_runtime::secret::SecretText;
use rustls::ServerConfig;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::custodian::Custodian;
use self::custodian::Order;
pub use self::error::CaError;
pub use self::shown::{Opened, check, open};
use crate::registry::Actor;

/// Between two looks whether something is due.
pub const LOOK_EVERY: Duration = Duration::from_mins(10);
/// Orders that wait.
const ORDERS_MAX: usize = 16;

/// What the configuration says of certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whose they are.
    pub source: Source,
    /// Names of the master's certificate.
    pub names: Vec<String>,
    /// Addresses of the master's certificate.
    pub addresses: Vec<IpAddr>,
    /// How long an agent's certificate lasts.
    pub agent_life: Duration,
}

/// Whose certificates are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Those of the master's own CA.
    Own {
        /// Its folder.
        path: PathBuf,
        /// The site's name.
        trust_domain: String,
    },
    /// Those of another CA, in these files.
    Another {
        /// The CA that agents' certificates must come from.
        ca: PathBuf,
        /// The master's certificate.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
}

/// What the ports show, now and from every change on.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Where agents connect.
    pub relay: watch::Receiver<Arc<ServerConfig>>,
    /// Where questions are asked.
    pub web: watch::Receiver<Arc<ServerConfig>>,
    /// The name of the site, if the CA says one.
    pub trust_domain: Option<String>,
    /// What the master's own CA adds.
    pub own: Option<OwnPorts>,
}

/// What there is only with a CA of the master's own.
#[derive(Clone, Debug)]
pub struct OwnPorts {
    /// Where hosts join.
    pub enroll: watch::Receiver<Arc<ServerConfig>>,
    /// The CA that signs.
    pub signing: watch::Receiver<Arc<CaFolder>>,
}

/// The master's own CA, as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaState {
    /// The site's name.
    pub trust_domain: String,
    /// The root's certificate, in PEM.
    pub root_pem: String,
    /// The certificate that everybody trusts.
    pub root: Summary,
    /// Whether the key of the root is here.
    pub has_root_key: bool,
    /// The CA that signs.
    pub issuing: Summary,
    /// When another one takes over by itself, or should by hand.
    pub rotation_due: Timestamp,
    /// Those before it that have not ended.
    pub earlier: Vec<Summary>,
    /// The master's certificate.
    pub master: Summary,
    /// What somebody should do.
    pub trouble: Option<String>,
}

/// The way to the custodian. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ca {
    orders: mpsc::Sender<Order>,
}

impl Ca {
    /// The CA.
    /// # Errors
    /// [`CaError`]
    pub async fn state(&self) -> Result<CaState, CaError> {
        self.ask(Order::Show).await
    }

    /// Another issuing CA takes over, if the present one is `instead_of` or nobody says which; with the key of the root that is
    /// given, or the one that is here. How the CA is then.
    /// # Errors
    /// [`CaError`]; the CA is as it was then.
    pub async fn rotate(
        &self,
        instead_of: Option<String>,
        root_key: Option<SecretText>,
        actor: Actor,
    ) -> Result<CaState, CaError> {
        self.ask(|answer| Order::Rotate { instead_of, root_key, actor, answer }).await
    }

    /// The key of the root, to be kept elsewhere.
    /// # Errors
    /// [`CaError`]
    pub async fn root_key(&self, actor: Actor) -> Result<SecretText, CaError> {
        self.ask(|answer| Order::RootKey { actor, answer }).await
    }

    /// Takes the key of the root away, if what has this SHA-256 (in hex) is a copy of it. How the CA is then.
    /// # Errors
    /// [`CaError`]; the key is where it was then.
    pub async fn remove_root_key(&self, copy_sha256: String, actor: Actor) -> Result<CaState, CaError> {
        self.ask(|answer| Order::RemoveRootKey { copy_sha256, actor, answer }).await
    }

    /// Reads the certificates again, as the configuration names them now.
    /// # Errors
    /// [`CaError`]; the ports show what they showed.
    pub async fn reload(&self, settings: Settings) -> Result<(), CaError> {
        self.ask(|answer| Order::Reload { settings, answer }).await
    }

    async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, CaError>>) -> Order,
    ) -> Result<T, CaError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(order(answer)).await.map_err(|_| CaError::Stopped)?;
        answered.await.map_err(|_| CaError::Stopped)?
    }
}

impl From<CaFolderError> for CaError {
    fn from(error: CaFolderError) -> CaError {
        match error {
            CaFolderError::RootKeyAway { path } => CaError::RootKeyAway { path },
            CaFolderError::NotTheRootKey => CaError::NotTheRootKey,
            other => CaError::Folder(other),
        }
    }
}
