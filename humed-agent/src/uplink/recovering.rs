//! Carries out what `recovery.rs` says: before a connection it gets another certificate for one that has ended, by the master's
//! enrolment port, and keeps it beside the old pair.

use hume_core::{ErrorClass, Timestamp};
use hume_proto::join::{RECOVER_PATH, RecoverAnswer, RecoverRequest};
use hume_proto::rest::Problem;
use hume_proto::status::class_of_http;
use hume_runtime::http::{self, ANSWER_BYTES_MAX, Answer};
use hume_runtime::pki::join::{CHANNEL_BYTES, CHANNEL_LABEL};
use hume_runtime::pki::{PublicKey, Request};
use hume_runtime::tls::{self, Roots};
use hume_runtime::{clock, recovery as proof};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tracing::{info, warn};

use super::connect::{CONNECT_TIME_MAX, ConnectError, Dial, told};
use super::identity::Shown;
use super::recovery::{Known, Refused, says_ended};
use super::renewing::is_about_the_certificate;
use super::{Open, SessionError, Uplink};

impl<D: Dial> Uplink<D> {
    /// Connects as who we are by now, and says Hello until the Welcome. A certificate that has ended is recovered first.
    pub(super) async fn open(&self) -> Result<Open, SessionError> {
        let mut shown = self.identities.present()?;
        self.metrics.update_uplink(|uplink| uplink.certificate_expires_at = Some(shown.agent.not_after));
        let mut refused = None;
        if self.known(&shown).is_due() {
            match self.recover(&shown).await {
                Ok(kept) => shown = kept,
                Err(why) if why.leaves_a_session() => refused = Some(why),
                Err(why) => return Err(ended(&shown, why)),
            }
        }
        let opened = self.open_as(&shown).await;
        match opened {
            Ok(open) => {
                if refused.is_some_and(|why| why.is_about_a_wrong_clock()) {
                    warn!(
                        "the certificate has not ended by the master's clock: the clock of this host is wrong"
                    );
                }
                self.worked(&shown);
                Ok(open)
            }
            Err(error) if is_about_the_certificate(&error) => {
                if says_ended(&error.to_string()) {
                    self.identities.told_ended(&shown);
                }
                self.identities.refused(shown.standing);
                Err(refused.map_or(error, |why| ended(&shown, why)))
            }
            Err(error) => Err(error),
        }
    }

    fn known(&self, shown: &Shown) -> Known {
        Known {
            not_after: shown.agent.not_after,
            now: clock::now().max(self.master_time.latest().unwrap_or(Timestamp::EPOCH)),
            is_told: self.identities.is_told_ended(shown),
            standing: shown.standing,
            has_next: self.identities.has_next(),
        }
    }

    /// Gets another certificate and keeps it.
    async fn recover(&self, shown: &Shown) -> Result<Shown, Refused> {
        let failed = |error: &dyn std::error::Error| Refused::Failed(told(Some(error)));
        // On disk before it is asked about, so that a lost answer can be asked for again.
        let key = self.identities.next_key(shown).map_err(|error| failed(&error))?;
        let asked = tokio::time::timeout(CONNECT_TIME_MAX, self.ask(shown, &key)).await;
        let RecoverAnswer { certificate, master_time } = asked.unwrap_or_else(|_| {
            Err(Refused::Failed(format!("no answer within {} s", CONNECT_TIME_MAX.as_secs())))
        })?;
        let kept =
            self.identities.keep(&key.key_pem, &certificate, master_time).map_err(|error| failed(&error))?;
        self.master_time.note(master_time, kept.agent.not_after);
        info!(
            fingerprint = kept.fingerprint,
            ended_at = %shown.agent.not_after,
            not_after = %kept.agent.not_after,
            "the certificate had ended, and the master gave another one"
        );
        Ok(kept)
    }

    /// Asks the master's enrolment port.
    async fn ask(&self, shown: &Shown, key: &Request) -> Result<RecoverAnswer, Refused> {
        let address = self.config.enroll_address();
        let failed = |error: &dyn std::error::Error| {
            Refused::Failed(format!("asked {address}: {}", told(Some(error))))
        };
        let garbled = || Refused::Failed(format!("asked {address}: what it answers is not of hume"));
        let roots = Roots::load(&self.config.ca).map_err(|error| failed(&error))?;
        let client = tls::enroll_client(&roots, self.known_time(shown)).map_err(|error| failed(&error))?;
        let name = self.config.enroll_name();
        let name = ServerName::try_from(name.clone()).map_err(|_| failed(&ConnectError::ServerName(name)))?;
        let stream = self.dial.dial(&address).await.map_err(|error| failed(&error))?;
        let mut stream =
            TlsConnector::from(client).connect(name, stream).await.map_err(|error| failed(&error))?;
        let channel = stream.get_ref().1.export_keying_material([0; CHANNEL_BYTES], CHANNEL_LABEL, None);
        let channel = channel.map_err(|error| failed(&error))?;
        let spki = PublicKey::of_request(&key.request_pem).map_err(|error| failed(&error))?.spki();
        let proof = proof::prove(&shown.identity, &channel, &spki).map_err(|error| failed(&error))?;
        let request = RecoverRequest {
            chain: shown.identity.chain().iter().map(|certificate| tls::hex(certificate)).collect(),
            request: key.request_pem.clone(),
            proof: tls::hex(&proof),
        };
        let body = serde_json::to_vec(&request).map_err(|error| failed(&error))?;
        let request = http::request("POST", RECOVER_PATH, Some(&body));
        stream.write_all(&request).await.map_err(|error| failed(&error))?;
        stream.flush().await.map_err(|error| failed(&error))?;
        let mut answer = Vec::new();
        let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await;
        let answer = match (Answer::parse(&answer), read) {
            (Some(answer), _) => answer,
            (None, Err(error)) => return Err(failed(&error)),
            (None, Ok(_)) => return Err(garbled()),
        };
        if answer.status == 200 {
            return serde_json::from_slice(&answer.body).map_err(|_| garbled());
        }
        let problem: Problem = serde_json::from_slice(&answer.body).map_err(|_| garbled())?;
        Err(Refused::Master { class: class_of_http(answer.status), detail: problem.detail })
    }

    /// A time that has passed for sure.
    fn known_time(&self, shown: &Shown) -> Option<Timestamp> {
        let told = self.identities.is_told_ended(shown).then_some(shown.agent.not_after);
        Some(shown.since).max(told).max(self.master_time.latest())
    }
}

fn ended(shown: &Shown, why: Refused) -> SessionError {
    SessionError::CertificateEnded { at: shown.agent.not_after, why }
}

/// Whether a master that could tell us more has been asked and has said no.
pub(super) fn is_hopeless(error: &SessionError) -> bool {
    match error {
        SessionError::CertificateEnded { why, .. } => why.is_final(),
        SessionError::Frame(hume_proto::relay::FrameError::Broken { class, .. }) => {
            matches!(class, ErrorClass::Denied | ErrorClass::Conflict)
        }
        _ => false,
    }
}
