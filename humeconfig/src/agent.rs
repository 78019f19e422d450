//! `humeconfig agent`: a certificate of the site's CA, a configuration and the folders of one agent.
//!
//! The folder can be copied to its host as it is. With `--force` the agent keeps its id, so that the events in its spool
//! stay its own; a new id is made only if there is no certificate of this site to read it from.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hume_runtime::pki::Authority;
use hume_runtime::{clock, config, random, socket, tls};
use serde::Deserialize;
use uuid::Uuid;

use crate::args::{AgentArgs, split_address};
use crate::failure::Failure;
use crate::init::{absolute, reachable};
use crate::report::{Report, day, shell, toml_string};
use crate::staging::{IfPresent, Staging};

/// What is replaced with `--force`.
const MADE: [&str; 2] = ["pki", "agent.toml"];
/// What holds events: never replaced. The drop folder takes files from anybody and lets nobody touch those of others.
pub(crate) const FOLDERS: [(&str, u32); 3] = [("run", 0o755), ("drop", 0o3777), ("state", 0o700)];

/// Makes the agent and says so.
pub fn run(args: &AgentArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let (dir, adir) = (absolute(&args.dir)?, absolute(&args.out)?);
    check(args, &adir)?;
    let site = Site::load(&dir)?;
    let master = match &args.master {
        Some(master) => master.clone(),
        None => relay_address(&dir)?,
    };
    let agent = Agent {
        id: known_id(&adir, site.authority.trust_domain()).unwrap_or_else(random::uuid),
        server_name: site.server_name(&master),
        master,
        enroll: None,
    };
    let now = clock::now();
    let issued = site.authority.issue_agent(agent.id, args.host.as_str(), now)?;

    let staging = Staging::new(&adir)?;
    staging.folder("pki", 0o700)?;
    staging.file("pki/ca.pem", site.authority.certificate_pem(), 0o644)?;
    staging.file("pki/agent.pem", &issued.certificate_pem, 0o644)?;
    staging.file("pki/agent.key", issued.key_pem.expose(), 0o600)?;
    staging.file(
        "agent.toml",
        &agent_toml("humeconfig agent", args.host.as_str(), &agent, Places::Below),
        0o644,
    )?;
    let mut pieces: Vec<_> = MADE.map(|name| (name, IfPresent::Replace)).to_vec();
    for (name, mode) in FOLDERS {
        staging.folder(name, mode)?;
        pieces.push((name, IfPresent::Keep));
    }
    let published = staging.publish(&pieces, now)?;

    let mut report = Report::default();
    report.steps(&published, |name| match name {
        "pki" => format!("agent {} until {}", agent.id, day(issued.not_after)),
        "agent.toml" => format!("host {}, master {}", args.host.as_str(), agent.master),
        _ => String::new(),
    });
    advise(&agent, &adir, &mut report);
    report.write(out)
}

/// An agent as its configuration has it.
pub(crate) struct Agent {
    pub(crate) id: Uuid,
    pub(crate) master: String,
    /// Where its certificate is recovered when it has ended, if that is not the usual port beside the relay.
    pub(crate) enroll: Option<String>,
    /// The name to verify, if the master's certificate does not hold the host of `master`.
    pub(crate) server_name: Option<String>,
}

/// Where an agent has its sockets and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    /// Below the folder of its configuration.
    Below,
    /// Where the system has them.
    System,
}

struct Site {
    authority: Authority,
    /// Names and addresses in the master's certificate.
    names: Vec<String>,
}

impl Site {
    fn load(dir: &Path) -> Result<Site, Failure> {
        let (ca, ca_key) = (dir.join("pki/ca.pem"), dir.join("pki/ca.key"));
        let certificate = read(&ca, dir)?;
        let key = tls::load_key(&ca_key)?;
        let authority =
            Authority::load(&certificate, &key).map_err(|source| Failure::Authority { path: ca, source })?;
        let master = tls::load_certificates(&dir.join("pki/master.pem"))?;
        let names = master.first().map(tls::names_of).unwrap_or_default();
        Ok(Site { authority, names })
    }

    fn server_name(&self, master: &str) -> Option<String> {
        let (host, _) = split_address(master)?;
        let named = self.names.iter().any(|name| covers(name, host));
        if named { None } else { self.names.first().cloned() }
    }
}

/// Whether a name of a certificate is good for `host`; `*.` stands for one label.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(domain)),
        None => name.eq_ignore_ascii_case(host),
    }
}

fn check(args: &AgentArgs, adir: &Path) -> Result<(), Failure> {
    socket::check_path(&adir.join("run/hume.sock"))?;
    if adir.join("pki/ca.key").exists() {
        return Err(Failure::OutIsMaster { path: adir.to_owned() });
    }
    let found = MADE.iter().rev().map(|name| adir.join(name)).find(|path| path.exists());
    match found {
        Some(path) if !args.force => Err(Failure::AgentExists { path }),
        Some(_) | None => Ok(()),
    }
}

/// The id this agent has had before, if its certificate is of this site.
fn known_id(adir: &Path, trust_domain: &str) -> Option<Uuid> {
    let certificates = tls::load_certificates(&adir.join("pki/agent.pem")).ok()?;
    let peer = tls::agent_of(certificates.first()?).ok()?;
    (peer.trust_domain == trust_domain).then_some(peer.id)
}

/// The one key of master.toml that an agent needs; the master checks the others.
#[derive(Default, Deserialize)]
#[serde(default)]
struct MasterConfig {
    relay: RelayConfig,
}

#[derive(Deserialize)]
#[serde(default)]
struct RelayConfig {
    listen: String,
}

impl Default for RelayConfig {
    fn default() -> RelayConfig {
        RelayConfig { listen: "127.0.0.1:4863".to_owned() }
    }
}

/// Where an agent on this machine reaches the relay.
fn relay_address(dir: &Path) -> Result<String, Failure> {
    let path = dir.join("master.toml");
    if !path.exists() {
        return Err(Failure::NoSite { path, dir: dir.to_owned() });
    }
    let listen = config::load::<MasterConfig>(&path)?.relay.listen;
    let address: SocketAddr = match listen.parse() {
        Ok(address) => reachable(address),
        Err(_) => return Err(Failure::Listen { path, found: listen }),
    };
    if address.port() == 0 { Err(Failure::NoPort { path }) } else { Ok(address.to_string()) }
}

/// The section that names the master.
pub(crate) fn master_section(agent: &Agent) -> String {
    let master = toml_string(&agent.master);
    let server_name = match &agent.server_name {
        Some(name) => {
            let name = toml_string(name);
            format!(
                "# The name in the master's certificate, which does not hold the address.
server_name = {name}
"
            )
        }
        None => String::new(),
    };
    let enroll = match &agent.enroll {
        Some(address) => {
            let address = toml_string(address);
            format!("# Where a certificate that has ended is recovered.\nenroll_address = {address}\n")
        }
        None => String::new(),
    };
    format!(
        r#"[master]
address = {master}
{enroll}{server_name}ca = "pki/ca.pem"
certificate = "pki/agent.pem"
key = "pki/agent.key"
"#
    )
}

/// What stands below the folder of the configuration, when the agent has all in one place.
const BELOW: &str = r#"# Where events enter: a socket for programs that wait for an answer, a folder for those that cannot.
[intake]
socket = "run/hume.sock"
drop_dir = "drop"

# Where they are kept until the master has them, and for a while after.
[spool]
dir = "state"

# The local API, for humequery on this host.
[web]
socket = "run/api.sock"

"#;

pub(crate) fn agent_toml(made_by: &str, host: &str, agent: &Agent, places: Places) -> String {
    let (host, master) = (toml_string(host), master_section(agent));
    let places = match places {
        Places::Below => BELOW,
        Places::System => "",
    };
    format!(
        r#"# hume agent, made by `{made_by}`. Relative paths are relative to this file.

# The host in all events of this agent.
host = {host}

{places}# Where events are sent. Without this section the agent is complete on its own.
{master}
# What is expected of the runs of tasks; the same sections in master.toml. All keys: docs/OPERATIONS.md.
#[[runs]]
#tasks = ["BACKUP_*"]       # names of tasks, with * and ?; without this key for all
#max_runtime = "2h"         # longer is overdue, and a warning
#hard_runtime = "4h"        # longer is critical
#exit_map = {{ 24 = "warning" }}

[log]
level = "info"              # error, warn, info, debug, trace; HUME_LOG overrules it
format = "auto"             # or "text", "json"
"#
    )
}

fn advise(agent: &Agent, adir: &Path, report: &mut Report) {
    if let Some(name) = &agent.server_name {
        report.line(format!(
            "note: the master's certificate does not name {}; the agent will ask for {name} instead",
            agent.master
        ));
    }
    let at = |name: &str| shell(&adir.join(name));
    report.line("");
    report.line("next:");
    report.line(format!("  humed-agent --config {}", at("agent.toml")));
    report.line(format!(
        "  HUME_SOCKET={} HUME_DROP_DIR={} hume -t HELLO -m \"first event\"",
        at("run/hume.sock"),
        at("drop")
    ));
    report.line(format!("  humequery --url unix:{} -t HELLO", at("run/api.sock")));
}

fn read(path: &Path, dir: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Failure::NoSite { path: path.to_owned(), dir: dir.to_owned() },
        _ => Failure::Read { path: PathBuf::from(path), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(server_name: Option<&str>) -> Agent {
        let (master, server_name) = ("m:4863".to_owned(), server_name.map(str::to_owned));
        Agent { id: Uuid::nil(), master, enroll: None, server_name }
    }

    #[test]
    fn the_configuration_is_toml_with_the_agreed_keys() {
        let table: toml::Table =
            agent_toml("humeconfig agent", "we\"b1", &agent(None), Places::Below).parse().unwrap();
        assert_eq!(table["host"].as_str(), Some("we\"b1"));
        assert_eq!(table["intake"]["drop_dir"].as_str(), Some("drop"));
        assert_eq!(table["master"]["address"].as_str(), Some("m:4863"));
        assert!(table["master"].get("server_name").is_none());
        let table: toml::Table =
            agent_toml("humeconfig agent", "web1", &agent(Some("localhost")), Places::Below).parse().unwrap();
        assert_eq!(table["master"]["server_name"].as_str(), Some("localhost"));
        assert!(table["master"].get("enroll_address").is_none());
        let elsewhere = Agent { enroll: Some("m:7".to_owned()), ..agent(None) };
        let table: toml::Table = master_section(&elsewhere).parse().unwrap();
        assert_eq!(table["master"]["enroll_address"].as_str(), Some("m:7"));
    }

    #[test]
    fn the_example_of_expectations_holds_when_it_is_uncommented() {
        let policies = crate::report::tests::uncommented_runs(&agent_toml(
            "humeconfig agent",
            "web1",
            &agent(None),
            Places::Below,
        ));
        let backup = policies.of(&hume_core::TaskName::parse("BACKUP_DB").unwrap());
        assert_eq!(backup.max_runtime, Some(std::time::Duration::from_hours(2)));
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        assert!(covers("*.example.org", "m.Example.org"));
        assert!(!covers("*.example.org", "a.m.example.org"));
        assert!(!covers("*.example.org", "example.org"));
        assert!(covers("::1", "::1") && covers("Localhost", "localhost"));
    }
}
