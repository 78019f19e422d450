//! Is it alive, can it keep events, and its numbers as OpenMetrics text.

use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hume_core::ErrorClass;
use hume_proto::web::Refusal;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicI64;

use super::state::Shared;
use crate::metrics::UplinkState;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process answers.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// The spool answers.
pub(super) async fn ready(State(shared): State<Shared>) -> Result<&'static str, Refusal> {
    shared.reader.epochs().await?;
    Ok("ready\n")
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64, AtomicU64>::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    registry.register(name, help, ConstGauge::new(value));
}

pub(super) async fn numbers(State(shared): State<Shared>) -> Result<Response, Refusal> {
    let mut registry = Registry::default();
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    registry.register("hume_build", "The program that answers", Info::new(version));
    let metrics = &shared.metrics;
    registry.register("hume_agent_events_accepted", "Events taken at the socket", metrics.accepted.clone());
    registry.register(
        "hume_agent_events_dropped_in",
        "Events taken from the drop folder",
        metrics.dropped_in.clone(),
    );
    registry.register("hume_agent_events_refused", "Lines and files refused", metrics.refused.clone());
    registry.register(
        "hume_agent_events_redacted",
        "Events in which a secret was hidden, repeats included",
        metrics.redacted.clone(),
    );
    registry.register(
        "hume_agent_connections",
        "Connections taken at the socket",
        metrics.connections.clone(),
    );
    registry.register("hume_agent_uplink_sessions", "Sessions with the master", metrics.sessions.clone());
    registry.register("hume_agent_uplink_events_sent", "Events sent, repeats included", metrics.sent.clone());
    registry.register("hume_agent_uplink_acks", "Acknowledgements of the master", metrics.acked.clone());
    let figures = shared.writer.figures().get();
    let connected = Gauge::<i64, AtomicI64>::default();
    connected.set(i64::from(metrics.uplink().state == UplinkState::Connected));
    registry.register("hume_agent_uplink_connected", "1 with a session, else 0", connected);
    if let Some(watermark) = metrics.uplink().watermark {
        registry.register_with_unit(
            "hume_agent_watermark_timestamp",
            "All that happened here until then is at the master, by the last heartbeat; 0 while nothing is claimed",
            Unit::Seconds,
            ConstGauge::new(watermark.as_micros().div_euclid(1_000_000)),
        );
    }
    gauge(&mut registry, "hume_agent_spool_events", "Events kept", figures.events as f64);
    gauge(
        &mut registry,
        "hume_agent_spool_unacked_events",
        "Events the master does not have",
        figures.unacked_events as f64,
    );
    let bytes = ConstGauge::new(figures.file_bytes as f64);
    registry.register_with_unit("hume_agent_spool", "Size of the spool", Unit::Bytes, bytes);
    counter(&mut registry, "hume_agent_spool_commits", "Commits since the start", figures.commits);
    counter(&mut registry, "hume_agent_spool_refused", "Events refused for want of room", figures.refused);
    counter(
        &mut registry,
        "hume_agent_spool_evicted",
        "Events removed for want of room that the master did not have",
        figures.evicted,
    );
    counter(&mut registry, "hume_agent_spool_repairs", "Repairs after a fault of the disk", figures.repairs);
    counter(&mut registry, "hume_agent_spool_saved", "Events saved from damaged spools", figures.saved);
    counter(
        &mut registry,
        "hume_agent_spool_unreadable",
        "Events of damaged spools that were lost",
        figures.unreadable,
    );
    let is_failing = if figures.trouble.is_some() { 1.0 } else { 0.0 };
    gauge(
        &mut registry,
        "hume_agent_spool_failing",
        "1 while the disk of the spool fails, else 0",
        is_failing,
    );
    let is_full = if figures.full || figures.disk_full { 1.0 } else { 0.0 };
    gauge(&mut registry, "hume_agent_spool_full", "1 while there is no room, else 0", is_full);
    let is_reserved = if figures.reserved { 1.0 } else { 0.0 };
    gauge(
        &mut registry,
        "hume_agent_spool_reserved",
        "1 while what is left of the spool is for root, else 0",
        is_reserved,
    );
    let spent = ConstGauge::new(figures.commit_us as f64 / 1e6);
    registry.register_with_unit(
        "hume_agent_spool_commit_time",
        "Time spent in commits since the start",
        Unit::Seconds,
        spent,
    );
    if let Some(oldest) = shared.reader.oldest_unacked().await? {
        let age = hume_runtime::clock::now().micros_since(oldest).max(0) as f64 / 1e6;
        registry.register_with_unit(
            "hume_agent_spool_oldest_age",
            "Age of the oldest event the master does not have",
            Unit::Seconds,
            ConstGauge::new(age),
        );
    }
    metrics.transfers.register(&mut registry, hume_runtime::clock::now());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .map_err(|error| Refusal::new(ErrorClass::Internal, error.to_string(), None))?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response())
}
