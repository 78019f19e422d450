//! The master's own CA as sessions use it: it signs for keys that were proved. Cheap to clone.

use std::sync::Arc;
use std::time::Duration;

use hume_core::{AgentId, Timestamp};
use hume_runtime::pki::{CaFolder, CaFolderError, PublicKey, Signed};
use uuid::Uuid;

/// The CA, and how long what it signs lives.
#[derive(Clone, Debug)]
pub struct Issuer {
    ca: Arc<CaFolder>,
    life: Duration,
}

impl Issuer {
    /// Certificates of agents live for `life`, or until the CA ends.
    pub fn new(ca: Arc<CaFolder>, life: Duration) -> Issuer {
        Issuer { ca, life }
    }

    /// How long certificates of agents live.
    pub fn life(&self) -> Duration {
        self.life
    }

    /// SHA-256 of the issuing CA's certificate: the name under which its certificates are kept.
    pub fn name(&self) -> String {
        self.ca.issuer_fingerprint()
    }

    /// A certificate for this key.
    /// # Errors
    /// [`CaFolderError`].
    pub fn sign_agent(
        &self,
        agent: AgentId,
        host: &str,
        key: &PublicKey,
        now: Timestamp,
    ) -> Result<Signed, CaFolderError> {
        self.ca.sign_agent(Uuid::from_bytes(*agent.as_bytes()), host, key, self.life, now)
    }
}
