//! Who this agent is, while that changes: the files of `[master]`, and what the master made of them since.
//!
//! A renewed pair lies in `identity/` of the state folder, key and chain in one file, written at once and synced, 0600.
//! `next.pem` has had no session yet; until it has, the pair before it stays, and is shown in turn when the master refuses the
//! new one. Both say which certificate of the configuration they descend from: whoever replaces that begins anew.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hume_core::Timestamp;
use hume_runtime::files::{self, FileError};
use hume_runtime::pki::{PkiError, Request};
use hume_runtime::renewal;
use hume_runtime::secret::SecretText;
use hume_runtime::tls::{self, Identity, PeerAgent, Roots, TlsError};
use tracing::warn;

use super::config::Config;
use super::connect::{self, ConnectError};

/// A new pair that the master refused so often, while it took the one before, is given up.
const REFUSALS_MAX: u32 = 3;
const FOLDER: &str = "identity";
const CURRENT: &str = "current.pem";
const NEXT: &str = "next.pem";
const ORIGIN: &str = "descends-from: ";
/// A key that waits for its certificate.
const NEXT_KEY: &str = "next.key";
const FOLLOWS: &str = "follows: ";

/// A pair could not be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    /// What came cannot be used, or what is there cannot be read.
    #[error(transparent)]
    Pair(#[from] ConnectError),
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] PkiError),
    /// It is of another agent.
    #[error("the new certificate is of agent {0}, not of this one")]
    OtherAgent(uuid::Uuid),
    /// The disk.
    #[error(transparent)]
    File(#[from] FileError),
}

impl From<TlsError> for KeepError {
    fn from(error: TlsError) -> KeepError {
        KeepError::Pair(ConnectError::Tls(error))
    }
}

/// Where a pair comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The files of the configuration.
    Files,
    /// Renewed, and has had a session.
    Current,
    /// Renewed, and has not.
    Next,
}

/// A pair that is shown to the master.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// Chain and key.
    pub(super) identity: Identity,
    /// Whom it names.
    pub(super) agent: PeerAgent,
    /// Its name among certificates.
    pub(super) fingerprint: String,
    /// When its certificate begins.
    pub(super) since: Timestamp,
    /// When a new one is due.
    pub(super) renew_at: Timestamp,
    /// Where it comes from.
    pub(super) standing: Standing,
}

impl Shown {
    fn new(identity: Identity, standing: Standing) -> Result<Shown, ConnectError> {
        let certificate = identity.certificate().ok_or(ConnectError::NoCertificate)?;
        let agent = tls::agent_of(certificate)?;
        let fingerprint = tls::fingerprint(certificate);
        let (not_before, not_after) = tls::validity_of(certificate)?;
        let seed = u64::from_str_radix(&fingerprint[..16], 16).unwrap_or(0);
        let renew_at = renewal::due(not_before, not_after, seed);
        Ok(Shown { identity, agent, fingerprint, since: not_before, renew_at, standing })
    }
}

/// What the master thinks of the next pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Doubt {
    refusals: u32,
    /// It was refused just now: the pair before it has its turn.
    is_passed_over: bool,
}

/// All pairs of this agent.
#[derive(Debug)]
pub(super) struct Identities {
    config: Config,
    folder: PathBuf,
    doubt: Mutex<Doubt>,
    /// The certificate that the master last refused as one that has ended.
    ended: Mutex<Option<String>>,
}

impl Identities {
    /// Those of the configuration and of this state folder. Reads nothing yet.
    pub(super) fn new(config: &Config, state: &Path) -> Identities {
        Identities {
            config: config.clone(),
            folder: state.join(FOLDER),
            doubt: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    /// The pair to show at the next connection: the newest, unless the master has just refused it.
    ///
    /// # Errors
    /// [`ConnectError`] when the files of the configuration cannot be used.
    pub(super) fn present(&self) -> Result<Shown, ConnectError> {
        let (files, _) = connect::identity(&self.config)?;
        let files = Shown::new(files, Standing::Files)?;
        let doubt = *self.doubt();
        let next = (!doubt.is_passed_over).then(|| self.renewed(NEXT, Standing::Next, &files)).flatten();
        let renewed = next.or_else(|| self.renewed(CURRENT, Standing::Current, &files));
        Ok(renewed.unwrap_or(files))
    }

    /// True when a renewed pair waits for its first session.
    pub(super) fn has_next(&self) -> bool {
        self.folder.join(NEXT).exists()
    }

    /// Keeps a new key with the chain that the master made for it; durable when this returns.
    ///
    /// # Errors
    /// [`KeepError`]; nothing was changed.
    pub(super) fn keep(&self, key_pem: &SecretText, chain: &str, now: Timestamp) -> Result<Shown, KeepError> {
        let shown = Shown::new(Identity::from_pem(chain, key_pem.expose())?, Standing::Next)?;
        tls::check_client(&shown.identity, &Roots::load(&self.config.ca).map_err(ConnectError::from)?, now)?;
        let (files, known) = connect::identity(&self.config)?;
        if (shown.agent.id, &shown.agent.trust_domain) != (known.id, &known.trust_domain) {
            return Err(KeepError::OtherAgent(shown.agent.id));
        }
        let origin = files.certificate().map(tls::fingerprint).unwrap_or_default();
        let text = format!("{ORIGIN}{origin}\n{}{chain}", key_pem.expose());
        files::create_dir(&self.folder, 0o700)?;
        files::write(&self.folder.join(NEXT), text.as_bytes(), 0o600)?;
        // Of no use any more; one that stays is known by the certificate that it was made for.
        files::remove(&self.folder.join(NEXT_KEY))?;
        *self.doubt() = Doubt::default();
        Ok(shown)
    }

    /// The key that is to follow this pair's, with a request for its certificate: made once, and on disk when this returns.
    ///
    /// # Errors
    /// [`KeepError`]; nothing was changed.
    pub(super) fn next_key(&self, shown: &Shown) -> Result<Request, KeepError> {
        let path = self.folder.join(NEXT_KEY);
        let begins = format!("{FOLLOWS}{}\n", shown.fingerprint);
        let before = if path.exists() { Some(tls::load_key(&path)?) } else { None };
        if let Some(key) = before.as_ref().and_then(|text| text.expose().strip_prefix(&begins))
            && let Ok(request) = Request::for_key(&SecretText::new(key))
        {
            return Ok(request);
        }
        let request = Request::create()?;
        files::create_dir(&self.folder, 0o700)?;
        files::write(&path, format!("{begins}{}", request.key_pem.expose()).as_bytes(), 0o600)?;
        Ok(request)
    }

    /// The master refused this pair as one that has ended.
    pub(super) fn told_ended(&self, shown: &Shown) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown.fingerprint.clone());
    }

    /// Whether it did.
    pub(super) fn is_told_ended(&self, shown: &Shown) -> bool {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&shown.fingerprint)
    }

    /// A session began with this pair.
    ///
    /// # Errors
    /// [`FileError`]; it counts as one without a session then.
    pub(super) fn worked(&self, standing: Standing) -> Result<(), FileError> {
        let is_given_up = self.doubt().refusals >= REFUSALS_MAX;
        match standing {
            Standing::Next => files::rename(&self.folder.join(NEXT), &self.folder.join(CURRENT))?,
            Standing::Current | Standing::Files if is_given_up && self.has_next() => {
                warn!(
                    "the master refuses the renewed certificate again and again: it is given up for the one before"
                );
                files::remove(&self.folder.join(NEXT))?;
                files::sync_dir(&self.folder)?;
            }
            Standing::Current | Standing::Files => {
                self.doubt().is_passed_over = false;
                return Ok(());
            }
        }
        *self.doubt() = Doubt::default();
        Ok(())
    }

    /// The master refused the certificate of this pair.
    pub(super) fn refused(&self, standing: Standing) {
        let mut doubt = self.doubt();
        let is_next = standing == Standing::Next;
        doubt.refusals += u32::from(is_next);
        doubt.is_passed_over = is_next;
    }

    fn doubt(&self) -> std::sync::MutexGuard<'_, Doubt> {
        // Every statement leaves it whole.
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pair in this file, if it descends from the files of the configuration. One that cannot be read is as good as none.
    fn renewed(&self, name: &str, standing: Standing, files: &Shown) -> Option<Shown> {
        let path = self.folder.join(name);
        if !path.exists() {
            return None;
        }
        let read = || {
            let text = tls::load_key(&path)?;
            let origin = text.expose().lines().next().and_then(|line| line.strip_prefix(ORIGIN));
            if origin != Some(files.fingerprint.as_str()) {
                return Ok(None);
            }
            let shown = Shown::new(Identity::from_pem(text.expose(), text.expose())?, standing)?;
            Ok::<_, ConnectError>((shown.agent.id == files.agent.id).then_some(shown))
        };
        read().unwrap_or_else(|error| {
            warn!(path = %path.display(), error = &error as &dyn std::error::Error, "a renewed certificate cannot be used, and the one before it is");
            None
        })
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
