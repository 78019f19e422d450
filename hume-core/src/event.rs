//! What happened: the event from the moment a script says it until it rests in a store.
//!
//! [`Draft`] is what a caller said, within bounds; [`Event`] is what was accepted; [`StoredEvent`] is what a store
//! answers. The bounds stand here and are enforced by [`Draft::check`] and [`Event::check`] and nowhere else; `fit` cuts to
//! the same ones.

mod finding;

use crate::error::BoundError;
use crate::level::Level;
use crate::name::{AgentId, BootId, Epoch, EventId, FlagName, HostName, RunId, RunKey, Seq, Tag, TaskName};
use crate::policy::Overlap;
use crate::process::Chain;
use crate::time::Timestamp;

pub use self::finding::{End, Finding};

/// Most tags of one event.
pub const TAGS_MAX: usize = 32;
/// Longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Most extra pairs of one event.
pub const EXTRA_PAIRS_MAX: usize = 64;
/// Most bytes of all extra keys and values together.
pub const EXTRA_BYTES_MAX: usize = 32 * 1024;
/// Longest process tree sent by `hume -a`, in bytes.
pub const TREE_BYTES_MAX: usize = 16 * 1024;
/// Longest unit, working folder or script, in bytes.
pub const SURROUNDINGS_BYTES_MAX: usize = 4096;
/// Longest name of a user, in bytes.
pub const USER_BYTES_MAX: usize = 256;
/// Longest line of the local protocol, in bytes, its newline included.
pub const LINE_BYTES_MAX: usize = 256 * 1024;
/// Longest event on the wire, in bytes. The bounds above keep every accepted event below it.
pub const EVENT_BYTES_MAX: usize = 128 * 1024;

/// Who made an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum EventKind {
    /// A script reported it.
    #[default]
    Reported,
    /// The agent found it out about a run (aborted, superseded, closed when idle).
    Run,
    /// The clock found it out (missed, late).
    Watchdog,
    /// The master found it out about a host (unreachable, back).
    Host,
    /// hume says it of itself.
    System,
}

impl EventKind {
    /// All kinds, in the order of their stable numbers.
    pub const ALL: [EventKind; 5] =
        [EventKind::Reported, EventKind::Run, EventKind::Watchdog, EventKind::Host, EventKind::System];

    /// The word used in JSON and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Reported => "reported",
            EventKind::Run => "run",
            EventKind::Watchdog => "watchdog",
            EventKind::Host => "host",
            EventKind::System => "system",
        }
    }

    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<EventKind> {
        EventKind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Place in [`EventKind::ALL`]: the stable number used in stores.
    pub fn index(self) -> usize {
        match self {
            EventKind::Reported => 0,
            EventKind::Run => 1,
            EventKind::Watchdog => 2,
            EventKind::Host => 3,
            EventKind::System => 4,
        }
    }
}

/// What an event does to the run of its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Opens a run, or resumes a paused one.
    CounterStart,
    /// Stops the run's clock until the next start.
    CounterPause,
    /// Closes the run.
    CounterStop,
    /// Starts the run's clock anew; earlier events no longer count.
    CounterReset,
    /// Marks a point on the run's time line.
    Flag,
}

impl Command {
    /// All commands.
    pub const ALL: [Command; 5] = [
        Command::CounterStart,
        Command::CounterPause,
        Command::CounterStop,
        Command::CounterReset,
        Command::Flag,
    ];

    /// The word used in flags and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Command::CounterStart => "counter-start",
            Command::CounterPause => "counter-pause",
            Command::CounterStop => "counter-stop",
            Command::CounterReset => "counter-reset",
            Command::Flag => "flag",
        }
    }

    /// The command with this word.
    pub fn from_word(word: &str) -> Option<Command> {
        Command::ALL.into_iter().find(|command| command.as_str() == word)
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// What is said of an event as a whole, beside its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventFlag {
    /// `hume` had to cut or escape something.
    Mangled,
    /// Another run of the same task was open when this one started.
    Overlapped,
    /// A stop that matched none of several open runs.
    UnmatchedStop,
    /// A run key of another task came with the environment and was ignored.
    KeyIgnored,
    /// The end of the process that starts this run says nothing about the run.
    Detached,
    /// A start that did not happen: another run of the task was open, and only one may be.
    OverlapRefused,
    /// A stop from inside a run that is stopped by what runs it, as `hume exec` does.
    InnerStop,
    /// The agent hid a secret in it.
    Redacted,
}

impl EventFlag {
    /// All flags.
    pub const ALL: [EventFlag; 8] = [
        EventFlag::Mangled,
        EventFlag::Overlapped,
        EventFlag::UnmatchedStop,
        EventFlag::KeyIgnored,
        EventFlag::Detached,
        EventFlag::OverlapRefused,
        EventFlag::InnerStop,
        EventFlag::Redacted,
    ];

    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            EventFlag::Mangled => "mangled",
            EventFlag::Overlapped => "overlapped",
            EventFlag::UnmatchedStop => "unmatched_stop",
            EventFlag::KeyIgnored => "key_ignored",
            EventFlag::Detached => "detached",
            EventFlag::OverlapRefused => "overlap_refused",
            EventFlag::InnerStop => "inner_stop",
            EventFlag::Redacted => "redacted",
        }
    }

    /// The flag with this word.
    pub fn from_word(word: &str) -> Option<EventFlag> {
        EventFlag::ALL.into_iter().find(|flag| flag.as_str() == word)
    }
}

/// How the run of an event was found (see semantics in `docs/ARCHITECTURE.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Correlation {
    /// By the caller's run key.
    Explicit,
    /// By common ancestors of the calling processes.
    Ancestry,
    /// By systemd's invocation id.
    Unit,
    /// It was the only open run of its host, task and user.
    OnlyOpen,
    /// Opened by the event itself.
    Implicit,
}

impl Correlation {
    /// All rules, in the order in which they are tried.
    pub const ALL: [Correlation; 5] = [
        Correlation::Explicit,
        Correlation::Ancestry,
        Correlation::Unit,
        Correlation::OnlyOpen,
        Correlation::Implicit,
    ];

    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Correlation::Explicit => "explicit",
            Correlation::Ancestry => "ancestry",
            Correlation::Unit => "unit",
            Correlation::OnlyOpen => "only-open",
            Correlation::Implicit => "implicit",
        }
    }

    /// The rule with this word.
    pub fn from_word(word: &str) -> Option<Correlation> {
        Correlation::ALL.into_iter().find(|rule| rule.as_str() == word)
    }
}

/// The run an event belongs to, and how that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunRef {
    /// The run.
    pub id: RunId,
    /// The rule that found it.
    pub correlation: Correlation,
}

/// A reading of `CLOCK_BOOTTIME`, which no administrator can turn back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootClock {
    /// The boot it belongs to.
    pub boot: BootId,
    /// Microseconds since that boot.
    pub micros: u64,
}

/// The process that reported, in the kernel's word where there is one.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Process {
    /// Its process id; none when it is in another pid namespace.
    pub pid: Option<u32>,
    /// Its user id.
    pub uid: Option<u32>,
    /// The user's name on that host, if it could be resolved.
    pub user: Option<String>,
    /// The script it runs, if one can be told from the command line of its owner.
    pub script: Option<String>,
    /// systemd's invocation id.
    pub unit: Option<String>,
    /// The process tree, when `hume -a` was asked for it.
    pub tree: Option<String>,
    /// True when `hume` captured this itself because the agent was away.
    pub captured_by_cli: bool,
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who it is.
    pub id: EventId,
    /// Who made it.
    pub kind: EventKind,
    /// When it happened, by the reporter's clock.
    pub time: Timestamp,
    /// When the agent received it.
    pub received_at: Timestamp,
    /// `CLOCK_BOOTTIME` at `time`, when known.
    pub boot_clock: Option<BootClock>,
    /// Where it happened.
    pub host: HostName,
    /// The task it is about; empty for a plain note.
    pub task: TaskName,
    /// Its labels, at most [`TAGS_MAX`], no doubles.
    pub tags: Vec<Tag>,
    /// How serious it is.
    pub level: Level,
    /// What it does to its run.
    pub command: Option<Command>,
    /// The mark it sets on the time line.
    pub flag: Option<FlagName>,
    /// The text, at most [`MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
    /// The text's true length in bytes, when it was cut.
    pub truncated_from: Option<u64>,
    /// More facts, in the order given.
    pub extra: Vec<(String, String)>,
    /// How the job ended, when the reporter said so.
    pub exit: Option<Exit>,
    /// The script's line, from `LINENO`.
    pub line: Option<u32>,
    /// Who reported.
    pub process: Process,
    /// The run it belongs to; none for plain notes and unmatched stops.
    pub run: Option<RunRef>,
    /// What ended the run, for events of kind `run`.
    pub finding: Option<Finding>,
    /// When what was found lies in an interval: where that begins; `time` is where it ends.
    pub not_before: Option<Timestamp>,
    /// What is said of it as a whole; sorted, no doubles.
    pub flags: Vec<EventFlag>,
}

impl Event {
    /// A reported event of level info, of which nothing else is known.
    pub fn new(id: EventId, host: HostName, time: Timestamp) -> Event {
        Event {
            id,
            kind: EventKind::Reported,
            time,
            received_at: time,
            boot_clock: None,
            host,
            task: TaskName::none(),
            tags: Vec::new(),
            level: Level::Info,
            command: None,
            flag: None,
            message: String::new(),
            truncated_from: None,
            extra: Vec::new(),
            exit: None,
            line: None,
            process: Process::default(),
            run: None,
            finding: None,
            not_before: None,
            flags: Vec::new(),
        }
    }

    /// Checks every bound that a name's type does not hold already: what holds them has room on the wire, in any store and
    /// in any answer.
    ///
    /// # Errors
    /// The first [`BoundError`], naming field and bound.
    pub fn check(&self) -> Result<(), BoundError> {
        if self.tags.len() > TAGS_MAX {
            return Err(BoundError::new("tags", format!("has more than {TAGS_MAX} tags")));
        }
        check_texts(&self.message, &self.extra, self.process.tree.as_deref())?;
        let Process { user, script, unit, .. } = &self.process;
        at_most("user", user.as_ref().map_or(0, String::len), USER_BYTES_MAX)?;
        check_surroundings([("unit", unit), ("script", script)])
    }
}

/// Place of an event: orders, acknowledges, proves completeness. Identifies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The agent whose spool it is; none on a host without a master.
    pub agent: Option<AgentId>,
    /// The sequence space.
    pub epoch: Epoch,
    /// The place in it.
    pub seq: Seq,
}

/// An event as a store answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Where it stands.
    pub position: Position,
    /// When the master stored it; none on the agent.
    pub arrived_at: Option<Timestamp>,
    /// The event.
    pub event: Event,
}

/// Where a run key came from: a key of another task is ignored from the environment and refused from the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `--run-id`, or a program that named it itself.
    Flag,
    /// `HUME_RUN_ID`.
    Environment,
}

/// A caller's run key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftKey {
    /// The key.
    pub key: RunKey,
    /// Where it came from.
    pub source: KeySource,
    /// The task it was made for, when the exporter said so.
    pub task: Option<TaskName>,
}

/// How a start is to be taken while another run of the task is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlapWish {
    /// As the policy of the task says.
    Policy,
    /// So, whatever the policy says.
    Only(Overlap),
    /// As the policy says, but the job has begun: nobody can keep it from running any more.
    Begun,
}

/// What the caller says of its surroundings; used where the kernel's word is missing, and only for the same uid.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Caller {
    /// The caller's own pid.
    pub pid: Option<u32>,
    /// Its parent when it started.
    pub ppid: Option<u32>,
    /// Its session.
    pub session: Option<u32>,
    /// systemd's `INVOCATION_ID`.
    pub unit: Option<String>,
    /// Its working folder.
    pub cwd: Option<String>,
    /// `CLOCK_BOOTTIME` when it made the draft.
    pub boot_clock: Option<BootClock>,
    /// Its ancestors, when it captured them because the agent was away.
    pub chain: Option<Chain>,
    /// The script, when it captured that.
    pub script: Option<String>,
}

/// What a caller said: within bounds, not yet accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Minted by the caller.
    pub id: EventId,
    /// When it happened; the receiver's clock when the caller has none.
    pub time: Option<Timestamp>,
    /// Only with `--hostname`.
    pub host: Option<HostName>,
    /// See [`Event::task`].
    pub task: TaskName,
    /// See [`Event::tags`].
    pub tags: Vec<Tag>,
    /// See [`Event::level`].
    pub level: Level,
    /// See [`Event::command`].
    pub command: Option<Command>,
    /// See [`Event::flag`].
    pub flag: Option<FlagName>,
    /// See [`Event::message`].
    pub message: String,
    /// See [`Event::truncated_from`].
    pub truncated_from: Option<u64>,
    /// See [`Event::extra`].
    pub extra: Vec<(String, String)>,
    /// See [`Event::exit`].
    pub exit: Option<Exit>,
    /// See [`Event::line`].
    pub line: Option<u32>,
    /// The process tree, from `hume -a`.
    pub tree: Option<String>,
    /// The run to join.
    pub key: Option<DraftKey>,
    /// With a start: the end of the process that starts the run says nothing about the run.
    pub detach: bool,
    /// With a start: what to do when another run of the task is open, from a caller that runs the job itself.
    pub overlap: Option<OverlapWish>,
    /// True when `hume` cut or escaped something.
    pub mangled: bool,
    /// The caller's surroundings.
    pub caller: Caller,
}

impl Draft {
    /// A draft of level info with nothing but an id and a task.
    pub fn new(id: EventId, task: TaskName) -> Draft {
        Draft {
            id,
            time: None,
            host: None,
            task,
            tags: Vec::new(),
            level: Level::Info,
            command: None,
            flag: None,
            message: String::new(),
            truncated_from: None,
            extra: Vec::new(),
            exit: None,
            line: None,
            tree: None,
            key: None,
            detach: false,
            overlap: None,
            mangled: false,
            caller: Caller::default(),
        }
    }

    /// Checks every bound that a name's type does not hold already, and drops repeated tags (the first stays).
    ///
    /// # Errors
    /// The first [`BoundError`], naming field and bound.
    pub fn check(mut self) -> Result<Draft, BoundError> {
        let mut kept: Vec<Tag> = Vec::with_capacity(self.tags.len().min(TAGS_MAX));
        for tag in self.tags {
            if !kept.contains(&tag) {
                if kept.len() == TAGS_MAX {
                    return Err(BoundError::new("tags", format!("has more than {TAGS_MAX} tags")));
                }
                kept.push(tag);
            }
        }
        self.tags = kept;
        check_texts(&self.message, &self.extra, self.tree.as_deref())?;
        let Caller { unit, cwd, script, .. } = &self.caller;
        check_surroundings([("unit", unit), ("cwd", cwd), ("script", script)])?;
        if self.command == Some(Command::Flag) && self.flag.is_none() {
            return Err(BoundError::new("flag", "is missing: the command `flag` needs a name"));
        }
        if self.command.is_some_and(|command| command != Command::Flag) && self.task.is_none() {
            return Err(BoundError::new("task", "is missing: a counter command needs one"));
        }
        let is_start = self.command == Some(Command::CounterStart);
        for (field, is_given) in [("detach", self.detach), ("overlap", self.overlap.is_some())] {
            if is_given && !is_start {
                return Err(BoundError::new(field, "belongs to counter-start only"));
            }
        }
        if let Some(key) = &self.key
            && key.source == KeySource::Flag
            && key.task.as_ref().is_some_and(|task| *task != self.task)
        {
            return Err(BoundError::new("run_key", "belongs to another task"));
        }
        Ok(self)
    }
}

fn check_texts(message: &str, extra: &[(String, String)], tree: Option<&str>) -> Result<(), BoundError> {
    at_most("message", message.len(), MESSAGE_BYTES_MAX)?;
    if extra.len() > EXTRA_PAIRS_MAX {
        return Err(BoundError::new(
            "extra",
            format!("has {} pairs; at most {EXTRA_PAIRS_MAX} are allowed", extra.len()),
        ));
    }
    if extra.iter().any(|(key, _)| key.is_empty()) {
        return Err(BoundError::new("extra", "has an empty key"));
    }
    at_most("extra", extra.iter().map(|(k, v)| k.len() + v.len()).sum(), EXTRA_BYTES_MAX)?;
    at_most("tree", tree.map_or(0, str::len), TREE_BYTES_MAX)
}

fn check_surroundings<const N: usize>(texts: [(&'static str, &Option<String>); N]) -> Result<(), BoundError> {
    texts.into_iter().try_for_each(|(field, text)| {
        at_most(field, text.as_ref().map_or(0, String::len), SURROUNDINGS_BYTES_MAX)
    })
}

fn at_most(field: &'static str, bytes: usize, bytes_max: usize) -> Result<(), BoundError> {
    if bytes > bytes_max {
        return Err(BoundError::new(field, format!("has {bytes} bytes; at most {bytes_max} are allowed")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft::new(EventId::from_bytes([1; 16]), TaskName::parse("BACKUP").unwrap())
    }

    #[test]
    fn repeated_tags_are_dropped_before_they_are_counted() {
        let tags = (0..100).map(|n| Tag::parse(&format!("t{}", n % 3)).unwrap()).collect();
        assert_eq!(Draft { tags, ..draft() }.check().unwrap().tags.len(), 3);
        let tags = (0..=TAGS_MAX).map(|n| Tag::parse(&format!("t{n}")).unwrap()).collect();
        let error = Draft { tags, ..draft() }.check().unwrap_err();
        assert_eq!(error.to_string(), "tags has more than 32 tags");
    }

    #[test]
    fn the_bound_itself_is_allowed_and_one_more_is_not() {
        let fits = Draft { message: "x".repeat(MESSAGE_BYTES_MAX), ..draft() };
        assert!(fits.check().is_ok());
        let error = Draft { message: "x".repeat(MESSAGE_BYTES_MAX + 1), ..draft() }.check().unwrap_err();
        assert_eq!(error.to_string(), "message has 16385 bytes; at most 16384 are allowed");
    }

    #[test]
    fn extras_are_bounded_in_number_and_in_bytes() {
        let many = (0..=EXTRA_PAIRS_MAX).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(Draft { extra: many, ..draft() }.check().unwrap_err().field, "extra");
        let large = vec![("k".to_owned(), "v".repeat(EXTRA_BYTES_MAX))];
        assert_eq!(Draft { extra: large, ..draft() }.check().unwrap_err().field, "extra");
    }

    #[test]
    fn a_counter_command_needs_a_task_and_a_flag_needs_a_name() {
        let note = Draft { task: TaskName::none(), command: Some(Command::CounterStop), ..draft() };
        assert_eq!(note.check().unwrap_err().field, "task");
        let flag = Draft { command: Some(Command::Flag), ..draft() };
        assert_eq!(flag.check().unwrap_err().field, "flag");
    }

    #[test]
    fn a_run_key_of_another_task_is_refused_from_the_flag() {
        let key = |source| DraftKey {
            key: RunKey::parse("k").unwrap(),
            source,
            task: Some(TaskName::parse("OTHER").unwrap()),
        };
        assert_eq!(
            Draft { key: Some(key(KeySource::Flag)), ..draft() }.check().unwrap_err().field,
            "run_key"
        );
        assert!(Draft { key: Some(key(KeySource::Environment)), ..draft() }.check().is_ok());
    }

    #[test]
    fn every_word_reads_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_word(kind.as_str()), Some(kind));
            assert_eq!(EventKind::ALL[kind.index()], kind);
        }
        for command in Command::ALL {
            assert_eq!(Command::from_word(command.as_str()), Some(command));
        }
        for rule in Correlation::ALL {
            assert_eq!(Correlation::from_word(rule.as_str()), Some(rule));
        }
        for flag in EventFlag::ALL {
            assert_eq!(EventFlag::from_word(flag.as_str()), Some(flag));
        }
    }
}
