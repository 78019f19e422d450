//! A request for a certificate: signed by the key it is for, and nothing of it is believed but that key.

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SubjectPublicKeyInfo,
};

use super::{PkiError, library, new_key};
use crate::secret::SecretText;
use crate::tls;

/// A request may have this many bytes, in PEM.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// A new key with the request for its certificate.
#[derive(Debug)]
pub struct Request {
    /// The request, in PEM. It names nobody.
    pub request_pem: String,
    /// The private key, in PEM.
    pub key_pem: SecretText,
}

impl Request {
    /// Makes a key and a request.
    pub fn create() -> Result<Request, PkiError> {
        Request::of(&new_key()?)
    }

    /// A request for a key that was made before.
    pub fn for_key(key_pem: &SecretText) -> Result<Request, PkiError> {
        Request::of(&KeyPair::from_pem(key_pem.expose()).map_err(library("read the key"))?)
    }

    fn of(key: &KeyPair) -> Result<Request, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let failed = library("sign the certificate request");
        let request = params.serialize_request(key).map_err(failed)?;
        let request_pem = request.pem().map_err(library("write the certificate request"))?;
        Ok(Request { request_pem, key_pem: SecretText::new(key.serialize_pem()) })
    }
}

/// A public key whose owner has proved that he has the private one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(pub(super) SubjectPublicKeyInfo);

impl PublicKey {
    /// Takes the key out of a request in PEM. Whatever else the request asks for is passed over.
    /// # Errors
    /// [`PkiError::Request`] if it is none, not signed by its key, or the key is not of P-256.
    pub fn of_request(request_pem: &str) -> Result<PublicKey, PkiError> {
        if request_pem.len() > REQUEST_BYTES_MAX {
            return Err(PkiError::Request("has more than 8 KiB"));
        }
        let request = CertificateSigningRequestParams::from_pem(request_pem)
            .map_err(|_| PkiError::Request("is damaged or not signed by its key"))?;
        if PublicKeyData::algorithm(&request.public_key) != &PKCS_ECDSA_P256_SHA256 {
            return Err(PkiError::Request("has a key that is not of P-256"));
        }
        PublicKey::of_spki(&request.public_key.subject_public_key_info())
            .ok_or(PkiError::Request("has a key that is damaged"))
    }

    /// The key of a `SubjectPublicKeyInfo` in DER, whose owner has proved himself in another way. None if it is not of P-256.
    pub fn of_spki(der: &[u8]) -> Option<PublicKey> {
        let key = SubjectPublicKeyInfo::from_der(der).ok()?;
        (PublicKeyData::algorithm(&key) == &PKCS_ECDSA_P256_SHA256).then_some(PublicKey(key))
    }

    /// The key as it stands in certificates (`SubjectPublicKeyInfo`, DER).
    pub fn spki(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// SHA-256 of [`PublicKey::spki`] in lower-case hex: the name by which people compare keys.
    pub fn fingerprint(&self) -> String {
        tls::sha256_hex(&self.spki())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gives_its_key_and_a_changed_one_is_refused() {
        let request = Request::create().unwrap();
        let key = PublicKey::of_request(&request.request_pem).unwrap();
        let again = Request::for_key(&request.key_pem).unwrap();
        assert_eq!(PublicKey::of_request(&again.request_pem).unwrap(), key, "the key is the same");
        assert_eq!(key.fingerprint().len(), 64);
        let lines: Vec<&str> = request.request_pem.lines().collect();
        let body: String = lines[1..lines.len() - 1].concat();
        for at in [20, body.len() / 2, body.len() - 8] {
            let mut changed = body.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(changed).unwrap();
            let pem = format!("{}\n{text}\n{}\n", lines[0], lines[lines.len() - 1]);
            assert!(PublicKey::of_request(&pem).is_err(), "{at}");
        }
        for text in ["", "-----BEGIN CERTIFICATE REQUEST-----\n", &"x".repeat(REQUEST_BYTES_MAX + 1)] {
            assert!(PublicKey::of_request(text).is_err());
        }
    }

    #[test]
    fn keys_of_another_kind_are_refused() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let request = Request::of(&key).unwrap();
        let error = PublicKey::of_request(&request.request_pem).unwrap_err();
        assert_eq!(error.to_string(), "the certificate request has a key that is not of P-256");
    }
}
