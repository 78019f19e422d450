//! Carries out what `renewal.rs` says: makes a key, asks, keeps the answer on disk before the master hears of it.

use std::time::Duration;

use hume_core::ErrorClass;
use hume_proto::relay::{AgentFrame, FrameError, Renew};
use hume_runtime::renewal::NewKey;
use tracing::{error, info, warn};

use super::connect::{ConnectError, Dial};
use super::identity::{Shown, Standing};
use super::renewal::{AGAIN_MAX, Step};
use super::{Open, SessionError, Uplink, send};

/// What the TLS library says when the other end ends a handshake.
const ALERT: &str = "received fatal alert";
/// A certificate that could not be kept is asked for again after this time.
const NOT_KEPT_PAUSE: Duration = Duration::from_mins(10);

impl<D: Dial> Uplink<D> {
    /// The master took the pair: the one before it is not needed any more.
    pub(super) fn worked(&self, shown: &Shown) {
        match self.identities.worked(shown.standing) {
            Ok(()) if shown.standing == Standing::Next => {
                info!(fingerprint = shown.fingerprint, "the renewed certificate has had its first session");
            }
            Ok(()) => {}
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the renewed certificate counts as untried");
            }
        }
    }

    /// Makes the next step of the renewal, if there is one.
    pub(super) async fn renew(&self, open: &mut Open) -> Result<(), SessionError> {
        match open.renewal.step() {
            None => Ok(()),
            Some(Step::Ask) => {
                let key = NewKey::make().and_then(|key| {
                    let proof = key.prove(&open.occasion)?;
                    Ok((Renew { public_key: key.public_key(), proof }, key))
                });
                match key {
                    Ok((renew, key)) => {
                        open.new_key = Some(key);
                        send(&open.outgoing, AgentFrame::Renew(renew)).await
                    }
                    Err(error) => {
                        error!(error = &error as &dyn std::error::Error, "no key for a new certificate");
                        open.renewal.later(AGAIN_MAX);
                        Ok(())
                    }
                }
            }
            Some(Step::Keep(chain)) => {
                let Some(key) = open.new_key.take() else { return Ok(()) };
                // Before the master may count on it, it is on disk.
                match self.identities.keep(&key.pem(), &chain, open.renewal.now()) {
                    Ok(kept) => self.renewed(kept, open).await,
                    Err(error) => {
                        error!(
                            error = &error as &dyn std::error::Error,
                            "the new certificate was not kept; it is asked for again later"
                        );
                        open.renewal.later(NOT_KEPT_PAUSE);
                        Ok(())
                    }
                }
            }
        }
    }

    /// A new pair is on disk: the session goes on with it, and the next connection shows it.
    async fn renewed(&self, kept: Shown, open: &mut Open) -> Result<(), SessionError> {
        let Shown { agent, fingerprint, renew_at, .. } = kept;
        info!(fingerprint, not_after = %agent.not_after, "the certificate was renewed");
        open.renewal.renewed(renew_at);
        open.certificate_expires_at = agent.not_after;
        self.metrics.update_uplink(|uplink| uplink.certificate_expires_at = Some(agent.not_after));
        send(&open.outgoing, AgentFrame::Renewed(fingerprint)).await
    }
}

/// Whether the master refused what we showed, and not only the moment: it said so after a handshake, or in words.
pub(super) fn is_about_the_certificate(error: &SessionError) -> bool {
    match error {
        SessionError::Connect(ConnectError::Connect { detail, .. }) => detail.contains(ALERT),
        SessionError::Frame(FrameError::Broken { class, detail }) => {
            matches!(class, ErrorClass::Denied | ErrorClass::Unauthenticated) || detail.contains(ALERT)
        }
        _ => false,
    }
}
