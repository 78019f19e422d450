//! A master is judged by the clock of this host, unless that is behind a time which has passed for sure.
//!
//! A host without a battery begins in 1970, and every certificate would be one of the future. Where the clock is known to be behind,
//! the beginnings of the certificates that are shown have passed as well: a CA of ours signed them, and had a clock. A later time
//! than the true one makes no certificate good that has ended.

use std::sync::Arc;
use std::time::Duration;

use hume_core::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use crate::clock;

/// The usual verifier, at a time that is not before `known`.
#[derive(Debug)]
pub(super) struct Lagging {
    pub(super) usual: Arc<WebPkiServerVerifier>,
    pub(super) known: Timestamp,
}

/// The time at which certificates that begin then are judged.
fn judged_at(clock: Timestamp, known: Timestamp, begin: impl Iterator<Item = Timestamp>) -> Timestamp {
    if clock >= known { clock } else { begin.fold(known, Timestamp::max) }
}

impl ServerCertVerifier for Lagging {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = std::iter::once(end_entity).chain(intermediates);
        let begin = shown.filter_map(|certificate| Some(super::validity_of(certificate).ok()?.0));
        let time_us = judged_at(clock::now(), self.known, begin).as_micros();
        let time =
            UnixTime::since_unix_epoch(Duration::from_micros(u64::try_from(time_us).unwrap_or_default()));
        self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_believed_unless_it_is_known_to_be_behind() {
        let at = Timestamp::from_micros;
        let judged = |clock, known, begin: &[i64]| {
            judged_at(at(clock), at(known), begin.iter().map(|one| at(*one))).as_micros()
        };
        assert_eq!(judged(100, 0, &[500]), 100, "one of the future stays one");
        assert_eq!(judged(100, 100, &[500]), 100);
        assert_eq!(judged(99, 100, &[50]), 100);
        assert_eq!(judged(0, 100, &[500, 300]), 500);
        assert_eq!(judged(0, 100, &[]), 100);
    }
}
