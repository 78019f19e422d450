//! An agent in the simulation: its spool and its uplink. Scripts report to the spool between two ticks of virtual time.
//!
//! The spool is the real one, its writer on a thread; what the uplink reads of it stops virtual time until it is read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hume_core::{Event, HostName, Timestamp};
use hume_runtime::task_group::{Stop, TaskGroup};
use hume_transfer::Board;
use humed_agent::metrics::Metrics;
use humed_agent::spool::{self, Spool, SpoolWriter, Tail};
use humed_agent::uplink::{Config, Uplink};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::network::Net;
use crate::site;

const GRACE: Duration = Duration::from_secs(10);
/// Real time that anything on a thread may take.
const REAL_TIME_MAX: Duration = Duration::from_mins(1);

/// What an agent is started with, again and again.
pub(crate) struct Agent {
    pub(crate) number: usize,
    pub(crate) spool: PathBuf,
    pub(crate) uplink: Config,
    pub(crate) net: Net,
    /// Real time, for what happens between two ticks.
    pub(crate) real: Arc<Runtime>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: Stop,
    writer: SpoolWriter,
    metrics: Arc<Metrics>,
    /// The last word on a session that failed.
    seen: Option<(String, Timestamp)>,
}

impl Agent {
    pub(crate) fn new(number: usize, spool: PathBuf, uplink: Config, net: Net, real: Arc<Runtime>) -> Agent {
        Agent { number, spool, uplink, net, real, running: Mutex::default() }
    }

    /// One life of it, from the start to the stop.
    pub(crate) async fn live(self: Arc<Agent>) -> turmoil::Result {
        // The storage ends when everybody has let go of it, in real time: see `bury`.
        let (mut storage, mut tasks) = (TaskGroup::new(), TaskGroup::new());
        let agent = site::agent_id(self.number);
        let config = spool::Config { ballast_bytes: 0, ..spool::Config::default() };
        let spool = Spool::open(&self.spool, &config, Some(agent), Board::default(), &mut storage)?;
        let metrics = Arc::new(Metrics::default());
        let (writer, reader) = (spool.writer.clone(), spool.reader.clone());
        let running =
            Running { stop: tasks.stop(), writer: writer.clone(), metrics: Arc::clone(&metrics), seen: None };
        *self.running.lock().unwrap() = Some(running);
        let host = HostName::parse(&site::name(self.number))?;
        let uplink = Uplink::new(self.uplink.clone(), host, agent, writer, reader, &self.spool, metrics);
        let uplink = uplink.over(self.net.clone());
        tasks.spawn("uplink", |stop| uplink.run(stop));
        let stop = tasks.stop();
        tasks.run(async move { stop.wait().await }, GRACE).await?;
        drop((spool, storage));
        Ok(())
    }

    fn real<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let within = async { tokio::time::timeout(REAL_TIME_MAX, future).await };
        self.real.block_on(within).unwrap_or_else(|_| panic!("{}: {what} took too long", self.number))
    }

    /// Scripts report these, between two ticks. False when there is no agent now.
    pub(crate) fn report(&self, events: Vec<Event>) -> bool {
        let writer = self.running.lock().unwrap().as_ref().map(|running| running.writer.clone());
        let Some(writer) = writer else { return false };
        self.real("an append", writer.append(events, Vec::new())).unwrap();
        true
    }

    /// Between two ticks: when the uplink has asked for a new epoch, it is there before virtual time goes on.
    pub(crate) fn settle(&self) {
        let mut running = self.running.lock().unwrap();
        let Some(running) = running.as_mut() else { return };
        let said = running.metrics.uplink().last_error;
        if said == running.seen {
            return;
        }
        let is_forked = said.as_ref().is_some_and(|(text, _)| text.contains("has another event at place"));
        running.seen = said;
        if is_forked {
            // The writer answers in the order of asking, group by group: after the second answer it is done with the first group.
            for _ in 0..2 {
                self.real("a new epoch", running.writer.append(Vec::new(), Vec::new())).unwrap();
            }
        }
    }

    /// True when the master has everything.
    pub(crate) fn is_drained(&self) -> bool {
        let running = self.running.lock().unwrap();
        let Some(running) = running.as_ref() else { return false };
        // After the answer it has counted what was acknowledged before.
        self.real("a look", running.writer.append(Vec::new(), Vec::new())).unwrap();
        running.writer.figures().get().unacked_events == 0
    }

    /// SIGTERM, as it were.
    pub(crate) fn ask_to_stop(&self) {
        if let Some(running) = &*self.running.lock().unwrap() {
            running.stop.set();
        }
    }

    /// After its life, however it ended: waits in real time until its thread has let go of the spool.
    pub(crate) fn bury(&self) {
        let Some(Running { writer, .. }) = self.running.lock().unwrap().take() else { return };
        let mut tail: watch::Receiver<Tail> = writer.tail();
        drop(writer);
        self.real("the end of the spool's writer", async { while tail.changed().await.is_ok() {} });
    }
}

/// A copy of the spool as it is, while no agent has it.
pub(crate) fn copy_spool(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
