//! What a host and the master say when the host joins, on the enrolment port: `POST /join/v1`, JSON over HTTP/1.1 and TLS 1.3.

use hume_core::{AgentId, Timestamp};
use serde::{Deserialize, Serialize};

/// Where it is asked.
pub const JOIN_PATH: &str = "/join/v1";

/// What a host asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The token's name.
    pub token: String,
    /// The host it is.
    pub host: String,
    /// The request for a certificate, in PEM: of it only the key is taken.
    pub request: String,
    /// The proof of the token's secret for this connection and this key, in hex.
    pub proof: String,
}

/// What it is answered, when it may join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinAnswer {
    /// Who it is from now on.
    pub agent: AgentId,
    /// Its certificate with its chain, in PEM; null while somebody must approve it first.
    pub certificate: Option<String>,
    /// When the certificate ends.
    pub certificate_expires_at: Option<Timestamp>,
    /// The certificate of the root, in PEM.
    pub root: String,
    /// The port of the relay, at the address that was asked.
    pub relay_port: u16,
}
