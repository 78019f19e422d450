//! What the registry keeps, as values.

use hume_core::{AgentId, ErrorClass, Timestamp};
use hume_runtime::pki::CaFolderError;
use hume_runtime::sqlite::SqliteError;

/// Whether an agent may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// Asked to be let in; somebody must approve it.
    Pending,
    /// May speak.
    Active,
    /// May not speak for now.
    Suspended,
    /// May never speak again.
    Revoked,
}

impl AgentState {
    const ALL: [AgentState; 4] =
        [AgentState::Pending, AgentState::Active, AgentState::Suspended, AgentState::Revoked];

    /// As people and the database know it.
    pub fn as_str(self) -> &'static str {
        match self {
            AgentState::Pending => "pending",
            AgentState::Active => "active",
            AgentState::Suspended => "suspended",
            AgentState::Revoked => "revoked",
        }
    }

    pub(super) fn parse(text: &str) -> Option<AgentState> {
        AgentState::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// An agent of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentEntry {
    /// Who it is.
    pub agent: AgentId,
    /// The host it was let in for.
    pub host: String,
    /// Whether it may speak.
    pub state: AgentState,
    /// Patterns of other hosts that it may report for.
    pub allow_hosts: Vec<String>,
    /// When it was entered.
    pub entered_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
}

/// A certificate of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// Its serial number, in hex.
    pub serial: String,
    /// SHA-256 of it, in hex; none if the registry has never seen it.
    pub fingerprint: Option<String>,
    /// Its place among those of its agent; grows by one.
    pub generation: u64,
    /// SHA-256 of the certificate of the CA that signed it, in hex.
    pub issuer: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// The agent has it, or a newer one, for sure.
    pub is_confirmed: bool,
}

/// A token with which hosts may join, as it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Its name.
    pub id: String,
    /// The public key of its secret.
    pub key: Vec<u8>,
    /// Which hosts, with `*` and `?`; none for any.
    pub host: Option<String>,
    /// Whether they wait for approval.
    pub approve: bool,
    /// How many may join.
    pub uses: u32,
    /// Until when.
    pub expires_at: Timestamp,
}

/// A token of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEntry {
    /// Its name.
    pub id: String,
    /// The public key of its secret.
    pub key: Vec<u8>,
    /// Which hosts, with `*` and `?`; none for any.
    pub host: Option<String>,
    /// Whether they wait for approval.
    pub approve: bool,
    /// How many may still join.
    pub uses_left: u32,
    /// Until when.
    pub expires_at: Timestamp,
    /// Who made it.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// It was taken back.
    pub revoked: bool,
}

/// Who does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Such as `uid 0`.
    pub name: String,
    /// Where from: an IP address, or `socket`.
    pub address: String,
}

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// Its place; grows by one.
    pub number: u64,
    /// When.
    pub time: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What was done or tried.
    pub action: String,
    /// To what: an agent, a token.
    pub subject: String,
    /// More words; no secrets.
    pub detail: String,
    /// `done`, or why not.
    pub outcome: String,
}

/// The registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It does not follow from what is there; in words.
    #[error("{0}")]
    Refused(String),
    /// The database failed.
    #[error("the registry cannot be read or written")]
    Database(#[from] rusqlite::Error),
    /// The database could not be kept in shape.
    #[error("the registry cannot be kept in shape")]
    Shape(#[from] SqliteError),
    /// The CA could not sign.
    #[error("the CA cannot issue a certificate")]
    Authority(#[from] CaFolderError),
    /// The master stops.
    #[error("the registry is closed")]
    Stopped,
}

impl RegistryError {
    /// What the other end can do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            RegistryError::Refused(_) => ErrorClass::Conflict,
            RegistryError::Database(_) | RegistryError::Shape(_) | RegistryError::Authority(_) => {
                ErrorClass::Internal
            }
            RegistryError::Stopped => ErrorClass::Unavailable,
        }
    }
}
