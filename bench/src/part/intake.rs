//! What an agent without a master takes in: lines of one script in a hurry, and of many that wait for each answer.

use anyhow::Context as _;

use super::{Context, Findings, ROUNDS};
use crate::args::Part;
use crate::lines::Lines;
use crate::row::{Quantity, Row, Unit};
use crate::site::{Agent, Company, Site};
use crate::talk::tell;
use crate::{load, stats};

/// Callers at once that wait for each answer.
const CALLERS: usize = 64;
const PIPELINED_MIN: f64 = 150_000.0;
const PIPELINED_SHARE_MIN: f64 = 0.5;
const EVENTS_PER_SYNC_MIN: f64 = 32.0;

/// See the parent.
pub(super) fn measure(context: &Context) -> anyhow::Result<Findings> {
    let raw = context.raw_rate()?;
    let events = context.events();
    let mut took = Vec::with_capacity(ROUNDS);
    for round in 1..=ROUNDS {
        tell(format_args!("intake: {events} events on one connection, round {round} of {ROUNDS}"));
        let site = Site::new(&context.programs)?;
        let agent = site.start_agent("web1", Company::Alone)?;
        let lines = Lines::of_one_run(events)?;
        took.push(load::pipelined(&agent.socket(), &lines).with_context(|| agent.process.tail())?);
    }
    let pipelined = stats::median_rate(events as u64, &took).context("no round was measured")?;

    let each = context.extent.pick(250, 1000);
    tell(format_args!("intake: {CALLERS} callers, {each} events each, one at a time"));
    let site = Site::new(&context.programs)?;
    let agent = site.start_agent("web1", Company::Alone)?;
    let lines = Lines::of_one_run(CALLERS * each)?;
    let before = counts(&agent)?;
    let took = load::synchronous(&agent.socket(), &lines, CALLERS).with_context(|| agent.process.tail())?;
    let after = counts(&agent)?;
    let per_sync = (after.0 - before.0) / (after.1 - before.1).max(1.0);

    let measured = || Row::new(Part::Intake, "one connection, pipelined", Quantity::rate(pipelined));
    let raw_row = |row: Row| row.beside("raw SQLite insert", Quantity::rate(raw));
    Ok(Findings {
        rows: vec![
            raw_row(measured()).at_least(PIPELINED_SHARE_MIN * raw, "0.5 × raw"),
            raw_row(measured()).at_least(PIPELINED_MIN, ""),
            Row::new(
                Part::Intake,
                format!("{CALLERS} synchronous callers: events per sync"),
                Quantity::new(per_sync, Unit::EventsPerSync),
            )
            .at_least(EVENTS_PER_SYNC_MIN, ""),
            Row::new(
                Part::Intake,
                format!("{CALLERS} synchronous callers: rate"),
                Quantity::rate(stats::rate(lines.count() as u64, took)),
            ),
        ],
        skipped: Vec::new(),
    })
}

/// Events and commits of an agent so far.
fn counts(agent: &Agent) -> anyhow::Result<(f64, f64)> {
    let metrics = agent.api()?.metrics()?;
    let of =
        |name: &str| metrics.get(name).copied().with_context(|| format!("the agent has no metric {name}"));
    Ok((of("hume_agent_events_accepted_total")?, of("hume_agent_spool_commits_total")?))
}
