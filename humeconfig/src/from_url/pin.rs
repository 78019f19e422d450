//! Trust in one key: the server is whoever has it, whatever its certificate says of names, issuers and times.
//!
//! What the handshake proves, that the peer has the key, is verified as ever.

use std::str::FromStr;
use std::sync::Arc;

use hume_runtime::tls::sha256_hex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::parse_x509_certificate;

/// SHA-256 of the public key (SPKI in DER) of a server, in lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin(String);

impl FromStr for Pin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Pin, &'static str> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default().to_ascii_lowercase();
        let is_hex = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then_some(Pin(hex)).ok_or(
            "expected `sha256:` and 64 hexadecimal digits, as from `openssl x509 -in server.pem -noout -pubkey | \
             openssl pkey -pubin -outform der | sha256sum`",
        )
    }
}

/// TLS with servers that have one of these keys.
pub(super) fn client(pins: &[Pin]) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Verifier { pins: pins.to_vec(), provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

#[derive(Debug)]
struct Verifier {
    pins: Vec<Pin>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Ok((_, certificate)) = parse_x509_certificate(end_entity) else {
            return Err(Error::General("the server's certificate cannot be read".to_owned()));
        };
        let found = sha256_hex(certificate.public_key().raw);
        if self.pins.iter().any(|pin| pin.0 == found) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General(format!("the server has the key sha256:{found}, which --pin does not name")))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_says_its_algorithm_and_has_the_length_of_its_hash() {
        let hex = "ab".repeat(32);
        assert_eq!(format!("sha256:{}", hex.to_uppercase()).parse::<Pin>(), Ok(Pin(hex.clone())));
        for text in [hex.as_str(), "sha256:", &format!("sha256:{hex}0"), &format!("sha1:{hex}"), "sha256:zz"]
        {
            assert!(text.parse::<Pin>().is_err(), "{text}");
        }
    }
}
