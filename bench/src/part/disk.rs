//! What an event takes on the master's disk, beside the line of JSON that a script sent.

use std::fs;

use anyhow::Context as _;

use super::{Context, Findings};
use crate::args::Part;
use crate::fleet::{HOSTS, Reporter, line_bytes};
use crate::row::{Quantity, Row, Unit};

const FACTOR_MAX: f64 = 1.3;
/// Runs of each host that tell how long a line is.
const SAMPLE_RUNS: usize = 20;

/// See the parent.
pub(super) fn measure(context: &Context) -> anyhow::Result<Findings> {
    let [small, _] = context.stores()?;
    let bytes = fs::metadata(&small.path)
        .with_context(|| format!("could not look at {}", small.path.display()))?
        .len();
    let per_event = bytes as f64 / small.events as f64;
    let (mut lines, mut line_total) = (0, 0);
    for host in 0..HOSTS {
        let mut reporter = Reporter::new(host, 1).context("a host of the fleet has no name")?;
        for event in (0..SAMPLE_RUNS).flat_map(|_| reporter.run(small.from, 1)) {
            lines += 1;
            line_total += line_bytes(&event);
        }
    }
    let line = line_total as f64 / f64::from(lines);
    let what = format!("an event among {} in the master's store", small.events);
    let row = Row::new(Part::Disk, what, Quantity::new(per_event, Unit::Bytes));
    let row = row.beside("its JSON line", Quantity::new(line, Unit::Bytes));
    Ok(Findings { rows: vec![row.at_most(FACTOR_MAX * line, "1.3 × JSON")], skipped: Vec::new() })
}
