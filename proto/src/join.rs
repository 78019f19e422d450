//! What a host and the master say on the enrolment port, JSON over HTTP/1.1 and TLS 1.3: `POST /join/v1` when the host joins,
//! `POST /recover/v1` when its certificate has ended.

use hume_core::{AgentId, Timestamp};
use serde::{Deserialize, Serialize};

/// Where it is asked.
pub const JOIN_PATH: &str = "/join/v1";
/// Where an agent asks for a certificate in place of one that has ended.
pub const RECOVER_PATH: &str = "/recover/v1";

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

/// What an agent asks whose certificate has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverRequest {
    /// The certificate that has ended, then those of its issuers but the root: each in DER, in hex.
    pub chain: Vec<String>,
    /// The request for the next one, in PEM: of it only the key is taken.
    pub request: String,
    /// The proof of the ended certificate's key for this connection and the next key, in hex.
    pub proof: String,
}

/// What it is answered, when it gets one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverAnswer {
    /// The next certificate with its chain, in PEM.
    pub certificate: String,
    /// The master's clock.
    pub master_time: Timestamp,
}
