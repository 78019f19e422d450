//! The master's own CA as sessions use it: it signs for keys that were proved. Cheap to clone; another CA can take its place at any
//! time, and the next certificate is by that one.

use std::sync::Arc;
use std::time::Duration;

use hume_core::{AgentId, Timestamp};
use hume_runtime::pki::{CaFolder, CaFolderError, PublicKey, Signed};
use tokio::sync::watch;
use uuid::Uuid;

/// The CA that signs now, and how long what it signs lives.
#[derive(Clone, Debug)]
pub struct Issuer {
    ca: watch::Receiver<Arc<CaFolder>>,
    life: Duration,
}

impl Issuer {
    /// Certificates of agents live for `life`, or until the CA ends that signs them: the one that `ca` holds then.
    pub fn new(ca: watch::Receiver<Arc<CaFolder>>, life: Duration) -> Issuer {
        Issuer { ca, life }
    }

    /// How long certificates of agents live.
    pub fn life(&self) -> Duration {
        self.life
    }

    /// The root that everybody trusts, in PEM.
    pub fn root_pem(&self) -> String {
        self.ca.borrow().root_pem().to_owned()
    }

    /// A certificate for this key, and the name of its issuer: SHA-256 of the certificate of the CA that signed.
    /// # Errors
    /// [`CaFolderError`].
    pub fn sign_agent(
        &self,
        agent: AgentId,
        host: &str,
        key: &PublicKey,
        now: Timestamp,
    ) -> Result<(Signed, String), CaFolderError> {
        let ca = Arc::clone(&self.ca.borrow());
        let signed = ca.sign_agent(Uuid::from_bytes(*agent.as_bytes()), host, key, self.life, now)?;
        Ok((signed, ca.issuer_fingerprint()))
    }

    /// A certificate for this key of a person or a program that asks questions, for `life` or until the CA ends.
    /// # Errors
    /// [`CaFolderError`].
    pub fn sign_person(
        &self,
        name: &str,
        key: &PublicKey,
        life: Duration,
        now: Timestamp,
    ) -> Result<Signed, CaFolderError> {
        Arc::clone(&self.ca.borrow()).sign_person(name, key, life, now)
    }
}

#[cfg(test)]
mod tests {
    use hume_runtime::clock;
    use hume_runtime::renewal::NewKey;

    use super::*;

    #[test]
    fn the_next_certificate_is_by_the_ca_that_took_over() {
        let (dir, now) = (tempfile::tempdir().unwrap(), clock::now());
        let ca = CaFolder::create(&dir.path().join("ca"), "hume", now).unwrap();
        let same = CaFolder::load(&dir.path().join("ca"), "hume").unwrap();
        let (taking_over, signs) = watch::channel(Arc::new(same));
        let issuer = Issuer::new(signs, Duration::from_hours(1));
        let key = PublicKey::of_spki(&NewKey::make().unwrap().public_key()).unwrap();
        let of = |issuer: &Issuer| {
            let agent = AgentId::from_bytes([1; 16]);
            issuer.sign_agent(agent, "web1", &key, now).unwrap().1
        };
        let before = ca.issuer_fingerprint();
        assert_eq!(of(&issuer), before);
        let (ca, _) = ca.rotated(None, &["localhost".to_owned()], &[], now).unwrap();
        assert_eq!(of(&issuer), before, "nothing changes before it is told");
        let after = ca.issuer_fingerprint();
        taking_over.send_replace(Arc::new(ca));
        assert_eq!(of(&issuer), after);
    }
}
