//! Agents as an administrator sees them, and what he wants of them.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use hume_core::host_patterns::{HostPattern, NoHost};
use hume_core::scope::Scope;
use hume_core::{AgentId, ErrorClass, HostName};
use hume_proto::admin::{AdminAgent, AdminAgents, AdminCertificates, AdminIssued, AllowHost};
use hume_runtime::clock;

use super::Admin;
use super::problem::Trouble;
use crate::registry::{Actor, AgentEntry, AgentState, HostWish, IssuedCertificate, Wish};
use crate::store::{AgentRecord, Roll};

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<AdminAgents>, Trouble> {
    Ok(Json(known(&admin).await?))
}

pub(super) async fn order(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Path((name, order)): Path<(String, String)>,
    _: Bytes,
) -> Result<Json<AdminAgent>, Trouble> {
    let wish = [Wish::Approve, Wish::Suspend, Wish::Revoke]
        .into_iter()
        .find(|wish| wish.as_str() == order)
        .ok_or_else(|| Trouble::new(ErrorClass::NotFound, format!("there is no order `{order}`")))?;
    let agents = known(&admin).await?.agents;
    let meant = find(&agents, &name)?;
    let host = HostName::parse(&meant.host)
        .map_err(|error| Trouble::new(ErrorClass::Internal, error.to_string()))?;
    let entry = admin.registry.change(meant.agent, host, wish, actor.clone(), clock::now()).await?;
    tracing::info!(agent = %entry.agent, host = entry.host, by = actor.name, state = entry.state.as_str(), "{order}");
    let mut agent = meant.clone();
    enter(&mut agent, &entry);
    Ok(Json(agent))
}

pub(super) async fn allow_host(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<AdminAgent>, Trouble> {
    let invalid = |why: String| Trouble::new(ErrorClass::Invalid, why);
    let AllowHost { patterns, remove } =
        serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))?;
    let parsed: Result<Vec<HostPattern>, _> = patterns.iter().map(|text| text.parse()).collect();
    let patterns = parsed.map_err(|error: NoHost| invalid(error.to_string()))?;
    let agents = known(&admin).await?.agents;
    let meant = find(&agents, &name)?;
    let host = HostName::parse(&meant.host)
        .map_err(|error| Trouble::new(ErrorClass::Internal, error.to_string()))?;
    let wish = if remove { HostWish::Remove } else { HostWish::Allow };
    let named = (meant.agent, host);
    let entry = admin.registry.change_hosts(named, wish, patterns, actor.clone(), clock::now()).await?;
    tracing::info!(agent = %entry.agent, host = entry.host, by = actor.name, hosts = entry.allow_hosts.join(", "), "allow-host");
    let mut agent = meant.clone();
    enter(&mut agent, &entry);
    Ok(Json(agent))
}

pub(super) async fn certificates(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Json<AdminCertificates>, Trouble> {
    let agents = known(&admin).await?.agents;
    let meant = find(&agents, &name)?;
    let certificates = admin.registry.certificates(meant.agent).await?;
    Ok(Json(AdminCertificates { certificates: certificates.into_iter().map(issued).collect() }))
}

fn issued(certificate: IssuedCertificate) -> AdminIssued {
    let IssuedCertificate { serial, fingerprint, generation, issuer, issued_at, not_after, is_confirmed } =
        certificate;
    AdminIssued {
        serial,
        fingerprint,
        generation,
        issuer,
        issued_at,
        ends_at: not_after,
        confirmed: is_confirmed,
    }
}

/// All agents that the registry or the store knows.
async fn known(admin: &Admin) -> Result<AdminAgents, Trouble> {
    let entries = admin.registry.agents().await?;
    let Roll { items: records, truncated } = admin.store.agents(Scope::default()).await?;
    let mut agents: BTreeMap<AgentId, AdminAgent> =
        records.iter().map(|record| (record.agent, of_record(record))).collect();
    for entry in &entries {
        enter(agents.entry(entry.agent).or_insert_with(|| of_entry(entry)), entry);
    }
    let mut agents: Vec<AdminAgent> = agents.into_values().collect();
    agents.sort_by(|a, b| (&a.host, a.agent).cmp(&(&b.host, b.agent)));
    Ok(AdminAgents { agents, truncated })
}

fn of_record(record: &AgentRecord) -> AdminAgent {
    let connection = if record.connected_since.is_some() { "connected" } else { "disconnected" };
    AdminAgent {
        agent: record.agent,
        host: record.host.clone(),
        state: AgentState::Active.as_str().to_owned(),
        allow_hosts: None,
        state_since: None,
        connection: connection.to_owned(),
        last_seen: Some(record.seen_at),
        version: Some(record.version.clone()),
        address: Some(record.address.clone()),
        queued_events: Some(record.queue.events),
        queued_since: record.queue.since,
        certificate_expires_at: Some(record.certificate_expires_at),
    }
}

fn of_entry(entry: &AgentEntry) -> AdminAgent {
    AdminAgent {
        agent: entry.agent,
        host: entry.host.clone(),
        state: entry.state.as_str().to_owned(),
        allow_hosts: Some(entry.allow_hosts.clone()),
        state_since: Some(entry.changed_at),
        connection: "never".to_owned(),
        last_seen: None,
        version: None,
        address: None,
        queued_events: None,
        queued_since: None,
        certificate_expires_at: None,
    }
}

fn enter(agent: &mut AdminAgent, entry: &AgentEntry) {
    entry.state.as_str().clone_into(&mut agent.state);
    agent.state_since = Some(entry.changed_at);
    agent.allow_hosts = Some(entry.allow_hosts.clone());
}

/// The agent that is meant: by its id, the beginning of its id, or its host.
fn find<'a>(agents: &'a [AdminAgent], name: &str) -> Result<&'a AdminAgent, Trouble> {
    let by_host: Vec<&AdminAgent> = agents.iter().filter(|agent| agent.host == name).collect();
    let meant = if by_host.is_empty() {
        agents.iter().filter(|agent| !name.is_empty() && agent.agent.to_string().starts_with(name)).collect()
    } else {
        by_host
    };
    match meant.as_slice() {
        [one] => Ok(one),
        [] => Err(Trouble::new(ErrorClass::NotFound, format!("there is no agent `{name}`"))),
        several => {
            let ids: Vec<String> = several.iter().map(|agent| agent.agent.to_string()).collect();
            let detail = format!("`{name}` is several agents, say which: {}", ids.join(", "));
            Err(Trouble::new(ErrorClass::Conflict, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hume_core::Timestamp;

    #[test]
    fn an_agent_is_found_by_host_or_the_beginning_of_its_id_and_never_guessed() {
        let agent = |byte, host: &str| {
            let entry = AgentEntry {
                agent: AgentId::from_bytes([byte; 16]),
                host: host.to_owned(),
                state: AgentState::Active,
                allow_hosts: Vec::new(),
                entered_at: Timestamp::EPOCH,
                changed_at: Timestamp::EPOCH,
            };
            of_entry(&entry)
        };
        let agents = [agent(0x11, "web1"), agent(0x12, "db1"), agent(0x22, "db1")];
        let found = |name| find(&agents, name).ok().map(|agent| agent.agent.as_bytes()[0]);
        assert_eq!((found("web1"), found("11"), found("22222222")), (Some(0x11), Some(0x11), Some(0x22)));
        assert_eq!((found("db1"), found("1"), found(""), found("web")), (None, None, None, None));
    }
}
