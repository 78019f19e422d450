//! Attacks at every port of a master to which hosts have joined by tokens, while their agents report under load: all of it is refused,
//! logged once and counted, and the agents never notice: no session breaks, and everything is at the master once and in order.
//!
//! | attack | relay (4863) | HTTPS (4864) | enrolment (4865) | shown in |
//! |---|---|---|---|---|
//! | plain text, other protocols, noise | `not_tls` | `not_tls` | `not_tls` | `strangers` |
//! | TLS 1.2 | `old_tls` | `old_tls` | `old_tls` | `strangers` |
//! | a certificate of another CA, or none | `unknown_issuer`, `no_certificate` | opens nothing: 401, `token` | opens nothing: `join` | `strangers` |
//! | a client that trusts another CA | it goes itself: `other` | `other` | `other` | `strangers` |
//! | an agent's own certificate | is let in | opens nothing: 401, `token` | opens nothing: `join` | `strangers` |
//! | nothing, or half a handshake | `deadline` | `deadline` | `deadline` | `slow` |
//! | a handshake, and then nothing | `deadline` | `deadline`, also over HTTP/2 | `deadline` | `slow` |
//! | half a head, half a body | | `deadline` | `deadline`; `join` | `slow` |
//! | more connections than there may be | `too_many`, of an agent | `too_many`, of an address | `too_many`, of an address | `slow` |
//! | noise through TLS, heads that are too large or ambiguous | `no_request` | `no_request` | `no_request` | `requests` |
//! | HTTP/2: floods, resets, frames and heads beyond their bounds | `no_request` | `no_request` | not spoken | `requests` |
//! | forged tokens, proofs and requests, used tokens | | | `join` | `joins` |
//! | forged frames, batches and hosts of an agent that was taken over | `protocol`, quarantine | | | `frames` |
//!
//! The attackers have an address of their own, 127.0.0.66: what is bounded by address is theirs alone.

mod frames;
mod joins;
mod requests;
mod slow;
mod strangers;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use fastrand::Rng;
use hume_tests::oracle::{self, Excuses};
use hume_tests::reporter::{Load, Reporter, Stage, Way};
use hume_tests::tls::{self, Pair};
use hume_tests::{Agent, Evidence, Ledger, SOON, Site, http, wait_until};
use rustix::net::{AddressFamily, SocketType};
use rustls::ClientConfig;
use rustls::version::TLS13;

/// Where attacks come from.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// The hosts that belong.
const HOSTS: [&str; 3] = ["web1", "web2", "db1"];
/// Events that are confirmed while an attack goes on, at least.
const CONFIRMED_MIN: u64 = 50;

/// A port of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Relay,
    Https,
    Enrolment,
}

const PORTS: [Port; 3] = [Port::Relay, Port::Https, Port::Enrolment];

/// A master under attack, and the hosts that have joined it.
struct Siege {
    site: Site,
    enroll: SocketAddr,
    agents: Vec<Agent>,
    ledger: Ledger,
    began: Instant,
}

impl Siege {
    /// Three hosts have joined with tokens, and report.
    fn new() -> Siege {
        let (site, enroll) = Site::enrolling();
        let agents: Vec<Agent> = HOSTS.iter().map(|host| join(&site, host)).collect();
        for agent in &agents {
            agent.start();
            agent.wait_until_drained(SOON);
        }
        Siege { site, enroll, agents, ledger: Ledger::default(), began: Instant::now() }
    }

    /// Attacks while all agents report; then everything must be as if nobody had. Events of these other hosts are the attack's own.
    fn hold(self, other_hosts: &[&str], attack: impl FnOnce(&Siege)) {
        let (stage, load) = (Stage::default(), Load::default());
        let siege = &self;
        thread::scope(|scope| {
            let _curtain = stage.curtain();
            for (number, agent) in siege.agents.iter().enumerate() {
                let (ledger, stage) = (&siege.ledger, &stage);
                let reporter = Reporter { agent, ledger, stage, load, name: "calm" };
                let way = if number == 0 { Way::Hume } else { Way::Socket };
                scope.spawn(move || reporter.run(way, Rng::new()));
            }
            attack(siege);
            let before = siege.ledger.tally().confirmed;
            wait_until("events are confirmed after the attack", SOON, || {
                siege.ledger.tally().confirmed >= before + CONFIRMED_MIN
            });
        });
        self.assert_calm(other_hosts);
    }

    /// No session broke, and all is there once and in order.
    fn assert_calm(&self, other_hosts: &[&str]) {
        for agent in &self.agents {
            agent.wait_until_drained(SOON);
            let sessions = agent.metrics()["hume_agent_uplink_sessions_total"];
            assert_eq!(sessions, 1, "the session of {} never broke:\n{}", agent.host(), agent.log());
        }
        let mut evidence = Evidence::gather(self.site.master());
        let others: Vec<String> =
            other_hosts.iter().filter_map(|host| evidence.agents.get(*host).cloned()).collect();
        evidence.stored.retain(|stored| !others.contains(&stored.agent));
        evidence.epochs.retain(|epoch| !others.contains(&epoch.agent));
        evidence.gaps.retain(|gap| !others.contains(&gap.agent));
        let verdict = oracle::judge(&self.ledger.snapshot(), &evidence, &Excuses::default());
        assert!(verdict.is_clean() && verdict.confirmed as u64 >= CONFIRMED_MIN, "{verdict}");
    }

    fn address(&self, port: Port) -> SocketAddr {
        match port {
            Port::Relay => self.site.master().grpc(),
            Port::Https => self.site.master().http(),
            Port::Enrolment => self.enroll,
        }
    }

    /// A connection of the attackers.
    fn connect(&self, port: Port) -> TcpStream {
        connect_from(ATTACKER, self.address(port)).unwrap()
    }

    /// A client of the master that shows this certificate where it is asked for one.
    fn client(&self, shown: Option<&Pair>, protocol: &str) -> Arc<ClientConfig> {
        tls::client(&self.site.master().ca(), shown, &TLS13, protocol.as_bytes())
    }

    /// Says this through TLS, and hears what comes until the end of the connection.
    fn say(&self, port: Port, config: &Arc<ClientConfig>, words: &[u8]) -> io::Result<String> {
        let mut stream = tls::connect(self.connect(port), Arc::clone(config))?;
        stream.write_all(words)?;
        stream.flush()?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if !answer.is_empty() && error.kind() != ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// What the master's figures say, asked by its socket, which no attack reaches.
    fn figures(&self) -> BTreeMap<String, u64> {
        http::metrics(&self.site.master().get_socket("/metrics"))
    }

    fn refused(&self, reason: &str) -> u64 {
        let name = format!("hume_master_refused_total{{reason=\"{reason}\"}}");
        self.figures().get(&name).copied().unwrap_or_default()
    }

    /// All that were refused, whatever for.
    fn refused_in_all(&self) -> u64 {
        let figures = self.figures();
        figures
            .iter()
            .filter(|(name, _)| name.starts_with("hume_master_refused_total"))
            .map(|(_, count)| count)
            .sum()
    }

    /// Waits until so many more were refused for this reason than there were.
    fn wait_for(&self, reason: &str, before: u64, more: u64) {
        wait_until(&format!("{more} refusals for {reason} are counted"), SOON, || {
            self.refused(reason) >= before + more
        });
    }

    /// Each of these is in the log, and none oftener than once a minute.
    fn assert_logged_once(&self, words: &[&str]) {
        let log = self.site.master().log();
        let lines = log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
        let minutes = self.began.elapsed().as_secs() / 60;
        assert!(lines >= 1 && lines as u64 <= 1 + minutes, "{lines} lines of {words:?}:\n{log}");
    }

    /// The same, of a connection that a port refused for this reason.
    fn assert_refusal_logged_once(&self, port: Port, reason: &str) {
        let (port, reason) = (format!("port={}", self.address(port)), format!("reason=\"{reason}\""));
        self.assert_logged_once(&[&port, &reason, &format!("peer={ATTACKER}")]);
    }
}

/// The agent of a host that joins with a token. Not started.
fn join(site: &Site, host: &str) -> Agent {
    site.join(host, &site.token(&["--host", host])).ok();
    site.joined(host)
}

/// What an agent has to show, as whoever took its host over has it.
fn stolen(agent: &Agent) -> Pair {
    let read = |name: &str| fs::read_to_string(agent.dir().join("pki").join(name)).unwrap();
    Pair { certificate: read("agent.pem"), key: read("agent.key") }
}

/// A connection from this address of the loopback.
fn connect_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((from, 0)))?;
    rustix::net::connect(&socket, &to)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    Ok(stream)
}

/// What a master that is asked for nothing good may answer.
fn is_no(answer: &io::Result<String>) -> bool {
    answer.as_ref().is_ok_and(|text| text.is_empty() || text.starts_with("HTTP/1.1 4")) || answer.is_err()
}
