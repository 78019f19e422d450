//! What is shown of a run: status, severity and flags, from its fold, the policy of its task and the present.
//!
//! One rule, [`judge`], for agent, master and tests. Flags never hide events: they are counted, whatever is shown.

use std::time::Duration;

use crate::level::Level;
use crate::policy::{Overlap, RunPolicy, StatusBy};
use crate::run::{Now, Phase, RunFlag, RunState};

/// How an ended run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing worse than info.
    Ok,
    /// A warning, or only soft flags.
    Warning,
    /// Nobody could tell, or events are missing.
    Unknown,
    /// An error, or a bad exit code.
    Failed,
    /// Failed, and the worst level was critical.
    Critical,
    /// Cut short.
    Aborted,
}

impl Outcome {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Unknown => "unknown",
            Outcome::Failed => "failed",
            Outcome::Critical => "critical",
            Outcome::Aborted => "aborted",
        }
    }
}

/// What is shown of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Going on.
    Running,
    /// Going on for longer than it may.
    Overdue,
    /// Going on as far as is known, but its agent is silent.
    Lost,
    /// Ended, critical.
    Critical,
    /// Ended badly, or cut short.
    Failed,
    /// Ended with a warning.
    Warning,
    /// Ended, but nobody can tell how.
    Unknown,
    /// Ended well.
    Ok,
}

impl Status {
    /// All that can be shown.
    pub const ALL: [Status; 8] = [
        Status::Running,
        Status::Overdue,
        Status::Lost,
        Status::Critical,
        Status::Failed,
        Status::Warning,
        Status::Unknown,
        Status::Ok,
    ];

    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Overdue => "overdue",
            Status::Lost => "lost",
            Status::Critical => "critical",
            Status::Failed => "failed",
            Status::Warning => "warning",
            Status::Unknown => "unknown",
            Status::Ok => "ok",
        }
    }

    /// The status with this word.
    pub fn from_word(word: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Order of states, the higher the worse: what stands first where several are seen. Not that of exit codes, which is
    /// [`Severity::rank`]: there a warning counts more than what nobody can tell.
    pub fn rank(self, severity: Severity) -> u8 {
        match (self, severity) {
            (Status::Critical, _) => 8,
            (Status::Failed, _) => 7,
            // Beyond hard_runtime.
            (Status::Overdue, Severity::Critical) => 6,
            (Status::Lost, _) => 5,
            (Status::Unknown, _) => 4,
            (Status::Overdue, Severity::Ok | Severity::Warning | Severity::Unknown) => 3,
            (Status::Warning, _) => 2,
            (Status::Running, _) => 1,
            (Status::Ok, _) => 0,
        }
    }
}

/// The number a monitoring plugin exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// 0
    Ok,
    /// 1
    Warning,
    /// 2
    Critical,
    /// 3
    Unknown,
}

impl Severity {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Severity::Ok => 0,
            Severity::Warning => 1,
            Severity::Critical => 2,
            Severity::Unknown => 3,
        }
    }

    /// The severity with this number; beyond 3 nobody can tell.
    pub fn from_code(code: u8) -> Severity {
        match code {
            0 => Severity::Ok,
            1 => Severity::Warning,
            2 => Severity::Critical,
            _ => Severity::Unknown,
        }
    }

    /// The word of the plugin interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Ok => "OK",
            Severity::Warning => "WARNING",
            Severity::Critical => "CRITICAL",
            Severity::Unknown => "UNKNOWN",
        }
    }

    /// Order of badness over several runs: critical and warning are never masked by unknown.
    pub fn rank(self) -> u8 {
        match self {
            Severity::Ok => 0,
            Severity::Unknown => 1,
            Severity::Warning => 2,
            Severity::Critical => 3,
        }
    }
}

/// What is known around a run when it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// The present.
    pub now: Now,
    /// False when events of the run are known to be missing.
    pub complete: bool,
    /// How long the run's agent has not been heard; zero on the agent itself.
    pub agent_silent_for: Duration,
}

/// What is shown of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// In one word.
    pub status: Status,
    /// How it went, once it has ended.
    pub outcome: Option<Outcome>,
    /// As a number. Tells soft from hard overdue.
    pub severity: Severity,
    /// The worst that counts so far.
    pub worst: Level,
    /// All that is said of it as a whole, sorted.
    pub flags: Vec<RunFlag>,
    /// From the start or the last reset to the end, or to the present.
    pub duration: Duration,
    /// The pauses in it, up to what the policy allows.
    pub paused: Duration,
}

impl Judgement {
    /// The duration without the pauses.
    pub fn active(&self) -> Duration {
        self.duration.saturating_sub(self.paused)
    }
}

/// Decides what is shown of a run.
pub fn judge(run: &RunState, policy: &RunPolicy, circumstances: Circumstances) -> Judgement {
    let Circumstances { now, complete, agent_silent_for } = circumstances;
    let duration = Duration::from_micros(run.duration_us(now));
    let paused = Duration::from_micros(run.paused_us(now))
        .min(policy.max_pause.unwrap_or(Duration::MAX))
        .min(duration);
    let active = duration.saturating_sub(paused);
    let beyond = |limit: Option<Duration>| limit.is_some_and(|limit| active > limit);
    let has_ended = run.phase() == Phase::Ended;
    let worst = worst(run, policy);

    let mut flags = run.flags().to_vec();
    if has_ended && beyond(policy.max_runtime) {
        flags.push(RunFlag::Overran);
    }
    let too_short = policy.min_runtime.is_some_and(|min| active < min);
    if has_ended && too_short && !run.is_aborted() && !run.has_no_length() {
        flags.push(RunFlag::TooShort);
    }
    if !complete {
        flags.push(RunFlag::Incomplete);
    }
    flags.sort_unstable();

    let outcome = has_ended.then(|| {
        if run.is_aborted() {
            return Outcome::Aborted;
        }
        let is_soft = flags.iter().any(|flag| is_soft_warning(*flag, policy));
        match worst {
            Level::Critical => Outcome::Critical,
            Level::Error => Outcome::Failed,
            Level::Warning => Outcome::Warning,
            Level::Unknown | Level::Debug | Level::Info | Level::Ok if is_soft => Outcome::Warning,
            Level::Debug | Level::Info | Level::Ok if complete => Outcome::Ok,
            Level::Unknown | Level::Debug | Level::Info | Level::Ok => Outcome::Unknown,
        }
    });
    // Hard overdue when its agent was last heard is more than lost: that much is known.
    let heard = active.saturating_sub(agent_silent_for);
    let was_hard = policy.hard_runtime.is_some_and(|limit| heard > limit);
    let is_lost = policy.lost_after.is_some_and(|limit| agent_silent_for > limit);
    let (status, severity) = match outcome {
        Some(Outcome::Aborted) if worst == Level::Critical => (Status::Critical, Severity::Critical),
        Some(Outcome::Critical) => (Status::Critical, Severity::Critical),
        Some(Outcome::Failed | Outcome::Aborted) => (Status::Failed, Severity::Critical),
        Some(Outcome::Warning) => (Status::Warning, Severity::Warning),
        Some(Outcome::Unknown) => (Status::Unknown, Severity::Unknown),
        Some(Outcome::Ok) => (Status::Ok, Severity::Ok),
        None if is_lost && !was_hard => (Status::Lost, Severity::Unknown),
        None if beyond(policy.hard_runtime) => (Status::Overdue, Severity::Critical),
        None if beyond(policy.max_runtime) => (Status::Overdue, Severity::Warning),
        None => (Status::Running, Severity::Ok),
    };
    Judgement { status, outcome, severity, worst, flags, duration, paused }
}

/// The worst level that counts: the events since the last reset, the level of the stop, the exit code. By the policy
/// `final` only the last two, once there is one of them.
fn worst(run: &RunState, policy: &RunPolicy) -> Level {
    let declared = run.declared();
    let exit = run.exit().map(|exit| policy.exit_map.level(exit));
    let seen = || Level::ALL.into_iter().filter(|level| run.counted()[level.index()] > 0);
    let counts: Vec<Level> = match policy.status_by {
        StatusBy::Final if declared.is_some() || exit.is_some() => declared.into_iter().chain(exit).collect(),
        StatusBy::Final | StatusBy::Worst => seen().chain(declared).chain(exit).collect(),
    };
    counts.into_iter().max_by_key(|level| level.rank()).unwrap_or(Level::Info)
}

/// True when the flag alone makes an otherwise good run a warning.
fn is_soft_warning(flag: RunFlag, policy: &RunPolicy) -> bool {
    match flag {
        RunFlag::Overlapped => policy.overlap != Overlap::Allow,
        RunFlag::Overran | RunFlag::TooShort => true,
        RunFlag::PreReset
        | RunFlag::StopWithoutStart
        | RunFlag::Implicit
        | RunFlag::Detached
        | RunFlag::Incomplete => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_states_of_a_task_are_ordered_from_critical_to_ok() {
        let worst_first = [
            (Status::Critical, Severity::Critical),
            (Status::Failed, Severity::Critical),
            (Status::Overdue, Severity::Critical),
            (Status::Lost, Severity::Unknown),
            (Status::Unknown, Severity::Unknown),
            (Status::Overdue, Severity::Warning),
            (Status::Warning, Severity::Warning),
            (Status::Running, Severity::Ok),
            (Status::Ok, Severity::Ok),
        ];
        let ranks: Vec<u8> = worst_first.map(|(status, severity)| status.rank(severity)).to_vec();
        assert!(ranks.is_sorted_by(|worse, better| worse > better), "{ranks:?}");
        for status in Status::ALL {
            assert!(worst_first.iter().any(|(ranked, _)| *ranked == status), "{status:?} has no place");
        }
    }
}
