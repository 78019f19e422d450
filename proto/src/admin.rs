//! What an administrator asks of the master over its local socket, `/admin/v1`: JSON over HTTP, never over the network.
//!
//! `GET /agents`, `GET /agents/NAME/certificates` and `POST /agents/NAME/approve|suspend|revoke|allow-host`, where NAME is an id, the beginning of one, or a host;
//! `GET` and `POST /tokens`, `POST /tokens/ID/revoke`; `GET` and `POST /api-tokens`, `POST /api-certs`,
//! `POST /api-tokens/NAME/revoke` for both; `GET /ca`, `POST /ca/rotate`, `POST /ca/root-key`, `POST /ca/root-key/remove`. Failures
//! are those of `/api/v1` ([`crate::rest::Problem`]).

use hume_core::{AgentId, Timestamp};
use serde::{Deserialize, Serialize};

/// An agent, as the registry and the store know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminAgent {
    /// Its id.
    pub agent: AgentId,
    /// Its host.
    pub host: String,
    /// `pending`, `active`, `suspended` or `revoked`.
    pub state: String,
    /// Patterns of the hosts besides its own that it may report for; null for any, of an agent that only another CA knows.
    pub allow_hosts: Option<Vec<String>>,
    /// Since when; null if that was never changed.
    pub state_since: Option<Timestamp>,
    /// `connected`, `disconnected`, or `never`.
    pub connection: String,
    /// When it was last heard.
    pub last_seen: Option<Timestamp>,
    /// Its version.
    pub version: Option<String>,
    /// Where it connects from.
    pub address: Option<String>,
    /// Events that wait at it, by its latest word.
    pub queued_events: Option<u64>,
    /// Since when the oldest of them waits.
    pub queued_since: Option<Timestamp>,
    /// When the certificate ends that it showed last.
    pub certificate_expires_at: Option<Timestamp>,
}

/// For which other hosts an agent may report from now on, or not any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowHost {
    /// Names with `*` and `?`.
    pub patterns: Vec<String>,
    /// Whether they are taken away.
    pub remove: bool,
}

/// Agents, by host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminAgents {
    /// By host.
    pub agents: Vec<AdminAgent>,
    /// True when there are more than one answer holds.
    pub truncated: bool,
}

/// The wish for a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminTokenWish {
    /// The host that may join with it, or a pattern with `*` and `?`; null for any.
    pub host: Option<String>,
    /// How long it is good, in seconds.
    pub ttl_s: u64,
    /// How many hosts may join with it.
    pub uses: u32,
    /// Each of them waits until somebody approves it.
    pub approve: bool,
}

/// A new token: the only time that it is told.
#[derive(Clone, Serialize, Deserialize)]
pub struct AdminTokenMade {
    /// Its name.
    pub id: String,
    /// The word to join with.
    pub token: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// A token, as the registry knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminToken {
    /// Its name.
    pub id: String,
    /// Which host may join with it; null for any.
    pub host: Option<String>,
    /// Whether those who join wait for approval.
    pub approve: bool,
    /// How many may still join with it.
    pub uses_left: u32,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// `good`, `used`, `expired` or `revoked`.
    pub state: String,
    /// Who made it.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
}

/// Tokens, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminTokens {
    /// The newest first.
    pub tokens: Vec<AdminToken>,
}

/// A token or a client certificate for `/api/v1`, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminPass {
    /// What it is called.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// Patterns of the tasks it may see; null for all.
    pub tasks: Option<Vec<String>>,
    /// Patterns of the hosts it may see; null for all.
    pub hosts: Option<Vec<String>>,
    /// When it ends; null for never.
    pub expires_at: Option<Timestamp>,
    /// Who made it.
    pub made_by: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, some minutes more or less; null for never.
    pub used_at: Option<Timestamp>,
    /// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` has it but for colons and case; null of a token.
    pub fingerprint: Option<String>,
}

/// Who may ask, by name; those that are revoked or have ended are among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminPasses {
    /// By name.
    pub tokens: Vec<AdminPass>,
    /// By name.
    pub certificates: Vec<AdminPass>,
}

/// What somebody who asks may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rights {
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// Patterns of the tasks it may see; null for all.
    pub tasks: Option<Vec<String>>,
    /// Patterns of the hosts it may see; null for all.
    pub hosts: Option<Vec<String>>,
}

/// A token that is wanted. The secret stays with whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAdminApiToken {
    /// What it is to be called.
    pub name: String,
    /// SHA-256 of its secret, in hexadecimal digits.
    pub sha256: String,
    /// What it may see.
    pub rights: Rights,
    /// When it ends; null for never.
    pub expires_at: Option<Timestamp>,
}

/// A certificate, as one tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminCertificate {
    /// SHA-256 of it, in hexadecimal digits.
    pub fingerprint: String,
    /// When it begins.
    pub begins_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
}

/// The master's own CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminCa {
    /// The site's name in all certificates.
    pub trust_domain: String,
    /// The certificate that everybody trusts.
    pub root: AdminCertificate,
    /// The same in PEM.
    pub root_pem: String,
    /// Whether its key is on this machine.
    pub root_key_here: bool,
    /// The CA that signs.
    pub issuing: AdminCertificate,
    /// When another one takes over by itself, if the root's key is here.
    pub rotation_due_at: Timestamp,
    /// Those that signed before, and have not ended.
    pub earlier: Vec<AdminCertificate>,
    /// The master's own certificate.
    pub master: AdminCertificate,
    /// What somebody should do, in words.
    pub trouble: Option<String>,
}

/// The wish that another issuing CA takes over. It may hold a secret, so it does not print itself.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminRotation {
    /// Fingerprint of the one that is to go; when another one signs already, nothing happens.
    pub instead_of: Option<String>,
    /// The key of the root in PEM, for this order alone; null for the one that is on the master's machine.
    pub root_key: Option<String>,
}

/// The key of the root, to be kept elsewhere. It does not print itself.
#[derive(Clone, Serialize, Deserialize)]
pub struct AdminRootKey {
    /// In PEM.
    pub key: String,
}

/// The wish that the key of the root goes from the master's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminRootKeyRemoval {
    /// SHA-256 of the copy, as it was read back, in hexadecimal digits.
    pub copy_sha256: String,
}

/// A client certificate that is wanted. The key stays with whoever has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAdminApiCert {
    /// What it is to be called.
    pub name: String,
    /// The request for it (PKCS#10, PEM), of which the key is taken and nothing else.
    pub request: String,
    /// What it may see.
    pub rights: Rights,
    /// How long it is good, in seconds.
    pub ttl_s: u64,
}

/// A client certificate that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminApiCert {
    /// What is known of it.
    pub pass: AdminPass,
    /// The certificate with its chain, in PEM.
    pub certificate: String,
    /// The CA by which the master is known, in PEM.
    pub root: String,
    /// Where questions are asked.
    pub url: String,
}

/// A certificate that was issued to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminIssued {
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// SHA-256 of it, in hexadecimal digits; null if the registry was put back and has never seen it.
    pub fingerprint: Option<String>,
    /// Its place among those of its agent; grows by one.
    pub generation: u64,
    /// Fingerprint of the CA that signed it.
    pub issuer: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
    /// Whether the agent has it, or a newer one, for sure.
    pub confirmed: bool,
}

/// Certificates of an agent, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminCertificates {
    /// The newest first.
    pub certificates: Vec<AdminIssued>,
}
