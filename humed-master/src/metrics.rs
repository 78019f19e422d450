//! Figures for a monitoring system, in OpenMetrics text. Below every other room, so that any of them may count.
//!
//! No label holds a name that an agent or a caller chose: the number of series is bounded by this file.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hume_core::Timestamp;
use hume_runtime::accept::RefusalKind;
use hume_transfer::Board;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// What the answer to a scrape is called.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why somebody was refused for other reasons than his TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The agent's Hello or a later frame broke the protocol.
    Protocol,
    /// A question came without a valid token.
    Token,
    /// A question came with a certificate that is not good.
    Certificate,
    /// A host may not join.
    Join,
    /// An agent may not recover.
    Recovery,
    /// An agent may not speak, or not any more.
    Agent,
}

impl Refused {
    const ALL: [Refused; 6] = [
        Refused::Protocol,
        Refused::Token,
        Refused::Certificate,
        Refused::Join,
        Refused::Recovery,
        Refused::Agent,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Refused::Protocol => "protocol",
            Refused::Token => "token",
            Refused::Certificate => "certificate",
            Refused::Join => "join",
            Refused::Recovery => "recovery",
            Refused::Agent => "agent",
        }
    }
}

/// How agents are, and how many are so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentCounts {
    /// Connected and heard.
    pub connected: u64,
    /// Connected, but not heard for a while.
    pub silent: u64,
    /// Not connected.
    pub disconnected: u64,
}

/// What is measured only when somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The moment.
    pub now: Timestamp,
    /// Agents of the registry.
    pub agents: AgentCounts,
    /// Bytes of the store.
    pub store_bytes: u64,
    /// Events in the store.
    pub store_events: u64,
}

/// All figures of the process. Clones count into the same ones.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    registry: Registry,
    started_at: Timestamp,
    ingested: Counter,
    known: Counter,
    quarantined: Counter,
    forgotten: Counter,
    recovered: Counter,
    refused: Family<Reason, Counter>,
    commit_seconds: Histogram,
    agents: Family<State, Gauge>,
    store_bytes: Gauge,
    store_events: Gauge,
    uptime_seconds: Gauge,
    transfers: Board,
    /// Why the store refused what it was last given, if it did.
    store_refuses: Mutex<Option<String>>,
    /// What keeps the retention from what it should do, if anything does.
    retention_trouble: Mutex<Option<String>>,
    certificates: Family<Certified, Gauge>,
    /// What somebody should do about the certificates, if anything.
    certificate_trouble: Mutex<Option<String>>,
}

/// A certificate of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// That which everybody trusts.
    Root,
    /// Of the CA that signs.
    Issuing,
    /// Its own.
    Master,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Certified {
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

impl Metrics {
    /// The figures of a process that started at `started_at`.
    pub fn new(started_at: Timestamp) -> Metrics {
        let mut registry = Registry::default();
        let commit_seconds =
            Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0]);
        let start_seconds = Gauge::<i64>::default();
        start_seconds.set(started_at.as_micros() / 1_000_000);
        let figures = Figures {
            registry: Registry::default(),
            started_at,
            ingested: Counter::default(),
            known: Counter::default(),
            quarantined: Counter::default(),
            forgotten: Counter::default(),
            recovered: Counter::default(),
            refused: Family::default(),
            commit_seconds,
            agents: Family::default(),
            store_bytes: Gauge::default(),
            store_events: Gauge::default(),
            uptime_seconds: Gauge::default(),
            transfers: Board::default(),
            store_refuses: Mutex::default(),
            retention_trouble: Mutex::default(),
            certificates: Family::default(),
            certificate_trouble: Mutex::default(),
        };
        // Every series is there from the start, so that the first refusal is an increase.
        let reasons = RefusalKind::ALL.iter().map(|kind| kind.as_str());
        for reason in reasons.chain(Refused::ALL.map(Refused::as_str)) {
            drop(figures.refused.get_or_create(&Reason { reason }));
        }
        let build = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("hume_build", "The program that runs", Info::new(build));
        registry.register(
            "process_start_time_seconds",
            "When it started, in seconds since 1970",
            start_seconds,
        );
        registry.register("hume_uptime_seconds", "How long it has run", figures.uptime_seconds.clone());
        registry.register("hume_master_agents", "Agents by state", figures.agents.clone());
        registry.register("hume_master_ingested_events", "Events stored", figures.ingested.clone());
        let text = "Batches that were sent again and are here already";
        registry.register("hume_master_known_batches", text, figures.known.clone());
        registry.register(
            "hume_master_quarantined_events",
            "Events kept raw because they could not be decoded",
            figures.quarantined.clone(),
        );
        registry.register(
            "hume_master_forgotten_events",
            "Events that the retention let go",
            figures.forgotten.clone(),
        );
        registry.register(
            "hume_master_recovered_agents",
            "Certificates made for agents whose last one had ended",
            figures.recovered.clone(),
        );
        registry.register("hume_master_refused", "Connections and requests refused", figures.refused.clone());
        registry.register(
            "hume_master_commit_seconds",
            "Time from the first job of a transaction to its sync",
            figures.commit_seconds.clone(),
        );
        registry.register(
            "hume_master_store_bytes",
            "Bytes of the store on disk",
            figures.store_bytes.clone(),
        );
        registry.register("hume_master_store_events", "Events in the store", figures.store_events.clone());
        registry.register(
            "hume_master_certificate_end_seconds",
            "When a certificate of the master ends, in seconds since 1970",
            figures.certificates.clone(),
        );
        Metrics(Arc::new(Figures { registry, ..figures }))
    }

    /// When the process started.
    pub fn started_at(&self) -> Timestamp {
        self.0.started_at
    }

    /// Counts what a commit wrote.
    pub fn ingested(&self, events: u64, quarantined: u64) {
        self.0.ingested.inc_by(events);
        self.0.quarantined.inc_by(quarantined);
    }

    /// Counts an agent that has a certificate again.
    pub fn recovered(&self) {
        self.0.recovered.inc();
    }

    /// Events that commits wrote since the start.
    pub fn events(&self) -> u64 {
        self.0.ingested.get()
    }

    /// Counts a batch that is here already.
    pub fn known_batch(&self) {
        self.0.known.inc();
    }

    /// Notes how long a transaction took.
    pub fn committed(&self, took: Duration) {
        self.0.commit_seconds.observe(took.as_secs_f64());
    }

    /// Notes why the store refused what it was given, or that it took it.
    pub fn store_refuses(&self, why: Option<String>) {
        *self.0.store_refuses.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why the store refused what it was last given, if it did.
    pub fn store_trouble(&self) -> Option<String> {
        self.0.store_refuses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts what the retention let go.
    pub fn forgotten(&self, events: u64) {
        self.0.forgotten.inc_by(events);
    }

    /// Notes what keeps the retention from what it should do, or that nothing does.
    pub fn retention_says(&self, what: Option<String>) {
        *self.0.retention_trouble.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// What keeps the retention from what it should do, if anything does.
    pub fn retention_trouble(&self) -> Option<String> {
        self.0.retention_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes when a certificate ends.
    pub fn certificate_ends(&self, which: Certificate, end: Timestamp) {
        let certificate = match which {
            Certificate::Root => "root",
            Certificate::Issuing => "issuing",
            Certificate::Master => "master",
        };
        self.0.certificates.get_or_create(&Certified { certificate }).set(end.as_micros() / 1_000_000);
    }

    /// Notes what somebody should do about the certificates, or that nobody must.
    pub fn certificates_say(&self, what: Option<String>) {
        *self.0.certificate_trouble.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// What somebody should do, in words: about the store, the retention and the certificates.
    pub fn troubles(&self) -> Vec<String> {
        let certificates = self.0.certificate_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        [self.store_trouble(), self.retention_trouble(), certificates].into_iter().flatten().collect()
    }

    /// How the transfers are.
    pub fn transfers(&self) -> &Board {
        &self.0.transfers
    }

    /// Counts a refused handshake.
    pub fn refused_tls(&self, kind: RefusalKind) {
        self.0.refused.get_or_create(&Reason { reason: kind.as_str() }).inc();
    }

    /// Counts another refusal.
    pub fn refused(&self, reason: Refused) {
        self.0.refused.get_or_create(&Reason { reason: reason.as_str() }).inc();
    }

    /// All figures as text.
    pub fn text(&self, reading: Reading) -> String {
        let Reading { now, agents, store_bytes, store_events } = reading;
        let AgentCounts { connected, silent, disconnected } = agents;
        for (state, count) in [("connected", connected), ("silent", silent), ("disconnected", disconnected)] {
            self.0.agents.get_or_create(&State { state }).set(gauge(count));
        }
        self.0.store_bytes.set(gauge(store_bytes));
        self.0.store_events.set(gauge(store_events));
        self.0.uptime_seconds.set(now.micros_since(self.0.started_at) / 1_000_000);
        let mut text = String::new();
        let mut transfers = Registry::default();
        self.0.transfers.register(&mut transfers, now);
        text::encode_registry(&mut text, &self.0.registry)
            .and_then(|()| text::encode_registry(&mut text, &transfers))
            .and_then(|()| text::encode_eof(&mut text))
            .expect("writing into a String does not fail");
        text
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_there_from_the_start() {
        let metrics = Metrics::new(Timestamp::from_micros(5_000_000));
        metrics.ingested(3, 1);
        metrics.refused_tls(RefusalKind::Expired);
        metrics.refused(Refused::Token);
        metrics.committed(Duration::from_millis(3));
        let agents = AgentCounts { connected: 2, silent: 0, disconnected: 1 };
        let now = Timestamp::from_micros(65_000_000);
        let text = metrics.text(Reading { now, agents, store_bytes: 4096, store_events: 3 });
        for line in [
            "hume_build_info{version=\"0.1.0\"} 1",
            "process_start_time_seconds 5",
            "hume_uptime_seconds 60",
            "hume_master_agents{state=\"connected\"} 2",
            "hume_master_agents{state=\"silent\"} 0",
            "hume_master_ingested_events_total 3",
            "hume_master_quarantined_events_total 1",
            "hume_master_refused_total{reason=\"expired\"} 1",
            "hume_master_refused_total{reason=\"unknown_issuer\"} 0",
            "hume_master_refused_total{reason=\"token\"} 1",
            "hume_master_commit_seconds_bucket{le=\"0.005\"} 1",
            "hume_master_store_bytes 4096",
            "hume_master_store_events 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
