//! Numbers and state of this agent that several rooms write or read: counters, and how the uplink is.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use hume_core::Timestamp;
use hume_transfer::Board;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// Why events were refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// A word.
    pub reason: String,
}

/// Counters of the agent.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Events accepted from the socket.
    pub accepted: Counter<u64, AtomicU64>,
    /// Events taken from the drop folder.
    pub dropped_in: Counter<u64, AtomicU64>,
    /// Lines and files refused, by reason.
    pub refused: Family<ReasonLabel, Counter<u64, AtomicU64>>,
    /// Lines and files in which a secret was hidden, repeats included.
    pub redacted: Counter<u64, AtomicU64>,
    /// Connections taken at the socket.
    pub connections: Counter<u64, AtomicU64>,
    /// Sessions with the master.
    pub sessions: Counter<u64, AtomicU64>,
    /// Events sent to the master, repeats included.
    pub sent: Counter<u64, AtomicU64>,
    /// Acknowledgements of the master.
    pub acked: Counter<u64, AtomicU64>,
    /// How the transfers are.
    pub transfers: Board,
    uplink: Mutex<Uplink>,
}

/// How the uplink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// With or without a session.
    pub state: UplinkState,
    /// Since when.
    pub since: Timestamp,
    /// The master's address; none on a host alone.
    pub address: Option<String>,
    /// What last went wrong, and when.
    pub last_error: Option<(String, Timestamp)>,
    /// When the agent's certificate ends.
    pub certificate_expires_at: Option<Timestamp>,
    /// The last claim of what is at the master.
    pub watermark: Option<Timestamp>,
    /// What was last written to the log about it: the same is not written again.
    pub last_logged: Option<String>,
}

/// With or without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UplinkState {
    /// There is no master.
    Alone,
    /// No session now.
    Disconnected,
    /// A session.
    Connected,
}

impl UplinkState {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            UplinkState::Alone => "alone",
            UplinkState::Disconnected => "disconnected",
            UplinkState::Connected => "connected",
        }
    }
}

impl Default for Uplink {
    fn default() -> Uplink {
        Uplink {
            state: UplinkState::Alone,
            since: Timestamp::EPOCH,
            address: None,
            last_error: None,
            certificate_expires_at: None,
            watermark: None,
            last_logged: None,
        }
    }
}

impl Metrics {
    /// How the uplink is now.
    pub fn uplink(&self) -> Uplink {
        self.uplink.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is known of the uplink.
    pub fn update_uplink(&self, change: impl FnOnce(&mut Uplink)) {
        change(&mut self.uplink.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts a refusal.
    pub fn refuse(&self, reason: &str) {
        self.refused.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc();
    }
}
