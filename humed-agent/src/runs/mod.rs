//! Every event gets its run before it is spooled; whoever asks again about the same id gets the same answer.
//!
//! One task stamps and appends, group by group: while one group is synced to disk the next gathers, and is stamped when it is
//! large. A group is closed when it has [`GROUP_MAX`] submissions, and at most [`WAITING_MAX`] wait; beyond that the answer is
//! `busy`.

mod flight;
mod owners;
mod pulse;
mod table;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hume_core::name::{BootId, EventId, Seq};
use hume_core::policy::Policies;
use hume_core::{ErrorClass, RunId, Timestamp};
use hume_runtime::task_group::Stop;
use hume_runtime::{alarm, clock, random};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tracing::error;

use crate::spool::{Appended, Figures, Pending, SpoolError, SpoolReader, SpoolWriter};
use flight::{Flight, Group};
use owners::Owners;
use pulse::BEAT_EVERY;

pub use crate::spool::Received;
pub use pulse::Pulse;
pub use table::{Folder, Mint, Moment, Processes, Reporter, RunTable, Stamped, Submission};

/// Submissions of one transaction.
pub const GROUP_MAX: usize = 1000;
/// Submissions that wait for the next group.
pub const WAITING_MAX: usize = 8192;
/// With so many at hand they are stamped while the group before them is written; of fewer, more may come until it is.
const STAMP_EARLY: usize = 64;
/// Between two looks at what the kernel will not tell.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The event is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which.
    pub id: EventId,
    /// Its place in the spool.
    pub seq: Seq,
    /// Its run.
    pub run: Option<RunId>,
}

/// The event was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct NotTaken {
    /// What the caller can do.
    pub class: ErrorClass,
    /// What happened.
    pub detail: String,
}

impl NotTaken {
    fn new(class: ErrorClass, detail: impl Into<String>) -> NotTaken {
        NotTaken { class, detail: detail.into() }
    }
}

/// What became of submissions that were handed in together, in their order.
pub type Answers = Vec<Result<Receipt, NotTaken>>;

#[derive(Debug)]
struct Waiting {
    submissions: Vec<Submission>,
    /// Until they are on disk or refused.
    received: Received,
    answer: oneshot::Sender<Answers>,
    /// Given back when they are taken into a group.
    room: OwnedSemaphorePermit,
}

/// What waits, as it was taken out of the queue.
#[derive(Debug, Default)]
struct Gathered {
    waiting: Vec<Waiting>,
    /// Submissions.
    count: usize,
}

impl Gathered {
    fn push(&mut self, waiting: Waiting) {
        self.count += waiting.submissions.len();
        self.waiting.push(waiting);
    }
}

/// Hands submissions to the recorder.
#[derive(Clone, Debug)]
pub struct Records {
    waiting: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    folder: Arc<watch::Sender<Folder>>,
    pending: Pending,
    figures: Arc<Figures>,
}

impl Records {
    /// True when what is left of the spool is for root.
    pub fn is_reserved(&self) -> bool {
        self.figures.get().reserved
    }

    /// Something is about to be received: nothing that comes from now on is claimed to be at the master.
    pub fn receive(&self) -> Received {
        self.pending.receive()
    }

    /// Puts submissions in line, in their order, each received at its own moment since `received`; the answers come when
    /// they are on disk.
    ///
    /// # Errors
    /// [`NotTaken`] of class `busy` when too many wait, `unavailable` when the agent stops.
    pub fn submit(
        &self,
        mut submissions: Vec<Submission>,
        mut received: Received,
    ) -> Result<oneshot::Receiver<Answers>, NotTaken> {
        let busy = || NotTaken::new(ErrorClass::Busy, format!("{WAITING_MAX} events wait already"));
        let count = u32::try_from(submissions.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(count).map_err(|_| busy())?;
        let (answer, answered) = oneshot::channel();
        for submission in &mut submissions {
            // A clock that is set back meanwhile takes back nothing.
            submission.received.time = submission.received.time.max(received.at());
        }
        // Until it is on disk, which then says so itself.
        if let Some(earliest) = submissions.iter().filter_map(|submission| submission.draft.time).min() {
            received.happened(earliest);
        }
        match self.waiting.try_send(Waiting { submissions, received, answer, room }) {
            Ok(()) => Ok(answered),
            Err(mpsc::error::TrySendError::Full(_)) => Err(busy()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(stopping()),
        }
    }

    /// Tells whether events may wait in the drop folder: until it is empty nothing is said of runs that look ended.
    pub fn tell_folder(&self, folder: Folder) {
        self.folder.send_if_modified(|told| std::mem::replace(told, folder) != folder);
    }
}

fn stopping() -> NotTaken {
    NotTaken::new(ErrorClass::Unavailable, "the agent is stopping")
}

/// Stamps and appends. The only one who appends.
#[derive(Debug)]
pub struct Recorder {
    waiting: mpsc::Receiver<Waiting>,
    folder: watch::Receiver<Folder>,
    writer: SpoolWriter,
    reader: SpoolReader,
    table: RunTable,
    owners: Owners,
    /// The version of the table that `owners` knows.
    held_version: u64,
    pulse: Pulse,
    /// Not stamped yet.
    gathered: Gathered,
    /// Stamped, behind what is on its way.
    group: Group,
    /// On its way to the disk.
    flight: Option<Flight>,
    /// Something could not be recorded the last time.
    is_failing: bool,
    /// The table knows of events that were not kept, and what is on disk could not be read since: nothing may be placed.
    is_stale: bool,
}

struct Ids;

impl Mint for Ids {
    fn event(&mut self, at: Timestamp) -> EventId {
        EventId::mint(at, random::bytes())
    }

    fn run(&mut self, at: Timestamp) -> RunId {
        RunId::mint(at, random::bytes())
    }
}

/// The present, by both clocks.
pub fn now() -> Moment {
    Moment { time: clock::now(), boot_us: clock::boottime_us() }
}

/// The record could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The open runs could not be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The kernel gives nothing to watch processes with.
    #[error("cannot watch processes")]
    Watch(#[source] std::io::Error),
}

/// Opens the record: loads the open runs. What became of them in the meantime is said once the drop folder is empty.
///
/// # Errors
/// [`OpenError`] if the spool cannot be read, or processes cannot be watched.
pub async fn open(
    writer: SpoolWriter,
    reader: SpoolReader,
    policies: Arc<Policies>,
    pulse: Pulse,
) -> Result<(Records, Recorder), OpenError> {
    let boot = clock::boot_id().map(|id| BootId::from_bytes(*id.as_bytes()));
    // An agent that never looked around here has nothing to be blind about.
    let blind_since = pulse.last().or(Some(Timestamp::EPOCH));
    let table = RunTable::load(reader.open_runs().await?, policies, boot, blind_since);
    let owners = Owners::new().map_err(OpenError::Watch)?;
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    let (told, folder) = watch::channel(Folder::Waiting);
    let records = Records {
        waiting: sender,
        room: Arc::new(Semaphore::new(WAITING_MAX)),
        folder: Arc::new(told),
        pending: writer.pending().clone(),
        figures: writer.figures(),
    };
    Ok((
        records,
        Recorder {
            waiting,
            folder,
            writer,
            reader,
            table,
            owners,
            held_version: 0,
            pulse,
            gathered: Gathered::default(),
            group: Group::default(),
            flight: None,
            is_failing: false,
            is_stale: false,
        },
    ))
}

impl Recorder {
    /// Records until the stop is set and nothing waits.
    ///
    /// # Errors
    /// None today: what cannot be recorded is refused.
    pub async fn run(mut self, stop: Stop) -> anyhow::Result<()> {
        let mut beat = pin!(alarm::sleep(Duration::ZERO));
        let mut next_sweep = None;
        let mut must_sweep = true;
        loop {
            if self.held_version != self.table.version() {
                self.held_version = self.table.version();
                must_sweep |= self.owners.hold(self.table.watched());
                next_sweep = self.next_sweep();
            }
            if std::mem::take(&mut must_sweep) {
                self.settle().await;
                self.sweep().await;
                next_sweep = self.next_sweep();
                continue;
            }
            tokio::select! {
                appended = arrival(&mut self.flight) => {
                    self.land(&appended);
                    self.take_off().await;
                }
                next = self.waiting.recv(), if self.count() < GROUP_MAX => {
                    let Some(next) = next else {
                        self.settle().await;
                        return Ok(());
                    };
                    self.gathered.push(next);
                    self.gather();
                    self.take_off().await;
                }
                () = stop.wait(), if !self.waiting.is_closed() => self.waiting.close(),
                () = self.owners.ended() => must_sweep = true,
                // Nobody can tell anything any more when all senders are gone; the queue then ends as well.
                Ok(()) = self.folder.changed() => must_sweep = true,
                () = due(next_sweep) => must_sweep = true,
                () = &mut beat, if !self.table.is_empty() => {
                    self.pulse.beat(clock::now());
                    beat.set(alarm::sleep(BEAT_EVERY));
                }
            }
        }
    }

    /// When to look around if nothing else happens.
    fn next_sweep(&self) -> Option<tokio::time::Instant> {
        let due_in = self.table.next_sweep_us().map(|due_us| {
            match due_us.checked_sub(clock::boottime_us()) {
                Some(left) if left > 0 => Duration::from_micros(left),
                // It was due and nothing could be said yet.
                Some(_) | None => LOOK_EVERY,
            }
        });
        let look = self.owners.must_look().then_some(LOOK_EVERY);
        let wait = due_in.into_iter().chain(look).min()?;
        tokio::time::Instant::now().checked_add(wait)
    }

    async fn sweep(&mut self) {
        if self.refresh().await.is_err() {
            return;
        }
        let folder = *self.folder.borrow_and_update();
        // Until it is on disk: nothing of now may be claimed to be at the master.
        let received = self.writer.pending().receive();
        let now = Moment { time: received.at(), ..now() };
        let events = self.table.sweep(now, folder, &mut Ids, &self.owners);
        let changes = self.table.take_changes();
        if events.is_empty() && changes.is_empty() {
            return;
        }
        match self.writer.append(events, changes).await {
            Ok(_) => self.is_failing = false,
            Err(error) => {
                // It is tried again each second, and a full disk may stay full for long.
                self.tell(&error, "could not record that runs ended; trying again");
                self.is_stale = true;
            }
        }
    }

    /// Submissions that were taken out of the queue and are not on their way.
    fn count(&self) -> usize {
        self.gathered.count + self.group.len()
    }

    /// Takes what waits, as far as it goes into one group.
    fn gather(&mut self) {
        while self.count() < GROUP_MAX
            && let Ok(next) = self.waiting.try_recv()
        {
            self.gathered.push(next);
        }
    }

    /// Sends off what was gathered, when nothing is on its way; many are stamped before that.
    async fn take_off(&mut self) {
        let is_free = self.flight.is_none();
        if is_free && !self.gathered.waiting.is_empty() && self.count() < STAMP_EARLY {
            // Those who were answered just now may have more to say, and fit in.
            tokio::task::yield_now().await;
            self.gather();
        }
        if !self.gathered.waiting.is_empty() && (is_free || self.gathered.count >= STAMP_EARLY) {
            self.stamp().await;
        }
        if self.flight.is_none() && !self.group.is_empty() {
            self.launch();
        }
    }

    /// Waits until everything that was gathered is on disk or refused.
    async fn settle(&mut self) {
        self.take_off().await;
        while self.flight.is_some() {
            let appended = arrival(&mut self.flight).await;
            self.land(&appended);
            self.take_off().await;
        }
    }

    /// Stamps what was gathered, behind what is stamped already. What is known already is answered from the spool.
    async fn stamp(&mut self) {
        let gathered = std::mem::take(&mut self.gathered).waiting;
        let ids: Vec<EventId> =
            gathered.iter().flat_map(|one| &one.submissions).map(|one| one.draft.id).collect();
        // What becomes of them is known when they have arrived.
        while self.flight.as_ref().is_some_and(|flight| ids.iter().any(|id| flight.group.has(*id))) {
            let appended = arrival(&mut self.flight).await;
            self.land(&appended);
        }
        let known = match self.refresh().await {
            Ok(()) => self.reader.known(ids).await,
            Err(error) => Err(error),
        };
        match known {
            Ok(known) => self.group.know(known.into_iter().map(|(id, seq, run)| Receipt { id, seq, run })),
            Err(error) => {
                self.tell(&error, "could not look up events in the spool");
                let refusal = || Err(NotTaken::new(error.class(), error.to_string()));
                for Waiting { submissions, answer, .. } in gathered {
                    let _ = answer.send(submissions.iter().map(|_| refusal()).collect());
                }
                return;
            }
        }
        for Waiting { submissions, received, answer, room } in gathered {
            drop(room);
            let mut ids = Vec::with_capacity(submissions.len());
            for submission in submissions {
                let id = submission.draft.id;
                ids.push(id);
                if !self.group.has(id) {
                    let stamped = self.table.stamp(submission, &mut Ids, &self.owners);
                    self.group.add(id, stamped);
                }
            }
            self.group.ask(ids, received, answer);
        }
    }

    /// Has the stamped group written.
    fn launch(&mut self) {
        let mut group = std::mem::take(&mut self.group);
        let events = std::mem::take(&mut group.events);
        if events.is_empty() {
            return group.answer(None);
        }
        match self.writer.begin_append(events, self.table.take_changes()) {
            Ok(appended) => self.flight = Some(Flight { group, appended }),
            Err(error) => self.fail(&Err(error), [group]),
        }
    }

    /// What was on its way has arrived, or not; then what was stamped behind it goes nowhere either.
    fn land(&mut self, appended: &Result<Appended, SpoolError>) {
        let Some(Flight { group, .. }) = self.flight.take() else { return };
        if appended.is_ok() {
            self.is_failing = false;
            // The disk waits for nobody who is answered.
            if !self.group.is_empty() {
                self.launch();
            }
            return group.answer(Some(appended));
        }
        let behind = std::mem::take(&mut self.group);
        self.fail(appended, [group, behind]);
    }

    /// These groups are not kept, and the table knows of their events.
    fn fail(&mut self, appended: &Result<Appended, SpoolError>, groups: impl IntoIterator<Item = Group>) {
        if let Err(error) = appended {
            self.tell(error, "events are refused");
        }
        self.is_stale = true;
        groups.into_iter().for_each(|group| group.answer(Some(appended)));
    }

    /// Says what went wrong, once until something went well.
    fn tell(&mut self, failure: &SpoolError, what: &'static str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            error!(error = %whole(failure), "{what}");
        }
    }

    /// Goes back to what is on disk, after something was not kept.
    async fn refresh(&mut self) -> Result<(), SpoolError> {
        if self.is_stale {
            self.table.reload(self.reader.open_runs().await?);
            self.is_stale = false;
        }
        Ok(())
    }
}

/// What becomes of the group that is on its way, if there is one.
async fn arrival(flight: &mut Option<Flight>) -> Result<Appended, SpoolError> {
    match flight {
        Some(flight) => (&mut flight.appended).await.map_err(|_| SpoolError::Closed)?,
        None => std::future::pending().await,
    }
}

async fn due(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// An error with its causes, on one line.
fn whole(error: &SpoolError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
