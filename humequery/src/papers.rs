//! What humequery is given to show and to believe: a token, a client certificate with its key, a CA. Each in a file, bounded.
//!
//! A key that others can read is no longer private, and is not used.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use reqwest::header::HeaderValue;
use reqwest::{Certificate, Identity};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::client::ClientError;

/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: u64 = 4096;
/// Longest certificate with its chain, and longest key, in bytes.
const PEM_BYTES_MAX: u64 = 256 * 1024;

/// A file that the flags or a configuration name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paper {
    /// The CA to trust.
    Ca,
    /// A token.
    Token,
    /// A client certificate.
    Certificate,
    /// Its key.
    Key,
}

impl Paper {
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Paper::Ca => "name the master's ca.pem with --ca",
            Paper::Token => "name the file with the token with --token-file",
            Paper::Certificate => "name the file with the certificate with --certificate",
            Paper::Key => "name the file with the key of the certificate with --key",
        }
    }
}

impl fmt::Display for Paper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Paper::Ca => "CA",
            Paper::Token => "token file",
            Paper::Certificate => "certificate",
            Paper::Key => "key",
        })
    }
}

/// What the other end was shown of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// A token.
    Token,
    /// A client certificate.
    Certificate,
}

/// A token, ready to be shown.
pub(crate) struct Token {
    /// The header.
    pub(crate) bearer: HeaderValue,
    /// What the user should hear about its file.
    pub(crate) warning: Option<String>,
}

/// The token of a file.
pub(crate) fn read_token(path: &Path) -> Result<Token, ClientError> {
    const WHAT: Paper = Paper::Token;
    let failed = |source| ClientError::Read { what: WHAT, path: path.to_owned(), source };
    let wrong =
        |reason: &str| ClientError::Content { what: WHAT, path: path.to_owned(), reason: reason.to_owned() };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().map_err(failed)?);
    let mut text = Vec::new();
    file.take(TOKEN_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    let token = text.trim_ascii();
    if token.is_empty() {
        return Err(wrong("is empty"));
    }
    if text.len() as u64 > TOKEN_BYTES_MAX || !token.iter().all(u8::is_ascii_graphic) {
        return Err(wrong("does not hold a token, which is one word on one line"));
    }
    let mut bearer = HeaderValue::from_bytes(&[b"Bearer ", token].concat())
        .map_err(|_| wrong("does not hold a token, which is one word on one line"))?;
    bearer.set_sensitive(true);
    let everybody_reads = mode & 0o004 != 0;
    let warning = everybody_reads.then(|| {
        format!("every user of this machine can read the token in {}; chmod 600 it", path.display())
    });
    Ok(Token { bearer, warning })
}

/// The certificates of a file, at least one.
pub(crate) fn read_ca(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    const WHAT: Paper = Paper::Ca;
    let wrong = |reason: String| ClientError::Content { what: WHAT, path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|source| ClientError::Read {
        what: WHAT,
        path: path.to_owned(),
        source,
    })?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| wrong("is not PEM".to_owned()))?;
    if certificates.is_empty() { Err(wrong("holds no certificate".to_owned())) } else { Ok(certificates) }
}

/// A client certificate and its key.
pub(crate) fn read_identity(certificate: &Path, key: &Path) -> Result<Identity, ClientError> {
    let wrong = |what, path: &Path, reason: &str| ClientError::Content {
        what,
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let (chain_pem, _) = read_pem(Paper::Certificate, certificate)?;
    let (key_pem, mode) = read_pem(Paper::Key, key)?;
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&chain_pem).filter_map(Result::ok).collect();
    if chain.is_empty() {
        return Err(wrong(Paper::Certificate, certificate, "holds no certificate in PEM"));
    }
    let private = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|_| wrong(Paper::Key, key, "holds no private key in PEM"))?;
    if mode & 0o077 != 0 {
        let reason = format!("can be read by others (mode {:04o}); chmod 600 it", mode & 0o7777);
        return Err(wrong(Paper::Key, key, &reason));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    CertifiedKey::from_der(chain, private, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            wrong(Paper::Key, key, &format!("is not that of the certificate {}", certificate.display()))
        }
        other => wrong(Paper::Key, key, &format!("cannot be used: {other}")),
    })?;
    Identity::from_pem(&[chain_pem, b"\n".to_vec(), key_pem].concat())
        .map_err(|error| wrong(Paper::Certificate, certificate, &format!("cannot be used: {error}")))
}

/// Bytes and mode of a file.
fn read_pem(what: Paper, path: &Path) -> Result<(Vec<u8>, u32), ClientError> {
    let failed = |source| ClientError::Read { what, path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    let mut bytes = Vec::new();
    file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        let reason = format!("is larger than {} KiB", PEM_BYTES_MAX / 1024);
        return Err(ClientError::Content { what, path: path.to_owned(), reason });
    }
    Ok((bytes, mode))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_trimmed_hidden_and_one_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "hume_abc\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let token = read_token(&path).unwrap();
        assert_eq!(token.bearer.as_bytes(), b"Bearer hume_abc");
        assert_eq!(format!("{:?}", token.bearer), "Sensitive");
        assert_eq!(token.warning, None);

        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(read_token(&path).unwrap().warning.unwrap().contains("chmod 600"));

        for wrong in ["", " \n", "two words", "-----BEGIN\nKEY", &"x".repeat(5000)] {
            std::fs::write(&path, wrong).unwrap();
            assert!(matches!(read_token(&path), Err(ClientError::Content { .. })), "{wrong}");
        }
        assert!(matches!(read_token(&folder.path().join("none")), Err(ClientError::Read { .. })));
    }

    #[test]
    fn a_ca_file_must_hold_a_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, "not PEM at all").unwrap();
        assert!(matches!(read_ca(&path), Err(ClientError::Content { .. })));
    }

    #[test]
    fn a_pair_must_belong_together_and_its_key_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        let pair = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        let ((certificate, key), (_, other)) = (pair(), pair());
        let certificate = write("c.pem", &certificate, 0o644);
        let of = |key: &Path| read_identity(&certificate, key).map(drop).map_err(|error| error.to_string());
        of(&write("key.pem", &key, 0o600)).unwrap();
        for (path, words) in [
            (write("open.pem", &key, 0o640), "can be read by others (mode 0640); chmod 600 it"),
            (write("other.pem", &other, 0o600), "is not that of the certificate"),
            (write("none.pem", "no key", 0o600), "holds no private key in PEM"),
            (write("long.pem", &"x".repeat(300_000), 0o600), "is larger than 256 KiB"),
        ] {
            let error = of(&path).unwrap_err();
            assert!(error.contains(words) && !error.contains("PRIVATE"), "{error}");
        }
        assert!(of(&folder.path().join("nothing")).unwrap_err().contains("could not read the key"));
        let none = write("empty.pem", "", 0o644);
        let error = read_identity(&none, &folder.path().join("key.pem")).map(drop).unwrap_err().to_string();
        assert!(error.contains("holds no certificate in PEM"), "{error}");
    }
}
