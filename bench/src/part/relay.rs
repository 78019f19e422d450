//! From an agent's socket to the master's acknowledgement: two daemons, mutual TLS, a sync at both ends.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{Context, Findings, ROUNDS};
use crate::args::Part;
use crate::lines::Lines;
use crate::row::{Quantity, Row};
use crate::rsyslog::{self, Syncing};
use crate::site::{Agent, Company, Site};
use crate::talk::{Progress, tell};
use crate::wait::{SOON, wait_for};
use crate::{load, stats};

const RATE_MIN: f64 = 100_000.0;
const FACTOR_SYNCED_MIN: f64 = 50.0;
const FACTOR_UNSYNCED_MIN: f64 = 4.0;
/// It is slow: a rate is known after fewer events, and after this time.
const RSYSLOG_EVENTS: usize = 20_000;
const RSYSLOG_TIME_MAX: Duration = Duration::from_mins(1);
/// The last event is acknowledged so long after the first was written, at the latest.
const DRAIN_TIME_MAX: Duration = Duration::from_mins(10);

/// See the parent.
pub(super) fn measure(context: &Context) -> anyhow::Result<Findings> {
    let raw = context.raw_rate()?;
    let events = context.events();
    let mut took = Vec::with_capacity(ROUNDS);
    for round in 1..=ROUNDS {
        tell(format_args!("relay: {events} events from socket to ack, round {round} of {ROUNDS}"));
        took.push(one_round(context, events)?);
    }
    let median = |of: fn(&Took) -> Duration| {
        let times: Vec<_> = took.iter().map(of).collect();
        stats::median_rate(events as u64, &times).context("no round was measured")
    };
    let (acked, answered) = (median(|took| took.acked)?, median(|took| took.answered)?);
    let measured = || Row::new(Part::Relay, "socket to ack", Quantity::rate(acked));
    let rows = vec![
        measured().beside("raw SQLite insert", Quantity::rate(raw)).at_least(RATE_MIN, ""),
        Row::new(Part::Relay, "answered by the agent meanwhile", Quantity::rate(answered)),
    ];
    let mut findings = Findings { rows, skipped: Vec::new() };
    compare(context, &measured, &mut findings)?;
    Ok(findings)
}

/// The same journey with rsyslog, where it is installed.
fn compare(context: &Context, measured: &dyn Fn() -> Row, findings: &mut Findings) -> anyhow::Result<()> {
    let site = Site::new(&context.programs)?;
    site.make_agent("web1")?;
    let Some(program) = rsyslog::find(site.scratch())? else {
        findings.skipped.push(format!("rsyslog with RELP is not installed: {}", rsyslog::INSTALL));
        return Ok(());
    };
    let limit = context.extent.pick(RSYSLOG_TIME_MAX / 4, RSYSLOG_TIME_MAX);
    for (syncing, name, factor) in [
        (Syncing::Every, "rsyslog, synced", FACTOR_SYNCED_MIN),
        (Syncing::Never, "rsyslog, not synced", FACTOR_UNSYNCED_MIN),
    ] {
        tell(format_args!(
            "relay: {RSYSLOG_EVENTS} events through {name}, for {} s at most",
            limit.as_secs()
        ));
        let rate = rsyslog::rate(&program, &site, syncing, RSYSLOG_EVENTS, limit)
            .with_context(|| format!("could not measure {name}"))?;
        let row = measured().beside(name, Quantity::rate(rate));
        findings.rows.push(row.at_least(factor * rate, format!("{factor} × rsyslog")));
    }
    Ok(())
}

struct Took {
    /// Until the agent had answered all.
    answered: Duration,
    /// Until the master had acknowledged all.
    acked: Duration,
}

fn one_round(context: &Context, events: usize) -> anyhow::Result<Took> {
    let site = Site::new(&context.programs)?;
    let master = site.start_master()?;
    let agent = site.start_agent("web1", Company::WithMaster)?;
    wait_until_connected(&agent)?;
    let lines = Lines::of_one_run(events)?;
    let logs = || format!("{}\n{}", agent.process.tail(), master.process.tail());
    let began = Instant::now();
    let answered = load::pipelined(&agent.socket(), &lines).with_context(logs)?;
    wait_until_drained(&agent, events).with_context(logs)?;
    Ok(Took { answered, acked: began.elapsed() })
}

/// Waits until the agent has a session.
pub(super) fn wait_until_connected(agent: &Agent) -> anyhow::Result<()> {
    let mut api = agent.api()?;
    wait_for("the agent is connected", SOON, || {
        Ok((api.metrics()?.get("hume_agent_uplink_connected") == Some(&1.0)).then_some(()))
    })
    .with_context(|| agent.process.tail())
}

/// Waits until the master has acknowledged everything.
pub(super) fn wait_until_drained(agent: &Agent, events: usize) -> anyhow::Result<()> {
    let mut api = agent.api()?;
    let mut progress = Progress::new("acknowledged by the master", events as u64);
    wait_for("the master has acknowledged everything", DRAIN_TIME_MAX, || {
        let metrics = api.metrics()?;
        let waiting = metrics.get("hume_agent_spool_unacked_events").copied().unwrap_or(f64::MAX);
        progress.at((events as f64 - waiting).max(0.0) as u64);
        Ok((waiting == 0.0).then_some(()))
    })
}
