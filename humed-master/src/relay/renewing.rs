//! Makes the certificates that sessions ask for, by the site's CA and the registry.

use hume_core::{AgentId, ErrorClass};
use hume_proto::relay::{MasterFrame, RenewalRefused};
use hume_runtime::clock;
use hume_runtime::pki::PublicKey;
use hume_runtime::tls;

use crate::intake::Visitor;
use crate::registry::{Actor, Issuer, Registry, RegistryError, Renewal};

/// Where certificates are made and remembered. Cheap to clone.
#[derive(Clone)]
pub struct Issuing {
    /// Who has which.
    pub registry: Registry,
    /// The site's CA.
    pub issuer: Issuer,
}

/// A certificate that was sent to its agent: what names it, and what its agent will show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) fingerprint: String,
    pub(super) serial: Vec<u8>,
}

impl Sent {
    /// The first certificate of this answer, if it is one.
    pub(super) fn of(answer: &MasterFrame) -> Option<Sent> {
        let MasterFrame::Certificate(chain) = answer else { return None };
        let certificate = tls::first_of_pem(chain).ok()?;
        let serial = tls::agent_of(&certificate).ok()?.serial;
        Some(Sent { fingerprint: tls::fingerprint(&certificate), serial })
    }
}

impl Issuing {
    /// The answer to an agent that proved this key, in a session that shows a certificate of this serial number.
    pub(super) async fn renew(self, visitor: Visitor, public_key: Vec<u8>) -> MasterFrame {
        let Visitor { agent, address, serial, certificate_expires_at: _ } = visitor;
        let Some(key) = PublicKey::of_spki(&public_key) else {
            return refused(ErrorClass::Invalid, "the key is not one of P-256".to_owned(), 86_400_000);
        };
        let actor = Actor { name: format!("agent {agent}"), address };
        let Issuing { registry, issuer } = self;
        match registry.renew((agent, serial), key, issuer, actor, clock::now()).await {
            Ok(Renewal::Issued { chain }) => MasterFrame::Certificate(chain),
            Ok(Renewal::Refused { class, why, again }) => {
                refused(class, why, u32::try_from(again.as_millis()).unwrap_or(u32::MAX))
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, %agent, "no certificate could be made");
                refused(error.class(), error.to_string(), 600_000)
            }
        }
    }

    /// The agent has the certificate of this serial number.
    pub(super) async fn confirm(&self, agent: AgentId, serial: Vec<u8>) -> Result<(), RegistryError> {
        self.registry.confirm(agent, serial).await
    }
}

fn refused(class: ErrorClass, detail: String, again_ms: u32) -> MasterFrame {
    MasterFrame::RenewalRefused(RenewalRefused { class, detail, again_ms })
}
