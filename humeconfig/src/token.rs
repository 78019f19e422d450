//! Bearer tokens: `hume_` and 32 random bytes, of which the master keeps only the SHA-256.

use hume_runtime::secret::SecretText;
use hume_runtime::{random, tls};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A new token.
pub(crate) fn mint() -> SecretText {
    SecretText::new(format!("hume_{}", base64url(&random::bytes::<32>())))
}

/// What the master compares a token with.
pub(crate) fn digest(token: &SecretText) -> String {
    tls::sha256_hex(token.expose().as_bytes())
}

/// Base64 with the alphabet for URLs, without padding (RFC 4648, section 5).
fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let index = group >> (18 - 6 * place) & 63;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc_come_out() {
        let vectors = [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in vectors {
            assert_eq!(base64url(plain.as_bytes()), encoded);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn tokens_have_the_agreed_form_and_never_repeat() {
        let token = mint();
        assert_eq!(token.expose().len(), "hume_".len() + 43);
        assert!(token.expose().starts_with("hume_"));
        assert_ne!(token.expose(), mint().expose());
        assert_eq!(digest(&SecretText::new("abc")).get(..8), Some("ba7816bf"));
    }
}
