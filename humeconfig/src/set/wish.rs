//! What the flags ask of the configuration: parsed once, so that what is wrong is said before any file is touched.

use std::io::{BufRead, Read};

use hume_core::Level;
use hume_runtime::config::Secret;
use hume_runtime::secret::{SECRET_BYTES_MAX, SecretText};
use std::path::Path;

use super::SetError;
use super::args::{Given, SetArgs};
use crate::args::split_address;

/// Sections `[transfer.NAME.KIND]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Slack,
    Syslog,
    Rsyslog,
    Logstash,
    Fluentd,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Slack => "slack",
            Kind::Syslog => "syslog",
            Kind::Rsyslog => "rsyslog",
            Kind::Logstash => "logstash",
            Kind::Fluentd => "fluentd",
        }
    }
}

/// One thing that shall be so.
#[derive(Debug)]
pub(crate) enum Wish {
    /// There is a transfer of this kind, and it has these keys.
    Transfer { kind: Kind, keys: Vec<(&'static str, String)> },
    /// Slack has this webhook, for all or for a level.
    Webhook { level: Option<Level>, text: SecretText },
    /// A key has this text, in a section or above all sections.
    Key { section: Option<&'static str>, key: &'static str, text: String },
}

impl Wish {
    /// The kind of transfer it is about.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Wish::Transfer { kind, .. } => Some(*kind),
            Wish::Webhook { .. } => Some(Kind::Slack),
            Wish::Key { .. } => None,
        }
    }
}

/// All that the flags ask for; secrets are read from where they are.
pub(crate) fn all(args: &SetArgs, stdin: &mut dyn BufRead) -> Result<Vec<Wish>, SetError> {
    let mut wishes = Vec::new();
    let slack = args.slack.as_ref().map(|given| (None, given));
    let levels = args.slack_levels().into_iter().map(|(level, given)| (Some(level), given));
    let webhooks: Vec<_> = slack.into_iter().chain(levels).collect();
    if webhooks.iter().filter(|(_, given)| **given == Given::Stdin).count() > 1 {
        return Err(SetError::TwiceStdin);
    }
    for (level, given) in webhooks {
        let flag = level.map_or("--slack".to_owned(), |level| format!("--slack-{level}"));
        wishes.push(webhook(&flag, level, given, stdin)?);
    }
    if args.syslog {
        wishes.push(Wish::Transfer { kind: Kind::Syslog, keys: Vec::new() });
    }
    let peers =
        [(Kind::Rsyslog, &args.rsyslog), (Kind::Logstash, &args.logstash), (Kind::Fluentd, &args.fluentd)];
    for (kind, address) in peers {
        let Some(address) = address else { continue };
        wishes.push(peer(kind, address)?);
    }
    if let Some(endpoint) = &args.endpoint {
        let text = socket_path(endpoint)?;
        wishes.push(Wish::Key { section: Some("intake"), key: "socket", text });
    }
    if wishes.is_empty() { Err(SetError::Nothing) } else { Ok(wishes) }
}

/// The wish for a webhook; `flag` is who asks for it.
pub(crate) fn webhook(
    flag: &str,
    level: Option<Level>,
    given: &Given,
    stdin: &mut dyn BufRead,
) -> Result<Wish, SetError> {
    let text = read(flag, given, stdin)?;
    if is_webhook(text.expose()) {
        Ok(Wish::Webhook { level, text })
    } else {
        Err(SetError::Webhook { flag: flag.to_owned() })
    }
}

/// The wish for a transfer to this address.
pub(crate) fn peer(kind: Kind, address: &str) -> Result<Wish, SetError> {
    let protocols: &[&str] = match kind {
        Kind::Rsyslog => &["udp", "tcp", "tls"],
        Kind::Logstash | Kind::Fluentd => &["tcp", "tls"],
        // Slack has webhooks, and the syslog of this host is here.
        Kind::Slack | Kind::Syslog => &[],
    };
    if is_address(address, protocols) {
        return Ok(Wish::Transfer { kind, keys: vec![("address", address.to_owned())] });
    }
    let protocols = protocols.join(", ");
    Err(SetError::Address { kind: kind.word(), address: address.to_owned(), protocols })
}

/// The secret that a flag gives, from where it is.
pub(crate) fn read(flag: &str, given: &Given, stdin: &mut dyn BufRead) -> Result<SecretText, SetError> {
    let unread = |source| SetError::Secret { flag: flag.to_owned(), source };
    match given {
        Given::Here(text) => Ok(text.clone()),
        Given::File(path) => Secret::file(path).read(Path::new("")).map_err(SetError::SecretFile),
        Given::Stdin => {
            let mut line = String::new();
            stdin.take(SECRET_BYTES_MAX).read_line(&mut line).map_err(unread)?;
            Ok(SecretText::new(line.trim()))
        }
    }
}

fn is_webhook(text: &str) -> bool {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    !host.is_empty() && text.chars().all(is_plain)
}

fn is_address(text: &str, protocols: &[&str]) -> bool {
    let Some((protocol, place)) = text.split_once("://") else { return false };
    protocols.contains(&protocol) && split_address(place).is_some_and(|(_, port)| port != 0)
}

fn socket_path(endpoint: &str) -> Result<String, SetError> {
    let schemes = ["unix://", "unix:", "ipc://"];
    let path = schemes.iter().find_map(|scheme| endpoint.strip_prefix(scheme)).unwrap_or(endpoint);
    // As in the Python tool, whose daemon listened on TCP.
    if path.contains("://") || !path.starts_with('/') || path.chars().any(char::is_control) {
        return Err(SetError::Endpoint { endpoint: endpoint.to_owned() });
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(args: &SetArgs, stdin: &str) -> Result<Vec<Wish>, SetError> {
        all(args, &mut stdin.as_bytes())
    }

    #[test]
    fn a_webhook_is_a_url_over_https_and_never_shown_when_it_is_not() {
        for text in ["http://hooks.slack.com/secret", "hooks.slack.com/secret", "https://", "https:///secret"]
        {
            let args = SetArgs { slack: Some(text.into()), ..SetArgs::default() };
            let error = given(&args, "").unwrap_err().to_string();
            assert!(error.contains("--slack") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_line_of_standard_input_is_a_secret_once() {
        let args = SetArgs { slack: Some("-".into()), ..SetArgs::default() };
        let wishes = given(&args, "https://hooks.example/x\r\nmore\n").unwrap();
        let [Wish::Webhook { level: None, text }] = &wishes[..] else { unreachable!("{wishes:?}") };
        assert_eq!(text.expose(), "https://hooks.example/x");
        assert!(matches!(given(&args, ""), Err(SetError::Webhook { .. })));
    }

    #[test]
    fn an_address_has_a_protocol_that_the_kind_speaks_a_host_and_a_port() {
        for (address, good) in [
            ("udp://logs.example.net:514", true),
            ("tls://[::1]:6514", true),
            ("http://logs:514", false),
            ("logs:514", false),
            ("udp://logs", false),
            ("udp://logs:0", false),
            ("udp://logs:514/x", false),
            ("udp://a b:514", false),
        ] {
            let args = SetArgs { rsyslog: Some(address.to_owned()), ..SetArgs::default() };
            assert_eq!(given(&args, "").is_ok(), good, "{address}");
        }
        let args = SetArgs { logstash: Some("udp://logs:5044".to_owned()), ..SetArgs::default() };
        assert!(given(&args, "").unwrap_err().to_string().contains("tcp, tls"));
    }

    #[test]
    fn an_endpoint_is_a_socket_and_the_old_kind_is_explained() {
        for endpoint in ["/run/h.sock", "unix:/run/h.sock", "unix:///run/h.sock", "ipc:///run/h.sock"] {
            assert_eq!(socket_path(endpoint).unwrap(), "/run/h.sock");
        }
        for endpoint in ["tcp://127.0.0.1:198", "run/h.sock", ""] {
            let error = socket_path(endpoint).unwrap_err().to_string();
            assert!(error.contains("unix:/run/hume/hume.sock"), "{error}");
        }
    }

    #[test]
    fn nothing_asked_is_said() {
        assert!(matches!(given(&SetArgs::default(), ""), Err(SetError::Nothing)));
    }
}
