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
    /// `HOST:PORT` of the master's enrolment port, where a certificate that has ended is recovered; the host of `address` and port
    /// 4865 when missing.
    pub enroll_address: Option<String>,
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

/// Where hosts join, unless something else is said.
const ENROLL_PORT: u16 = 4865;

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
        bare(host_of(&self.address))
    }

    /// Where the master's enrolment port is.
    pub fn enroll_address(&self) -> String {
        let beside = || format!("{}:{ENROLL_PORT}", host_of(&self.address));
        self.enroll_address.clone().unwrap_or_else(beside)
    }

    /// The name by which the master is verified there.
    pub fn enroll_name(&self) -> String {
        let named = self.enroll_address.as_deref().map_or(self.host(), |address| bare(host_of(address)));
        self.server_name.clone().unwrap_or_else(|| named.to_owned())
    }
}

/// The host of `HOST:PORT`, as it stands there.
fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
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

    #[test]
    fn the_enrolment_port_is_beside_the_relay_unless_another_place_is_named() {
        let of = |more: &str| {
            let config = parse(&format!("address = \"[::1]:1\"\n{more}"));
            (config.enroll_address(), config.enroll_name())
        };
        let texts = |address: &str, name: &str| (address.to_owned(), name.to_owned());
        assert_eq!(of(""), texts("[::1]:4865", "::1"));
        assert_eq!(of("enroll_address = \"m.example.net:7\""), texts("m.example.net:7", "m.example.net"));
        assert_eq!(of("server_name = \"m\""), texts("[::1]:4865", "m"));
    }

    fn toml(address: &str) -> Config {
        parse(&format!("address = \"{address}\""))
    }

    fn parse(text: &str) -> Config {
        hume_runtime::config::parse(std::path::Path::new("agent.toml"), text).unwrap()
    }
}
