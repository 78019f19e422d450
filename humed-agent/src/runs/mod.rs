//! Every event gets its run before it is spooled; whoever asks again about the same id gets the same answer.
//!
//! One task stamps and appends, group by group: while one group is synced to disk the next gathers. A group is at most
//! [`GROUP_MAX`] submissions, and at most [`WAITING_MAX`] wait; beyond that the answer is `busy`.

mod table;

use std::collections::HashMap;
use std::time::Duration;

use hume_core::name::{EventId, Seq};
use hume_core::process::{ProcessRef, is_alive};
use hume_core::{ErrorClass, Event, RunId, Timestamp};
use hume_runtime::task_group::Stop;
use hume_runtime::{clock, random};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use crate::spool::{RunChange, SpoolError, SpoolReader, SpoolWriter};

pub use table::{Mint, Reporter, RunTable, Stamped, Submission};

/// Submissions of one transaction.
pub const GROUP_MAX: usize = 1000;
/// Submissions that wait for the next group.
pub const WAITING_MAX: usize = 4096;
/// Between two looks at the owners of open runs.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

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

struct Waiting {
    submission: Submission,
    answer: oneshot::Sender<Result<Receipt, NotTaken>>,
}

/// Hands submissions to the recorder.
#[derive(Clone, Debug)]
pub struct Records {
    waiting: mpsc::Sender<Waiting>,
}

impl Records {
    /// Puts a submission in line; the answer comes when it is on disk.
    ///
    /// # Errors
    /// [`NotTaken`] of class `busy` when too many wait, `unavailable` when the agent stops.
    pub fn submit(
        &self,
        submission: Submission,
    ) -> Result<oneshot::Receiver<Result<Receipt, NotTaken>>, NotTaken> {
        let (answer, answered) = oneshot::channel();
        match self.waiting.try_send(Waiting { submission, answer }) {
            Ok(()) => Ok(answered),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NotTaken {
                class: ErrorClass::Busy,
                detail: format!("{WAITING_MAX} events wait already"),
            }),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(stopping()),
        }
    }

    /// Puts a submission in line and waits for its answer.
    ///
    /// # Errors
    /// [`NotTaken`]: nothing of it was kept.
    pub async fn record(&self, submission: Submission) -> Result<Receipt, NotTaken> {
        self.submit(submission)?.await.map_err(|_| stopping())?
    }
}

fn stopping() -> NotTaken {
    NotTaken { class: ErrorClass::Unavailable, detail: "the agent is stopping".to_owned() }
}

/// Stamps and appends. The only one who appends.
#[derive(Debug)]
pub struct Recorder {
    waiting: mpsc::Receiver<Waiting>,
    writer: SpoolWriter,
    reader: SpoolReader,
    table: RunTable,
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

fn alive(process: ProcessRef) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).is_ok_and(|stat| is_alive(process, &stat))
}

/// Opens the record: loads the open runs, and ends them all if the machine was started anew since.
///
/// # Errors
/// [`SpoolError`] if the spool cannot be read or written.
pub async fn open(
    writer: SpoolWriter,
    reader: SpoolReader,
    rebooted: bool,
) -> Result<(Records, Recorder), SpoolError> {
    let mut table = RunTable::load(reader.open_runs().await?);
    if rebooted {
        let (events, changes) = table.reboot(clock::now(), &mut Ids);
        if !events.is_empty() {
            info!(runs = events.len(), "the machine was started anew: open runs are aborted");
            writer.append(events, changes).await?;
        }
    }
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    Ok((Records { waiting: sender }, Recorder { waiting, writer, reader, table }))
}

impl Recorder {
    /// Records until the stop is set and nothing waits.
    ///
    /// # Errors
    /// When the open runs cannot be read after a failed append: going on could place events wrongly.
    pub async fn run(mut self, stop: Stop) -> anyhow::Result<()> {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut group = Vec::with_capacity(GROUP_MAX);
        loop {
            tokio::select! {
                biased;
                taken = self.waiting.recv_many(&mut group, GROUP_MAX) => {
                    if taken == 0 {
                        return Ok(());
                    }
                    self.record(std::mem::take(&mut group)).await?;
                }
                () = stop.wait() => {
                    self.waiting.close();
                }
                _ = sweep.tick(), if !self.table.is_empty() => self.sweep().await?,
            }
        }
    }

    async fn sweep(&mut self) -> anyhow::Result<()> {
        let (events, changes) = self.table.sweep(clock::now(), &mut Ids, alive);
        if (!events.is_empty() || !changes.is_empty())
            && let Err(error) = self.writer.append(events, changes).await
        {
            error!(%error, "could not record that runs ended; trying again");
            self.reload().await?;
        }
        Ok(())
    }

    /// Stamps a group, appends it in one go, answers all. What is known already is answered from the spool.
    async fn record(&mut self, group: Vec<Waiting>) -> anyhow::Result<()> {
        let ids = group.iter().map(|waiting| waiting.submission.draft.id).collect();
        let known = match self.reader.known(ids).await {
            Ok(known) => known,
            Err(error) => {
                error!(%error, "could not look up events in the spool");
                refuse(group.into_iter().map(|waiting| waiting.answer), &error);
                return Ok(());
            }
        };
        let mut receipts: HashMap<EventId, Receipt> =
            known.into_iter().map(|(id, seq, run)| (id, Receipt { id, seq, run })).collect();
        let mut events: Vec<Event> = Vec::with_capacity(group.len());
        let mut changes: Vec<RunChange> = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        let mut places: HashMap<EventId, (u64, Option<RunId>)> = HashMap::new();
        for Waiting { submission, answer } in group {
            let id = submission.draft.id;
            answers.push((id, answer));
            if receipts.contains_key(&id) || places.contains_key(&id) {
                continue;
            }
            let stamped = self.table.stamp(submission, &mut Ids, alive);
            events.extend(stamped.events);
            changes.extend(stamped.changes);
            places.insert(id, (events.len() as u64 - 1, stamped.run));
        }
        if !events.is_empty() {
            match self.writer.append(events, changes).await {
                Ok(appended) => {
                    for (id, (offset, run)) in places {
                        receipts.insert(id, Receipt { id, seq: appended.first.plus(offset), run });
                    }
                }
                Err(error) => {
                    error!(%error, "events were refused");
                    // What was known before is still true; the rest was not kept.
                    let (kept, lost): (Vec<_>, Vec<_>) =
                        answers.into_iter().partition(|(id, _)| receipts.contains_key(id));
                    refuse(lost.into_iter().map(|(_, answer)| answer), &error);
                    answer_all(kept, &receipts);
                    return self.reload().await;
                }
            }
        }
        answer_all(answers, &receipts);
        Ok(())
    }

    /// Goes back to what is on disk.
    async fn reload(&mut self) -> anyhow::Result<()> {
        self.table = RunTable::load(self.reader.open_runs().await?);
        Ok(())
    }
}

type Answers = Vec<(EventId, oneshot::Sender<Result<Receipt, NotTaken>>)>;

fn answer_all(answers: Answers, receipts: &HashMap<EventId, Receipt>) {
    for (id, answer) in answers {
        if let Some(receipt) = receipts.get(&id) {
            // Whoever asked may have gone; the event is kept all the same.
            let _ = answer.send(Ok(*receipt));
        }
    }
}

fn refuse(answers: impl Iterator<Item = oneshot::Sender<Result<Receipt, NotTaken>>>, error: &SpoolError) {
    for answer in answers {
        let _ = answer.send(Err(NotTaken { class: error.class(), detail: error.to_string() }));
    }
}
