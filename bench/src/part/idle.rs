//! What daemons cost that have nothing to do: memory, and how often they wake.

use std::time::Duration;

use super::relay::{wait_until_connected, wait_until_drained};
use super::{Context, Findings};
use crate::args::Part;
use crate::lines::Lines;
use crate::proc::Switches;
use crate::row::{Quantity, Row, Unit};
use crate::site::{Company, Site};
use crate::talk::tell;
use crate::wait::rest;
use crate::{load, proc};

const AGENT_BYTES_MAX: f64 = 12.0 * 1024.0 * 1024.0;
const MASTER_BYTES_MAX: f64 = 32.0 * 1024.0 * 1024.0;
const WAKE_UPS_MAX: f64 = 30.0;
/// Events before the idleness, so that every room was at work once.
const EVENTS: usize = 100;
/// Until what they brought with them is written, and the threads that were needed for it have ended.
const SETTLE: Duration = Duration::from_secs(15);

/// See the parent.
pub(super) fn measure(context: &Context) -> anyhow::Result<Findings> {
    let window = Duration::from_secs(context.extent.pick(15, 60));
    tell(format_args!("idle: agent and master, connected, for {} s", window.as_secs()));
    let site = Site::new(&context.programs)?;
    let master = site.start_master()?;
    let agent = site.start_agent("web1", Company::WithMaster)?;
    wait_until_connected(&agent)?;
    load::pipelined(&agent.socket(), &Lines::of_one_run(EVENTS)?)?;
    wait_until_drained(&agent, EVENTS)?;
    rest(SETTLE);
    let daemons = [
        ("agent", agent.process.pid()?, AGENT_BYTES_MAX),
        ("master", master.process.pid()?, MASTER_BYTES_MAX),
    ];
    let before = [Switches::of(daemons[0].1)?, Switches::of(daemons[1].1)?];
    rest(window);
    let mut findings = Findings::default();
    for ((name, pid, bytes_max), before) in daemons.into_iter().zip(before) {
        let woken = Switches::of(pid)?.since(&before) as f64 * 60.0 / window.as_secs_f64();
        let memory = Quantity::bytes(proc::memory(pid, "VmRSS")?);
        let wakes = Quantity::new(woken, Unit::PerMinute);
        findings.rows.push(Row::new(Part::Idle, format!("{name}: memory"), memory).at_most(bytes_max, ""));
        findings
            .rows
            .push(Row::new(Part::Idle, format!("{name}: wake-ups"), wakes).at_most(WAKE_UPS_MAX, ""));
    }
    Ok(findings)
}
