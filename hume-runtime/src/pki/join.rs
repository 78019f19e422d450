//! The token with which a host joins: one word that says where the master is, how to know it, and a secret that never travels.
//!
//! `hume1-ID-SECRET-PIN-ADDRESS[,ADDRESS…]`: ID names the token at the master; SECRET (160 bits) makes an Ed25519 key, of which the
//! master keeps the public half alone; PIN is the SHA-256 of the root's public key, so that the host knows the master before it
//! says anything. The host proves that it has the secret by a signature over the TLS connection and the key that it wants a
//! certificate for: what is overheard, or told to somebody else, is good for nothing.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::secret::SecretText;

const VERSION: &str = "hume1";
const ID_BYTES: usize = 5;
const SECRET_BYTES: usize = 20;
const PIN_BYTES: usize = 32;
const SEED_LABEL: &[u8] = b"hume join seed 1\0";
const PROOF_LABEL: &[u8] = b"hume join proof 1\0";
/// Bytes of what a TLS connection is known by (its exporter).
pub const CHANNEL_BYTES: usize = 32;
/// The label of the exporter.
pub const CHANNEL_LABEL: &[u8] = b"EXPORTER-hume-join-1";
/// A token is at most this long.
pub const TOKEN_BYTES_MAX: usize = 1024;
/// A token names at most so many addresses.
pub const ADDRESSES_MAX: usize = 8;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// SHA-256 of a public key.
pub type Pin = [u8; PIN_BYTES];

/// The text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no token of hume: {0}")]
pub struct TokenError(&'static str);

/// A token. Debug does not show the secret.
#[derive(Clone, Debug)]
pub struct JoinToken {
    /// Its name at the master.
    pub id: String,
    secret: SecretText,
    /// By which the master is known.
    pub pin: Pin,
    /// Where the master is asked, the best first.
    pub addresses: Vec<String>,
}

impl JoinToken {
    /// A new one.
    pub fn mint(pin: Pin, addresses: Vec<String>) -> JoinToken {
        JoinToken {
            id: base32(&crate::random::bytes::<ID_BYTES>()),
            secret: SecretText::new(base32(&crate::random::bytes::<SECRET_BYTES>())),
            pin,
            addresses,
        }
    }

    /// Reads the word.
    /// # Errors
    /// [`TokenError`], which does not repeat it.
    pub fn parse(text: &str) -> Result<JoinToken, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError("it is too long"));
        }
        let parts: Vec<&str> = text.splitn(5, '-').collect();
        let [version, id, secret, pin, addresses] = parts.as_slice() else {
            return Err(TokenError("it must begin with hume1- and have five parts"));
        };
        if *version != VERSION {
            return Err(TokenError("it must begin with hume1-: is it one of a newer hume?"));
        }
        let is_long = |part: &str, bytes| unbase32(part).is_some_and(|decoded| decoded.len() == bytes);
        if !is_long(id, ID_BYTES) || !is_long(secret, SECRET_BYTES) {
            return Err(TokenError("a part of it is missing or changed"));
        }
        let pin = unbase32(pin)
            .and_then(|pin| Pin::try_from(pin).ok())
            .ok_or(TokenError("a part of it is missing or changed"))?;
        let addresses: Vec<String> = addresses.split(',').map(str::to_owned).collect();
        let is_address = |address: &String| {
            address.bytes().all(|byte| byte.is_ascii_graphic())
                && address.rsplit_once(':').is_some_and(|(host, port)| {
                    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
                })
        };
        if addresses.len() > ADDRESSES_MAX || !addresses.iter().all(is_address) {
            return Err(TokenError("it does not say where the master is"));
        }
        Ok(JoinToken { id: (*id).to_owned(), secret: SecretText::new(*secret), pin, addresses })
    }

    /// The word.
    pub fn text(&self) -> SecretText {
        let (secret, pin) = (self.secret.expose(), base32(&self.pin));
        SecretText::new(format!("{VERSION}-{}-{secret}-{pin}-{}", self.id, self.addresses.join(",")))
    }

    /// What the master keeps of the secret.
    /// # Errors
    /// If the library refuses the key, which it has no reason to.
    pub fn public_key(&self) -> Result<Vec<u8>, TokenError> {
        Ok(self.key()?.public_key().as_ref().to_vec())
    }

    /// Proves on this connection that the secret is known, for this key (`SubjectPublicKeyInfo`) and no other.
    /// # Errors
    /// Those of [`JoinToken::public_key`].
    pub fn prove(&self, channel: &[u8; CHANNEL_BYTES], spki: &[u8]) -> Result<Vec<u8>, TokenError> {
        Ok(self.key()?.sign(&proven(channel, spki)).as_ref().to_vec())
    }

    fn key(&self) -> Result<Ed25519KeyPair, TokenError> {
        let seed = digest(&SHA256, &[SEED_LABEL, self.secret.expose().as_bytes()].concat());
        Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| TokenError("it makes no key"))
    }
}

/// Whether a proof is one of the secret that this public key belongs to.
pub fn is_proof(public_key: &[u8], channel: &[u8; CHANNEL_BYTES], spki: &[u8], proof: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(&proven(channel, spki), proof).is_ok()
}

/// The pin of a public key (`SubjectPublicKeyInfo`, DER).
pub fn pin_of(spki: &[u8]) -> Pin {
    let mut pin = [0; PIN_BYTES];
    pin.copy_from_slice(digest(&SHA256, spki).as_ref());
    pin
}

/// The name of a token that this text begins with, for people who may not see the rest.
impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

fn proven(channel: &[u8; CHANNEL_BYTES], spki: &[u8]) -> Vec<u8> {
    [PROOF_LABEL, channel, spki].concat()
}

/// RFC 4648 in lower case, without padding.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let group = chunk.iter().fold(0_u64, |group, byte| group << 8 | u64::from(*byte));
        let group = group << (8 * (5 - chunk.len()));
        for place in 0..(chunk.len() * 8).div_ceil(5) {
            text.push(char::from(ALPHABET[(group >> (35 - 5 * place) & 31) as usize]));
        }
    }
    text
}

/// The bytes of a text that [`base32`] wrote; none if it is not exactly such a one.
fn unbase32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut group, mut bits) = (0_u32, 0);
    for digit in text.bytes() {
        let value = ALPHABET.iter().position(|one| *one == digit)?;
        group = (group << 5 | u32::try_from(value).ok()?) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(group >> bits & 0xff).ok()?);
        }
    }
    (base32(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> JoinToken {
        JoinToken::mint([7; PIN_BYTES], vec!["master-1.example.org:4865".to_owned(), "[::1]:4865".to_owned()])
    }

    #[test]
    fn a_token_is_one_word_that_reads_back() {
        let token = token();
        let text = token.text();
        let read = JoinToken::parse(text.expose()).unwrap();
        assert_eq!((&read.id, read.pin, &read.addresses), (&token.id, token.pin, &token.addresses));
        assert_eq!(read.public_key().unwrap(), token.public_key().unwrap());
        assert!(text.expose().bytes().all(|byte| byte.is_ascii_graphic()));
        let shown = format!("{token:?} {token}");
        assert!(!shown.contains(token.secret.expose()), "{shown}");
    }

    #[test]
    fn a_token_with_something_missing_is_refused_and_not_repeated() {
        let whole = token().text().expose().to_owned();
        for text in ["", "hume1", &whole[1..], &whole[..80], &whole[..whole.len() - 5], "hume2-a-b-c-d:1"] {
            let error = JoinToken::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("this is no token of hume: "), "{error}");
        }
        assert!(JoinToken::parse(&"x".repeat(TOKEN_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_proof_is_good_for_its_token_connection_and_key_alone() {
        let (token, other) = (token(), token());
        let (channel, key) = ([1; CHANNEL_BYTES], token.public_key().unwrap());
        let proof = token.prove(&channel, b"spki").unwrap();
        assert!(is_proof(&key, &channel, b"spki", &proof));
        assert!(!is_proof(&key, &[2; CHANNEL_BYTES], b"spki", &proof), "another connection");
        assert!(!is_proof(&key, &channel, b"spkj", &proof), "another key");
        assert!(!is_proof(&other.public_key().unwrap(), &channel, b"spki", &proof), "another token");
        assert!(!is_proof(&key, &channel, b"spki", &[]));
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(unbase32(&base32(&bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_refused_or_a_token(text in "hume1-[a-z2-7]{0,9}-[a-z2-7]{0,40}-[a-z2-7]{0,60}-.{0,20}") {
            let _ = JoinToken::parse(&text);
        }
    }
}
