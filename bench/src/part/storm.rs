//! Whether thousands of agents come back from the death of their master, at what cost, and with everything they had.

use anyhow::Context as _;

use crate::args::Part;
use crate::part::Findings;
use crate::programs::Programs;
use crate::row::{Quantity, Row, Unit};
use crate::site::Site;
use crate::swarm::storm::{self, Verdict, Weathered};
use crate::talk::tell;

/// From the kill until all are back and acknowledged, in microseconds.
const BACK_US_MAX: f64 = 30e6;
/// Memory of the master for each idle session.
const SESSION_BYTES_MAX: f64 = 60.0 * 1024.0;

/// So many agents, so many kills, and so many events of each agent before and in each of them.
/// # Errors
/// If they do not come back, or the store cannot be read; what a figure is like is no error.
pub(crate) fn of_storm(
    programs: &Programs,
    agents: usize,
    storms: usize,
    events: usize,
) -> anyhow::Result<Findings> {
    let site = Site::new(programs)?;
    tell(format_args!(
        "swarm: {agents} agents, {storms} kills of the master, {events} events of each agent in each"
    ));
    let weathered = storm::run(&site, agents, storms, events).context("the swarm did not come through")?;
    let Weathered { connected, idle_bytes, back, tries, verdict } = weathered;
    let row = |what: &str, value| Row::new(Part::FanIn, format!("{agents} agents: {what}"), value);
    let mut rows = vec![row("until all are connected", Quantity::time(connected))];
    let moments = ["without work", "after the first work", "after the last storm"];
    rows.extend(moments.iter().zip(idle_bytes).map(|(when, bytes)| {
        row(&format!("memory of an idle session, {when}"), Quantity::bytes(bytes))
            .at_most(SESSION_BYTES_MAX, "")
    }));
    for (number, (took, tries)) in (1..).zip(back.iter().zip(tries)) {
        let what = format!("storm {number}: all back and acknowledged ({tries} tries)");
        rows.push(row(&what, Quantity::time(*took)).at_most(BACK_US_MAX, ""));
    }
    let Verdict { sent, lost, doubled, phantom, disordered } = verdict;
    rows.push(row("events sent", count(sent)));
    for (what, number) in
        [("lost", lost), ("doubled", doubled), ("phantom", phantom), ("out of order", disordered)]
    {
        rows.push(row(what, count(number)).at_most(0.0, ""));
    }
    Ok(Findings { rows, skipped: Vec::new() })
}

fn count(number: u64) -> Quantity {
    Quantity::new(number as f64, Unit::Events)
}
