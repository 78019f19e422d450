//! TLS as hume uses it: keys nobody else can read, TLS 1.3 at every port of the master, no resumption at the relay.
//!
//! A resumed session is not checked against the client's certificate again, so a revoked agent with a ticket would be
//! let in: the relay gives out no tickets and the client asks for none. Servers of others may speak TLS 1.2.

mod lagging;

use std::fmt;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hume_core::Timestamp;
use rustls::client::{Resumption, WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_platform_verifier::BuilderVerifierExt;
use uuid::Uuid;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use self::lagging::Lagging;
use crate::secret::SecretText;

const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Something about certificates, keys or their use is wrong.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A private key that others than its owner can read is no longer private.
    #[error("the private key {} can be read by others (mode {mode:04o}): run `chmod 600 {}`", path.display(), path.display())]
    KeyMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The text holds no certificate or key in PEM.
    #[error("no {what} found in {from}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// Where.
        from: String,
        /// What the parser said.
        #[source]
        source: pem::Error,
    },
    /// A certificate cannot be used as a root.
    #[error("a certificate in {from} cannot be a root")]
    Root {
        /// Where.
        from: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// rustls refused the combination, for example a key that does not belong to the certificate.
    #[error("the certificate and key cannot be used")]
    Unusable(#[source] rustls::Error),
    /// The verifier of certificates could not be built.
    #[error("the roots cannot be used to verify certificates")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// A certificate does not say which agent it belongs to.
    #[error("the certificate names no agent: {0}")]
    NotAnAgent(&'static str),
    /// A certificate does not say which person or program it belongs to.
    #[error("the certificate names no person: {0}")]
    NotAPerson(&'static str),
}

/// Makes aws-lc-rs the provider of the process. Call it first in `main`; later calls change nothing.
pub fn install_provider() {
    // An error means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A certificate chain and its private key. Debug does not show the key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads both files; the key's must be readable by its owner alone.
    pub fn load(certificate: &Path, key: &Path) -> Result<Identity, TlsError> {
        let chain = load_certificates(certificate)?;
        let text = load_key(key)?;
        let key = private_key(text.expose().as_bytes(), key.display().to_string())?;
        Ok(Identity { chain, key })
    }

    /// The same from texts in memory.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Identity, TlsError> {
        let chain = certificates(certificate.as_bytes(), "the certificate text")?;
        let key = private_key(key.as_bytes(), "the key text".to_owned())?;
        Ok(Identity { chain, key })
    }

    /// Certificates and key, for a configuration of rustls.
    pub(crate) fn into_parts(self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain, self.key)
    }

    /// All certificates: that of the key first, then those of its issuers.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The certificate that belongs to the key.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }
}

impl Clone for Identity {
    fn clone(&self) -> Identity {
        Identity { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).field("key", &"***").finish()
    }
}

/// Reads a private key in PEM, which must be readable by its owner alone.
pub fn load_key(path: &Path) -> Result<SecretText, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TlsError::KeyMode { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(SecretText::new(text))
}

/// Reads all certificates of a file in PEM, at least one.
pub fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(&read(path)?, &path.display().to_string())
}

/// The first certificate of a text in PEM.
pub fn first_of_pem(text: &str) -> Result<CertificateDer<'static>, TlsError> {
    CertificateDer::from_pem_slice(text.as_bytes()).map_err(|source| TlsError::Pem {
        what: "certificate",
        from: "the certificate text".to_owned(),
        source,
    })
}

/// The certificates that are trusted to issue others.
#[derive(Clone, Debug)]
pub struct Roots {
    store: Arc<RootCertStore>,
    trust_domain: Option<String>,
}

impl Roots {
    /// Reads all certificates of the file.
    pub fn load(ca: &Path) -> Result<Roots, TlsError> {
        Roots::from_der(load_certificates(ca)?, &ca.display().to_string())
    }

    /// The same from a text in memory.
    pub fn from_pem(ca: &str) -> Result<Roots, TlsError> {
        Roots::from_der(certificates(ca.as_bytes(), "the CA text")?, "the CA text")
    }

    fn from_der(certificates: Vec<CertificateDer<'static>>, from: &str) -> Result<Roots, TlsError> {
        let trust_domain = certificates.iter().find_map(trust_domain_of);
        let mut store = RootCertStore::empty();
        for certificate in certificates {
            store.add(certificate).map_err(|source| TlsError::Root { from: from.to_owned(), source })?;
        }
        Ok(Roots { store: Arc::new(store), trust_domain })
    }

    /// The trust domain that the CA certificate names; `None` for a CA that hume did not make.
    pub fn trust_domain(&self) -> Option<&str> {
        self.trust_domain.as_deref()
    }
}

/// For the relay port: TLS 1.3, a client certificate of `roots` required, HTTP/2, no resumption, no early data.
pub fn relay_server(identity: &Identity, roots: &Roots) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots.store), Arc::clone(&provider))
            .build()
            .map_err(TlsError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// Whether a relay with these roots would let this identity in at `now`, and its key is the certificate's.
/// # Errors
/// [`TlsError::Unusable`] if not.
pub fn check_client(identity: &Identity, roots: &Roots, now: Timestamp) -> Result<(), TlsError> {
    relay_client(identity, roots, None)?;
    check_chain(&identity.chain, roots, now)
}

/// Whether a relay with these roots would let in, at `now`, whoever has the key of the first of these certificates.
/// # Errors
/// [`TlsError::Unusable`] if not.
pub fn check_chain(chain: &[CertificateDer<'_>], roots: &Roots, now: Timestamp) -> Result<(), TlsError> {
    let (own, others) = chain.split_first().ok_or(TlsError::NotAnAgent("there is none"))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots.store), provider())
        .build()
        .map_err(TlsError::Verifier)?;
    let since = Duration::from_micros(u64::try_from(now.as_micros()).unwrap_or(0));
    let verified = verifier.verify_client_cert(own, others, UnixTime::since_unix_epoch(since));
    verified.map(drop).map_err(TlsError::Unusable)
}

/// For the web port: TLS 1.3, HTTP/2 and HTTP/1.1, no client certificate.
pub fn web_server(identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Unusable)?
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// The same for a site that makes certificates of people under `roots`: who has one may show it, and nobody must. What is shown
/// and is not good ends the handshake. No resumption, so that whoever has a certificate has shown it on this connection.
pub fn web_server_of_site(identity: &Identity, roots: &Roots) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots.store), provider())
        .allow_unauthenticated()
        .build()
        .map_err(TlsError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// For the uplink: TLS 1.3, our certificate shown, the master's checked against `roots`, HTTP/2, no resumption.
///
/// The master's is never judged at a time before our own was issued, nor before `heard`, the latest time that a master told
/// (`tls/lagging.rs`).
pub fn relay_client(
    identity: &Identity,
    roots: &Roots,
    heard: Option<Timestamp>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let issued = identity.certificate().and_then(|own| valid_from(own).ok());
    let mut config = master_client(roots, issued.max(heard))?
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// For the enrolment port: the same without a certificate of ours, over HTTP/1.1. The master's is never judged at a time before
/// `known`.
pub fn enroll_client(roots: &Roots, known: Option<Timestamp>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = master_client(roots, known)?.with_no_client_auth();
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// TLS 1.3 with a master of these roots, judged at a time that is not before `known`.
fn master_client(
    roots: &Roots,
    known: Option<Timestamp>,
) -> Result<rustls::ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots.store), provider())
        .build()
        .map_err(TlsError::Verifier)?;
    let verifier = Arc::new(Lagging { usual, known: known.unwrap_or(Timestamp::EPOCH) });
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Unusable)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

/// Whom a client of other people's servers trusts.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Whom the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` are obeyed.
    System,
    /// These alone.
    Roots(&'a Roots),
}

/// For servers that are not hume's: TLS 1.3 and 1.2, our certificate shown if there is one. No resumption, so that every
/// connection is judged by the certificates of its day.
/// # Errors
/// [`TlsError::Unusable`] if the key is not that of the certificate, or if the system has no root certificates.
pub fn outgoing_client(trust: Trust<'_>, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Unusable)?;
    let builder = match trust {
        Trust::System => builder.with_platform_verifier().map_err(TlsError::Unusable)?,
        Trust::Roots(roots) => builder.with_root_certificates(Arc::clone(&roots.store)),
    };
    let mut config = match identity {
        Some(own) => builder
            .with_client_auth_cert(own.chain.clone(), own.key.clone_key())
            .map_err(TlsError::Unusable)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// When this certificate begins and ends to be valid.
/// # Errors
/// [`TlsError::NotAnAgent`] if it is no X.509 certificate.
pub fn validity_of(certificate: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), TlsError> {
    let parsed = parse(certificate)?;
    let validity = parsed.validity();
    Ok((from_seconds(validity.not_before.timestamp()), from_seconds(validity.not_after.timestamp())))
}

/// When this certificate begins to be valid.
fn valid_from(certificate: &CertificateDer<'_>) -> Result<Timestamp, TlsError> {
    Ok(validity_of(certificate)?.0)
}

/// When this certificate ends; none if it cannot be read.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    Some(from_seconds(parse(certificate).ok()?.validity().not_after.timestamp()))
}

fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

/// The public key of a certificate (`SubjectPublicKeyInfo` in DER).
/// # Errors
/// [`TlsError::NotAnAgent`] if it is no X.509 certificate.
pub fn spki_of(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, TlsError> {
    Ok(parse(certificate)?.public_key().raw.to_vec())
}

/// Who a client certificate says it is. Meaningful only after the handshake has verified the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAgent {
    /// The site it belongs to.
    pub trust_domain: String,
    /// The agent's id.
    pub id: Uuid,
    /// When the certificate ends.
    pub not_after: Timestamp,
    /// Its serial number, without leading zeros.
    pub serial: Vec<u8>,
}

/// Reads the one URI `hume://<trust-domain>/agent/<uuid>` of a certificate.
/// # Errors
/// [`TlsError::NotAnAgent`] if there is none, more than one, or it is malformed.
pub fn agent_of(certificate: &CertificateDer<'_>) -> Result<PeerAgent, TlsError> {
    let parsed = parse(certificate)?;
    let (trust_domain, id) = named(&parsed, "/agent/").map_err(TlsError::NotAnAgent)?;
    let id = Uuid::try_parse(id).map_err(|_| TlsError::NotAnAgent("its URI does not end in a UUID"))?;
    let not_after = from_seconds(parsed.validity().not_after.timestamp());
    let serial = parsed.raw_serial();
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    let serial = serial[zeros..].to_vec();
    Ok(PeerAgent { trust_domain: trust_domain.to_owned(), id, not_after, serial })
}

/// Reads the one URI `hume://<trust-domain>/person/<name>` of a certificate: the trust domain and the name.
/// # Errors
/// [`TlsError::NotAPerson`] if there is none, more than one, or it is malformed.
pub fn person_of(certificate: &CertificateDer<'_>) -> Result<(String, String), TlsError> {
    let parsed = parse(certificate)?;
    let (trust_domain, name) = named(&parsed, "/person/").map_err(TlsError::NotAPerson)?;
    if name.is_empty() || name.contains('/') {
        return Err(TlsError::NotAPerson("its URI does not end in a name"));
    }
    Ok((trust_domain.to_owned(), name.to_owned()))
}

/// Trust domain and name of the one URI of a certificate, which must be of this kind: nobody is two things.
fn named<'a>(parsed: &'a X509Certificate<'_>, kind: &str) -> Result<(&'a str, &'a str), &'static str> {
    let mut uris = hume_uris(parsed);
    let uri = uris.next().ok_or("it has no hume:// URI")?;
    if uris.next().is_some() {
        return Err("it has several hume:// URIs");
    }
    let (trust_domain, name) = uri.split_once(kind).ok_or("its URI is of another kind")?;
    if trust_domain.is_empty() || trust_domain.contains('/') {
        return Err("its URI has no trust domain");
    }
    Ok((trust_domain, name))
}

/// The DNS names and addresses a server certificate is valid for, as text.
pub fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = parse(certificate) else { return Vec::new() };
    let Ok(Some(extension)) = parsed.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    });
    names.collect()
}

/// SHA-256 of the certificate's DER, in lower-case hex: the name by which a certificate is listed and revoked.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    sha256_hex(certificate)
}

/// The bytes of a SHA-256 that is written in 64 hexadecimal digits.
pub fn sha256_of_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// SHA-256; how tokens of the API are kept.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// SHA-256 in lower-case hex; also how bearer tokens are kept.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The trust domain in a CA certificate's URI `hume://<trust-domain>`.
pub(crate) fn trust_domain_of(certificate: &CertificateDer<'static>) -> Option<String> {
    let parsed = parse(certificate).ok()?;
    let domain = hume_uris(&parsed).find(|uri| !uri.contains('/'))?;
    Some(domain.to_owned())
}

/// The `hume://` URIs of a certificate, without the scheme.
fn hume_uris<'a>(certificate: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a str> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.map(|extension| extension.value.general_names.iter()).into_iter().flatten();
    names.filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix("hume://"),
        _ => None,
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, TlsError> {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| parsed)
        .map_err(|_| TlsError::NotAnAgent("it is not an X.509 certificate"))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(text: &[u8], from: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { what: "certificate", from: from.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(failed)?;
    if found.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn private_key(text: &[u8], from: String) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|source| TlsError::Pem { what: "private key", from, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Authority;
    use crate::{clock, files};

    fn authority() -> Authority {
        Authority::create("hume", clock::now()).unwrap()
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_fix() {
        let dir = tempfile::tempdir().unwrap();
        let issued = authority().issue_server(&["localhost".to_owned()], &[], clock::now()).unwrap();
        let (certificate, key) = (dir.path().join("master.pem"), dir.path().join("master.key"));
        files::write(&certificate, issued.certificate_pem.as_bytes(), 0o644).unwrap();
        for mode in [0o640, 0o604, 0o644, 0o620] {
            files::write(&key, issued.key_pem.expose().as_bytes(), mode).unwrap();
            let error = Identity::load(&certificate, &key).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {mode:04o}")), "{error}");
            assert!(error.contains(&format!("chmod 600 {}", key.display())), "{error}");
        }
        for mode in [0o600, 0o400] {
            files::write(&key, issued.key_pem.expose().as_bytes(), mode).unwrap();
            let identity = Identity::load(&certificate, &key).unwrap();
            assert!(identity.certificate().is_some());
            assert!(!format!("{identity:?}").contains("PRIVATE"));
        }
    }

    #[test]
    fn a_missing_or_empty_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert!(Roots::load(&path).unwrap_err().to_string().contains("ca.pem"));
        std::fs::write(&path, "not a certificate").unwrap();
        let error = Roots::load(&path).unwrap_err().to_string();
        assert_eq!(error, format!("no certificate found in {}", path.display()));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let authority = authority();
        let one = authority.issue_server(&["a".to_owned()], &[], clock::now()).unwrap();
        let two = authority.issue_server(&["b".to_owned()], &[], clock::now()).unwrap();
        let identity = Identity::from_pem(&one.certificate_pem, two.key_pem.expose()).unwrap();
        assert!(matches!(web_server(&identity), Err(TlsError::Unusable(_))));
    }

    #[test]
    fn an_agent_is_read_from_its_certificate() {
        let (authority, id, now) = (authority(), crate::random::uuid(), clock::now());
        let issued = authority.issue_agent(id, "web1", now).unwrap();
        let identity = Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap();
        let peer = agent_of(identity.certificate().unwrap()).unwrap();
        assert_eq!((peer.trust_domain.as_str(), peer.id), ("hume", id));
        let days = peer.not_after.micros_since(now) / 86_400_000_000;
        assert!((364..=365).contains(&days), "{days}");
        assert_eq!(fingerprint(identity.certificate().unwrap()).len(), 64);
    }

    #[test]
    fn an_agent_is_no_person_and_a_person_is_no_agent() {
        let (authority, id, now) = (authority(), crate::random::uuid(), clock::now());
        let request = crate::pki::Request::create().unwrap();
        let key = crate::pki::PublicKey::of_request(&request.request_pem).unwrap();
        let life = Duration::from_hours(24);
        let of = |pem: &str| first_of_pem(pem).unwrap();
        let person = of(&authority.sign_person("ana@ops", &key, life, now).unwrap().certificate_pem);
        let agent = of(&authority.sign_agent(id, "web1", &key, life, now).unwrap().certificate_pem);
        assert_eq!(person_of(&person).unwrap(), ("hume".to_owned(), "ana@ops".to_owned()));
        assert!(matches!(agent_of(&person), Err(TlsError::NotAnAgent("its URI is of another kind"))));
        assert!(matches!(person_of(&agent), Err(TlsError::NotAPerson("its URI is of another kind"))));
        // Nor can a name of one look like the other.
        for name in ["", "a/b", "agent/0190a000-0000-7000-8000-000000000001", "x/agent/y"] {
            let pem = authority.sign_person(name, &key, life, now).map(|signed| signed.certificate_pem);
            assert!(
                pem.is_ok_and(|pem| person_of(&of(&pem)).is_err() && agent_of(&of(&pem)).is_err()),
                "{name}"
            );
        }
    }

    #[test]
    fn the_web_port_of_a_site_gives_out_no_tickets_either() {
        let authority = authority();
        let issued = authority.issue_server(&["localhost".to_owned()], &[], clock::now()).unwrap();
        let identity = Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap();
        let roots = Roots::from_pem(authority.certificate_pem()).unwrap();
        let config = web_server_of_site(&identity, &roots).unwrap();
        assert_eq!((config.send_tls13_tickets, config.max_early_data_size), (0, 0));
        assert!(!config.session_storage.can_cache() && !config.ticketer.enabled());
    }

    #[test]
    fn a_server_certificate_tells_its_names() {
        let (names, addresses) =
            (["db.example.org".to_owned()], ["10.0.0.5", "::1"].map(|ip| ip.parse().unwrap()));
        let issued = authority().issue_server(&names, &addresses, clock::now()).unwrap();
        let identity = Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap();
        assert_eq!(names_of(identity.certificate().unwrap()), ["db.example.org", "10.0.0.5", "::1"]);
        assert!(names_of(&CertificateDer::from(vec![1, 2, 3])).is_empty());
    }

    #[test]
    fn a_server_certificate_is_not_an_agent() {
        let issued = authority().issue_server(&["localhost".to_owned()], &[], clock::now()).unwrap();
        let identity = Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap();
        assert!(matches!(agent_of(identity.certificate().unwrap()), Err(TlsError::NotAnAgent(_))));
        assert!(agent_of(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }

    #[test]
    fn the_relay_gives_out_no_tickets_and_wants_tls_1_3() {
        let authority = authority();
        let issued = authority.issue_server(&["localhost".to_owned()], &[], clock::now()).unwrap();
        let identity = Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap();
        let roots = Roots::from_pem(authority.certificate_pem()).unwrap();
        assert_eq!(roots.trust_domain(), Some("hume"));
        let config = relay_server(&identity, &roots).unwrap();
        assert_eq!((config.send_tls13_tickets, config.max_early_data_size), (0, 0));
        assert!(!config.session_storage.can_cache());
        assert_eq!(config.alpn_protocols, [b"h2"]);
    }

    #[test]
    fn a_digest_is_the_known_one() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
