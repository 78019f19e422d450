//! Whether a store takes events more slowly the more it has: the same events, the same code, a large store and an empty one.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use hume_runtime::clock;

use super::{Context, Findings, ROUNDS};
use crate::args::Part;
use crate::fill::{Filling, fill};
use crate::row::{Quantity, Row};
use crate::scratch::Scratch;
use crate::stats;
use crate::talk::tell;

const SHARE_MIN: f64 = 0.8;
/// Between two events of one batch.
const LENGTH_US: i64 = 1_000_000;

/// See the parent.
pub(super) fn measure(context: &Context) -> anyhow::Result<Findings> {
    let [_, big] = context.stores()?;
    let events = context.extent.pick(60_000, 300_000);
    let scratch = Scratch::new(&context.programs.bench_folder())?;
    let copy = scratch.path().join("big");
    fs::create_dir(&copy).with_context(|| format!("could not make {}", copy.display()))?;
    tell(format_args!("growth: copying the store of {} events, to fill the copy", big.events));
    // The store that is kept stays as it is.
    // Nor does the disk still write the copy while it is filled.
    fs::copy(&big.path, copy.join("store.db"))
        .and_then(|_| fs::File::open(copy.join("store.db"))?.sync_all())
        .with_context(|| format!("could not copy {}", big.path.display()))?;
    let (mut large, mut empty) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        tell(format_args!(
            "growth: {events} events more, and into an empty store, round {} of {ROUNDS}",
            round + 1
        ));
        large.push(rate(&copy, events, round)?);
        empty.push(rate(&scratch.path().join(format!("empty{round}")), events, round)?);
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_unstable_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().context("no round was measured")
    };
    let (large, empty) = (median(&mut large)?, median(&mut empty)?);
    let what = format!("into a store of {} events", big.events);
    let row = Row::new(Part::Growth, what, Quantity::rate(large));
    let row = row.beside("into an empty one", Quantity::rate(empty));
    Ok(Findings { rows: vec![row.at_least(SHARE_MIN * empty, "0.8 × empty")], skipped: Vec::new() })
}

fn rate(folder: &Path, events: u64, round: usize) -> anyhow::Result<f64> {
    let from = clock::now();
    // Another seed for each round: runs of their own.
    let seed = 100 + round as u64;
    let filled =
        fill(&folder.join("store.db"), Filling { events, from, to: from.plus_micros(LENGTH_US), seed })?;
    Ok(stats::rate(filled.events, filled.took))
}
