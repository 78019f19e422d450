//! Section `[master]` of agent.toml: whom to replicate to, and who we are there.

use std::path::PathBuf;

use serde::Deserialize;

/// Section `[master]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `HOST:PORT` of the master's relay.
    pub address: String,
    /// The name the master's certificate must have; the host part of `address` when missing.
    pub server_name: Option<String>,
    /// Certificate of the site's CA.
    #[serde(default = "ca")]
    pub ca: PathBuf,
    /// Certificate of this agent.
    #[serde(default = "certificate")]
    pub certificate: PathBuf,
    /// Its key, readable by nobody else.
    #[serde(default = "key")]
    pub key: PathBuf,
    /// First pause between two tries to connect, in milliseconds; it doubles, and the pause is a random part of it.
    #[serde(default = "retry_min_ms")]
    pub retry_min_ms: u64,
    /// Longest such pause.
    #[serde(default = "retry_max_ms")]
    pub retry_max_ms: u64,
    /// On a machine that was started less than five minutes ago the first try waits a random part of this.
    #[serde(default = "boot_delay_max_ms")]
    pub boot_delay_max_ms: u64,
}

fn ca() -> PathBuf {
    PathBuf::from("/etc/hume/pki/ca.pem")
}

fn certificate() -> PathBuf {
    PathBuf::from("/etc/hume/pki/agent.pem")
}

fn key() -> PathBuf {
    PathBuf::from("/etc/hume/pki/agent.key")
}

fn retry_min_ms() -> u64 {
    1000
}

fn retry_max_ms() -> u64 {
    120_000
}

fn boot_delay_max_ms() -> u64 {
    10_000
}

impl Config {
    /// The host part of the address: what stands before the last colon, without brackets.
    pub fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_part_of_an_address_may_be_an_ipv6_address() {
        let of = |address: &str| {
            let config: Config = toml(address);
            config.host().to_owned()
        };
        assert_eq!(of("127.0.0.1:4863"), "127.0.0.1");
        assert_eq!(of("[::1]:4863"), "::1");
        assert_eq!(of("master.example.net:4863"), "master.example.net");
    }

    fn toml(address: &str) -> Config {
        hume_runtime::config::parse(std::path::Path::new("agent.toml"), &format!("address = \"{address}\""))
            .unwrap()
    }
}
