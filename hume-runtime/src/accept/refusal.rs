//! Why a connection was refused, and which refusals are worth a line in the log.
//!
//! One line per address and kind per minute, at most [`RefusalLog::ENTRIES_MAX`] lines a minute in all; what is left out
//! is counted and told with the next line.

use std::collections::HashMap;
use std::error::Error;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rustls::CertificateError;

/// A connection that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who connected.
    pub peer: SocketAddr,
    /// The kind, for counting.
    pub kind: RefusalKind,
    /// The whole chain of causes, for people.
    pub reason: String,
}

/// Kinds of refusals; the words are labels of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The peer showed no certificate.
    NoCertificate,
    /// Its certificate was issued by somebody else.
    UnknownIssuer,
    /// Its certificate has ended or not begun.
    Expired,
    /// Its certificate is wrong in another way.
    BadCertificate,
    /// It does not speak TLS.
    NotTls,
    /// It speaks an older TLS than 1.3.
    OldTls,
    /// It did not finish the handshake in time.
    Deadline,
    /// Too many connections are open.
    TooMany,
    /// It said nothing, or did not finish, and others wanted its place.
    Crowded,
    /// What came through TLS was no request: not HTTP, beyond its bounds, or nothing at all.
    NoRequest,
    /// Anything else, such as hanging up.
    Other,
}

impl RefusalKind {
    /// All kinds.
    pub const ALL: [RefusalKind; 11] = [
        RefusalKind::NoCertificate,
        RefusalKind::UnknownIssuer,
        RefusalKind::Expired,
        RefusalKind::BadCertificate,
        RefusalKind::NotTls,
        RefusalKind::OldTls,
        RefusalKind::Deadline,
        RefusalKind::TooMany,
        RefusalKind::Crowded,
        RefusalKind::NoRequest,
        RefusalKind::Other,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalKind::NoCertificate => "no_certificate",
            RefusalKind::UnknownIssuer => "unknown_issuer",
            RefusalKind::Expired => "expired",
            RefusalKind::BadCertificate => "bad_certificate",
            RefusalKind::NotTls => "not_tls",
            RefusalKind::OldTls => "old_tls",
            RefusalKind::Deadline => "deadline",
            RefusalKind::TooMany => "too_many",
            RefusalKind::Crowded => "crowded",
            RefusalKind::NoRequest => "no_request",
            RefusalKind::Other => "other",
        }
    }
}

impl Refusal {
    pub(super) fn from_handshake(peer: SocketAddr, error: &io::Error) -> Refusal {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let kind = cause.map_or(RefusalKind::Other, kind_of);
        Refusal { peer, kind, reason: chain(error) }
    }
}

fn kind_of(error: &rustls::Error) -> RefusalKind {
    use rustls::{Error as Tls, PeerIncompatible as Peer};
    match error {
        Tls::NoCertificatesPresented => RefusalKind::NoCertificate,
        Tls::InvalidCertificate(certificate) => kind_of_certificate(certificate),
        Tls::InvalidMessage(_) => RefusalKind::NotTls,
        Tls::PeerIncompatible(
            Peer::SupportedVersionsExtensionRequired | Peer::Tls12NotOffered | Peer::Tls12NotOfferedOrEnabled,
        ) => RefusalKind::OldTls,
        // rustls adds kinds; a new one is "other" until it is named here.
        _ => RefusalKind::Other,
    }
}

fn kind_of_certificate(error: &CertificateError) -> RefusalKind {
    match error {
        CertificateError::UnknownIssuer => RefusalKind::UnknownIssuer,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => RefusalKind::Expired,
        // As above: rustls adds kinds.
        _ => RefusalKind::BadCertificate,
    }
}

/// The error and its sources, without saying the same twice.
fn chain(error: &io::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

/// Decides which refusals are logged: one of each key, who was refused and why, in a minute. Pure: the time is passed in.
#[derive(Debug)]
pub struct RefusalLog<K = (IpAddr, RefusalKind)> {
    seen: HashMap<K, Entry>,
    /// Refusals for whose keys there was no room.
    overflow: u64,
}

impl<K> Default for RefusalLog<K> {
    fn default() -> RefusalLog<K> {
        RefusalLog { seen: HashMap::new(), overflow: 0 }
    }
}

#[derive(Debug)]
struct Entry {
    logged: Instant,
    left_out: u64,
}

impl RefusalLog<()> {
    /// Keys remembered at the same time.
    pub const ENTRIES_MAX: usize = 1024;
    /// How long a repeated refusal stays silent.
    pub const SILENCE: Duration = Duration::from_mins(1);
}

const ENTRIES_MAX: usize = RefusalLog::<()>::ENTRIES_MAX;
const SILENCE: Duration = RefusalLog::<()>::SILENCE;

impl<K: Eq + Hash> RefusalLog<K> {
    /// `Some(left_out)` if a refusal of this key is to be logged; `left_out` like it, or for want of room, were not.
    pub fn admit(&mut self, key: K, now: Instant) -> Option<u64> {
        if let Some(entry) = self.seen.get_mut(&key) {
            if now.saturating_duration_since(entry.logged) < SILENCE {
                entry.left_out += 1;
                return None;
            }
            entry.logged = now;
            return Some(std::mem::take(&mut entry.left_out));
        }
        if self.seen.len() >= ENTRIES_MAX {
            self.forget_old(now);
        }
        if self.seen.len() >= ENTRIES_MAX {
            self.overflow += 1;
            return None;
        }
        self.seen.insert(key, Entry { logged: now, left_out: 0 });
        Some(std::mem::take(&mut self.overflow))
    }

    fn forget_old(&mut self, now: Instant) {
        let mut untold = 0;
        self.seen.retain(|_, entry| {
            let fresh = now.saturating_duration_since(entry.logged) < SILENCE;
            if !fresh {
                untold += entry.left_out;
            }
            fresh
        });
        self.overflow += untold;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(last: u32, kind: RefusalKind) -> (IpAddr, RefusalKind) {
        (IpAddr::V4(last.into()), kind)
    }

    #[test]
    fn an_address_is_logged_once_a_minute_per_kind() {
        let (mut log, start) = (RefusalLog::default(), Instant::now());
        assert_eq!(log.admit(refusal(1, RefusalKind::Expired), start), Some(0));
        assert_eq!(log.admit(refusal(1, RefusalKind::Expired), start), None);
        assert_eq!(log.admit(refusal(1, RefusalKind::NotTls), start), Some(0));
        assert_eq!(log.admit(refusal(2, RefusalKind::Expired), start), Some(0));
        let later = start + SILENCE;
        assert_eq!(log.admit(refusal(1, RefusalKind::Expired), later), Some(1));
    }

    #[test]
    fn a_flood_from_many_addresses_is_bounded_and_counted() {
        let (mut log, start) = (RefusalLog::default(), Instant::now());
        let lines =
            (0..5000).filter(|n| log.admit(refusal(*n, RefusalKind::NotTls), start).is_some()).count();
        assert_eq!(lines, ENTRIES_MAX);
        let later = start + SILENCE;
        let left_out = log.admit(refusal(9999, RefusalKind::NotTls), later);
        assert_eq!(left_out, Some(5000 - ENTRIES_MAX as u64));
        assert_eq!(log.seen.len(), 1);
    }

    #[test]
    fn every_kind_has_a_label_of_its_own() {
        let labels: std::collections::HashSet<_> =
            RefusalKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(labels.len(), RefusalKind::ALL.len());
    }
}
