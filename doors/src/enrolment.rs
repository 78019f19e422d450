//! What strangers say on the enrolment port, and the word that an administrator hands to a host: understood within bounds, or refused in words.

use hume_core::name::HOST_BYTES_MAX;
use hume_proto::join::{JoinRequest, RecoverRequest};
use hume_runtime::pki::join::{ADDRESSES_MAX, CHANNEL_BYTES, JoinToken, TOKEN_BYTES_MAX, is_proof};
use hume_runtime::tls::{self, Roots};
use hume_runtime::{pinned, recovery};
use humed_master::enroll::request;

/// What the room lets in, in bytes.
const BODY_BYTES_MAX: usize = 32 * 1024;
/// Whose agents may recover.
const ROOT: &str = include_str!("seeds/root.pem");
/// A reason is for people, and repeats nothing long.
const REASON_BYTES_MAX: usize = 1024;

pub(crate) fn join_request(bytes: &[u8]) {
    if bytes.len() > BODY_BYTES_MAX {
        return;
    }
    match request::wish(bytes) {
        Ok((wish, proof)) => {
            assert!(wish.host.as_str().len() <= HOST_BYTES_MAX);
            assert!(2 * proof.len() < bytes.len());
            assert!(!wish.key.spki().is_empty());
            let said: JoinRequest = serde_json::from_slice(bytes).expect("it was read before");
            let again = serde_json::to_vec(&said).expect("what was read can be written");
            let (same, _) = request::wish(&again).expect("it says the same");
            assert_eq!((same.token, same.host, same.key), (wish.token, wish.host, wish.key));
        }
        Err(why) => assert!(!why.is_empty() && why.len() <= REASON_BYTES_MAX, "{why}"),
    }
}

pub(crate) fn recover_request(bytes: &[u8]) {
    if bytes.len() > BODY_BYTES_MAX {
        return;
    }
    match request::recovery(bytes) {
        Ok((chain, key, proof)) => {
            let said: RecoverRequest = serde_json::from_slice(bytes).expect("it was read before");
            assert_eq!(said.chain.len(), chain.len());
            assert!(2 * proof.len() < bytes.len() && !key.spki().is_empty());
            let roots = Roots::from_pem(ROOT).expect("a root was kept");
            let proven = recovery::check(&roots, &chain, &[1; CHANNEL_BYTES], &key.spki(), &proof);
            if let Ok(proven) = proven {
                assert_eq!(Some(&proven.fingerprint), chain.first().map(tls::fingerprint).as_ref());
            }
            // Whatever is in them, the master looks into them before it knows whose they are.
            for certificate in &chain {
                let _ = (tls::agent_of(certificate), tls::validity_of(certificate));
                let _ = (tls::names_of(certificate), pinned::pin_of_certificate(certificate));
            }
        }
        Err(why) => assert!(!why.is_empty() && why.len() <= REASON_BYTES_MAX, "{why}"),
    }
}

pub(crate) fn join_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match JoinToken::parse(text) {
        Ok(token) => {
            assert!(text.len() <= TOKEN_BYTES_MAX && token.addresses.len() <= ADDRESSES_MAX);
            assert!(
                token.addresses.iter().all(|address| address.bytes().all(|byte| byte.is_ascii_graphic()))
            );
            assert_eq!(token.text().expose(), text, "there is one way to write a token");
            let proof = token.prove(&[1; CHANNEL_BYTES], b"a key").expect("every secret makes a key");
            let key = token.public_key().expect("every secret makes a key");
            assert!(is_proof(&key, &[1; CHANNEL_BYTES], b"a key", &proof));
        }
        Err(why) => assert!(why.to_string().len() <= REASON_BYTES_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_honest_seeds_go_through_their_doors_to_the_end() {
        let (wish, proof) = request::wish(include_bytes!("seeds/join-request.json")).unwrap();
        let token = JoinToken::parse(include_str!("seeds/join-token.txt")).unwrap();
        assert_eq!(wish.token, token.id);
        assert!(is_proof(&token.public_key().unwrap(), &[1; CHANNEL_BYTES], &wish.key.spki(), &proof));
        let (chain, key, proof) = request::recovery(include_bytes!("seeds/recover-request.json")).unwrap();
        let roots = Roots::from_pem(ROOT).unwrap();
        assert!(recovery::check(&roots, &chain, &[1; CHANNEL_BYTES], &key.spki(), &proof).is_ok());
    }
}
