//! What nobody reported and hume found out: the ends of runs, at the agent, and what did not happen, at the master.
//!
//! The words stand in stores and answers, and the places in [`Finding::ALL`] are numbers on the wire: both stay as they are.

/// What nobody reported: what ended a run all the same, and what the clock of the master found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// The same owner started the task again: aborted.
    Superseded,
    /// The owner was gone without a stop: aborted.
    ProcessGone,
    /// The machine was started anew: aborted.
    Reboot,
    /// An implicit run to which nothing was added for the idle gap: closed.
    Idle,
    /// An implicit run whose job ended: closed.
    JobEnded,
    /// An implicit run whose owner then started one in words: closed.
    Started,
    /// An expected run did not come.
    Missed,
    /// An expected run did not come, and the task never ran on this host.
    NeverRan,
    /// An expected run came too late.
    Late,
    /// What was called missed had come: its report was late.
    ReportedLate,
    /// A run goes on for longer than it should.
    Overdue,
    /// A run goes on for longer than it may.
    OverdueHard,
    /// No run succeeded in the time there was.
    NoSuccess,
    /// A run took less than it should.
    TooShort,
    /// A run started too soon after the one before.
    TooSoon,
    /// The host is silent, and nobody can tell.
    Unreachable,
    /// The host is heard again.
    Back,
    /// Many agents were lost at once.
    ManyLost,
    /// Most of them are back.
    ManyBack,
}

impl Finding {
    /// All findings. Their places are their numbers on the wire: new ones come at the end.
    pub const ALL: [Finding; 19] = [
        Finding::Superseded,
        Finding::ProcessGone,
        Finding::Reboot,
        Finding::Idle,
        Finding::JobEnded,
        Finding::Started,
        Finding::Missed,
        Finding::NeverRan,
        Finding::Late,
        Finding::ReportedLate,
        Finding::Overdue,
        Finding::OverdueHard,
        Finding::NoSuccess,
        Finding::TooShort,
        Finding::TooSoon,
        Finding::Unreachable,
        Finding::Back,
        Finding::ManyLost,
        Finding::ManyBack,
    ];

    /// The word used as `reason` in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Finding::Superseded => "superseded",
            Finding::ProcessGone => "process_gone",
            Finding::Reboot => "reboot",
            Finding::Idle => "idle",
            Finding::JobEnded => "job_ended",
            Finding::Started => "started",
            Finding::Missed => "missed",
            Finding::NeverRan => "never_ran",
            Finding::Late => "late",
            Finding::ReportedLate => "reported_late",
            Finding::Overdue => "overdue",
            Finding::OverdueHard => "overdue_hard",
            Finding::NoSuccess => "no_success",
            Finding::TooShort => "too_short",
            Finding::TooSoon => "too_soon",
            Finding::Unreachable => "unreachable",
            Finding::Back => "back",
            Finding::ManyLost => "many_lost",
            Finding::ManyBack => "many_back",
        }
    }

    /// What it does to the run of its event; nothing when it is no word on a run's end.
    pub fn end(self) -> Option<End> {
        match self {
            Finding::Superseded | Finding::ProcessGone | Finding::Reboot => Some(End::CutShort),
            Finding::Idle | Finding::JobEnded | Finding::Started => Some(End::Closed),
            Finding::Missed
            | Finding::NeverRan
            | Finding::Late
            | Finding::ReportedLate
            | Finding::Overdue
            | Finding::OverdueHard
            | Finding::NoSuccess
            | Finding::TooShort
            | Finding::TooSoon
            | Finding::Unreachable
            | Finding::Back
            | Finding::ManyLost
            | Finding::ManyBack => None,
        }
    }
}

/// How a run ends that nobody reported the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// It was cut short.
    CutShort,
    /// It merely came to its end.
    Closed,
}
