//! How an agent whose certificate has ended proves that it is still the one: by a signature with the key of that certificate.
//!
//! It is made over the TLS connection, the certificate, and the new key that is to follow: what is overheard, or told to somebody
//! else, is good for nothing. The certificate is judged as of its last second; whether it ended too long ago is for others to say.

use aws_lc_rs::digest::{SHA256, digest};
use hume_core::Timestamp;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::CertificateDer;

use crate::pki::join::CHANNEL_BYTES;
use crate::renewal;
use crate::tls::{self, Identity, PeerAgent, Roots, TlsError};

const LABEL: &[u8] = b"hume recovery proof 1\0";
/// A certificate, those of its issuers, and no more.
const CHAIN_CERTIFICATES_MAX: usize = 4;
const SECOND_US: i64 = 1_000_000;

/// Nothing is proved. The text is for the host, and tells nothing to somebody who has no certificate of this site.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// What is shown cannot be read, or names no agent.
    #[error("the certificate is none of an agent")]
    NotAnAgent(#[source] TlsError),
    /// It is of another CA, or not for an agent.
    #[error("the certificate is not one of this site")]
    OtherSite,
    /// The signature is of another key, connection, certificate or new key.
    #[error("the proof does not belong to the certificate, the new key and this connection")]
    WrongProof,
}

/// An agent that has proved to have the key of its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Whom the certificate names.
    pub agent: PeerAgent,
    /// When the certificate begins.
    pub since: Timestamp,
    /// The certificate's name among all.
    pub fingerprint: String,
}

/// Proves on this connection that we have the key of our certificate, for this new key (`SubjectPublicKeyInfo`) and no other.
/// # Errors
/// [`TlsError`] if our key is not one of P-256.
pub fn prove(identity: &Identity, channel: &[u8; CHANNEL_BYTES], spki: &[u8]) -> Result<Vec<u8>, TlsError> {
    let own = identity.certificate().ok_or(TlsError::NotAnAgent("there is none"))?;
    let text = proven(own, channel, spki);
    let (_, key) = identity.clone().into_parts();
    let key = any_ecdsa_type(&key).map_err(TlsError::Unusable)?;
    let signer = key
        .choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])
        .ok_or(TlsError::NotAnAgent("its key is not one of P-256"))?;
    signer.sign(&text).map_err(TlsError::Unusable)
}

/// Who proves to be whom, by certificates that lead to `roots`, of which the first is the agent's.
/// # Errors
/// [`Unproven`].
pub fn check(
    roots: &Roots,
    chain: &[CertificateDer<'_>],
    channel: &[u8; CHANNEL_BYTES],
    spki: &[u8],
    proof: &[u8],
) -> Result<Proven, Unproven> {
    let own = chain.first().ok_or(Unproven::OtherSite)?;
    let agent = tls::agent_of(own).map_err(Unproven::NotAnAgent)?;
    let is_of_site = roots.trust_domain() == Some(agent.trust_domain.as_str());
    if !is_of_site || chain.len() > CHAIN_CERTIFICATES_MAX {
        return Err(Unproven::OtherSite);
    }
    let last_second = agent.not_after.plus_micros(-SECOND_US);
    tls::check_chain(chain, roots, last_second).map_err(|_| Unproven::OtherSite)?;
    let key = tls::spki_of(own).map_err(Unproven::NotAnAgent)?;
    if !renewal::is_signed(&key, &proven(own, channel, spki), proof) {
        return Err(Unproven::WrongProof);
    }
    let (since, _) = tls::validity_of(own).map_err(Unproven::NotAnAgent)?;
    Ok(Proven { fingerprint: tls::fingerprint(own), since, agent })
}

/// Whether a certificate that lasts until `not_after` has ended.
pub fn has_ended(not_after: Timestamp, now: Timestamp) -> bool {
    // A certificate names whole seconds, and lasts through its last one.
    now.micros_since(not_after) >= SECOND_US
}

fn proven(certificate: &CertificateDer<'_>, channel: &[u8; CHANNEL_BYTES], spki: &[u8]) -> Vec<u8> {
    [LABEL, channel, digest(&SHA256, certificate).as_ref(), spki].concat()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::clock;
    use crate::pki::{CaFolder, PublicKey, Request};

    const HERE: [u8; CHANNEL_BYTES] = [1; CHANNEL_BYTES];
    const LIFE: Duration = Duration::from_hours(24);

    struct Place {
        _dir: tempfile::TempDir,
        ca: CaFolder,
        roots: Roots,
    }

    impl Place {
        fn new() -> Place {
            Place::made(days_ago(30))
        }

        /// A site whose CA was made then.
        fn made(at: Timestamp) -> Place {
            let dir = tempfile::tempdir().unwrap();
            let ca = CaFolder::create(&dir.path().join("ca"), "example", at).unwrap();
            let roots = ca.roots().unwrap();
            Place { _dir: dir, ca, roots }
        }

        /// A certificate of an agent that ended long ago, with its chain.
        fn agent(&self) -> Identity {
            self.agent_of(days_ago(30))
        }

        fn agent_of(&self, at: Timestamp) -> Identity {
            let request = Request::create().unwrap();
            let key = PublicKey::of_request(&request.request_pem).unwrap();
            let signed = self.ca.sign_agent(Uuid::from_u128(7), "web1", &key, LIFE, at).unwrap();
            Identity::from_pem(&signed.certificate_pem, request.key_pem.expose()).unwrap()
        }

        fn check(&self, own: &Identity, spki: &[u8], proof: &[u8]) -> Result<Proven, Unproven> {
            check(&self.roots, own.chain(), &HERE, spki, proof)
        }
    }

    fn days_ago(days: i64) -> Timestamp {
        clock::now().plus_micros(-days * 86_400 * SECOND_US)
    }

    #[test]
    fn whoever_has_the_key_of_a_certificate_that_ended_proves_it_for_one_new_key_on_one_connection() {
        let place = Place::new();
        let own = place.agent();
        let proof = prove(&own, &HERE, b"new key").unwrap();
        let proven = place.check(&own, b"new key", &proof).unwrap();
        assert_eq!(proven.agent.id, Uuid::from_u128(7));
        assert_eq!(proven.fingerprint, tls::fingerprint(own.certificate().unwrap()));
        assert!(has_ended(proven.agent.not_after, clock::now()));

        let wrong = |result| assert!(matches!(result, Err(Unproven::WrongProof)), "{result:?}");
        wrong(check(&place.roots, own.chain(), &[2; CHANNEL_BYTES], b"new key", &proof));
        wrong(place.check(&own, b"his key", &proof));
        let another = place.agent();
        wrong(place.check(&another, b"new key", &proof));
        wrong(place.check(&own, b"new key", &prove(&another, &HERE, b"new key").unwrap()));
        wrong(place.check(&own, b"new key", b""));
    }

    #[test]
    fn a_certificate_of_another_ca_and_one_of_no_agent_prove_nothing() {
        let (place, stranger) = (Place::new(), Place::new());
        let theirs = stranger.agent();
        let proof = prove(&theirs, &HERE, b"k").unwrap();
        assert!(matches!(place.check(&theirs, b"k", &proof), Err(Unproven::OtherSite)));
        // The chain of another agent does not make it one of this site.
        let ours = place.agent();
        let of_all = |chain: &[CertificateDer<'_>]| check(&place.roots, chain, &HERE, b"k", &proof);
        let mixed = [&theirs.chain()[..1], ours.chain()].concat();
        assert!(matches!(of_all(&mixed), Err(Unproven::OtherSite)));
        let master = place.ca.master(&["localhost".to_owned()], &[], days_ago(30)).unwrap();
        let proof = prove(&master, &HERE, b"k").unwrap();
        assert!(matches!(place.check(&master, b"k", &proof), Err(Unproven::NotAnAgent(_))));
        assert!(matches!(of_all(&[]), Err(Unproven::OtherSite)));
        for garbage in [vec![], vec![0; 9], ours.chain()[0][..300].to_vec()] {
            assert!(matches!(of_all(&[garbage.into()]), Err(Unproven::NotAnAgent(_))));
        }
        assert!(
            matches!(of_all(&[ours.chain(), ours.chain(), ours.chain()].concat()), Err(Unproven::OtherSite)),
            "too many"
        );
    }

    #[test]
    fn a_certificate_of_an_issuing_ca_that_has_ended_still_proves_who_it_is() {
        // An issuing CA lives for two years, the root for ten.
        let place = Place::made(days_ago(800));
        let own = place.agent_of(days_ago(80));
        let (_, issuing_ended) = tls::validity_of(&own.chain()[1]).unwrap();
        assert!(has_ended(issuing_ended, clock::now()));
        let proof = prove(&own, &HERE, b"k").unwrap();
        assert!(place.check(&own, b"k", &proof).is_ok());
    }

    #[test]
    fn a_certificate_has_ended_after_its_last_second_and_not_within_it() {
        let end = Timestamp::from_micros(100 * SECOND_US);
        assert!(!has_ended(end, end) && !has_ended(end, end.plus_micros(SECOND_US - 1)));
        assert!(has_ended(end, end.plus_micros(SECOND_US)));
        assert!(!has_ended(end, Timestamp::EPOCH));
    }
}
