//! One transfer at work: reads the log after its cursor, delivers in order, and writes the cursor down after the delivery.
//!
//! Nothing is lost: a notice leaves only when the peer has it, when it became a dead letter, or when an administrator passed over it.
//! Killed anywhere, the next start tells again at most what was given to the peer at once, [`Manner::batch_max`](crate::Manner).
//! What fails is tried again after a random part of 1 s, 2 s, 4 s and so on up to 5 minutes, or as the configuration has it, or
//! when the peer said.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hume_core::event::{MESSAGE_BYTES_MAX, StoredEvent};
use hume_core::page::{After, EventCursor};
use hume_core::policy::Policies;
use hume_core::{EventId, Timestamp};
use hume_runtime::backoff::Backoff;
use hume_runtime::clock;
use hume_runtime::task_group::Stop;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::board::{Board, Entry};
use crate::compose::Composer;
use crate::log::{self, Growth, Log, LogError};
use crate::notice::{About, Digest, Notice};
use crate::options::{Common, From, Rate, RateWish, TransferName};
use crate::pace::{Bucket, Portion, portion};
use crate::state::{Change, Record, Setback, State, StateError, Waiting};
use crate::transfer::{DELIVERY_TIME_MAX, Delivery, Excess, Manner, Trail, Transfer, Trouble};

mod wishes;

/// Events read at once.
const READ_MAX: usize = 256;
/// Stretches of the log that one digest takes in.
const FOLD_READS_MAX: usize = 1000;
/// A peer that asks for more patience than this is tried after it.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);
/// A kind that does not come back within its time is given so much more, then dropped.
const OVERTIME: Duration = Duration::from_secs(5);
/// A delivery that goes on when the daemon stops gets so long to end.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// A cursor that only passed over what is not wanted is written down so often.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// A transfer that cannot be opened is tried again so often.
const OPEN_EVERY: Duration = Duration::from_mins(1);
/// When the log or the state cannot be used, it is tried again so often.
const FAULT_PAUSE: Duration = Duration::from_secs(10);
/// What waits is counted so often, up to [`COUNT_MAX`].
const COUNT_EVERY: Duration = Duration::from_secs(30);
/// Beyond this, what waits is "so many and more".
const COUNT_MAX: u64 = 10_000;
/// Dead letters that are tried again at once.
const LETTERS_MAX: u32 = 100;

/// Everything a transfer works with.
pub(crate) struct Pump {
    pub(crate) name: TransferName,
    pub(crate) kind: &'static str,
    pub(crate) common: Common,
    pub(crate) manner: Manner,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) state: State,
    pub(crate) board: Board,
    pub(crate) policies: Arc<Policies>,
    /// Changes when an administrator may have asked for something.
    pub(crate) asked: watch::Receiver<u64>,
}

/// The log or the state failed; the transfer itself is not to blame.
#[derive(Debug, thiserror::Error)]
enum PumpError {
    #[error("the log cannot be read: {0}")]
    Log(#[from] LogError),
    #[error(transparent)]
    State(#[from] StateError),
}

/// What to wait for before the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    None,
    For(Duration),
    UntilNews,
    UntilNewsOr(Duration),
}

/// How far it has come.
struct Course {
    record: Record,
    composer: Composer,
    /// Read, wanted and not settled, in order.
    held: VecDeque<Notice>,
    /// The border above everything that was read.
    next: EventCursor,
    at_end: bool,
    bucket: Option<Bucket>,
    backoff: Backoff,
    failures: u32,
    not_before: Option<Instant>,
    /// Not yet written down.
    change: Change,
    /// Since when more is known than is written down.
    dirty_since: Option<Instant>,
    /// Whether an administrator may want dead letters to be tried again.
    retry_wished: bool,
    counted_at: Option<Instant>,
    /// What waits above `next`, as it was last counted.
    beyond: (u64, bool),
    /// How many were held when that was last written down.
    held_told: usize,
    started: Instant,
}

impl Course {
    /// How many notices may go now.
    fn tokens(&mut self) -> u32 {
        let clock = self.started.elapsed();
        self.bucket.as_mut().map_or(u32::MAX, |bucket| bucket.tokens(clock))
    }

    /// How long until one may go.
    fn until_next(&mut self) -> Duration {
        let clock = self.started.elapsed();
        self.bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.until_next(clock))
    }

    /// So many went.
    fn spend(&mut self, count: usize) {
        let clock = self.started.elapsed();
        if let Some(bucket) = &mut self.bucket {
            bucket.take(u32::try_from(count).unwrap_or(u32::MAX), clock);
        }
    }
}

impl Pump {
    /// Until `stop`. It has its place in the log before it can be opened, so what comes meanwhile waits for it.
    pub(crate) async fn run(
        mut self,
        open: impl FnMut() -> Result<Box<dyn Transfer>, String> + Send,
        stop: Stop,
    ) {
        let Some(mut course) = self.begin(&stop).await else { return };
        let Some(mut transfer) = self.open(&mut course, open, &stop).await else { return };
        let mut growth = self.log.growth();
        self.asked.mark_changed();
        while !stop.is_set() {
            growth.mark();
            let pause = match self.turn(&mut course, &mut *transfer, &stop).await {
                Ok(pause) => pause,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(transfer = %self.name, error, "a transfer waits for its daemon's disk");
                    Pause::For(FAULT_PAUSE)
                }
            };
            self.rest(pause, growth.as_mut(), &stop).await;
        }
        if course.dirty_since.is_some()
            && let Err(error) = self.save(&mut course).await
        {
            let error = &error as &dyn std::error::Error;
            warn!(transfer = %self.name, error, "the place of a transfer was not written down: some may be told again");
        }
    }

    async fn rest(&mut self, pause: Pause, growth: &mut dyn Growth, stop: &Stop) {
        let (longest, is_for_news) = match pause {
            Pause::None => return,
            Pause::For(time) => (Some(time), false),
            Pause::UntilNews => (None, true),
            Pause::UntilNewsOr(time) => (Some(time), true),
        };
        let timer = async {
            match longest {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        let news = async {
            if !is_for_news || !growth.wait().await {
                std::future::pending::<()>().await;
            }
        };
        let asked = async {
            if self.asked.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            // Seen, and to be looked at in the next turn.
            self.asked.mark_changed();
        };
        tokio::select! {
            () = stop.wait() => {}
            () = timer => {}
            () = news => {}
            () = asked => {}
        }
    }

    /// Finds out where to go on; tries until it can.
    async fn begin(&mut self, stop: &Stop) -> Option<Course> {
        loop {
            match self.find_place().await {
                Ok(course) => return Some(course),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(transfer = %self.name, error, "a transfer cannot begin yet");
                }
            }
            tokio::select! {
                () = stop.wait() => return None,
                () = tokio::time::sleep(FAULT_PAUSE) => {}
            }
        }
    }

    /// Opens it, as soon as that can be done.
    async fn open(
        &mut self,
        course: &mut Course,
        mut open: impl FnMut() -> Result<Box<dyn Transfer>, String> + Send,
        stop: &Stop,
    ) -> Option<Box<dyn Transfer>> {
        let mut told = String::new();
        loop {
            let reason = match open() {
                Ok(transfer) => {
                    let figures = &mut course.record.figures;
                    if (!told.is_empty() || figures.waiting.events == 0) && figures.trouble.take().is_some() {
                        course.dirty_since.get_or_insert_with(Instant::now);
                    }
                    return Some(transfer);
                }
                Err(reason) => reason,
            };
            if reason != told {
                error!(transfer = %self.name, "a transfer cannot be opened and is tried again every minute: {reason}");
                told.clone_from(&reason);
            }
            let now = clock::now();
            let since = course.record.figures.trouble.as_ref().map_or(now, |trouble| trouble.since);
            let next_try = now.plus_micros(i64::try_from(OPEN_EVERY.as_micros()).unwrap_or(i64::MAX));
            let reason = format!("cannot be opened: {reason}");
            course.record.figures.trouble = Some(Setback { reason, since, next_try });
            course.counted_at = None;
            if let Err(error) = self.count_beyond(course).await {
                let error = &error as &dyn std::error::Error;
                warn!(transfer = %self.name, error, "what is the matter with a transfer was not written down");
            }
            tokio::select! {
                () = stop.wait() => return None,
                () = tokio::time::sleep(OPEN_EVERY) => {}
            }
        }
    }

    async fn find_place(&mut self) -> Result<Course, PumpError> {
        let end = log::end(&*self.log).await?;
        let from = match self.common.from {
            From::Now => end,
            From::Beginning => EventCursor::START,
        };
        let now = clock::now();
        let mut record = self.state.register(&self.name, self.kind, from, now).await?;
        if record.cursor > end {
            self.tell_put_back();
            record.cursor = end;
            record.settled = None;
        }
        let composer = Composer::new(self.common.clone(), self.state.runs(&self.name).await?);
        let started = Instant::now();
        let mut course = Course {
            next: record.cursor,
            composer,
            held: VecDeque::new(),
            at_end: false,
            bucket: self.rate().map(|rate| Bucket::new(rate, Duration::ZERO)),
            backoff: self.backoff(),
            failures: 0,
            not_before: None,
            change: Change::default(),
            dirty_since: None,
            retry_wished: false,
            counted_at: None,
            beyond: (0, false),
            held_told: 0,
            started,
            record,
        };
        self.tell_board(&course);
        if let Some(settled) = course.record.settled {
            self.read(&mut course).await?;
            pass_over(&mut course.held, settled);
        }
        Ok(course)
    }

    fn tell_put_back(&self) {
        warn!(transfer = %self.name, "the log was put back to an earlier state: the transfer goes on at its end");
    }

    fn rate(&self) -> Option<Rate> {
        match self.common.rate {
            Some(RateWish::AtMost(rate)) => Some(rate),
            Some(RateWish::Unbounded) => None,
            None => self.manner.rate,
        }
    }

    fn backoff(&self) -> Backoff {
        let [min, max] = [self.common.retry_min_ms, self.common.retry_max_ms]
            .map(|millis| Duration::from_millis(u64::from(millis.get())));
        Backoff::new(min, 2.0, max)
    }

    async fn turn(
        &mut self,
        course: &mut Course,
        transfer: &mut dyn Transfer,
        stop: &Stop,
    ) -> Result<Pause, PumpError> {
        self.hear_of_missed(course);
        if self.asked.has_changed().unwrap_or(false) {
            self.asked.mark_unchanged();
            course.retry_wished = true;
            self.skip(course).await?;
        }
        if let Some(not_before) = course.not_before {
            let left = not_before.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                self.count_beyond(course).await?;
                return Ok(Pause::For(left.min(COUNT_EVERY)));
            }
            course.not_before = None;
        }
        let tokens = course.tokens();
        if course.retry_wished && tokens > 0 {
            // What comes now is to have its turn as well.
            let letters = tokens.div_ceil(2).min(LETTERS_MAX);
            self.revive(course, transfer, letters, stop).await?;
            if course.not_before.is_some() {
                return Ok(Pause::None);
            }
        }
        if course.held.is_empty() {
            self.read(course).await?;
        }
        if course.held.is_empty() {
            let pause = self.nothing_wanted(course).await?;
            return Ok(if course.retry_wished {
                Pause::For(course.until_next().min(COUNT_EVERY))
            } else {
                pause
            });
        }
        let excess = if transfer.folds() { self.manner.excess } else { Excess::Wait };
        let singly = match portion(course.held.len(), course.tokens(), excess) {
            Portion::Nothing => {
                self.count_beyond(course).await?;
                return Ok(Pause::For(course.until_next().min(COUNT_EVERY)));
            }
            Portion::AndDigest(0) => {
                self.fold(course).await?;
                1
            }
            Portion::Singly(count) | Portion::AndDigest(count) => count,
        };
        let count = singly.min(self.manner.batch_max).max(1);
        let batch = course.held.make_contiguous();
        if let Some(first) = batch.first_mut() {
            first.missed = course.record.figures.missed_untold;
        }
        let Some(delivery) = give(transfer, &batch[..count.min(batch.len())], stop).await else {
            // Whether the peer has it nobody knows: it is told again.
            return Ok(Pause::None);
        };
        self.settle(course, count, delivery);
        self.save(course).await?;
        Ok(Pause::None)
    }

    /// What the log let go before it was told is counted, and told with the next notice.
    fn hear_of_missed(&self, course: &mut Course) {
        let missed = self.board.take_missed(&self.name);
        if missed == 0 {
            return;
        }
        warn!(transfer = %self.name, events = missed, "events were let go before a transfer had told them");
        course.record.figures.missed += missed;
        course.record.figures.missed_untold += missed;
        course.dirty_since.get_or_insert_with(Instant::now);
    }

    /// What was read holds nothing to tell: the cursor goes on, and is written down now and then.
    async fn nothing_wanted(&mut self, course: &mut Course) -> Result<Pause, PumpError> {
        if course.next != course.record.cursor || course.record.settled.is_some() {
            course.record.cursor = course.next;
            course.record.settled = None;
            course.dirty_since.get_or_insert_with(Instant::now);
        }
        if !course.at_end {
            return Ok(Pause::None);
        }
        let Some(since) = course.dirty_since else { return Ok(Pause::UntilNews) };
        let left = SAVE_EVERY.saturating_sub(since.elapsed());
        if !left.is_zero() {
            self.tell_board(course);
            return Ok(Pause::UntilNewsOr(left));
        }
        self.save(course).await?;
        Ok(Pause::UntilNews)
    }

    /// Reads on; what is wanted is held.
    async fn read(&mut self, course: &mut Course) -> Result<(), PumpError> {
        let (filter, after) = (self.common.narrow(), After::Cursor(course.next));
        let stretch = match self.log.read(filter, after, READ_MAX).await {
            Err(LogError::Beyond) => {
                self.tell_put_back();
                course.next = log::end(&*self.log).await?;
                course.at_end = true;
                return Ok(());
            }
            read => read?,
        };
        for stored in stretch.items {
            if let Some(mut notice) = course.composer.take(stored, &self.policies) {
                notice.via = self.log.via(&notice.event).await;
                course.held.push_back(notice);
            }
        }
        course.next = stretch.next;
        course.at_end = stretch.at_end;
        // Not counted yet.
        (course.beyond, course.counted_at) = ((0, !stretch.at_end), None);
        Ok(())
    }

    /// Everything that waits becomes one notice, or as much of it as can be read.
    async fn fold(&mut self, course: &mut Course) -> Result<(), PumpError> {
        let (mut digest, mut head): (Digest, Option<Notice>) = (Digest::default(), None);
        let mut read = Ok(());
        // More may have come since it was read to the end, while the peer was away.
        course.at_end = false;
        for _ in 0..FOLD_READS_MAX {
            for notice in course.held.drain(..) {
                digest.add(&notice);
                if head.as_ref().is_none_or(|head| notice.level().rank() > head.level().rank()) {
                    head = Some(notice);
                }
            }
            if course.at_end || read.is_err() {
                break;
            }
            read = self.read(course).await;
        }
        // What was read last and not folded stays behind the digest.
        if let Some(mut head) = head {
            if digest.count > 1 {
                head.about = About::Digest(digest);
            }
            course.held.push_front(head);
        }
        read
    }

    fn settle(&self, course: &mut Course, given: usize, delivery: Delivery) {
        let now = clock::now();
        let settled = delivery.settled.min(given);
        let is_dead = matches!(delivery.trouble, Some(Trouble::Never { .. }));
        course.spend(settled + usize::from(is_dead));
        for notice in course.held.drain(..settled) {
            course.record.figures.delivered += 1;
            if let About::Digest(digest) = &notice.about {
                course.record.figures.folded += digest.count;
            }
            course.record.figures.missed_untold -= notice.missed.min(course.record.figures.missed_untold);
            course.record.settled = Some(notice.event.event.id);
        }
        if settled > 0 {
            course.record.figures.last_success = Some(now);
            self.recovered(course);
        }
        let trouble = match delivery.trouble {
            None if settled == given => None,
            None => Some(Trouble::later("the kind said nothing of some notices")),
            trouble => trouble,
        };
        match trouble {
            None => {}
            Some(Trouble::Later { reason, after }) => self.failed(course, reason, after, now),
            Some(Trouble::Never { reason }) => {
                // It was reached, and it answered.
                self.recovered(course);
                if let Some(notice) = course.held.pop_front() {
                    warn!(transfer = %self.name, id = %notice.event.event.id, reason, "a notice became a dead letter");
                    course.record.figures.dead += 1;
                    course.record.settled = Some(notice.event.event.id);
                    course.change.dead.push((letter_of(&notice), reason));
                }
            }
        }
        if course.held.is_empty() {
            course.record.cursor = course.next;
            course.record.settled = None;
        }
    }

    fn recovered(&self, course: &mut Course) {
        course.backoff.reset();
        course.not_before = None;
        if course.failures > 0 {
            info!(transfer = %self.name, tries = course.failures, "a transfer delivers again");
        }
        course.failures = 0;
        course.record.figures.trouble = None;
    }

    fn failed(&self, course: &mut Course, reason: String, after: Option<Duration>, now: Timestamp) {
        let pause = course.backoff.next_delay();
        let pause = after.map_or(pause, |after| after.min(RETRY_AFTER_MAX).max(pause));
        course.failures = course.failures.saturating_add(1);
        // The first, and then every power of two: a dead peer does not fill the log.
        if course.failures.is_power_of_two() {
            warn!(transfer = %self.name, failures = course.failures, reason, "a transfer failed and is tried again");
        }
        course.not_before = Some(Instant::now() + pause);
        let figures = &mut course.record.figures;
        figures.retried += 1;
        let since = figures.trouble.as_ref().map_or(now, |trouble| trouble.since);
        let next_try = now.plus_micros(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX));
        figures.trouble = Some(Setback { reason, since, next_try });
    }

    /// Counts what waits beyond what was read, now and then.
    async fn count_beyond(&mut self, course: &mut Course) -> Result<(), PumpError> {
        if course.counted_at.is_some_and(|at| at.elapsed() < COUNT_EVERY) {
            return if course.held.len() == course.held_told { Ok(()) } else { self.save(course).await };
        }
        course.counted_at = Some(Instant::now());
        course.beyond = self.count(course.next).await?;
        // More may have come since it was read to the end.
        course.at_end &= course.beyond == (0, false);
        self.save(course).await
    }

    /// How many events above the border are wanted, and whether there are more than that.
    async fn count(&mut self, mut from: EventCursor) -> Result<(u64, bool), PumpError> {
        let mut count = 0;
        while count < COUNT_MAX {
            let read = self.log.read(self.common.narrow(), After::Cursor(from), READ_MAX).await;
            let stretch = match read {
                Err(LogError::Beyond) => return Ok((count, false)),
                read => read?,
            };
            count += stretch.items.iter().filter(|stored| self.common.wants(stored)).count() as u64;
            if stretch.at_end {
                return Ok((count, false));
            }
            from = stretch.next;
        }
        Ok((count, true))
    }

    /// Writes down how far it came. What could not be written is still to be written.
    async fn save(&mut self, course: &mut Course) -> Result<(), PumpError> {
        course.dirty_since.get_or_insert_with(Instant::now);
        let (beyond, more) = course.beyond;
        course.held_told = course.held.len();
        let held = course.held.iter().map(|notice| match &notice.about {
            About::Digest(digest) => digest.count,
            About::Event | About::Run(_) | About::Test => 1,
        });
        course.record.figures.waiting = Waiting {
            events: held.sum::<u64>() + beyond,
            and_more: more,
            since: course.held.front().map(first_time),
        };
        self.tell_board(course);
        let mut change = course.change.clone();
        let moves = course.held.is_empty();
        if moves {
            course.change.runs.extend(course.composer.take_changes());
            change.runs.clone_from(&course.change.runs);
        } else {
            change.runs.clear();
        }
        self.state.save(&self.name, course.record.clone(), change, clock::now()).await?;
        let runs = if moves { Vec::new() } else { std::mem::take(&mut course.change.runs) };
        course.change = Change { runs, ..Change::default() };
        course.dirty_since = None;
        Ok(())
    }

    fn tell_board(&self, course: &Course) {
        let Record { cursor, figures, .. } = &course.record;
        let entry = Entry { kind: self.kind, cursor: *cursor, figures: figures.clone() };
        self.board.put(&self.name, entry);
    }
}

/// Hands a batch to the kind, within its time; when the daemon stops within a shorter one, then none.
async fn give(transfer: &mut dyn Transfer, batch: &[Notice], stop: &Stop) -> Option<Delivery> {
    let mut trail = Trail::silent();
    let stopping = async {
        stop.wait().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    let time = DELIVERY_TIME_MAX + OVERTIME;
    tokio::select! {
        delivery = transfer.deliver(batch, &mut trail) => Some(delivery),
        () = tokio::time::sleep(time) => {
            Some(Delivery::stopped(0, Trouble::later(format!("nothing came of it within {} s", time.as_secs()))))
        }
        () = stopping => None,
    }
}

/// Drops what was settled before the restart, if it is found.
fn pass_over(held: &mut VecDeque<Notice>, settled: EventId) {
    if let Some(at) = held.iter().position(|notice| notice.event.event.id == settled) {
        held.drain(..=at);
    }
}

/// When the first event of a notice came.
fn first_time(notice: &Notice) -> Timestamp {
    match &notice.about {
        About::Digest(digest) => digest.first,
        About::Event | About::Run(_) | About::Test => {
            notice.event.arrived_at.unwrap_or(notice.event.event.received_at)
        }
    }
}

/// What is kept of a notice that will not be taken: of digests and runs the head, with level and text of the notice.
fn letter_of(notice: &Notice) -> StoredEvent {
    let mut stored = notice.event.clone();
    if !matches!(notice.about, About::Event) {
        hume_core::fit::cut(&notice.text(), MESSAGE_BYTES_MAX).clone_into(&mut stored.event.message);
        stored.event.level = notice.level();
    }
    stored
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
