//! A spool in a watched folder, and what is done to it; every answer goes into the ledger.

use std::future::Future;
use std::path::Path;
use std::task::Poll;
use std::time::Duration;

use fastrand::Rng;
use hume_core::AgentId;
use hume_core::name::{EventId, Seq};
use hume_crash_tests::{Disk, disk};
use hume_runtime::task_group::TaskGroup;
use hume_transfer::Board;
use humed_agent::spool::{Appended, Config, Spool, SpoolError, Stretch};
use tempfile::TempDir;

use crate::events::{change, event};
use crate::ledger::{Attempt, Ledger};

/// Within this time everything that must happen happens, also on a slow machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(10);

/// A runtime as small as the agent's can be.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What a future has now; it goes on later.
pub(crate) async fn now_or_later<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}

/// All at once; they begin in their order.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in running.iter_mut().filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(done) = future.as_mut().poll(context) {
                *output = Some(done);
            }
        }
        if running.iter().all(|(_, output)| output.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}

/// Waits until it comes true.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let mut tick = tokio::time::interval(TICK);
    let came_true = tokio::time::timeout(SOON, async {
        while !condition().await {
            tick.tick().await;
        }
    });
    assert!(came_true.await.is_ok(), "{what} did not come true within {SOON:?}");
}

/// An opened spool, with the group its writer lives in.
pub(crate) struct Open {
    pub(crate) spool: Spool,
    tasks: TaskGroup,
}

impl Open {
    pub(crate) fn at(folder: &Path, config: &Config) -> Result<Open, SpoolError> {
        let mut tasks = TaskGroup::new();
        let spool =
            Spool::open(folder, config, Some(AgentId::from_bytes([7; 16])), Board::default(), &mut tasks)?;
        Ok(Open { spool, tasks })
    }

    pub(crate) async fn close(self) {
        let Open { spool, tasks } = self;
        drop(spool);
        // Whether its end went well is a question of the disk, and asked of the disk.
        let _ = tasks.run(async {}, SOON).await;
    }
}

/// A watched folder with a spool, and what is known of it.
pub(crate) struct Site {
    pub(crate) disk: Disk,
    pub(crate) folder: TempDir,
    pub(crate) ledger: Ledger,
    pub(crate) config: Config,
    pub(crate) chance: Rng,
    events: u64,
}

impl Site {
    pub(crate) fn new(seed: u64) -> Site {
        let folder = TempDir::new_in(disk::roomy()).unwrap();
        Site {
            disk: Disk::watch(folder.path()).unwrap(),
            folder,
            ledger: Ledger::default(),
            config: Config::default(),
            chance: Rng::with_seed(seed),
            events: 0,
        }
    }

    pub(crate) fn open(&self) -> Open {
        Open::at(self.folder.path(), &self.config).unwrap()
    }

    /// Notes an attempt with the next so many events; its number.
    pub(crate) fn plan(&mut self, count: u64, message_bytes: usize) -> usize {
        let numbers = self.events..self.events + count;
        self.events = numbers.end;
        let events = numbers.map(|number| event(number, message_bytes)).collect();
        let mut notes = self.ledger.notes();
        let number = notes.attempts.len();
        let since = self.disk.now();
        notes.attempts.push(Attempt { events, change: change(number as u64), since, answered: None });
        number
    }

    /// Notes an attempt of a size that chance gives.
    pub(crate) fn plan_any(&mut self) -> usize {
        let (count, message_bytes) = (self.chance.u64(1..=12), self.chance.usize(10..3_000));
        self.plan(count, message_bytes)
    }

    /// Makes the attempt, and notes what is answered.
    pub(crate) async fn append(&self, open: &Open, number: usize) -> Result<Appended, SpoolError> {
        let (events, change) = {
            let attempt = &self.ledger.notes().attempts[number];
            (attempt.events.clone(), attempt.change.clone())
        };
        let appended = open.spool.writer.append(events, vec![change]).await?;
        self.note(number, appended.clone());
        Ok(appended)
    }

    /// Makes it until it is taken, as the agent does for one who comes back with the same ids: what is known is answered
    /// from what is kept.
    pub(crate) async fn append_until_taken(&self, open: &Open, number: usize) {
        let ids = self.ledger.notes().attempts[number].ids();
        until("the append", async || {
            if let Some(known) = known(open, &ids).await {
                self.note(number, known);
                return true;
            }
            self.append(open, number).await.is_ok()
        })
        .await;
    }

    /// The master has everything through this place.
    pub(crate) fn acknowledge(&self, open: &Open, seq: Seq) {
        let Some((epoch, _)) = self.ledger.last_answered() else { return };
        self.ledger.notes().acked.push((self.disk.now(), seq));
        open.spool.writer.acknowledge(epoch, seq).unwrap();
    }

    /// A reader looks at all that is there beyond this place; what it sees it may send, so it must never vanish.
    pub(crate) async fn look(&self, open: &Open, beyond: Seq) -> Seq {
        let epoch = open.spool.reader.epochs().await.unwrap()[0].epoch;
        let last = match open.spool.reader.stretch(epoch, beyond.next(), 10_000, usize::MAX).await.unwrap() {
            Stretch::Events(events) => beyond.plus(events.len() as u64),
            Stretch::Hole { .. } => beyond,
        };
        self.ledger.notes().seen.push((self.disk.now(), last));
        last
    }

    fn note(&self, number: usize, appended: Appended) {
        self.ledger.notes().attempts[number].answered = Some((self.disk.now(), appended));
    }
}

/// Where these are, if they are there. Together or not at all: they came in one transaction.
pub(crate) async fn known(open: &Open, ids: &[EventId]) -> Option<Appended> {
    let known = open.spool.reader.known(ids.to_vec()).await.ok()?;
    let epoch = open.spool.reader.epochs().await.ok()?.last()?.epoch;
    let first = known.iter().map(|(_, seq, _)| *seq).min()?;
    assert_eq!(known.len(), ids.len(), "a part of an append is there");
    Some(Appended { epoch, first })
}
