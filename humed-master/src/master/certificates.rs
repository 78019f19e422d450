//! What the configuration says of certificates, for those who keep them and for the tokens that tell of the master.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use hume_runtime::pki::{CaFolder, CaFolderError};
use hume_runtime::{files, pinned};

use super::machine_name;
use crate::admin::Doorway;
use crate::ca::{Settings, Source};
use crate::config::{CaConfig, Config, TlsConfig};

pub(super) fn settings(config: &Config) -> Settings {
    let CaConfig { path, trust_domain, names: _, certificate_life } = &config.ca;
    let source = match &config.tls {
        Some(TlsConfig { ca, certificate, key }) => {
            Source::Another { ca: ca.clone(), certificate: certificate.clone(), key: key.clone() }
        }
        None => Source::Own { path: path.clone(), trust_domain: trust_domain.clone() },
    };
    Settings { source, names: names(config), addresses: addresses(config), agent_life: *certificate_life }
}

/// What a token says of a master that hosts reach on this port.
pub(super) fn doorway(config: &Config, ca: &CaFolder, port: u16) -> Option<Doorway> {
    let addresses = places(config, SocketAddr::new(config.enroll.listen.ip(), port));
    let addresses = addresses.into_iter().take(hume_runtime::pki::join::ADDRESSES_MAX).collect();
    Some(Doorway { pin: pinned::pin_of_pem(ca.root_pem())?, addresses })
}

/// Where people ask a master that listens there for their questions.
pub(super) fn url(config: &Config, listen: SocketAddr) -> String {
    let place = places(config, listen).into_iter().next();
    format!("https://{}", place.unwrap_or_else(|| listen.to_string()))
}

/// Where others find what listens there, as HOST:PORT, the best first.
fn places(config: &Config, listen: SocketAddr) -> Vec<String> {
    let (ip, port) = (listen.ip(), listen.port());
    // On the loopback no name leads there, and without names the address is the best that is known.
    let is_best = ip.is_loopback() || (config.ca.names.is_empty() && !ip.is_unspecified());
    let hosts: Vec<String> = if is_best {
        vec![ip.to_string()]
    } else {
        let names: Vec<String> = names(config).into_iter().filter(|name| name != "localhost").collect();
        // Without any other it is the name of this machine, or what the administrator wanted.
        if names.is_empty() { vec!["localhost".to_owned()] } else { names }
    };
    let address = |host: &String| match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    };
    hosts.iter().map(address).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_where_the_master_is_whatever_it_is_called() {
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 4865));
        let called = |names: &[&str]| {
            let mut config = Config::default();
            config.ca.names = names.iter().map(|name| (*name).to_owned()).collect();
            config
        };
        assert_eq!(
            places(&called(&["hume.example.net", "localhost"]), everywhere),
            ["hume.example.net:4865"]
        );
        assert_eq!(places(&called(&["localhost"]), everywhere), ["localhost:4865"]);
        let loopback = SocketAddr::from(([127, 0, 0, 1], 4865));
        assert_eq!(places(&called(&["hume.example.net"]), loopback), ["127.0.0.1:4865"]);
        let one = SocketAddr::from(([192, 0, 2, 1], 4865));
        assert_eq!(places(&called(&[]), one), ["192.0.2.1:4865"]);
    }
}
