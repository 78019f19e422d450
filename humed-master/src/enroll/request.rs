//! What is asked on the enrolment port, read from the bytes of a body: nothing of it is believed yet. Pure.

use hume_core::HostName;
use hume_proto::join::{JoinRequest, RecoverRequest};
use hume_runtime::pki::PublicKey;
use rustls::pki_types::CertificateDer;

use crate::registry::JoinWish;

/// Bytes that prove something, or do not.
pub type Proof = Vec<u8>;

/// A host's wish to join.
/// # Errors
/// What is wrong with it, in words.
pub fn wish(body: &[u8]) -> Result<(JoinWish, Proof), String> {
    let JoinRequest { token, host, request, proof } =
        serde_json::from_slice(body).map_err(|_| "the request is not one of hume".to_owned())?;
    let host = HostName::parse(&host).map_err(|error| error.to_string())?;
    let key = PublicKey::of_request(&request).map_err(|error| error.to_string())?;
    let proof = unhex(&proof).ok_or_else(|| "the proof is not in hexadecimal digits".to_owned())?;
    Ok((JoinWish { token, host, key }, proof))
}

/// An agent's wish for a certificate in place of one that has ended: that one with its issuers, and the key of the next.
/// # Errors
/// What is wrong with it, in words.
pub fn recovery(body: &[u8]) -> Result<(Vec<CertificateDer<'static>>, PublicKey, Proof), String> {
    let RecoverRequest { chain, request, proof } =
        serde_json::from_slice(body).map_err(|_| "the request is not one of hume".to_owned())?;
    let key = PublicKey::of_request(&request).map_err(|error| error.to_string())?;
    let bytes =
        |text: &String| unhex(text).ok_or_else(|| "what should be in hexadecimal digits is not".to_owned());
    let proof = bytes(&proof)?;
    let chain = chain.iter().map(|one| bytes(one).map(CertificateDer::from)).collect::<Result<_, _>>()?;
    Ok((chain, key, proof))
}

/// The bytes of hexadecimal digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect())?
}
