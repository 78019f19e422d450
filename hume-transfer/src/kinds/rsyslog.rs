//! Syslog of another host: RFC 5424 or RFC 3164, in datagrams, over TCP or over TLS.
//!
//! Plain syslog has no acknowledgement. A peer that has gone is noticed ([`Pipe`]), but what it had taken and not read when it died
//! is lost, and datagrams may be lost on any way. Fluentd's protocol confirms; this one cannot.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use serde::Deserialize;
use tokio::time::Instant;

use crate::net::{Address, Datagrams, NetError, Pipe, Scheme, Target, TlsKeys};
use crate::notice::Notice;
use crate::options::options;
use crate::syslog_text::{self, Facility, Format, Ident, Manners, Reader};
use crate::transfer::{
    BoxFuture, DELIVERY_TIME_MAX, Delivery, Manner, OpenError, Setting, Trail, Transfer, Trouble,
};

pub(super) const MANNER: Manner = Manner::PIPELINE;

/// Longest message in a datagram, when the configuration does not say: every receiver should take that (RFC 5426).
const DATAGRAM_BYTES_MAX: usize = 2048;

options! {
    /// `[transfer.NAME.rsyslog]`
    pub struct Options {
        /// `udp://host:port`, `tcp://host:port` or `tls://host:port`.
        pub address: Address,
        /// How a message is written.
        #[serde(default = "format_default")]
        pub format: Format,
        /// How messages are told apart in a stream.
        #[serde(default)]
        pub framing: Framing,
        /// The facility of every message.
        #[serde(default = "facility_default")]
        pub facility: Facility,
        /// The program's name in every message.
        #[serde(default = "Ident::hume")]
        pub ident: Ident,
        /// The number behind the names of structured data.
        #[serde(default = "enterprise_default")]
        pub enterprise: u32,
        /// Longest message; 2048 over UDP and 8192 else when missing.
        pub bytes_max: Option<usize>,
        /// Who issues the peer's certificate; the system's roots when missing.
        pub ca: Option<PathBuf>,
        /// Our certificate.
        pub certificate: Option<PathBuf>,
        /// Its key.
        pub key: Option<PathBuf>,
        /// The name in the peer's certificate; the host of the address when missing.
        pub server_name: Option<String>,
    }
}

/// How messages are told apart in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// Each begins with its length (RFC 6587, 3.4.1, and RFC 5425).
    #[default]
    OctetCounting,
    /// Each ends with a line break (RFC 6587, 3.4.2).
    Newline,
}

fn format_default() -> Format {
    Format::Rfc5424
}

fn facility_default() -> Facility {
    Facility::DAEMON
}

fn enterprise_default() -> u32 {
    syslog_text::ENTERPRISE
}

pub(super) fn open(options: &Options, setting: &Setting<'_>) -> Result<Box<dyn Transfer>, OpenError> {
    let Options { address, format, framing, facility, ident, enterprise, bytes_max, .. } = options;
    let keys = TlsKeys {
        ca: options.ca.as_deref(),
        certificate: options.certificate.as_deref(),
        key: options.key.as_deref(),
        server_name: options.server_name.as_deref(),
    };
    let (way, bytes_default) = match address.scheme() {
        Scheme::Udp => {
            keys.none_but_tls()?;
            (Way::Datagrams(Datagrams::open(address)?), DATAGRAM_BYTES_MAX)
        }
        Scheme::Tcp | Scheme::Tls => {
            let pipe = Pipe::new(Target::open(address, keys, setting)?);
            (Way::Stream(pipe, *framing), syslog_text::BYTES_MAX)
        }
    };
    let manners = Manners {
        facility: *facility,
        ident: ident.clone(),
        enterprise: *enterprise,
        bytes_max: syslog_text::bytes_max(*bytes_max, bytes_default)?,
        zone: TimeZone::system(),
    };
    Ok(Box::new(Remote { way, format: *format, manners }))
}

struct Remote {
    way: Way,
    format: Format,
    manners: Manners,
}

enum Way {
    Datagrams(Datagrams),
    Stream(Pipe, Framing),
}

impl Transfer for Remote {
    fn deliver<'a>(&'a mut self, notices: &'a [Notice], trail: &'a mut Trail) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            let deadline = Instant::now() + DELIVERY_TIME_MAX;
            let (format, manners) = (self.format, &self.manners);
            let texts = notices.iter().map(|notice| line(notice, format, manners));
            let (settled, result) = match &mut self.way {
                Way::Datagrams(datagrams) => send_each(datagrams, texts, deadline, trail).await,
                Way::Stream(pipe, framing) => {
                    let frames: String = texts.map(|text| framed(&text, *framing)).collect();
                    // Of a batch that broke off nobody knows how much was read.
                    (0, pipe.send(frames.as_bytes(), deadline, trail).await)
                }
            };
            match result {
                Ok(()) => Delivery::all(notices),
                Err(error) => Delivery::stopped(settled, Trouble::from(error)),
            }
        })
    }

    fn preview(&self, notice: &Notice) -> String {
        line(notice, self.format, &self.manners)
    }
}

fn line(notice: &Notice, format: Format, manners: &Manners) -> String {
    match format {
        Format::Rfc5424 => syslog_text::rfc5424(notice, manners),
        Format::Rfc3164 => syslog_text::rfc3164(notice, manners, Reader::Remote),
    }
}

/// Sends one after the other; how many found no trouble.
async fn send_each(
    datagrams: &mut Datagrams,
    texts: impl Iterator<Item = String>,
    deadline: Instant,
    trail: &mut Trail,
) -> (usize, Result<(), NetError>) {
    let mut sent = 0;
    for text in texts {
        if let Err(error) = datagrams.send(text.as_bytes(), deadline, trail).await {
            return (sent, Err(error));
        }
        sent += 1;
    }
    trail.say(|| format!("sent {sent} datagrams, which nobody confirms"));
    (sent, Ok(()))
}

fn framed(text: &str, framing: Framing) -> String {
    match framing {
        Framing::OctetCounting => format!("{} {text}", text.len()),
        Framing::Newline => format!("{text}\n"),
    }
}

#[cfg(test)]
pub(super) mod tests;
