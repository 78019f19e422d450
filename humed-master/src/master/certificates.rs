//! What the ports show and whom they believe: the master's own CA, or the files of another one that `[tls]` names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use hume_core::Timestamp;
use hume_runtime::pki::{CaFolder, CaFolderError};
use hume_runtime::tls::{self, Identity, Roots, TlsError};
use hume_runtime::{files, pinned};
use rustls::ServerConfig;
use tokio::sync::watch;

use super::machine_name;
use crate::admin::Doorway;
use crate::config::{CaConfig, Config, TlsConfig};

/// What all ports show, and how to change it while they are open.
pub(super) struct Certificates {
    pub(super) relay: watch::Sender<Arc<ServerConfig>>,
    pub(super) web: watch::Sender<Arc<ServerConfig>>,
    /// None where hosts cannot join.
    pub(super) joining: Option<Joining>,
}

/// What the master's own CA does, and how to change it while agents are connected.
#[derive(Clone)]
pub(super) struct Joining {
    /// Who signs.
    pub(super) signing: watch::Sender<Arc<CaFolder>>,
    /// What the port shows where hosts join.
    pub(super) shown: watch::Sender<Arc<ServerConfig>>,
}

/// What the configuration amounts to.
pub(super) struct Loaded {
    pub(super) relay: Arc<ServerConfig>,
    pub(super) web: Arc<ServerConfig>,
    pub(super) trust_domain: Option<String>,
    /// The master's own CA, unless there is another one.
    pub(super) own: Option<OwnCa>,
}

/// The master's own CA, in use.
pub(super) struct OwnCa {
    pub(super) ca: Arc<CaFolder>,
    pub(super) enroll: Arc<ServerConfig>,
}

/// Reads the certificates; makes the master's own CA if there is none yet, and its certificate if it needs another one.
pub(super) fn load(config: &Config, now: Timestamp) -> Result<Loaded, CaFolderError> {
    match &config.tls {
        Some(tls) => Ok(of_another_ca(tls)?),
        None => own(config, now),
    }
}

/// What can be said of the certificates without making any.
pub(super) fn check(config: &Config) -> Result<(), CaFolderError> {
    let CaConfig { path, trust_domain, .. } = &config.ca;
    if let Some(tls) = &config.tls {
        return Ok(of_another_ca(tls).map(drop)?);
    }
    CaFolder::check_names(trust_domain, &names(config))?;
    // Whoever checks may be another user than the master: nothing is made that the master could not read then.
    if CaFolder::exists(path) { CaFolder::load(path, trust_domain).map(drop) } else { Ok(()) }
}

fn of_another_ca(config: &TlsConfig) -> Result<Loaded, TlsError> {
    let identity = Identity::load(&config.certificate, &config.key)?;
    let roots = Roots::load(&config.ca)?;
    Ok(Loaded {
        relay: tls::relay_server(&identity, &roots)?,
        web: tls::web_server(&identity)?,
        trust_domain: roots.trust_domain().map(str::to_owned),
        own: None,
    })
}

fn own(config: &Config, now: Timestamp) -> Result<Loaded, CaFolderError> {
    let CaConfig { path, trust_domain, .. } = &config.ca;
    let (ca, is_new) = CaFolder::load_or_create(path, trust_domain, now)?;
    if is_new {
        tracing::info!(path = %path.display(), trust_domain, "made the site's CA");
    }
    let (identity, roots) = (ca.master(&names(config), &addresses(config), now)?, ca.roots()?);
    let enroll = pinned::join_server(&identity, ca.root_pem())?;
    Ok(Loaded {
        relay: tls::relay_server(&identity, &roots)?,
        web: tls::web_server(&identity)?,
        trust_domain: Some(trust_domain.clone()),
        own: Some(OwnCa { ca: Arc::new(ca), enroll }),
    })
}

/// What a token says of a master that hosts reach on this port.
pub(super) fn doorway(config: &Config, ca: &CaFolder, port: u16) -> Option<Doorway> {
    let listen = config.enroll.listen.ip();
    // On the loopback no name leads there, and without names the address is the best that is known.
    let is_best = listen.is_loopback() || (config.ca.names.is_empty() && !listen.is_unspecified());
    let hosts: Vec<String> = if is_best {
        vec![listen.to_string()]
    } else {
        names(config).into_iter().filter(|name| name != "localhost").collect()
    };
    let address = |host: &String| match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    };
    let addresses = hosts.iter().take(hume_runtime::pki::join::ADDRESSES_MAX).map(address).collect();
    Some(Doorway { pin: pinned::pin_of_pem(ca.root_pem())?, addresses })
}

/// The names of the master's certificate.
fn names(config: &Config) -> Vec<String> {
    let mut names = config.ca.names.clone();
    if names.is_empty() {
        names.push(machine_name());
    }
    if !names.iter().any(|name| name == "localhost") {
        names.push("localhost".to_owned());
    }
    names
}

/// The addresses of the master's certificate: the loopback's and those it listens on.
fn addresses(config: &Config) -> Vec<IpAddr> {
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    for address in [config.relay.listen, config.web.listen, config.enroll.listen] {
        if !address.ip().is_unspecified() && !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    addresses
}

/// A copy of the root for everybody, beside the folder of the CA that nobody else may enter.
pub(super) fn publish_root(config: &Config, ca: &CaFolder) -> Result<PathBuf, CaFolderError> {
    let path = config.ca.path.with_extension("pem");
    if std::fs::read_to_string(&path).ok().as_deref() != Some(ca.root_pem()) {
        files::write(&path, ca.root_pem().as_bytes(), 0o644)?;
    }
    Ok(path)
}
