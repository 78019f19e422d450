//! What the writer does between commits: the retention, room on a full disk, the log, and the numbers.
//!
//! For want of room the acknowledged tail goes first. What the master does not have goes only where the operator chose so,
//! and only when the spool itself is full: on a disk that others fill it would make room for them.

use std::time::{Duration, Instant};

use hume_runtime::clock;
use hume_runtime::sqlite::{self, Checkpoint};
use tracing::{error, info, warn};

use super::blocks;
use super::config::{Keeping, WhenFull};
use super::disk::{free_pages, used_bytes};
use super::epochs;
use super::retention::{self, Awaited, Forgotten, ROWS_PER_SMALL_STEP, ROWS_PER_STEP, Round, Rule};
use super::types::{SpoolError, rows_from};
use super::writer::{ACK_WAIT, Writer};

/// Between two looks for rows that may be forgotten, at the names of the files, and for room for the ballast.
pub(super) const RETENTION_EVERY: Duration = Duration::from_mins(1);
/// When nothing came for so long, the WAL may be copied back.
const QUIET_AFTER: Duration = Duration::from_secs(1);
/// The WAL is copied back when about so much was written to it and nothing waits.
const WAL_BYTES_IDLE: u64 = 4 * 1024 * 1024;
/// The WAL is copied back at this size even when something waits, and cut; sooner when the disk is nearly full.
const WAL_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The same on a full disk: a part of what the ballast held.
const WAL_BYTES_SMALL: u64 = 256 * 1024;
/// Between two tries to make room where there is none.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Pages that are given back to a full disk at a time: about 1 MiB of log.
const GIVE_BACK_PAGES: u32 = 128;

/// How far the retention goes for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Press {
    /// As far as its rule says.
    None,
    /// Whatever the master has may go.
    Acked,
    /// The oldest may go.
    Evict,
}

impl Writer {
    /// How long nothing needs to be looked after, if nothing comes.
    pub(super) fn idle_for(&self) -> Duration {
        let now = Instant::now();
        if let Some(again_at) = self.disk.again_at() {
            return again_at.saturating_duration_since(now);
        }
        let quiet = (self.wal_bytes >= WAL_BYTES_IDLE).then_some(QUIET_AFTER);
        let acks = (!self.acks.is_empty()).then(|| (self.acked_at + ACK_WAIT).saturating_duration_since(now));
        let forget = self.forget_at.saturating_duration_since(now);
        [quiet, acks].into_iter().flatten().fold(forget, Duration::min)
    }

    /// What is due. `idle` when nothing waits.
    pub(super) fn housekeeping(&mut self, idle: bool) {
        self.take_acks();
        if self.disk.again_at().is_some_and(|again_at| Instant::now() >= again_at) {
            self.repair();
        }
        if self.disk.trouble().is_some() {
            return;
        }
        if !self.acks.is_empty() && self.acked_at.elapsed() >= ACK_WAIT {
            self.write_acks();
        }
        if Instant::now() >= self.forget_at {
            self.look_around();
            self.forget();
        }
        self.copy_back(idle);
    }

    /// Whether the file is still there, and whether there is room for the ballast again.
    fn look_around(&mut self) {
        if self.disk.is_gone() {
            self.fail(sqlite::Fault::Failing, "its file is gone");
        }
        self.disk.ballast.restore();
        self.tell_room(true, false);
    }

    fn copy_back(&mut self, idle: bool) {
        if self.disk.trouble().is_some() {
            return;
        }
        let most = if self.disk.ballast.is_out() {
            WAL_BYTES_SMALL
        } else {
            self.disk.ballast.log_bytes_max(WAL_BYTES_MAX)
        };
        let kind = if self.wal_bytes >= most { Checkpoint::Truncate } else { Checkpoint::Passive };
        if kind == Checkpoint::Truncate || (idle && self.wal_bytes >= WAL_BYTES_IDLE) {
            // A failure has been acted on.
            let _ = self.checkpoint(kind);
        }
    }

    /// False when it failed.
    fn checkpoint(&mut self, kind: Checkpoint) -> bool {
        match sqlite::checkpoint(&self.connection, kind) {
            Ok(_) => self.wal_bytes = 0,
            Err(error) => {
                self.suffer_sqlite(&error, "copy the log back");
                return false;
            }
        }
        true
    }

    /// There is no room for an append: makes some, now.
    pub(super) fn press(&mut self) {
        self.press_later();
        self.forget_at = Instant::now();
    }

    /// There is no room for something else, such as making room: tries again, but not at once.
    pub(super) fn press_later(&mut self) {
        if self.press == Press::None {
            self.press = Press::Acked;
            self.round = Round::default();
        }
        self.forget_at = Instant::now() + FULL_PAUSE;
    }

    /// One step of the retention.
    fn forget(&mut self) {
        self.forget_at = Instant::now() + RETENTION_EVERY;
        let is_tight = self.disk.ballast.is_out();
        // First, because the log gives back more than its copy takes, and every step below makes it longer.
        if is_tight && !self.checkpoint(Checkpoint::Truncate) {
            return;
        }
        // What is acknowledged may go only when it is written that it is.
        self.write_acks();
        if self.disk.trouble().is_some() || !self.acks.is_empty() {
            return;
        }
        let rows_max = if is_tight { ROWS_PER_SMALL_STEP } else { ROWS_PER_STEP };
        let rule = self.rule();
        match retention::forget(&mut self.connection, rule, &mut self.round, rows_max) {
            Ok(forgotten) => self.forgot(forgotten),
            Err(SpoolError::Sql(error)) => drop(self.suffer(&error, "forget old events")),
            Err(error) => error!(%error, "could not forget old events"),
        }
        if is_tight {
            self.give_back();
        }
        self.keep_reserve();
    }

    /// Whether what is left is for root. What the master has then makes room for the others. Where the oldest give way,
    /// there is room for all again soon.
    pub(super) fn keep_reserve(&mut self) {
        if self.may_evict() {
            return;
        }
        let was_reserved = self.figures.get().reserved;
        let (at, less) = self.disk.reserved_at();
        let at = if was_reserved { at - less } else { at };
        let is_reserved = used_bytes(&self.connection).unwrap_or(0) >= at;
        match (was_reserved, is_reserved) {
            (false, true) => warn!("the spool is nearly full: what is left is for root"),
            (true, false) => info!("the spool has room for all users again"),
            (false, false) | (true, true) => {}
        }
        self.figures.update(|values| values.reserved = is_reserved);
        if is_reserved && self.press == Press::None && self.step().1 > 0 {
            self.press_later();
        }
    }

    /// What may go in this step.
    fn rule(&self) -> Rule {
        let (keeping, bytes) = self.step();
        let excess = match self.press {
            Press::None => used_bytes(&self.connection).unwrap_or(0).saturating_sub(self.disk.awaited_to()),
            // Room is wanted, from whom is all the same.
            Press::Acked | Press::Evict => bytes.saturating_sub(keeping.bytes_max),
        };
        let awaited = Awaited { floor: self.transfers.floor(), excess };
        Rule { keeping, bytes, awaited, now: clock::now() }
    }

    /// By which rule, and how many bytes may go.
    fn step(&self) -> (Keeping, u64) {
        let values = self.figures.get();
        let held = if self.keeping.acked_only { values.unacked_bytes } else { 0 };
        let may_go = values.event_bytes.saturating_sub(held);
        match self.press {
            Press::None => (self.keeping, may_go),
            Press::Acked => (Keeping { bytes_max: 0, ..self.keeping }, may_go),
            Press::Evict => {
                let excess = used_bytes(&self.connection).unwrap_or(0).saturating_sub(self.disk.evicted_to());
                (Keeping { acked_only: false, age_max: Duration::MAX, bytes_max: 0 }, excess)
            }
        }
    }

    fn forgot(&mut self, forgotten: Forgotten) {
        let Forgotten { events, bytes, of_open_runs, unacked, awaited, more } = forgotten;
        self.transfers.let_go(&awaited);
        if more {
            self.forget_at = Instant::now();
        }
        let press = self.press;
        self.press = self.press_after(events, more);
        if self.press != press {
            self.round = Round::default();
        }
        if events == 0 {
            return;
        }
        let evicted = if press == Press::Evict { unacked.0 } else { 0 };
        if evicted > 0 {
            warn!(
                events,
                evicted,
                of_open_runs,
                "the spool is full: removed the oldest events, as its configuration says"
            );
        } else {
            info!(events, of_open_runs, "forgot events, as the retention of the spool says");
        }
        // Rows of runs may be among what went.
        self.folds.clear();
        self.figures.update(|values| {
            values.events = values.events.saturating_sub(events);
            values.event_bytes = values.event_bytes.saturating_sub(bytes);
            values.acked(unacked);
            values.evicted += evicted;
        });
        self.measure();
    }

    /// How far the next step goes, after one that removed so many events; `more` when its round goes on.
    fn press_after(&mut self, events: u64, more: bool) -> Press {
        let used = || used_bytes(&self.connection).unwrap_or(0);
        let next = match self.press {
            Press::None => return Press::None,
            // Until it has made some room, or has seen everything.
            Press::Acked if events == 0 && more => Press::Acked,
            Press::Acked if events == 0 && self.may_evict() && used() >= self.disk.refused_at() => {
                Press::Evict
            }
            Press::Evict if (events > 0 || more) && used() > self.disk.evicted_to() => Press::Evict,
            Press::Acked | Press::Evict => Press::None,
        };
        if next != Press::None {
            self.forget_at = Instant::now();
        }
        next
    }

    fn may_evict(&self) -> bool {
        self.when_full == WhenFull::Evict && self.keeping.acked_only
    }

    /// Gives pages that hold nothing back to a full disk, a few at a time, until there is room for the ballast.
    fn give_back(&mut self) {
        if self.disk.trouble().is_some() {
            return;
        }
        if !self.checkpoint(Checkpoint::Truncate) || self.disk.ballast.restore() {
            return self.tell_room(true, false);
        }
        let sql = format!("PRAGMA incremental_vacuum({GIVE_BACK_PAGES})");
        let given = free_pages(&self.connection).and_then(|pages| match pages {
            0 => Ok(false),
            _ => self.connection.execute_batch(&sql).map(|()| true),
        });
        match given {
            Ok(true) => {
                if self.checkpoint(Checkpoint::Truncate) && !self.disk.ballast.restore() {
                    self.forget_at = Instant::now();
                }
            }
            Ok(false) => {}
            Err(error) => drop(self.suffer(&error, "give room back to the disk")),
        }
        self.tell_room(true, false);
        self.measure();
    }

    /// Tells whether there is room, when that has changed. `has_room` of what is known of the spool, `took` when it took
    /// something.
    pub(super) fn tell_room(&self, has_room: bool, took: bool) {
        let is_out = self.disk.ballast.is_out();
        let before = self.figures.get();
        let full = !has_room || (before.full && !took);
        if full && !before.full {
            warn!(used_bytes = before.file_bytes, "the spool is full: new events are refused");
        }
        if is_out && !before.disk_full {
            warn!("the disk of the spool is full: new events are refused, and the ballast is given up");
        }
        if (before.full && !full) || (before.disk_full && !is_out) {
            info!("the spool has room again");
        }
        self.figures.update(|values| (values.full, values.disk_full) = (full, is_out));
    }

    /// Sizes of the file and its WAL.
    pub(super) fn measure(&self) {
        let pages: i64 = self.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap_or(0);
        let file_bytes = pages as u64 * u64::from(sqlite::PAGE_BYTES) + sqlite::wal_bytes(&self.disk.path);
        self.figures.update(|values| values.file_bytes = file_bytes);
    }

    /// Counts everything: once, at the start.
    pub(super) fn count(&self) -> Result<(), SpoolError> {
        let (events, event_bytes) = self.connection.query_row(
            "SELECT coalesce(sum(events), 0), coalesce(sum(bytes), 0) FROM block",
            [],
            |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)),
        )?;
        let (mut unacked_events, mut unacked_bytes) = (0, 0);
        for epoch in epochs::all(&self.connection)? {
            let unacked = rows_from(epoch.no, epoch.acked.next());
            let (events, bytes) = blocks::amount(&self.connection, unacked)?;
            unacked_events += events;
            unacked_bytes += bytes;
        }
        self.figures.update(|values| {
            values.events = events;
            values.event_bytes = event_bytes;
            values.unacked_events = unacked_events;
            values.unacked_bytes = unacked_bytes;
        });
        self.measure();
        Ok(())
    }
}
