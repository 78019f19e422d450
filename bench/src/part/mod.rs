//! The parts of the benchmark: each starts what it measures, measures, and answers rows.

mod call;
mod disk;
mod fan_in;
mod growth;
mod idle;
mod intake;
mod latency;
mod query;
mod relay;
mod retention;
mod storm;

use std::cell::OnceCell;

use anyhow::Context as _;

use crate::args::{Extent, Part};
use crate::kept::Kept;
use crate::lines::Lines;
use crate::programs::Programs;
use crate::row::Row;
use crate::scratch::Scratch;
use crate::talk::tell;
use crate::{disk as plain_disk, stats};

/// Rounds of what is repeated; the median counts.
const ROUNDS: usize = 3;

/// What parts share: where programs are, how much is measured, and baselines that are measured once.
pub(crate) struct Context {
    pub(crate) programs: Programs,
    pub(crate) extent: Extent,
    raw_rate: OnceCell<f64>,
}

/// What a swarm brings to a master: the rows of the part, and nothing of the rest.
pub(crate) use fan_in::of_swarm;
/// The same through kills of the master.
pub(crate) use storm::of_storm;

/// What came of a part.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) rows: Vec<Row>,
    /// What could not be measured here, and how that is cured.
    pub(crate) skipped: Vec<String>,
}

impl Context {
    pub(crate) fn new(programs: Programs, extent: Extent) -> Context {
        Context { programs, extent, raw_rate: OnceCell::new() }
    }

    /// Events of the parts that measure a rate.
    pub(crate) fn events(&self) -> usize {
        self.extent.pick(100_000, 500_000)
    }

    /// The smaller and the larger of the stores that are kept.
    fn stores(&self) -> anyhow::Result<[Kept; 2]> {
        let [small, large] = self.extent.pick([100_000, 1_000_000], [1_000_000, 10_000_000]);
        Ok([Kept::get(&self.programs, small)?, Kept::get(&self.programs, large)?])
    }

    /// Rows per second that plain `SQLite` takes on the disk that is measured.
    pub(crate) fn raw_rate(&self) -> anyhow::Result<f64> {
        if let Some(rate) = self.raw_rate.get() {
            return Ok(*rate);
        }
        tell("baseline: the same rows into plain SQLite");
        let scratch = Scratch::new(&self.programs.bench_folder())?;
        let lines = Lines::of_one_run(self.events())?;
        let took = (0..ROUNDS).map(|_| plain_disk::raw_insert(scratch.path(), &lines));
        let took = took.collect::<anyhow::Result<Vec<_>>>().context("could not measure plain SQLite")?;
        let rate = stats::median_rate(lines.count() as u64, &took).context("no round was measured")?;
        Ok(*self.raw_rate.get_or_init(|| rate))
    }
}

/// Measures one part.
/// # Errors
/// If something did not work; what a figure is like is no error.
pub(crate) fn measure(part: Part, context: &Context) -> anyhow::Result<Findings> {
    match part {
        Part::Call => call::measure(context),
        Part::Intake => intake::measure(context),
        Part::Relay => relay::measure(context),
        Part::Latency => latency::measure(context),
        Part::Retention => retention::measure(context),
        Part::FanIn => fan_in::measure(context),
        Part::Query => query::measure(context),
        Part::Growth => growth::measure(context),
        Part::Idle => idle::measure(context),
        Part::Disk => disk::measure(context),
    }
}
