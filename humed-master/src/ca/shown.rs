//! What the ports show and whom they believe, made of the certificates that are on disk; and how that changes while they are open.

use std::path::Path;
use std::sync::Arc;

use hume_core::Timestamp;
use hume_runtime::pinned;
use hume_runtime::pki::{CaFolder, CaFolderError, Summary};
use hume_runtime::tls::{self, Identity, Roots, TlsError};
use rustls::ServerConfig;
use tokio::sync::watch;

use super::{OwnPorts, Ports, Settings, Source};

/// What the configuration amounts to.
#[derive(Debug)]
pub(super) struct Loaded {
    relay: Arc<ServerConfig>,
    web: Arc<ServerConfig>,
    trust_domain: Option<String>,
    /// The master's certificate.
    pub(super) master: Summary,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    ca: Arc<CaFolder>,
    enroll: Arc<ServerConfig>,
}

impl Loaded {
    /// The master's own CA, if there is no other one.
    pub(super) fn ca(&self) -> Option<&Arc<CaFolder>> {
        self.own.as_ref().map(|own| &own.ca)
    }
}

/// Reads the certificates; makes the master's own CA if there is none yet, and its certificate if it needs another one.
pub(super) fn load(settings: &Settings, now: Timestamp) -> Result<Loaded, CaFolderError> {
    let Settings { source, names, addresses, agent_life: _ } = settings;
    match source {
        Source::Another { ca, certificate, key } => Ok(of_another_ca(ca, certificate, key)?),
        Source::Own { path, trust_domain } => {
            let (ca, is_new) = CaFolder::load_or_create(path, trust_domain, now)?;
            if is_new {
                tracing::info!(path = %path.display(), trust_domain, "made the site's CA");
            }
            let identity = ca.master(names, addresses, now)?;
            of_own(Arc::new(ca), &identity)
        }
    }
}

fn of_another_ca(ca: &Path, certificate: &Path, key: &Path) -> Result<Loaded, TlsError> {
    let identity = Identity::load(certificate, key)?;
    let roots = Roots::load(ca)?;
    Ok(Loaded {
        relay: tls::relay_server(&identity, &roots)?,
        web: tls::web_server(&identity)?,
        trust_domain: roots.trust_domain().map(str::to_owned),
        master: summary(&identity)?,
        own: None,
    })
}

/// What is shown with this certificate of the master's own CA.
pub(super) fn of_own(ca: Arc<CaFolder>, identity: &Identity) -> Result<Loaded, CaFolderError> {
    let roots = ca.roots()?;
    Ok(Loaded {
        relay: tls::relay_server(identity, &roots)?,
        web: tls::web_server_of_site(identity, &roots)?,
        trust_domain: Some(ca.trust_domain().to_owned()),
        master: summary(identity)?,
        own: Some(Own { enroll: pinned::join_server(identity, ca.root_pem())?, ca }),
    })
}

fn summary(identity: &Identity) -> Result<Summary, TlsError> {
    let certificate = identity.certificate().ok_or(TlsError::NotAnAgent("there is none"))?;
    Summary::of(certificate)
}

/// What can be said of the certificates without making any.
/// # Errors
/// [`CaFolderError`], naming what is wrong.
pub fn check(settings: &Settings) -> Result<(), CaFolderError> {
    match &settings.source {
        Source::Another { ca, certificate, key } => Ok(of_another_ca(ca, certificate, key).map(drop)?),
        Source::Own { path, trust_domain } => {
            CaFolder::check_names(trust_domain, &settings.names)?;
            // Whoever checks may be another user than the master: nothing is made that the master could not read then.
            if CaFolder::exists(path) { CaFolder::load(path, trust_domain).map(drop) } else { Ok(()) }
        }
    }
}

/// The ends of the ports' channels that are written.
#[derive(Debug)]
pub(super) struct Shown {
    relay: watch::Sender<Arc<ServerConfig>>,
    web: watch::Sender<Arc<ServerConfig>>,
    own: Option<OwnShown>,
}

#[derive(Debug)]
struct OwnShown {
    enroll: watch::Sender<Arc<ServerConfig>>,
    signing: watch::Sender<Arc<CaFolder>>,
}

impl Shown {
    /// From now on connections see this, and certificates are signed by its CA.
    pub(super) fn show(&self, loaded: &Loaded) {
        self.relay.send_replace(Arc::clone(&loaded.relay));
        self.web.send_replace(Arc::clone(&loaded.web));
        if let (Some(shown), Some(own)) = (&self.own, &loaded.own) {
            shown.signing.send_replace(Arc::clone(&own.ca));
            shown.enroll.send_replace(Arc::clone(&own.enroll));
        }
    }
}

/// What was read at the start, for the custodian.
#[derive(Debug)]
pub struct Opened {
    pub(super) settings: Settings,
    pub(super) loaded: Loaded,
    pub(super) shown: Shown,
}

/// Reads the certificates for the first time, and makes what is missing of the master's own CA.
/// # Errors
/// [`CaFolderError`]
pub fn open(settings: Settings, now: Timestamp) -> Result<(Opened, Ports), CaFolderError> {
    let loaded = load(&settings, now)?;
    let (relay, relay_shown) = watch::channel(Arc::clone(&loaded.relay));
    let (web, web_shown) = watch::channel(Arc::clone(&loaded.web));
    let (own, own_ports) = match &loaded.own {
        Some(Own { ca, enroll }) => {
            let (signing, signs) = watch::channel(Arc::clone(ca));
            let (enroll, enroll_shown) = watch::channel(Arc::clone(enroll));
            (Some(OwnShown { enroll, signing }), Some(OwnPorts { enroll: enroll_shown, signing: signs }))
        }
        None => (None, None),
    };
    let trust_domain = loaded.trust_domain.clone();
    let ports = Ports { relay: relay_shown, web: web_shown, trust_domain, own: own_ports };
    Ok((Opened { settings, loaded, shown: Shown { relay, web, own } }, ports))
}
