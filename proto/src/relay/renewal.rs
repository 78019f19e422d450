//! Frames by which an agent's certificate is renewed: a new key with its proof, the chain for it, or why not.

use hume_core::ErrorClass;

use super::FrameError;
use super::wire::text;
use crate::pb;

/// The feature that certificates are renewed over the session. An agent asks only a master that names it.
pub const FEATURE_RENEW: &str = "renew";
/// Longest public key, in bytes: one of P-256 has 91.
pub const PUBLIC_KEY_BYTES_MAX: usize = 512;
/// Longest proof, in bytes: one by a key of P-256 has 72 at most.
pub const PROOF_BYTES_MAX: usize = 512;
/// Longest certificate chain, in bytes of PEM.
pub const CHAIN_BYTES_MAX: usize = 16 * 1024;

/// A new key that wants a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renew {
    /// `SubjectPublicKeyInfo`, in DER: at most [`PUBLIC_KEY_BYTES_MAX`].
    pub public_key: Vec<u8>,
    /// Its signature over this session and itself: at most [`PROOF_BYTES_MAX`] bytes.
    pub proof: Vec<u8>,
}

/// There is no new certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalRefused {
    /// What the agent can do.
    pub class: ErrorClass,
    /// Why, for people.
    pub detail: String,
    /// Milliseconds in which it should not ask again.
    pub again_ms: u32,
}

pub(super) fn raw_renew(renew: &Renew) -> pb::Renew {
    pb::Renew { public_key: renew.public_key.clone(), proof: renew.proof.clone() }
}

pub(super) fn renew(raw: pb::Renew) -> Result<Renew, FrameError> {
    if raw.public_key.len() > PUBLIC_KEY_BYTES_MAX || raw.proof.len() > PROOF_BYTES_MAX {
        return Err(FrameError::Malformed("a key or a proof that is too long"));
    }
    Ok(Renew { public_key: raw.public_key, proof: raw.proof })
}

pub(super) fn chain(raw: pb::Certificate) -> Result<String, FrameError> {
    if raw.chain.len() > CHAIN_BYTES_MAX {
        return Err(FrameError::Malformed("a certificate chain that is too long"));
    }
    Ok(raw.chain)
}

pub(super) fn raw_refused(refused: &RenewalRefused) -> pb::RenewalRefused {
    let RenewalRefused { class, detail, again_ms } = refused;
    pb::RenewalRefused { code: class.as_str().to_owned(), detail: detail.clone(), again_ms: *again_ms }
}

pub(super) fn refused(raw: &pb::RenewalRefused) -> RenewalRefused {
    RenewalRefused {
        // The class of a newer version is still a refusal.
        class: ErrorClass::from_word(&raw.code).unwrap_or(ErrorClass::Unavailable),
        detail: text(&raw.detail),
        again_ms: raw.again_ms,
    }
}
