//! The two ends of the TLS connection over which a host joins: the master is known by the pin of its root, the host by nothing yet.
//!
//! TLS 1.3 alone, without resumption. What both ends derive from the connection (its exporter) is what the host signs, so that a
//! proof is good for this connection and no other.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::pki::join::{self, Pin};
use crate::tls::{Identity, TlsError};

const ALPN_HTTP1: &[u8] = b"http/1.1";

/// For the enrolment port: no client certificate; the root is shown with the chain, so that it can be compared with the pin.
/// # Errors
/// [`TlsError`].
pub fn join_server(identity: &Identity, root_pem: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let root = CertificateDer::from_pem_slice(root_pem.as_bytes()).map_err(|source| TlsError::Pem {
        what: "certificate",
        from: "the root".to_owned(),
        source,
    })?;
    let (mut chain, key) = identity.clone().into_parts();
    chain.push(root);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// For a host that joins: the server must show a root of this pin, and a chain to it that names the server.
/// # Errors
/// [`TlsError`].
pub fn join_client(pin: Pin) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let verifier = Arc::new(Pinned { pin, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Unusable)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// The pin of a certificate; none if it cannot be read.
pub fn pin_of_certificate(der: &CertificateDer<'_>) -> Option<Pin> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    Some(join::pin_of(parsed.public_key().raw))
}

/// The pin of the first certificate in a text; none if there is none.
pub fn pin_of_pem(pem: &str) -> Option<Pin> {
    pin_of_certificate(&CertificateDer::from_pem_slice(pem.as_bytes()).ok()?)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Finds the root among what the server shows, and then does what a usual client does with that root.
#[derive(Debug)]
struct Pinned {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let is_root = |der: &&CertificateDer<'_>| pin_of_certificate(der) == Some(self.pin);
        let root = intermediates.iter().find(is_root).ok_or_else(|| unknown.clone())?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|_| unknown)?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
