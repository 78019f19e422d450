//! Makes the site's CA and the certificates under it: P-256, validity always set, one purpose each.
//!
//! A CA names its trust domain in its subject and as URI `hume://<trust-domain>`. One that was made by hand issues end
//! certificates itself; the master's has a root that issues CAs alone, and an issuing CA below it (`ca_folder.rs`). A server
//! certificate holds names and addresses, an agent's the URI `hume://<trust-domain>/agent/<uuid>`, that of a person or a
//! program that asks questions `hume://<trust-domain>/person/<name>`. All begin an hour early, for
//! clocks that disagree, and none outlives its CA. Of a request for a certificate only the key is taken (`request.rs`).

mod ca_folder;
pub mod join;
mod request;

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use hume_core::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use uuid::Uuid;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use self::ca_folder::{CaFolder, CaFolderError, Summary};
pub use self::request::{PublicKey, Request};
use crate::files::{self, FileError};
use crate::secret::SecretText;
use crate::tls::trust_domain_of;

const DAY_SECONDS: i64 = 86_400;
/// How long a CA lives.
pub const CA_DAYS: i64 = 3653;
/// How long an issuing CA below a root lives.
pub const ISSUING_DAYS: i64 = 730;
/// How long a server certificate of a site made by hand lives.
pub const SERVER_DAYS: i64 = 825;
/// How long a certificate lives that the master makes for itself; at half of that it makes the next one.
pub const MASTER_DAYS: i64 = 90;
/// How long an agent certificate lives.
pub const AGENT_DAYS: i64 = 365;
/// A trust domain may have this many bytes, so that the CA's common name stays within 64.
pub const TRUST_DOMAIN_BYTES_MAX: usize = 48;

/// Bytes of a serial number.
pub const SERIAL_BYTES: usize = 16;

const EARLY_SECONDS: i64 = 3600;
const COMMON_NAME_CHARS_MAX: usize = 64;

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The trust domain is not a lower-case name.
    #[error(
        "`{0}` cannot be a trust domain: 1 to {TRUST_DOMAIN_BYTES_MAX} of a-z, 0-9, `-` and `.`, beginning and ending with a letter or digit"
    )]
    TrustDomain(String),
    /// The CA certificate was not made by hume or is damaged.
    #[error("the CA certificate {0}")]
    Authority(&'static str),
    /// A request for a certificate is damaged, not signed by its key, or its key is of another kind.
    #[error("the certificate request {0}")]
    Request(&'static str),
    /// A server name that no client could ask for.
    #[error("`{0}` is not a DNS name or an IP address")]
    Name(String),
    /// The library refused.
    #[error("could not {step}")]
    Library {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: rcgen::Error,
    },
}

/// A new certificate with its key.
#[derive(Debug)]
pub struct Issued {
    /// The certificate, in PEM.
    pub certificate_pem: String,
    /// The private key, in PEM.
    pub key_pem: SecretText,
    /// When it ends.
    pub not_after: Timestamp,
}

/// A new certificate of a key that somebody else has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The certificate, in PEM.
    pub certificate_pem: String,
    /// Its serial number.
    pub serial: [u8; SERIAL_BYTES],
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// What a CA may issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    /// CAs.
    Root,
    /// End certificates alone.
    Issuing,
}

/// A CA: certificate and key.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    key_pem: SecretText,
    trust_domain: String,
    not_after_s: i64,
}

impl Authority {
    /// Makes a new CA that issues end certificates itself, valid from an hour before `now`.
    pub fn create(trust_domain: &str, now: Timestamp) -> Result<Authority, PkiError> {
        Authority::self_signed(trust_domain, Rank::Issuing, now)
    }

    /// Makes a new root, which issues CAs alone ([`Authority::issue_authority`]).
    pub fn create_root(trust_domain: &str, now: Timestamp) -> Result<Authority, PkiError> {
        Authority::self_signed(trust_domain, Rank::Root, now)
    }

    fn self_signed(trust_domain: &str, rank: Rank, now: Timestamp) -> Result<Authority, PkiError> {
        check_trust_domain(trust_domain)?;
        let key = new_key()?;
        let not_after_s = seconds(now) + CA_DAYS * DAY_SECONDS;
        let params = ca_params(trust_domain, rank, now, not_after_s)?;
        let certificate = params.self_signed(&key).map_err(library("sign the CA certificate"))?;
        let key_pem = SecretText::new(key.serialize_pem());
        Ok(Authority {
            issuer: Issuer::new(params, key),
            certificate_pem: certificate.pem(),
            key_pem,
            trust_domain: trust_domain.to_owned(),
            not_after_s,
        })
    }

    /// Makes a CA below this root that issues end certificates.
    pub fn issue_authority(&self, now: Timestamp) -> Result<Authority, PkiError> {
        let key = new_key()?;
        let not_after_s = (seconds(now) + ISSUING_DAYS * DAY_SECONDS).min(self.not_after_s);
        let mut params = ca_params(&self.trust_domain, Rank::Issuing, now, not_after_s)?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(library("sign the certificate of the issuing CA"))?;
        let key_pem = SecretText::new(key.serialize_pem());
        Ok(Authority {
            issuer: Issuer::new(params, key),
            certificate_pem: certificate.pem(),
            key_pem,
            trust_domain: self.trust_domain.clone(),
            not_after_s,
        })
    }

    /// Takes up a CA that was made here, of any rank.
    pub fn load(ca_pem: &str, key_pem: &SecretText) -> Result<Authority, PkiError> {
        let der = CertificateDer::from_pem_slice(ca_pem.as_bytes())
            .map_err(|_| PkiError::Authority("is not in PEM"))?;
        let trust_domain = trust_domain_of(&der).ok_or(PkiError::Authority("names no trust domain"))?;
        let key = KeyPair::from_pem(key_pem.expose()).map_err(library("read the CA key"))?;
        let (_, parsed) = X509Certificate::from_der(&der)
            .map_err(|_| PkiError::Authority("is not an X.509 certificate"))?;
        if *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(PkiError::Authority("does not belong to the CA key"));
        }
        let not_after_s = parsed.validity().not_after.timestamp();
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(library("read the CA certificate"))?;
        let (certificate_pem, key_pem) = (ca_pem.to_owned(), key_pem.clone());
        Ok(Authority { issuer, certificate_pem, key_pem, trust_domain, not_after_s })
    }

    /// The name of the site.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// When the CA certificate ends.
    pub fn not_after(&self) -> Timestamp {
        from_seconds(self.not_after_s)
    }

    /// The CA certificate, in PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's private key, in PEM.
    pub fn key_pem(&self) -> &SecretText {
        &self.key_pem
    }

    /// A certificate for a server that is reached under these names and addresses. A name that is an IP address counts
    /// as one.
    pub fn issue_server(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<Issued, PkiError> {
        self.issue_server_for(names, addresses, SERVER_DAYS, now)
    }

    fn issue_server_for(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        days: i64,
        now: Timestamp,
    ) -> Result<Issued, PkiError> {
        let mut alternatives: Vec<SanType> = Vec::new();
        let named = names.iter().map(|name| server_name(name));
        for name in named.chain(addresses.iter().map(|address| Ok(SanType::IpAddress(*address)))) {
            let name = name?;
            if !alternatives.contains(&name) {
                alternatives.push(name);
            }
        }
        let common_name = names.first().map_or("hume master", String::as_str);
        let purpose = ExtendedKeyUsagePurpose::ServerAuth;
        self.issue(common_name, alternatives, purpose, days, now)
    }

    /// A certificate for the agent with this id; `host` is only for people who look at it.
    pub fn issue_agent(&self, agent: Uuid, host: &str, now: Timestamp) -> Result<Issued, PkiError> {
        let name = uri(format!("hume://{}/agent/{agent}", self.trust_domain))?;
        self.issue(host, vec![name], ExtendedKeyUsagePurpose::ClientAuth, AGENT_DAYS, now)
    }

    /// The same for a key that the agent keeps to itself, for `life` at most.
    pub fn sign_agent(
        &self,
        agent: Uuid,
        host: &str,
        key: &PublicKey,
        life: Duration,
        now: Timestamp,
    ) -> Result<Signed, PkiError> {
        let name = uri(format!("hume://{}/agent/{agent}", self.trust_domain))?;
        let life_s = i64::try_from(life.as_secs()).unwrap_or(i64::MAX / 2);
        self.sign(&key.0, host, vec![name], ExtendedKeyUsagePurpose::ClientAuth, life_s, now)
    }

    /// A certificate for a person or a program that asks questions, for a key that stays with him.
    pub fn sign_person(
        &self,
        name: &str,
        key: &PublicKey,
        life: Duration,
        now: Timestamp,
    ) -> Result<Signed, PkiError> {
        let uri = uri(format!("hume://{}/person/{name}", self.trust_domain))?;
        let life_s = i64::try_from(life.as_secs()).unwrap_or(i64::MAX / 2);
        self.sign(&key.0, name, vec![uri], ExtendedKeyUsagePurpose::ClientAuth, life_s, now)
    }

    fn issue(
        &self,
        common_name: &str,
        alternatives: Vec<SanType>,
        purpose: ExtendedKeyUsagePurpose,
        days: i64,
        now: Timestamp,
    ) -> Result<Issued, PkiError> {
        let key = new_key()?;
        let signed = self.sign(&key, common_name, alternatives, purpose, days * DAY_SECONDS, now)?;
        let Signed { certificate_pem, serial: _, not_before: _, not_after } = signed;
        Ok(Issued { certificate_pem, key_pem: SecretText::new(key.serialize_pem()), not_after })
    }

    fn sign(
        &self,
        key: &impl PublicKeyData,
        common_name: &str,
        alternatives: Vec<SanType>,
        purpose: ExtendedKeyUsagePurpose,
        life_s: i64,
        now: Timestamp,
    ) -> Result<Signed, PkiError> {
        let not_after_s = seconds(now).saturating_add(life_s).min(self.not_after_s);
        // What lives for minutes does not begin an hour early: half of its life would be over.
        let early_s = EARLY_SECONDS.min(life_s / 10);
        let mut params = params(now, not_after_s);
        set_validity(&mut params, seconds(now) - early_s, not_after_s);
        let common_name: String = common_name.chars().take(COMMON_NAME_CHARS_MAX).collect();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = alternatives;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let serial = new_serial();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let certificate = params.signed_by(key, &self.issuer).map_err(library("sign the certificate"))?;
        Ok(Signed {
            certificate_pem: certificate.pem(),
            serial,
            not_before: from_seconds(seconds(now) - early_s),
            not_after: from_seconds(not_after_s),
        })
    }
}

/// Writes a secret so that only its owner can read it, all at once and durably.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    files::write(path, bytes, 0o600)
}

fn check_trust_domain(text: &str) -> Result<(), PkiError> {
    let ends = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let fits = (1..=TRUST_DOMAIN_BYTES_MAX).contains(&bytes.len());
    let inner = bytes.iter().all(|byte| ends(*byte) || *byte == b'-' || *byte == b'.');
    let bounded =
        bytes.first().is_some_and(|byte| ends(*byte)) && bytes.last().is_some_and(|byte| ends(*byte));
    if fits && inner && bounded { Ok(()) } else { Err(PkiError::TrustDomain(text.to_owned())) }
}

fn server_name(name: &str) -> Result<SanType, PkiError> {
    let refused = || PkiError::Name(name.to_owned());
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    // The check a client makes; a leading `*.` is allowed in certificates only.
    let asked_for = name.strip_prefix("*.").unwrap_or(name);
    rustls::pki_types::DnsName::try_from(asked_for).map_err(|_| refused())?;
    Ok(SanType::DnsName(name.to_owned().try_into().map_err(|_| refused())?))
}

fn uri(text: String) -> Result<SanType, PkiError> {
    Ok(SanType::URI(text.try_into().map_err(library("write the URI"))?))
}

fn params(now: Timestamp, not_after_s: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    set_validity(&mut params, seconds(now) - EARLY_SECONDS, not_after_s);
    params
}

fn set_validity(params: &mut CertificateParams, from_s: i64, until_s: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    params.not_before = epoch + since_epoch(from_s);
    params.not_after = epoch + since_epoch(until_s);
}

fn ca_params(
    trust_domain: &str,
    rank: Rank,
    now: Timestamp,
    not_after_s: i64,
) -> Result<CertificateParams, PkiError> {
    let mut params = params(now, not_after_s);
    let title = match rank {
        Rank::Root => "hume root CA",
        Rank::Issuing => "hume CA",
    };
    params.distinguished_name.push(DnType::CommonName, format!("{title} {trust_domain}"));
    // Two CAs of one site get different subjects, so that a stranger's certificate is "unknown issuer" and a later
    // change of the CA can trust both.
    let serial = u32::from_ne_bytes(crate::random::bytes());
    params.distinguished_name.push(DnType::OrganizationalUnitName, format!("{serial:08x}"));
    params.subject_alt_names = vec![uri(format!("hume://{trust_domain}"))?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(match rank {
        Rank::Root => 1,
        Rank::Issuing => 0,
    }));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// 127 random bits: a serial number is positive, and none is given twice.
fn new_serial() -> [u8; SERIAL_BYTES] {
    let mut serial = crate::random::bytes();
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

fn seconds(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}

fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(library("make a key"))
}

fn library(step: &'static str) -> impl Fn(rcgen::Error) -> PkiError {
    move |source| PkiError::Library { step, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use std::os::unix::fs::PermissionsExt;

    fn with_certificate<T>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        look(&parsed)
    }

    #[test]
    fn a_ca_may_only_issue_end_certificates() {
        let authority = Authority::create("example.org", clock::now()).unwrap();
        with_certificate(authority.certificate_pem(), |ca| {
            let constraints = ca.basic_constraints().unwrap().unwrap().value;
            assert_eq!((constraints.ca, constraints.path_len_constraint), (true, Some(0)));
            let usage = ca.key_usage().unwrap().unwrap().value;
            assert!(usage.key_cert_sign() && !usage.digital_signature());
            assert!(ca.subject().to_string().contains("CN=hume CA example.org"), "{}", ca.subject());
        });
    }

    #[test]
    fn a_ca_read_back_issues_for_the_same_trust_domain() {
        let now = clock::now();
        let created = Authority::create("example.org", now).unwrap();
        let loaded = Authority::load(created.certificate_pem(), created.key_pem()).unwrap();
        assert_eq!(loaded.trust_domain(), "example.org");
        let issued = loaded.issue_agent(crate::random::uuid(), "web1", now).unwrap();
        with_certificate(&issued.certificate_pem, |agent| {
            with_certificate(created.certificate_pem(), |ca| assert_eq!(agent.issuer(), ca.subject()));
            let purposes = agent.extended_key_usage().unwrap().unwrap().value;
            assert!(purposes.client_auth && !purposes.server_auth);
            assert!(!agent.is_ca());
        });
    }

    #[test]
    fn a_key_of_another_ca_is_refused() {
        let now = clock::now();
        let (one, two) = (Authority::create("hume", now).unwrap(), Authority::create("hume", now).unwrap());
        let error = Authority::load(one.certificate_pem(), two.key_pem()).unwrap_err();
        assert_eq!(error.to_string(), "the CA certificate does not belong to the CA key");
    }

    #[test]
    fn validity_begins_an_hour_early_and_never_outlives_the_ca() {
        let now = clock::now();
        let authority = Authority::create("hume", now).unwrap();
        let validity = |issued: &Issued| {
            with_certificate(&issued.certificate_pem, |certificate| {
                let validity = certificate.validity();
                (
                    validity.not_before.timestamp() - seconds(now),
                    validity.not_after.timestamp() - seconds(now),
                )
            })
        };
        let names = ["localhost".to_owned()];
        assert_eq!(validity(&authority.issue_server(&names, &[], now).unwrap()), (-3600, 825 * DAY_SECONDS));
        let late = now.plus_micros((CA_DAYS - 100) * DAY_SECONDS * 1_000_000);
        let issued = authority.issue_server(&names, &[], late).unwrap();
        assert_eq!(validity(&issued).1, CA_DAYS * DAY_SECONDS);
    }

    #[test]
    fn a_server_certificate_names_each_name_and_address_once() {
        let authority = Authority::create("hume", clock::now()).unwrap();
        let names = ["master.example.org", "127.0.0.1", "localhost", "localhost"].map(str::to_owned);
        let addresses = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let issued = authority.issue_server(&names, &addresses, clock::now()).unwrap();
        with_certificate(&issued.certificate_pem, |server| {
            let names = &server.subject_alternative_name().unwrap().unwrap().value.general_names;
            assert_eq!(names.len(), 4, "{names:?}");
        });
    }

    #[test]
    fn names_nobody_can_ask_for_are_refused() {
        let authority = Authority::create("hume", clock::now()).unwrap();
        for name in ["", "a b", "-", "ü.example", "http://x"] {
            let error = authority.issue_server(&[name.to_owned()], &[], clock::now()).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{name}` is not")), "{error}");
        }
        for domain in ["", "Hume", "a/b", "-a", "a.", &"a".repeat(49)] {
            assert!(
                matches!(Authority::create(domain, clock::now()), Err(PkiError::TrustDomain(_))),
                "{domain}"
            );
        }
    }

    #[test]
    fn a_secret_file_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.key");
        std::fs::write(&path, "old").unwrap();
        write_secret(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_does_not_print_itself() {
        let authority = Authority::create("hume", clock::now()).unwrap();
        let issued = authority.issue_agent(crate::random::uuid(), "web1", clock::now()).unwrap();
        assert!(!format!("{authority:?} {issued:?}").contains("PRIVATE"));
    }
}
