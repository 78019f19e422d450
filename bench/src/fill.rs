//! Fills a master's store through the code that takes events in, in process: the same door, the same commits, no network.
//!
//! Feeders deal out the hosts among themselves, so each agent's places stay in order; a feeder waits for each receipt.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use hume_core::host_patterns::HostPatterns;
use hume_core::{Seq, Timestamp};
use hume_proto::event::EventBytes;
use hume_proto::relay::{
    Batch, ClockSample, Codec, EpochReason, EpochState, Hello, PROTOCOL_MAJOR, PROTOCOL_MINOR, SpoolStatus,
};
use hume_runtime::clock;
use humed_master::intake::{Intake, Parcel, ReceiptVerdict, SessionNo, Visitor};
use humed_master::metrics::Metrics;
use humed_master::store::SqliteStore;
use std::sync::Arc;
use tokio::runtime::Runtime;

use crate::fleet::{HOSTS, RUN_EVENTS, Reporter};
use crate::talk::Progress;

/// Runs that an agent sends at once.
const BATCH_RUNS: usize = 10;
/// Feeders at once: as many batches may meet in one commit.
const FEEDERS: usize = 32;
/// Between two looks how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is put into a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling {
    /// Events, rounded up to whole batches of all hosts.
    pub(crate) events: u64,
    /// The time of the first.
    pub(crate) from: Timestamp,
    /// The time of the last.
    pub(crate) to: Timestamp,
    /// Other fleets have other seeds.
    pub(crate) seed: u64,
}

/// What was put there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filled {
    pub(crate) events: u64,
    /// From the first batch to the last receipt.
    pub(crate) took: Duration,
}

impl Filling {
    /// Batches of each host.
    fn rounds(&self) -> u64 {
        self.events.div_ceil((HOSTS * BATCH_RUNS * RUN_EVENTS) as u64)
    }
}

/// Opens the store at `path`, which is made if it is missing, and puts events into it. The log is emptied into the file at
/// the end.
pub(crate) fn fill(path: &Path, filling: Filling) -> anyhow::Result<Filled> {
    let named = || format!("could not fill {}", path.display());
    let (store, writer) = SqliteStore::open(path, Metrics::new(clock::now())).with_context(named)?;
    let writing = thread::Builder::new().name("store writer".to_owned()).spawn(move || writer.run());
    let writing = writing.context("could not start a thread")?;
    let runtime = Runtime::new().context("could not start a runtime")?;
    let shared = Arc::new(store);
    let intake = Intake::new(shared.clone(), shared.clone());
    let filled = feed(&runtime, &intake, filling).with_context(named);
    runtime.block_on(shared.close());
    let written = writing.join().map_err(|_| anyhow!("the thread that writes the store failed"))?;
    written.with_context(named)?;
    filled
}

fn feed(runtime: &Runtime, intake: &Intake, filling: Filling) -> anyhow::Result<Filled> {
    let mut feeders: Vec<Vec<Feeder>> = (0..FEEDERS).map(|_| Vec::new()).collect();
    for host in 0..HOSTS {
        if let Some(feeder) = feeders.get_mut(host % FEEDERS) {
            feeder.push(Feeder::enter(runtime, intake, host, filling)?);
        }
    }
    let done = AtomicU64::new(0);
    let total = filling.rounds() * (HOSTS * BATCH_RUNS * RUN_EVENTS) as u64;
    let mut progress = Progress::new("events stored", total);
    let began = Instant::now();
    thread::scope(|scope| {
        let feed = |mut hosts: Vec<Feeder>| {
            let (done, runtime) = (&done, &runtime);
            scope.spawn(move || -> anyhow::Result<()> {
                for round in 0..filling.rounds() {
                    for host in &mut hosts {
                        done.fetch_add(host.feed(runtime, intake, filling, round)?, Ordering::Relaxed);
                    }
                }
                Ok(())
            })
        };
        let threads: Vec<_> = feeders.into_iter().map(feed).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            thread::park_timeout(LOOK_EVERY);
            progress.at(done.load(Ordering::Relaxed));
        }
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a feeder failed"))?)
    })?;
    Ok(Filled { events: done.into_inner(), took: began.elapsed() })
}

/// One agent that was let in.
struct Feeder {
    reporter: Reporter,
    session: SessionNo,
    next: Seq,
}

impl Feeder {
    fn enter(runtime: &Runtime, intake: &Intake, host: usize, filling: Filling) -> anyhow::Result<Feeder> {
        let reporter = Reporter::new(host, filling.seed).context("a host of the fleet has no name")?;
        let visitor = Visitor {
            agent: reporter.agent,
            certificate_expires_at: filling.to,
            serial: Vec::new(),
            address: "127.0.0.1:1".to_owned(),
        };
        let state = EpochState {
            epoch: reporter.epoch,
            first_retained: None,
            acked: Seq::ZERO,
            acked_event: None,
            last_assigned: Seq::ZERO,
            predecessor: None,
            restamped_through: Seq::ZERO,
            reason: EpochReason::Created,
        };
        let hello = Hello {
            protocol_major: PROTOCOL_MAJOR,
            protocol_minor: PROTOCOL_MINOR,
            features: Vec::new(),
            instance: None,
            agent_version: "bench".to_owned(),
            boot: None,
            host: reporter.host.as_str().to_owned(),
            zone: None,
            tags: Vec::new(),
            epochs: vec![state],
            clock: ClockSample { wall: filling.from, boottime_us: 0 },
            spool: SpoolStatus::default(),
            certificate_expires_at: filling.to,
        };
        let admitted = runtime.block_on(intake.enter(visitor, hello, HostPatterns::any(), filling.from))?;
        let cursor = admitted.resume.first().map_or(Seq::ZERO, |resume| resume.cursor);
        Ok(Feeder { reporter, session: admitted.session, next: cursor.next() })
    }

    /// One batch; how many events it had.
    fn feed(
        &mut self,
        runtime: &Runtime,
        intake: &Intake,
        filling: Filling,
        round: u64,
    ) -> anyhow::Result<u64> {
        let length = filling.to.micros_since(filling.from) / filling.rounds().max(1) as i64;
        let begin = filling.from.plus_micros(length * round as i64);
        let step_us = length / (BATCH_RUNS * RUN_EVENTS) as i64;
        let mut events = Vec::with_capacity(BATCH_RUNS * RUN_EVENTS);
        for run in 0..BATCH_RUNS {
            let begin = begin.plus_micros(step_us * (run * RUN_EVENTS) as i64);
            events.extend(self.reporter.run(begin, step_us).iter().map(EventBytes::encode));
        }
        let count = events.len() as u64;
        let batch = Batch { epoch: self.reporter.epoch, first: self.next, events, codec: Codec::Identity };
        let (last, arrived_at) = (batch.last(), begin.plus_micros(length));
        let parcels = vec![Parcel::Batch(batch)];
        let any = HostPatterns::any();
        let admitted = intake.admit((self.reporter.agent, &any), self.session, parcels, arrived_at);
        match runtime.block_on(admitted)?.first().map(|receipt| receipt.verdict) {
            Some(ReceiptVerdict::Durable(seq)) if seq == last => {}
            other => bail!("a batch through place {last} was answered {other:?}"),
        }
        self.next = last.next();
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_is_there_and_can_be_filled_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let (from, to) = (Timestamp::from_micros(1_000_000), Timestamp::from_micros(2_000_000));
        let filling = Filling { events: 1, from, to, seed: 1 };
        let all_hosts = (HOSTS * BATCH_RUNS * RUN_EVENTS) as u64;
        assert_eq!(fill(&path, filling).unwrap().events, all_hosts);
        assert_eq!(fill(&path, filling).unwrap().events, all_hosts);
        let connection =
            hume_runtime::sqlite::open_reader(&path, &hume_runtime::sqlite::SqliteOptions::default());
        let count =
            connection.unwrap().query_row("SELECT sum(events) FROM block", [], |row| row.get::<_, i64>(0));
        assert_eq!(count.unwrap(), 2 * all_hosts as i64);
    }
}
