//! A site in a folder in memory: a CA, a master's certificate, agents with theirs, and the events that scripts report there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use hume_core::{AgentId, Event, EventId, HostName, Level, TaskName};
use hume_runtime::pki::{Authority, write_secret};
use hume_runtime::tls::{self, Identity, Roots};
use hume_runtime::{clock, files};
use humed_agent::uplink::Config;
use rustls::ServerConfig;
use tempfile::TempDir;
use uuid::Uuid;

/// The trust domain of the site.
pub(crate) const DOMAIN: &str = "hume";
/// The master's name in the simulated network, and in its certificate.
pub(crate) const MASTER: &str = "master";
const PORT: u16 = 4863;
/// A file system in memory: what a disk does is not the question here, and its time is real.
const MEMORY: &str = "/dev/shm";
/// Ten years, in microseconds.
const DECADE_US: i64 = 10 * 365 * 86_400 * 1_000_000;

/// All files of a simulation.
pub(crate) struct Site {
    folder: TempDir,
    /// What the relay shows.
    pub(crate) relay: Arc<ServerConfig>,
}

impl Site {
    pub(crate) fn new(agents: usize) -> Site {
        tls::install_provider();
        let roomy = if Path::new(MEMORY).is_dir() { PathBuf::from(MEMORY) } else { std::env::temp_dir() };
        let folder = TempDir::new_in(roomy).unwrap();
        let now = clock::now();
        let ca = Authority::create(DOMAIN, now).unwrap();
        let server = ca.issue_server(&[MASTER.to_owned()], &[], now).unwrap();
        let identity = Identity::from_pem(&server.certificate_pem, server.key_pem.expose()).unwrap();
        let relay = tls::relay_server(&identity, &Roots::from_pem(ca.certificate_pem()).unwrap()).unwrap();
        let site = Site { folder, relay };
        std::fs::create_dir(site.path("store")).unwrap();
        std::fs::write(site.path("ca.pem"), ca.certificate_pem()).unwrap();
        for number in 0..agents {
            let issued = ca.issue_agent(uuid(number), &name(number), now).unwrap();
            let [certificate, key] = site.pair(number);
            files::write(&certificate, issued.certificate_pem.as_bytes(), 0o644).unwrap();
            write_secret(&key, issued.key_pem.expose().as_bytes()).unwrap();
        }
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pair(&self, number: usize) -> [PathBuf; 2] {
        ["pem", "key"].map(|ending| self.path(&format!("{}.{ending}", name(number))))
    }

    /// The section `[master]` of an agent: as it comes, but for the files.
    pub(crate) fn uplink(&self, number: usize) -> Config {
        let [certificate, key] = self.pair(number);
        let text = format!("address = \"{MASTER}:{PORT}\"\nboot_delay_max_ms = 0\n");
        let config: Config = hume_runtime::config::parse(Path::new("agent.toml"), &text).unwrap();
        Config { ca: self.path("ca.pem"), certificate, key, ..config }
    }
}

/// The address that the relay listens on.
pub(crate) fn listen() -> (std::net::Ipv4Addr, u16) {
    (std::net::Ipv4Addr::UNSPECIFIED, PORT)
}

/// An agent's name in the network.
pub(crate) fn name(number: usize) -> String {
    format!("agent{number}")
}

fn uuid(number: usize) -> Uuid {
    Uuid::from_u128(0xa0 + number as u128)
}

/// An agent's id.
pub(crate) fn agent_id(number: usize) -> AgentId {
    AgentId::from(uuid(number))
}

/// The event of this number of an agent. Its clock tells any time: order is by place.
pub(crate) fn event(agent: usize, number: u64, chance: &mut Rng) -> Event {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(agent as u64).to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    let time = clock::now().plus_micros(chance.i64(-DECADE_US..DECADE_US));
    let bytes = match chance.u32(..30) {
        0 => chance.usize(4_000..16_000),
        _ => chance.usize(10..400),
    };
    Event {
        received_at: time.plus_micros(1),
        task: TaskName::parse("BACKUP").unwrap(),
        level: Level::ALL[number as usize % Level::ALL.len()],
        message: std::iter::repeat_with(|| chance.alphanumeric()).take(bytes).collect(),
        ..Event::new(EventId::from_bytes(id), HostName::parse(&name(agent)).unwrap(), time)
    }
}
