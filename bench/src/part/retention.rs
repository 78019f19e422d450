//! How soon one event is seen while the master forgets many others, beside the same master that forgets nothing.

use std::fs;

use anyhow::{Context as _, ensure};

use super::latency::times;
use super::relay::wait_until_connected;
use super::{Context, Findings};
use crate::args::Part;
use crate::row::{Quantity, Row};
use crate::site::{Company, Master, Site};
use crate::stats::percentile;
use crate::talk::tell;

/// Everything in the store is older, but for what is measured.
const AGE: &str = "1h";
/// Fault 45.
const FACTOR_MAX: f64 = 2.0;
const FORGOTTEN: &str = "hume_master_forgotten_events_total";

/// See the parent.
pub(super) fn measure(context: &Context) -> anyhow::Result<Findings> {
    let [_, big] = context.stores()?;
    let seconds = context.extent.pick(5, 20);
    let site = Site::new(&context.programs)?;
    tell(format_args!("retention: copying the store of {} events", big.events));
    let store = site.master_dir().join("state/store.db");
    fs::create_dir_all(site.master_dir().join("state"))
        .and_then(|()| fs::copy(&big.path, &store))
        .and_then(|_| fs::File::open(&store)?.sync_all())
        .with_context(|| format!("could not copy {}", big.path.display()))?;
    let mut master = site.start_master()?;
    let agent = site.start_agent("web1", Company::WithMaster)?;
    wait_until_connected(&agent)?;
    tell(format_args!("retention: {seconds} s in which nothing is forgotten"));
    let before = times(&agent, &master, seconds)?;
    master.process.stop()?;
    site.configure_master(|toml| {
        let retention = toml.entry("retention").or_insert_with(|| toml::Table::new().into());
        if let Some(table) = retention.as_table_mut() {
            table.insert("age".to_owned(), AGE.into());
        }
    })?;
    let master = site.start_master()?;
    wait_until_connected(&agent)?;
    tell(format_args!("retention: {seconds} s in which events older than {AGE} go"));
    let from = forgotten(&master)?;
    let during = times(&agent, &master, seconds)?;
    let gone = forgotten(&master)? - from;
    ensure!(
        gone > 0.0,
        "nothing was forgotten while it was measured: the store is too small for this machine"
    );
    let p99 = |times: &[_]| percentile(times, 99).context("nothing was measured");
    let (before, during) = (p99(&before)?, p99(&during)?);
    let what = format!("socket to follower, p99, while {gone} events of {} went", big.events);
    let row = Row::new(Part::Retention, what, Quantity::time(during))
        .beside("while none goes", Quantity::time(before))
        .at_most(before.as_secs_f64() * 1e6 * FACTOR_MAX, "2 × the baseline");
    Ok(Findings { rows: vec![row], skipped: Vec::new() })
}

/// How many events have been forgotten since the master started.
fn forgotten(master: &Master) -> anyhow::Result<f64> {
    let figures = master.https()?.metrics()?;
    figures.get(FORGOTTEN).copied().with_context(|| format!("there is no figure {FORGOTTEN}"))
}
