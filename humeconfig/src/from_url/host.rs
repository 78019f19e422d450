//! What this host says of itself to a server that has its configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hume_runtime::tls::sha256_hex;
use nix::ifaddrs::getifaddrs;
use serde::{Deserialize, Serialize};

use crate::change::Daemon;

/// The body of the request.
#[derive(Debug, Serialize)]
pub(super) struct Metadata {
    /// Version of `humeconfig`.
    hume: &'static str,
    /// `humed-agent` or `humed-master`.
    daemon: &'static str,
    host: String,
    /// Tells machines apart, also after a new name; says nothing to others who know the machine's id.
    machine: Option<String>,
    os: System,
    /// Without loopback and link-local ones.
    addresses: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digitalocean: Option<Droplet>,
}

#[derive(Debug, Serialize)]
struct System {
    id: Option<String>,
    version: Option<String>,
    kernel: String,
    architecture: String,
}

/// What is taken of a droplet's metadata, in which keys and scripts stand too.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Droplet {
    #[serde(rename = "droplet_id")]
    id: u64,
    hostname: Option<String>,
    region: Option<String>,
}

impl Metadata {
    /// Of this host.
    pub(super) fn gather(daemon: Daemon, digitalocean: Option<Droplet>) -> Metadata {
        let uname = rustix::system::uname();
        let release = std::fs::read_to_string("/etc/os-release")
            .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
            .unwrap_or_default();
        let mut release = release_of(&release);
        Metadata {
            hume: env!("CARGO_PKG_VERSION"),
            daemon: daemon.program(),
            host: uname.nodename().to_string_lossy().into_owned(),
            machine: std::fs::read_to_string("/etc/machine-id").ok().and_then(|id| machine(&id)),
            os: System {
                id: release.remove("ID"),
                version: release.remove("VERSION_ID"),
                kernel: uname.release().to_string_lossy().into_owned(),
                architecture: uname.machine().to_string_lossy().into_owned(),
            },
            addresses: addresses(),
            digitalocean,
        }
    }
}

/// The id itself is for the machine's own eyes (machine-id(5)).
fn machine(id: &str) -> Option<String> {
    let id = id.trim();
    (!id.is_empty()).then(|| sha256_hex(format!("hume from-url {id}").as_bytes()))
}

/// The words of os-release(5).
fn release_of(text: &str) -> BTreeMap<String, String> {
    let words = text.lines().filter_map(|line| line.split_once('='));
    words.map(|(key, value)| (key.to_owned(), value.trim_matches(['"', '\'']).to_owned())).collect()
}

fn addresses() -> Vec<IpAddr> {
    let mut found = Vec::new();
    for interface in getifaddrs().into_iter().flatten() {
        let Some(address) = interface.address else { continue };
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let v6 = address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
        if let Some(address) = v4.or(v6).filter(|address| leaves_the_link(*address))
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found.sort();
    found
}

fn leaves_the_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_droplet_is_which_one_it_is() {
        let told = r#"{"droplet_id": 7, "hostname": "web1", "region": "fra1", "user_data": "hunter2", "public_keys": ["k"]}"#;
        let droplet: Droplet = serde_json::from_str(told).unwrap();
        let said = serde_json::to_value(Metadata::gather(Daemon::Agent, Some(droplet))).unwrap();
        let expected = serde_json::json!({"droplet_id": 7, "hostname": "web1", "region": "fra1"});
        assert_eq!((&said["digitalocean"], said["daemon"].as_str()), (&expected, Some("humed-agent")));
        assert!(said["os"]["kernel"].is_string() && said["addresses"].is_array(), "{said}");
    }

    #[test]
    fn the_id_of_the_machine_is_not_told_itself() {
        let hash = machine("0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(hash.len(), 64);
        assert!(!hash.contains("0123456789abcdef"));
        assert_eq!(machine("\n"), None);
    }

    #[test]
    fn the_system_is_what_os_release_says() {
        let release = release_of("NAME=x\nID=debian\nVERSION_ID=\"12\"\n# c\n");
        assert_eq!((release["ID"].as_str(), release["VERSION_ID"].as_str()), ("debian", "12"));
    }
}
