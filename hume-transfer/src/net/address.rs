//! `tcp://host:port`, `tls://host:port`, `udp://host:port`: read once, with errors that name the part that is wrong.

use std::fmt;
use std::net::Ipv6Addr;

use serde::{Deserialize, Deserializer};

/// Longest host of an address, in bytes: as in DNS.
pub const HOST_BYTES_MAX: usize = 253;

/// Where a peer is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    scheme: Scheme,
    host: String,
    port: u16,
}

/// How a peer is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Over TCP, readable by everybody on the way.
    Tcp,
    /// Over TLS.
    Tls,
    /// In datagrams that may be lost.
    Udp,
}

impl Scheme {
    const ALL: [Scheme; 3] = [Scheme::Tcp, Scheme::Tls, Scheme::Udp];

    /// The word before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls",
            Scheme::Udp => "udp",
        }
    }
}

/// A text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address: {wrong}")]
pub struct AddressError {
    text: String,
    wrong: String,
}

impl Address {
    /// Reads `SCHEME://HOST:PORT`. The host is a name or an IP address, one of version 6 in brackets.
    /// # Errors
    /// [`AddressError`], naming what is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        parse(text).map_err(|wrong| AddressError { text: text.chars().take(300).collect(), wrong })
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// From 1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn parse(text: &str) -> Result<Address, String> {
    let (word, rest) = text
        .split_once("://")
        .ok_or("it has no scheme: write \"tcp://host:port\", \"tls://host:port\" or \"udp://host:port\"")?;
    let scheme = Scheme::ALL
        .into_iter()
        .find(|scheme| scheme.as_str() == word)
        .ok_or_else(|| format!("`{word}` is no scheme; there are `tcp`, `tls` and `udp`"))?;
    if rest.contains('@') {
        return Err("it names a user, and nobody logs in there".to_owned());
    }
    if rest.contains(['/', '?', '#']) {
        return Err("nothing may stand behind the port".to_owned());
    }
    let (host, port) = split(rest)?;
    let port = match port {
        None | Some("") => Err(format!("it has no port: write \"{word}://{rest}:port\"")),
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("`{port}` is no port; ports are 1 to 65535")),
        },
    }?;
    Ok(Address { scheme, host: host.to_owned(), port })
}

/// Host and port, if there is one.
fn split(rest: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(inner) = rest.strip_prefix('[') {
        let (host, tail) = inner.split_once(']').ok_or("the bracket of its host is not closed")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(format!("`{host}` is no IPv6 address, and only those stand in brackets"));
        }
        return Ok((host, tail.strip_prefix(':')));
    }
    if rest.parse::<Ipv6Addr>().is_ok() || rest.matches(':').count() > 1 {
        return Err("an IPv6 address stands in brackets: write \"[2001:db8::1]:port\"".to_owned());
    }
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.is_empty() {
        return Err("it has no host".to_owned());
    }
    if host.len() > HOST_BYTES_MAX || !host.chars().all(is_plain) {
        return Err(format!(
            "`{host}` is no host; it has at most {HOST_BYTES_MAX} letters, digits, dots and dashes"
        ));
    }
    Ok((host, port))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.as_str();
        // Only addresses of version 6 have a colon.
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Address, D::Error> {
        let text = String::deserialize(from)?;
        Address::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_has_a_scheme_a_host_and_a_port() {
        for (text, scheme, host, port) in [
            ("tcp://logs.example.org:514", Scheme::Tcp, "logs.example.org", 514),
            ("tls://192.0.2.7:6514", Scheme::Tls, "192.0.2.7", 6514),
            ("udp://[2001:db8::1]:514", Scheme::Udp, "2001:db8::1", 514),
            ("udp://[0::0]:1", Scheme::Udp, "0::0", 1),
            ("tcp://log_host-1:65535", Scheme::Tcp, "log_host-1", 65535),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.scheme(), address.host(), address.port()), (scheme, host, port));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, wrong) in [
            ("logs:514", "it has no scheme: write \"tcp://host:port\""),
            ("", "it has no scheme"),
            ("http://logs:514", "`http` is no scheme; there are `tcp`, `tls` and `udp`"),
            ("TCP://logs:514", "`TCP` is no scheme"),
            ("tcp://logs", "it has no port: write \"tcp://logs:port\""),
            ("tcp://logs:", "it has no port"),
            ("tcp://[::1]", "it has no port: write \"tcp://[::1]:port\""),
            ("tcp://[::1]514", "it has no port"),
            ("tcp://logs:0", "`0` is no port"),
            ("tcp://logs:65536", "`65536` is no port"),
            ("tcp://logs:syslog", "`syslog` is no port"),
            ("tcp://:514", "it has no host"),
            ("tcp://a host:514", "`a host` is no host"),
            ("tcp://me@logs:514", "it names a user"),
            ("tcp://logs:514/", "nothing may stand behind the port"),
            ("tcp://::1:514", "an IPv6 address stands in brackets"),
            ("tcp://[::1:514", "the bracket of its host is not closed"),
            ("tcp://[logs]:514", "`logs` is no IPv6 address"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is no address: {wrong}")), "{error}");
        }
        assert!(Address::parse(&format!("tcp://{}:1", "a".repeat(HOST_BYTES_MAX + 1))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_that_reads_back_or_none(text in "(tcp|tls|udp|x)?(://)?[\\[a0:.]{0,8}\\]?:?[0-9]{0,6}.?") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
            }
        }
    }
}
