//! Whether one master carries many agents as it carries one, and none of them is starved.

use std::time::Duration;

use anyhow::Context as _;

use super::{Context, Findings};
use crate::args::Part;
use crate::programs::Programs;
use crate::row::{Quantity, Row, Unit};
use crate::site::Site;
use crate::stats;
use crate::swarm::{self, Swarmed};

const SHARE_MIN: f64 = 0.7;
/// The slowest agent by the one in the middle.
const STARVED_MAX: f64 = 2.0;

/// See the parent.
pub(super) fn measure(context: &Context) -> anyhow::Result<Findings> {
    let (agents, events) = (context.extent.pick(100, 500), context.extent.pick(200, 1000));
    of_swarm(&context.programs, agents, events)
}

/// One swarm, beside a single agent with as many events.
pub(crate) fn of_swarm(programs: &Programs, agents: usize, events: usize) -> anyhow::Result<Findings> {
    let single = swarmed(programs, 1, agents * events)?;
    let many = swarmed(programs, agents, events)?;
    let (single_rate, rate) = (rate(&single)?, rate(&many)?);
    let slowest = slowest(&many)?;
    let median = stats::median(&many.finished).context("no agent finished")?;
    let starved = slowest.as_secs_f64() / median.as_secs_f64().max(1e-9);
    let row = |what: &str, value| Row::new(Part::FanIn, format!("{agents} agents at once: {what}"), value);
    let rows = vec![
        row("rate", Quantity::rate(rate))
            .beside("a single one with as many events", Quantity::rate(single_rate))
            .at_least(SHARE_MIN * single_rate, "0.7 × single"),
        row("slowest by median", Quantity::new(starved, Unit::Factor)).at_most(STARVED_MAX, ""),
        row("until all are connected", Quantity::time(many.connected)),
    ];
    Ok(Findings { rows, skipped: Vec::new() })
}

fn swarmed(programs: &Programs, agents: usize, events: usize) -> anyhow::Result<Swarmed> {
    let site = Site::new(programs)?;
    let master = site.start_master()?;
    swarm::run(&site, agents, events).with_context(|| master.process.tail())
}

fn slowest(swarmed: &Swarmed) -> anyhow::Result<Duration> {
    swarmed.finished.iter().max().copied().context("no agent finished")
}

fn rate(swarmed: &Swarmed) -> anyhow::Result<f64> {
    Ok(stats::rate(swarmed.events, slowest(swarmed)?))
}
