//! The clock that finds what did not happen: follows the log and the heartbeats, and judges the slots of all watches.
//!
//! One loop. What it knows of a course is in the store: each step reads it there, and writes what was found and what follows in
//! one transaction, so it can end anywhere. A watermark is believed only after the log was read to its end, since everything that
//! it speaks of was stored before it came. While judgement is held (after a start, and when many agents are lost at once) runs are
//! taken in and nothing is concluded from silence.

mod begin;
mod config;
mod declared;
mod hand;
mod reach;
mod roster;
mod sessions;
mod step;
mod tell;

use std::sync::Arc;
use std::time::Duration;

use hume_core::page::EventCursor;
use hume_core::policy::Policies;
use hume_core::reach::Hold;
use hume_core::run::Now;
use hume_core::slot::{Circumstances, RunSeen};
use hume_core::watch::Watch;
use hume_core::{Event, EventId, HostName, Timestamp, status};
use hume_runtime::task_group::Stop;
use hume_runtime::{clock, random};
use tokio::sync::watch;

pub use self::config::WatchdogConfig;
pub use self::declared::Declared;
use self::reach::{Incident, Reach};
use self::roster::Roster;
use self::sessions::{Sessions, skew_us};
use self::step::Step;
use crate::intake::{Findings, IntakeError};
use crate::store::{
    CourseKey, EventReader, HostNo, Note, RunReader, RunRecord, RunsAfter, StoreError, Watching,
};

/// Courses that are taken up in one step, and runs.
const COURSES_PER_STEP: usize = 256;
const RUNS_PER_STEP: usize = 256;
/// Steps of one look; what is left is looked at next.
const STEPS_PER_LOOK: usize = 256;
/// The clocks are looked at this often, however long nothing is due: the wall clock may jump.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// Between two looks, so that what comes together is looked at together.
const PAUSE: Duration = Duration::from_millis(200);
/// After a failure of the store.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// The place in the log is written down with what changes, and after so many microseconds.
const CURSOR_EVERY_US: i64 = 60_000_000;

/// All that the watchdog asks of the store.
pub trait Store: Watching + EventReader + RunReader {}

impl<T: Watching + EventReader + RunReader> Store for T {}

/// The room.
pub struct Watchdog {
    store: Arc<dyn Store>,
    door: Findings,
    config: WatchdogConfig,
    policies: Arc<Policies>,
    roster: Roster,
    sessions: Sessions,
    reach: Reach,
    /// The master's own host, of which is told what is no agent's fault; and that many agents are lost, once that was told.
    host: HostName,
    is_incident: bool,
    /// The log was taken in up to here, and when that was last written down.
    cursor: EventCursor,
    noted_at: Timestamp,
}

/// The step could not be made; nothing of it was kept.
#[derive(Debug, thiserror::Error)]
enum WatchdogError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Intake(#[from] IntakeError),
}

impl Watchdog {
    /// Of this store; what it finds goes in by this door.
    pub fn new(
        store: Arc<dyn Store>,
        door: Findings,
        config: WatchdogConfig,
        policies: Arc<Policies>,
        host: HostName,
    ) -> Watchdog {
        Watchdog {
            store,
            door,
            config,
            policies,
            roster: Roster::default(),
            sessions: Sessions::default(),
            reach: Reach::default(),
            host,
            is_incident: false,
            cursor: EventCursor::START,
            noted_at: Timestamp::EPOCH,
        }
    }

    /// Watches until `stop`; `wanted` may change at any time.
    pub async fn run(mut self, wanted: watch::Receiver<Arc<[Watch]>>, stop: Stop) -> anyhow::Result<()> {
        // What is under way is whole in the store, or not there at all.
        tokio::select! {
            () = stop.wait() => Ok(()),
            never = self.watch(wanted) => match never {},
        }
    }

    async fn watch(&mut self, mut wanted: watch::Receiver<Arc<[Watch]>>) -> std::convert::Infallible {
        let (mut heard, mut end) = (self.store.heard(), self.store.end());
        let mut is_begun = false;
        loop {
            if wanted.has_changed().unwrap_or(false) {
                is_begun = false;
            }
            heard.mark_unchanged();
            end.mark_unchanged();
            let looked = self.look(&mut is_begun, &mut wanted).await;
            let pause = looked.unwrap_or_else(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "could not judge what is expected");
                is_begun = false;
                RETRY_AFTER
            });
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                Ok(()) = wanted.changed() => is_begun = false,
                Ok(()) = heard.changed() => {}
                Ok(()) = end.changed(), if !self.roster.is_empty() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Takes in what came, and looks at what is due. Answers after how long something will be.
    async fn look(
        &mut self,
        is_begun: &mut bool,
        wanted: &mut watch::Receiver<Arc<[Watch]>>,
    ) -> Result<Duration, WatchdogError> {
        if !*is_begun {
            let watches = wanted.borrow_and_update().clone();
            self.begin(&watches).await?;
            *is_begun = true;
        }
        // Before the log is read: what these watermarks speak of was stored before they came.
        let seen = self.store.sessions();
        if self.sessions.meet(&seen) {
            self.reach.know(self.store.reach().await?);
            self.meet_hosts().await?;
        }
        if !self.roster.is_empty() {
            self.read_log().await?;
        }
        let now = clock::now();
        self.reach.see(&seen);
        let (sessions, reach) = (&mut self.sessions, &self.reach);
        sessions.update(&seen, now, self.config.agent_down_after, |agent| reach.said_goodbye(agent));
        let hold = self.sessions.hold(now);
        self.tell_incident(hold, now).await?;
        let next = match hold {
            Hold::Starting(until) | Hold::Incident(until) => Some(until),
            Hold::None => {
                let host = self.tell_hosts(now).await?;
                host.into_iter().chain(self.look_at_due(now).await?).min()
            }
        };
        let until_next = next.map(|next| u64::try_from(next.micros_since(clock::now())).unwrap_or(0));
        Ok(until_next.map_or(LOOK_EVERY, Duration::from_micros).min(LOOK_EVERY))
    }

    /// Says which hosts are lost or back; when there may be more to say.
    async fn tell_hosts(&mut self, now: Timestamp) -> Result<Option<Timestamp>, WatchdogError> {
        let roster = &self.roster;
        let (turns, next) =
            self.reach.judge(now, self.config.agent_down_after, |host| roster.may_sleep(host));
        if turns.is_empty() {
            return Ok(next);
        }
        let found = turns.iter().map(|turn| turn.event(EventId::mint(now, random::bytes()), now));
        let note =
            Note { reach: turns.iter().map(|turn| turn.noted(now)).collect(), at: now, ..Note::default() };
        self.admit(found.collect(), note).await?;
        for turn in &turns {
            self.reach.told(turn, now);
        }
        Ok(next)
    }

    /// Says once that many agents are lost at once, and once that this is over.
    async fn tell_incident(&mut self, hold: Hold, now: Timestamp) -> Result<(), WatchdogError> {
        let event = |turn| reach::incident(EventId::mint(now, random::bytes()), &self.host, now, turn);
        let (found, is_incident) = match (hold, self.is_incident) {
            (Hold::Incident(_), false) => (event(Incident::Begins), true),
            (Hold::None, true) => (event(Incident::IsOver), false),
            (Hold::None | Hold::Starting(_) | Hold::Incident(_), _) => return Ok(()),
        };
        self.admit(vec![found], Note { at: now, ..Note::default() }).await?;
        self.is_incident = is_incident;
        Ok(())
    }

    async fn admit(&self, found: Vec<Event>, note: Note) -> Result<(), WatchdogError> {
        for event in &found {
            tracing::info!(host = %event.host, task = %event.task, "{}", event.message);
        }
        Ok(self.door.admit(found, note).await?)
    }

    async fn read_log(&mut self) -> Result<(), WatchdogError> {
        loop {
            let RunsAfter { runs, next, at_end } = self.store.runs_after(self.cursor, RUNS_PER_STEP).await?;
            self.take_in(runs, next).await?;
            self.cursor = next;
            if at_end {
                return Ok(());
            }
        }
    }

    /// What became of these runs, up to this place of the log.
    async fn take_in(&mut self, runs: Vec<RunRecord>, cursor: EventCursor) -> Result<(), WatchdogError> {
        let now = clock::now();
        if runs.iter().any(|run| self.roster.host_named(run.state.host()).is_none()) {
            self.meet_hosts().await?;
        }
        let mut of_courses = Vec::with_capacity(runs.len());
        for run in &runs {
            let Some(host) = self.roster.host_named(run.state.host()) else { continue };
            let keys = self.roster.courses_of(&run.state.task(), host);
            of_courses.push((self.seen(run, now), host, keys));
        }
        let mut keys: Vec<CourseKey> = of_courses.iter().flat_map(|(_, _, keys)| keys).copied().collect();
        keys.sort_unstable();
        keys.dedup();
        let mut step = Step::new(now);
        step.take(self.store.courses(keys).await?, &self.roster);
        for (run, host, keys) in of_courses {
            for key in keys {
                self.take_run(&mut step, key, host, run).await?;
            }
        }
        self.write(step, Some(cursor)).await
    }

    async fn take_run(
        &self,
        step: &mut Step,
        key: CourseKey,
        host: HostNo,
        run: RunSeen,
    ) -> Result<(), WatchdogError> {
        let (Some(watched), Some(on)) = (self.roster.watched(key.watch), self.roster.host(host)) else {
            return Ok(());
        };
        let known = self.known(host, step.now());
        let Some(held) = step.held(key) else { return Ok(()) };
        let settled = match held.wants_settled(&run) {
            Some(moment) => self.store.slot_at(key, moment).await?,
            None => None,
        };
        let findings = held.run(run, settled, &known);
        step.say(&findings, &watched, on);
        Ok(())
    }

    /// Looks at all courses that are due; when the next one will be.
    async fn look_at_due(&mut self, now: Timestamp) -> Result<Option<Timestamp>, WatchdogError> {
        let fresh = self.sessions.fresh();
        let hosts = self.roster.hosts().filter(|host| fresh.contains(&host.agent));
        let watermarks: Vec<_> = hosts.map(|host| (host.no, self.sessions.watermark(host.agent))).collect();
        for _ in 0..STEPS_PER_LOOK {
            let due = self.store.due(now, watermarks.clone(), COURSES_PER_STEP).await?;
            if due.courses.is_empty() {
                self.sessions.looked();
                return Ok(due.next);
            }
            let mut step = Step::new(now);
            step.take(due.courses, &self.roster);
            for key in step.keys() {
                let known = self.known(key.host, now);
                let (watched, host) = (self.roster.watched(key.watch), self.roster.host(key.host));
                let (Some(held), Some(watched), Some(host)) = (step.held(key), watched, host) else {
                    continue;
                };
                let findings = held.look(&known);
                step.say(&findings, &watched, host);
            }
            self.write(step, None).await?;
        }
        Ok(Some(now))
    }

    async fn write(&mut self, step: Step, cursor: Option<EventCursor>) -> Result<(), WatchdogError> {
        let now = step.now();
        let (found, mut note) = step.finish();
        let is_quiet = found.is_empty() && note.courses.is_empty() && note.ended.is_empty();
        if is_quiet && now.micros_since(self.noted_at).abs() < CURSOR_EVERY_US {
            return Ok(());
        }
        note.cursor = cursor.or(Some(self.cursor));
        self.admit(found, note).await?;
        self.noted_at = now;
        Ok(())
    }

    fn known(&self, host: HostNo, now: Timestamp) -> Circumstances<'static> {
        let agent = self.roster.host(host).map(|host| host.agent);
        Circumstances {
            now,
            watermark: agent.map_or(Timestamp::EPOCH, |agent| self.sessions.watermark(agent)),
            is_held: self.sessions.hold(now) != Hold::None,
            off: &[],
            down_after: self.config.agent_down_after,
            has_run: false,
        }
    }

    /// A run as slots see it, by the master's clock.
    fn seen(&self, run: &RunRecord, now: Timestamp) -> RunSeen {
        let skew = skew_us(run.agent_behind_us);
        let there = Now::elsewhere(now.plus_micros(-skew));
        let silent_us = u64::try_from(now.micros_since(run.agent_seen_at)).unwrap_or(0);
        let circumstances = status::Circumstances {
            now: there,
            complete: run.gaps.is_empty(),
            agent_silent_for: Duration::from_micros(silent_us),
        };
        let policy = self.policies.of(&run.state.task());
        let judged = status::judge(&run.state, &policy, circumstances);
        RunSeen::of(&run.state, &judged, there).shifted(skew)
    }
}
