//! How a certificate is renewed: when, with which new key, and how that key proves that whoever asks has it.
//!
//! The proof is a signature over the session it is made for, so it is worth nothing in any other.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use hume_core::Timestamp;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SigningKey};

use crate::secret::SecretText;

/// How far from half of its life a certificate is renewed at most, as a part of its life.
pub const SPREAD: f64 = 0.1;
const LABEL: &[u8] = b"hume-renew-1";
/// What stands before the point in the `SubjectPublicKeyInfo` of every key of P-256.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point of P-256.
const P256_POINT_BYTES: usize = 65;

/// A key could not be made or could not sign.
#[derive(Debug, thiserror::Error)]
#[error("could not {step}")]
pub struct KeyError {
    step: &'static str,
    #[source]
    source: rcgen::Error,
}

/// When a certificate is to be renewed: at half of its life, a tenth more or less. The same seed has the same moment.
pub fn due(not_before: Timestamp, not_after: Timestamp, seed: u64) -> Timestamp {
    let life_us = not_after.micros_since(not_before).max(0) as f64;
    let chance = seed as f64 / u64::MAX as f64;
    not_before.plus_micros((life_us * (0.5 - SPREAD + 2.0 * SPREAD * chance)) as i64)
}

/// The session that a proof is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occasion {
    /// The master's store.
    pub store_id: [u8; 16],
    /// The session's number.
    pub session: u64,
}

impl Occasion {
    fn text(&self, public_key: &[u8]) -> Vec<u8> {
        [LABEL, &self.store_id, &self.session.to_be_bytes(), public_key].concat()
    }

    /// Whether `public_key` (`SubjectPublicKeyInfo` in DER) is one of P-256 and signed `proof` for this session.
    pub fn proves(&self, public_key: &[u8], proof: &[u8]) -> bool {
        is_signed(public_key, &self.text(public_key), proof)
    }
}

/// Whether `public_key` (`SubjectPublicKeyInfo` in DER) is one of P-256 and signed `text`.
pub(crate) fn is_signed(public_key: &[u8], text: &[u8], signature: &[u8]) -> bool {
    let Some(point) = public_key.strip_prefix(&P256_PREFIX) else { return false };
    point.len() == P256_POINT_BYTES
        && UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(text, signature).is_ok()
}

/// A key of P-256 that has no certificate yet. Debug does not show it.
pub struct NewKey(KeyPair);

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewKey(***)")
    }
}

impl NewKey {
    /// Makes one.
    /// # Errors
    /// [`KeyError`]
    pub fn make() -> Result<NewKey, KeyError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
        key.map(NewKey).map_err(|source| KeyError { step: "make a key", source })
    }

    /// Its public half: `SubjectPublicKeyInfo` in DER.
    pub fn public_key(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// The proof that whoever asks in this session has the key.
    /// # Errors
    /// [`KeyError`]
    pub fn prove(&self, occasion: &Occasion) -> Result<Vec<u8>, KeyError> {
        let text = occasion.text(&self.public_key());
        self.0.sign(&text).map_err(|source| KeyError { step: "sign with the new key", source })
    }

    /// The key, in PEM.
    pub fn pem(&self) -> SecretText {
        SecretText::new(self.0.serialize_pem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 86_400_000_000;
    const HERE: Occasion = Occasion { store_id: [1; 16], session: 7 };

    #[test]
    fn a_certificate_is_due_at_half_of_its_life_a_tenth_more_or_less_and_always_at_the_same_moment() {
        let from = Timestamp::from_micros(1_000 * DAY_US);
        let until = from.plus_micros(10 * DAY_US);
        let at = |seed| due(from, until, seed).micros_since(from) / (DAY_US / 1000);
        assert_eq!((at(0), at(u64::MAX / 2), at(u64::MAX)), (4_000, 5_000, 6_000));
        assert_eq!(at(12_345), at(12_345));
        // One that ends before it begins is due at once, and not in the year 300,000.
        assert_eq!(due(until, from, 5), until);
    }

    #[test]
    fn a_proof_holds_for_its_key_in_its_session_and_nowhere_else() {
        let (key, other) = (NewKey::make().unwrap(), NewKey::make().unwrap());
        let proof = key.prove(&HERE).unwrap();
        assert!(HERE.proves(&key.public_key(), &proof));
        assert!(!HERE.proves(&other.public_key(), &proof));
        assert!(!Occasion { session: 8, ..HERE }.proves(&key.public_key(), &proof));
        assert!(!Occasion { store_id: [2; 16], ..HERE }.proves(&key.public_key(), &proof));
        let mut changed = proof.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(!HERE.proves(&key.public_key(), &changed));
        for garbage in [&[][..], &[0x30], &P256_PREFIX, &[7; 91]] {
            assert!(!HERE.proves(garbage, &proof), "{garbage:?}");
        }
    }

    #[test]
    fn a_new_key_does_not_show_itself() {
        assert_eq!(format!("{:?}", NewKey::make().unwrap()), "NewKey(***)");
    }
}
