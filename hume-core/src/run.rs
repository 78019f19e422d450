//! What a run is: a fold over its events in order of position.
//!
//! [`RunState::open`] takes the first event, [`RunState::apply`] each later one; agent and master run the same fold, so they
//! agree. What is shown of it decides [`crate::status`]. Nothing here reads a clock or a store.

mod packed;

use serde::{Deserialize, Serialize};

use crate::event::{
    BootClock, Command, Correlation, End, Event, EventFlag, EventKind, Exit, Finding, Position, StoredEvent,
};
use crate::level::{LEVEL_COUNT, Level};
use crate::name::{AgentId, Epoch, EventId, HostName, RunId, Seq, TaskName};
use crate::time::Timestamp;

pub use self::packed::RunNames;

/// Longest text kept of the first error, in bytes.
pub const FIRST_ERROR_BYTES_MAX: usize = 512;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Its clock runs.
    Running,
    /// Between a pause and the next start.
    Paused,
    /// Over.
    Ended,
}

impl Phase {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Ended => "ended",
        }
    }
}

/// What is said of a run as a whole. Flags never hide events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunFlag {
    /// Another run of the task was open when it started.
    Overlapped,
    /// It has events from before a reset, which do not count.
    PreReset,
    /// It was only ever stopped.
    StopWithoutStart,
    /// No start opened it.
    Implicit,
    /// Its end is its own affair: the end of the process that started it says nothing.
    Detached,
    /// It took longer than it may.
    Overran,
    /// It took less than it should.
    TooShort,
    /// Events of it are known to be missing.
    Incomplete,
}

impl RunFlag {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            RunFlag::Overlapped => "overlapped",
            RunFlag::PreReset => "pre_reset",
            RunFlag::StopWithoutStart => "stop_without_start",
            RunFlag::Implicit => "implicit",
            RunFlag::Detached => "detached",
            RunFlag::Overran => "overran",
            RunFlag::TooShort => "too_short",
            RunFlag::Incomplete => "incomplete",
        }
    }
}

/// A moment by two clocks: the wall's, and the one nobody can turn back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Moment {
    time: Timestamp,
    boot: Option<([u8; 16], u64)>,
}

impl Moment {
    /// By the event's own word, but never later than it was known: a clock that was ahead hides nothing that comes after.
    fn of(stored: &StoredEvent) -> Moment {
        let StoredEvent { event, arrived_at, position: _ } = stored;
        let boot = event.boot_clock.map(|clock| (*clock.boot.as_bytes(), clock.micros));
        let known_at = arrived_at.map_or(event.received_at, |arrived| event.received_at.min(arrived));
        Moment { time: event.time.min(known_at), boot }
    }

    /// Microseconds from `earlier`: by the boot clock within one boot, else by the wall; never negative.
    fn micros_since(self, earlier: Moment) -> u64 {
        let micros = match (self.boot, earlier.boot) {
            (Some((boot, now)), Some((earlier_boot, then))) if boot == earlier_boot => {
                i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(i64::try_from(then).unwrap_or(i64::MAX))
            }
            _ => self.time.micros_since(earlier.time),
        };
        u64::try_from(micros).unwrap_or(0)
    }
}

/// The present, for runs that go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now(Moment);

impl Now {
    /// On another machine than the run's: only the wall clock can be compared.
    pub fn elsewhere(time: Timestamp) -> Now {
        Now(Moment { time, boot: None })
    }

    /// On the run's own host, where durations do not depend on the wall clock.
    pub fn here(time: Timestamp, clock: BootClock) -> Now {
        Now(Moment { time, boot: Some((*clock.boot.as_bytes(), clock.micros)) })
    }

    /// By the wall clock.
    pub fn time(self) -> Timestamp {
        self.0.time
    }
}

/// The first event of level error or critical.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstError {
    /// Which event.
    pub id: EventId,
    /// When.
    pub time: Timestamp,
    /// Its text, at most [`FIRST_ERROR_BYTES_MAX`] bytes.
    pub message: String,
}

/// First and last place of a run's events in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    epoch: [u8; 16],
    first: u64,
    last: u64,
}

impl Span {
    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        Epoch::from_bytes(self.epoch)
    }

    /// Place of its first event there.
    pub fn first(&self) -> Seq {
        Seq::new(self.first).unwrap_or(Seq::ZERO)
    }

    /// Place of its last event there.
    pub fn last(&self) -> Seq {
        Seq::new(self.last).unwrap_or(Seq::ZERO)
    }

    /// True when one of the places `from..=to` of `epoch` lies between the first and the last event.
    pub fn meets(&self, epoch: Epoch, from: Seq, to: Seq) -> bool {
        self.epoch() == epoch && from.get() <= self.last && to.get() >= self.first
    }
}

/// How a job ended, as it is kept: true and a signal, or false and a code.
fn parts(exit: Exit) -> (bool, i32) {
    match exit {
        Exit::Code(code) => (false, code),
        Exit::Signal(signal) => (true, signal),
    }
}

/// All that is known of a run after some of its events. The serialised form is kept by stores and can be made anew from the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    id: RunId,
    task: String,
    host: String,
    agent: Option<AgentId>,
    correlation: String,
    started: Moment,
    clock_from: Moment,
    latest: Moment,
    ended: Option<Moment>,
    paused: Option<Moment>,
    paused_us: u64,
    backdated_us: u64,
    by_level: [u64; LEVEL_COUNT],
    counted: [u64; LEVEL_COUNT],
    events: u64,
    declared: Option<usize>,
    exit: Option<(bool, i32)>,
    aborted: Option<String>,
    closed: Option<String>,
    #[serde(default)]
    ended_after: Option<Timestamp>,
    first_error: Option<FirstError>,
    flags: Vec<RunFlag>,
    spans: Vec<Span>,
}

impl RunState {
    /// The run that `stored` opens; none when the event belongs to no run.
    pub fn open(stored: &StoredEvent) -> Option<RunState> {
        let event = &stored.event;
        let run = event.run?;
        let moment = Moment::of(stored);
        let mut state = RunState {
            id: run.id,
            task: event.task.as_str().to_owned(),
            host: event.host.as_str().to_owned(),
            agent: stored.position.agent,
            correlation: run.correlation.as_str().to_owned(),
            started: moment,
            clock_from: moment,
            latest: moment,
            ended: None,
            paused: None,
            paused_us: 0,
            backdated_us: 0,
            by_level: [0; LEVEL_COUNT],
            counted: [0; LEVEL_COUNT],
            events: 0,
            declared: None,
            exit: None,
            aborted: None,
            closed: None,
            ended_after: None,
            first_error: None,
            flags: Vec::new(),
            spans: Vec::new(),
        };
        match event.command {
            Some(Command::CounterStart) => {}
            Some(Command::CounterStop) => {
                state.flag(RunFlag::StopWithoutStart);
                state.backdate(event);
            }
            Some(Command::CounterPause | Command::CounterReset | Command::Flag) | None => {
                state.flag(RunFlag::Implicit);
            }
        }
        state.apply(stored);
        Some(state)
    }

    /// Adds the next event of the run. Events of one run come in order of position.
    pub fn apply(&mut self, stored: &StoredEvent) {
        let StoredEvent { position, event, .. } = stored;
        let said = Moment::of(stored);
        // Nothing of a run happens before its start, whatever a clock that was set back says.
        let moment = Moment { time: said.time.max(self.started.time), ..said };
        self.extend_span(*position);
        if event.kind != EventKind::Reported {
            // What the clock found out about a run does not end it.
            let finding = event.finding.filter(|_| event.kind == EventKind::Run);
            if let Some((finding, end)) = finding.and_then(|finding| Some((finding, finding.end()?))) {
                self.conclude((finding, end), moment, event.not_before);
            }
            return;
        }
        // Whoever still reports is not gone: the verdict is withdrawn.
        if self.aborted.as_deref() == Some(Finding::ProcessGone.as_str()) {
            self.aborted = None;
            self.ended = None;
            self.ended_after = None;
        }
        self.latest = moment;
        self.events += 1;
        self.by_level[event.level.index()] += 1;
        self.counted[event.level.index()] += 1;
        for (said, flag) in
            [(EventFlag::Overlapped, RunFlag::Overlapped), (EventFlag::Detached, RunFlag::Detached)]
        {
            if event.flags.contains(&said) {
                self.flag(flag);
            }
        }
        if matches!(event.level, Level::Error | Level::Critical) && self.first_error.is_none() {
            let message = crate::fit::cut(&event.message, FIRST_ERROR_BYTES_MAX).to_owned();
            self.first_error = Some(FirstError { id: event.id, time: event.time, message });
        }
        if let Some(exit) = event.exit {
            self.exit = Some(parts(exit));
        }
        match event.command {
            Some(Command::CounterStart) => {
                self.resume(moment);
                self.flags.retain(|flag| *flag != RunFlag::Implicit);
            }
            Some(Command::CounterPause) => {
                if self.ended.is_none() && self.paused.is_none() {
                    self.paused = Some(moment);
                }
            }
            Some(Command::CounterReset) => {
                self.resume(moment);
                self.clock_from = moment;
                self.paused_us = 0;
                self.backdated_us = 0;
                self.counted = [0; LEVEL_COUNT];
                self.counted[event.level.index()] = 1;
                self.declared = None;
                self.exit = stored.event.exit.map(parts);
                if self.events > 1 {
                    self.flag(RunFlag::PreReset);
                }
            }
            // Only its level counts: the run goes on.
            Some(Command::CounterStop) if event.flags.contains(&EventFlag::InnerStop) => {}
            Some(Command::CounterStop) => {
                self.declared = Some(event.level.index());
                self.resume(moment);
                if self.ended.is_none() {
                    self.ended = Some(moment);
                }
            }
            Some(Command::Flag) | None => {}
        }
    }

    fn conclude(&mut self, (finding, end): (Finding, End), moment: Moment, not_before: Option<Timestamp>) {
        if self.ended.is_some() {
            return;
        }
        let word = finding.as_str().to_owned();
        let ended = match end {
            End::CutShort => {
                self.aborted = Some(word);
                self.ended_after = not_before;
                moment
            }
            // Nothing happened after the latest event: a run that merely came to its end ended there.
            End::Closed => {
                self.closed = Some(word);
                self.latest
            }
        };
        self.resume(ended);
        self.ended = Some(ended);
    }

    fn resume(&mut self, moment: Moment) {
        if let Some(since) = self.paused.take() {
            self.paused_us = self.paused_us.saturating_add(moment.micros_since(since));
        }
    }

    fn flag(&mut self, flag: RunFlag) {
        if let Err(place) = self.flags.binary_search(&flag) {
            self.flags.insert(place, flag);
        }
    }

    /// A stop without a start may say in `extra.duration` how many seconds the job took.
    fn backdate(&mut self, event: &Event) {
        let seconds =
            event.extra.iter().find(|(key, _)| key == "duration").and_then(|(_, v)| v.parse::<f64>().ok());
        if let Some(seconds) =
            seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0 && *seconds < 3.2e9)
        {
            self.backdated_us = (seconds * 1e6) as u64;
            self.started.time = self.started.time.plus_micros(-(self.backdated_us as i64));
        }
    }

    fn extend_span(&mut self, position: Position) {
        let (epoch, seq) = (*position.epoch.as_bytes(), position.seq.get());
        match self.spans.iter_mut().find(|span| span.epoch == epoch) {
            Some(span) => {
                span.first = span.first.min(seq);
                span.last = span.last.max(seq);
            }
            None => self.spans.push(Span { epoch, first: seq, last: seq }),
        }
    }

    /// The events of `from` beyond the place `after` stand in `to` now, each `after` places lower.
    pub fn restamp(&mut self, from: Epoch, after: Seq, to: Epoch) {
        let (after, mut moved) = (after.get(), Vec::new());
        self.spans.retain_mut(|span| {
            if span.epoch() != from || span.last <= after {
                return true;
            }
            let first = span.first.saturating_sub(after).max(1);
            moved.push(Span { epoch: *to.as_bytes(), first, last: span.last - after });
            let stays = span.first <= after;
            span.last = after;
            stays
        });
        self.spans.extend(moved);
    }

    /// The run.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Its task.
    pub fn task(&self) -> TaskName {
        TaskName::parse(&self.task).unwrap_or_else(|_| TaskName::none())
    }

    /// Its host's name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// True when it ran on `host`.
    pub fn is_on(&self, host: &HostName) -> bool {
        self.host == host.as_str()
    }

    /// The agent that reported it; none on a host without a master.
    pub fn agent(&self) -> Option<AgentId> {
        self.agent
    }

    /// The rule by which its first event was placed.
    pub fn correlation(&self) -> Correlation {
        Correlation::from_word(&self.correlation).unwrap_or(Correlation::Implicit)
    }

    /// When it started.
    pub fn started_at(&self) -> Timestamp {
        self.started.time
    }

    /// When it ended, if it has.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended.map(|moment| moment.time)
    }

    /// When its end is only known to lie in an interval: where that begins; it ends at [`ended_at`](Self::ended_at).
    pub fn ended_after(&self) -> Option<Timestamp> {
        self.ended_after
    }

    /// True when it was cut short.
    pub fn is_aborted(&self) -> bool {
        self.aborted.is_some()
    }

    /// True when nothing is known of how long it took: it was only ever stopped, and the stop did not say.
    pub fn has_no_length(&self) -> bool {
        self.flags.contains(&RunFlag::StopWithoutStart) && self.backdated_us == 0
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        if self.ended.is_some() {
            Phase::Ended
        } else if self.paused.is_some() {
            Phase::Paused
        } else {
            Phase::Running
        }
    }

    /// Microseconds from the start (or the last reset) to the end, pauses included; to `now` while it goes on.
    pub fn duration_us(&self, now: Now) -> u64 {
        self.end(now).micros_since(self.clock_from).saturating_add(self.backdated_us)
    }

    /// Microseconds paused since the start or the last reset; a pause that still lasts counts to `now`.
    pub fn paused_us(&self, now: Now) -> u64 {
        self.paused_us.saturating_add(self.paused.map_or(0, |since| self.end(now).micros_since(since)))
    }

    fn end(&self, now: Now) -> Moment {
        self.ended.unwrap_or(now.0)
    }

    /// Reported events, by [`Level::index`].
    pub fn by_level(&self) -> &[u64; LEVEL_COUNT] {
        &self.by_level
    }

    /// Reported events that count for the status, those since the last reset, by [`Level::index`].
    pub fn counted(&self) -> &[u64; LEVEL_COUNT] {
        &self.counted
    }

    /// The level of the stop.
    pub fn declared(&self) -> Option<Level> {
        self.declared.and_then(Level::from_index)
    }

    /// Reported events in all.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The first error, if there was one.
    pub fn first_error(&self) -> Option<&FirstError> {
        self.first_error.as_ref()
    }

    /// How the job ended, in its own words.
    pub fn exit(&self) -> Option<Exit> {
        self.exit.map(|(signal, value)| if signal { Exit::Signal(value) } else { Exit::Code(value) })
    }

    /// Its flags, sorted.
    pub fn flags(&self) -> &[RunFlag] {
        &self.flags
    }

    /// Why it was cut short or closed, when nobody reported its end.
    pub fn reason(&self) -> Option<&str> {
        self.aborted.as_deref().or(self.closed.as_deref())
    }

    /// True when the places `from..=to` of the span's epoch may have held events of this run: those between its first and
    /// its last event there, and all later ones while its end is not known.
    pub fn may_have_had(&self, span: &Span, from: Seq, to: Seq) -> bool {
        let is_open = self.ended.is_none() && self.spans.last() == Some(span);
        span.meets(span.epoch(), from, to) || (is_open && to.get() >= span.first)
    }

    /// Where its events stand, one span per epoch.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }
}
