//! `humeconfig agents`: who may speak, as the master of this machine knows it, and what is to change.

use std::io::Write;

use hume_core::Timestamp;
use hume_core::host_patterns::HostPattern;
use hume_proto::admin::{AdminAgent, AdminAgents, AdminCertificates, AdminIssued, AllowHost};
use serde::Serialize;

use crate::admin::Master;
use crate::failure::Failure;
use crate::orders::{AgentsArgs, AgentsOrder};
use crate::report::{Report, minute};

/// Digits of a fingerprint in a table.
const FINGERPRINT_CHARS: usize = 16;

/// An order without particulars.
#[derive(Serialize)]
struct Nothing {}

/// Does what is asked and says it.
pub fn run(args: &AgentsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let master = Master::of(&args.dir)?;
    let mut report = Report::default();
    match &args.order {
        AgentsOrder::List { json } => {
            let listed: AdminAgents = master.get("/agents")?;
            if *json {
                report.json(&listed);
            } else {
                report
                    .table(&["HOST", "AGENT", "STATE", "CONNECTION", "LAST SEEN", "VERSION"], rows(&listed));
                if listed.truncated {
                    report.line("there are more: this is what one answer holds");
                }
            }
        }
        AgentsOrder::Show { name, json } => {
            let mut listed: AdminAgents = master.get("/agents")?;
            listed.agents.retain(|agent| is_meant(agent, name));
            if listed.agents.is_empty() {
                return Err(Failure::NoAgent { name: name.clone() });
            }
            if *json {
                report.json(&listed);
            } else {
                for agent in &listed.agents {
                    show(agent, &mut report);
                    issued(&master, agent, &mut report)?;
                }
            }
        }
        AgentsOrder::Approve { name } => change(&master, name, "approve", &mut report)?,
        AgentsOrder::Suspend { name } => change(&master, name, "suspend", &mut report)?,
        AgentsOrder::AllowHost { name, patterns, remove } => {
            allow_host(&master, name, patterns, *remove, &mut report)?;
        }
        AgentsOrder::Revoke { name } => change(&master, name, "revoke", &mut report)?,
    }
    report.write(out)
}

fn change(master: &Master, name: &str, order: &str, report: &mut Report) -> Result<(), Failure> {
    let agent: AdminAgent = master.post(&format!("/agents/{}/{order}", escaped(name)), &Nothing {})?;
    let cut =
        if agent.connection == "connected" && agent.state != "active" { ", its session is cut" } else { "" };
    report.line(format!("agent {} of {} is {}{cut}", agent.agent, agent.host, agent.state));
    Ok(())
}

fn allow_host(
    master: &Master,
    name: &str,
    patterns: &[HostPattern],
    remove: bool,
    report: &mut Report,
) -> Result<(), Failure> {
    let order = AllowHost { patterns: patterns.iter().map(HostPattern::to_string).collect(), remove };
    let agent: AdminAgent = master.post(&format!("/agents/{}/allow-host", escaped(name)), &order)?;
    report.line(format!("agent {} of {} may report for {}", agent.agent, agent.host, hosts_of(&agent)));
    report.line("it is told within seconds, or when it next connects");
    Ok(())
}

fn hosts_of(agent: &AdminAgent) -> String {
    match agent.allow_hosts.as_deref() {
        None => "any host".to_owned(),
        Some([]) => "its own host".to_owned(),
        Some(allowed) => format!("its own host, {}", allowed.join(", ")),
    }
}

fn is_meant(agent: &AdminAgent, name: &str) -> bool {
    agent.host == name || (!name.is_empty() && agent.agent.to_string().starts_with(name))
}

fn rows(listed: &AdminAgents) -> Vec<Vec<String>> {
    let row = |agent: &AdminAgent| {
        vec![
            agent.host.clone(),
            agent.agent.to_string(),
            agent.state.clone(),
            agent.connection.clone(),
            agent.last_seen.map(minute).unwrap_or_default(),
            agent.version.clone().unwrap_or_default(),
        ]
    };
    listed.agents.iter().map(row).collect()
}

/// The certificates that the agent was given.
fn issued(master: &Master, agent: &AdminAgent, report: &mut Report) -> Result<(), Failure> {
    let issued: AdminCertificates = master.get(&format!("/agents/{}/certificates", agent.agent))?;
    if !issued.certificates.is_empty() {
        report.line("  issued, the newest first:");
        report.table(
            &["  NO", "ISSUED", "ENDS", "CONFIRMED", "SERIAL", "FINGERPRINT", "ISSUER"],
            inventory(&issued),
        );
    }
    Ok(())
}

fn show(agent: &AdminAgent, report: &mut Report) {
    let time = |time: Option<Timestamp>| time.map_or_else(|| "unknown".to_owned(), minute);
    let since = agent.state_since.map(|since| format!(" since {}", minute(since))).unwrap_or_default();
    report.line(format!("agent {} of {}", agent.agent, agent.host));
    report.line(format!("  state        {}{since}", agent.state));
    report.line(format!("  reports for  {}", hosts_of(agent)));
    report.line(format!("  connection   {}", agent.connection));
    report.line(format!("  last seen    {}", time(agent.last_seen)));
    report.line(format!("  address      {}", agent.address.as_deref().unwrap_or("unknown")));
    report.line(format!("  version      {}", agent.version.as_deref().unwrap_or("unknown")));
    report.line(format!("  certificate  until {}", time(agent.certificate_expires_at)));
    if let Some(queued) = agent.queued_events {
        let since = agent.queued_since.map(|since| format!(" since {}", minute(since))).unwrap_or_default();
        report.line(format!("  queue        {queued} events{since}"));
    }
}

/// Fingerprints are cut as git does it: enough to compare with `ca show` by eye.
fn inventory(issued: &AdminCertificates) -> Vec<Vec<String>> {
    let short = |text: &str| text.chars().take(FINGERPRINT_CHARS).collect::<String>();
    let row = |certificate: &AdminIssued| {
        vec![
            format!("  {}", certificate.generation),
            minute(certificate.issued_at),
            minute(certificate.ends_at),
            if certificate.confirmed { "yes" } else { "no" }.to_owned(),
            certificate.serial.clone(),
            certificate.fingerprint.as_deref().map_or_else(|| "unseen".to_owned(), short),
            short(&certificate.issuer),
        ]
    };
    issued.certificates.iter().map(row).collect()
}

/// A name as a part of a path.
pub(crate) fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place_in_the_path() {
        assert_eq!(escaped("web-1.example"), "web-1.example");
        assert_eq!(escaped("../a b?%"), "..%2Fa%20b%3F%25");
    }
}
