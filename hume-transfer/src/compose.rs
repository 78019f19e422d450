//! Which notices follow from events, in their order: one for each that is wanted, or one per run.
//!
//! Pure, and the same events give the same notices again: after a restart what was told is passed over by the id of the event that
//! had it told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hume_core::event::{Exit, StoredEvent};
use hume_core::policy::{Policies, StatusBy};
use hume_core::run::{Now, Phase, RunState};
use hume_core::status::{Circumstances, Status, judge};
use hume_core::{Level, RunId};

use crate::notice::{About, Notice, RunNotice};
use crate::options::{Common, Per};
use crate::state::OpenRun;

/// Open runs that one transfer keeps in mind; of more, the one that began first is told of no more.
pub const RUNS_MAX: usize = 10_000;

/// Makes notices of the events of one transfer.
#[derive(Debug)]
pub(crate) struct Composer {
    common: Common,
    runs: BTreeMap<RunId, OpenRun>,
    /// Changed since [`take_changes`](Composer::take_changes).
    changed: BTreeSet<RunId>,
}

impl Composer {
    pub(crate) fn new(common: Common, open: Vec<OpenRun>) -> Composer {
        let runs = open.into_iter().map(|run| (run.state.id(), run)).collect();
        Composer { common, runs, changed: BTreeSet::new() }
    }

    /// What is to be told because of this event.
    pub(crate) fn take(&mut self, stored: StoredEvent, policies: &Policies) -> Option<Notice> {
        match (self.common.per, stored.event.run) {
            (Per::Run, Some(run)) => self.take_of_run(stored, run.id, policies),
            (Per::Event | Per::Run, _) => self.common.wants(&stored).then(|| Notice::of(stored)),
        }
    }

    fn take_of_run(&mut self, stored: StoredEvent, id: RunId, policies: &Policies) -> Option<Notice> {
        if let Some(run) = self.runs.get_mut(&id) {
            run.state.apply(&stored);
        } else {
            // Level and kind are those of the run, in the end.
            if !self.common.wants_run_of(&stored) {
                return None;
            }
            let state = RunState::open(&stored)?;
            self.runs.insert(id, OpenRun { state, told: false });
            self.keep_bound();
        }
        let run = self.runs.get_mut(&id)?;
        self.changed.insert(id);
        let has_ended = run.state.phase() == Phase::Ended;
        // Where the end alone decides, an error on the way is none yet.
        let goes_wrong = matches!(stored.event.level, Level::Error | Level::Critical)
            && policies.of(&run.state.task()).status_by == StatusBy::Worst;
        let mut told = None;
        if !run.told && (has_ended || goes_wrong) {
            let notice =
                Notice { about: About::Run(tell(&run.state, &stored, policies)), ..Notice::of(stored) };
            // What is not bad enough yet may become so.
            run.told = notice.level().rank() >= self.common.level_min.rank();
            told = run.told.then_some(notice);
        }
        if has_ended {
            self.runs.remove(&id);
        }
        told
    }

    fn keep_bound(&mut self) {
        if self.runs.len() <= RUNS_MAX {
            return;
        }
        let oldest = self.runs.values().min_by_key(|run| run.state.started_at()).map(|run| run.state.id());
        if let Some(oldest) = oldest {
            self.runs.remove(&oldest);
            self.changed.insert(oldest);
        }
    }

    /// Runs that have changed since this was last asked, as they are now; none for those that are over.
    pub(crate) fn take_changes(&mut self) -> Vec<(RunId, Option<OpenRun>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|id| (id, self.runs.get(&id).cloned())).collect()
    }
}

/// The run as it is with this event, its latest.
fn tell(state: &RunState, stored: &StoredEvent, policies: &Policies) -> RunNotice {
    let now = Now::elsewhere(stored.event.time);
    let circumstances = Circumstances { now, complete: true, agent_silent_for: Duration::ZERO };
    let policy = policies.of(&state.task());
    let judgement = judge(state, &policy, circumstances);
    let counted = Level::ALL.into_iter().map(|level| (level.as_str(), state.by_level()[level.index()]));
    RunNotice {
        id: state.id(),
        status: match state.phase() {
            Phase::Ended => judgement.status,
            // It goes on, and it has gone wrong.
            Phase::Running | Phase::Paused => wrong(judgement.worst),
        },
        started_at: state.started_at(),
        ended_at: state.ended_at(),
        duration_us: u64::try_from(judgement.duration.as_micros()).unwrap_or(u64::MAX),
        by_level: counted.filter(|(_, count)| *count > 0).collect(),
        first_error: state.first_error().map(|error| error.message.clone()),
        exit_code: state.exit().and_then(|exit| match exit {
            Exit::Code(code) => Some(code),
            Exit::Signal(_) => None,
        }),
        reason: state.reason().map(str::to_owned),
    }
}

/// How a run that goes on has gone wrong.
fn wrong(worst: Level) -> Status {
    match worst {
        Level::Critical => Status::Critical,
        Level::Error => Status::Failed,
        Level::Warning => Status::Warning,
        Level::Unknown => Status::Unknown,
        Level::Debug | Level::Info | Level::Ok => Status::Running,
    }
}

#[cfg(test)]
mod tests {
    use hume_core::event::{Command, Correlation, EventKind, Finding, RunRef};

    use super::*;
    use crate::testing::{common, stored};

    fn of_run(run: u8, level: Level, command: Option<Command>, text: &str) -> StoredEvent {
        let mut event = stored(level, "BACKUP", "web1", text);
        event.event.run =
            Some(RunRef { id: RunId::from_bytes([run; 16]), correlation: Correlation::Explicit });
        event.event.command = command;
        event
    }

    fn start(run: u8) -> StoredEvent {
        of_run(run, Level::Info, Some(Command::CounterStart), "start")
    }

    fn stop(run: u8, level: Level) -> StoredEvent {
        of_run(run, level, Some(Command::CounterStop), "stop")
    }

    fn told(keys: &str, events: Vec<StoredEvent>) -> Vec<(Status, bool)> {
        let mut composer = Composer::new(common(keys), Vec::new());
        let policies = Policies::default();
        let notices = events.into_iter().filter_map(|event| composer.take(event, &policies));
        notices
            .map(|notice| match notice.about {
                About::Run(run) => (run.status, run.ended_at.is_some()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_run_is_told_of_when_it_ends_or_first_goes_wrong_and_only_once() {
        let run = "per = \"run\"";
        let plain = || of_run(1, Level::Warning, None, "careful");
        let error = || of_run(1, Level::Error, None, "broken");
        assert_eq!(told(run, vec![start(1), plain(), stop(1, Level::Ok)]), [(Status::Warning, true)]);
        assert_eq!(
            told(run, vec![start(1), error(), error(), stop(1, Level::Ok)]),
            [(Status::Failed, false)]
        );
        // Two runs at once are two.
        let two = vec![start(1), start(2), error(), stop(2, Level::Ok), stop(1, Level::Ok)];
        assert_eq!(told(run, two), [(Status::Failed, false), (Status::Ok, true)]);
    }

    #[test]
    fn a_run_is_as_bad_as_its_status_when_it_is_chosen() {
        let run = "per = \"run\"\nlevel_min = \"warning\"";
        assert_eq!(told(run, vec![start(1), stop(1, Level::Ok)]), []);
        assert_eq!(told(run, vec![start(1), stop(1, Level::Error)]), [(Status::Failed, true)]);
        let other = "per = \"run\"\ntasks = [\"UPDATE\"]";
        assert_eq!(told(other, vec![start(1), stop(1, Level::Error)]), []);
    }

    #[test]
    fn a_run_that_gets_worse_is_told_of_when_it_is_bad_enough() {
        let critical = || of_run(1, Level::Critical, None, "worse");
        let error = || of_run(1, Level::Error, None, "broken");
        let keys = "per = \"run\"\nlevel_min = \"critical\"";
        assert_eq!(
            told(keys, vec![start(1), error(), critical(), stop(1, Level::Critical)]),
            [(Status::Critical, false)]
        );
        assert_eq!(told(keys, vec![start(1), error(), stop(1, Level::Ok)]), []);
    }

    #[test]
    fn where_the_end_decides_only_the_end_is_told() {
        let policies: Policies =
            serde_json::from_str(r#"[{"tasks": ["BACKUP"], "status_by": "final"}]"#).unwrap();
        let mut composer = Composer::new(common("per = \"run\""), Vec::new());
        let events = [start(1), of_run(1, Level::Error, None, "once"), stop(1, Level::Ok)];
        let told: Vec<Level> = events
            .into_iter()
            .filter_map(|event| composer.take(event, &policies))
            .map(|notice| notice.level())
            .collect();
        assert_eq!(told, [Level::Ok]);
    }

    #[test]
    fn a_run_that_nobody_ended_is_told_of_when_that_is_found() {
        let mut gone = of_run(1, Level::Error, None, "gone");
        gone.event.kind = EventKind::Run;
        gone.event.finding = Some(Finding::ProcessGone);
        assert_eq!(told("per = \"run\"", vec![start(1), gone]), [(Status::Failed, true)]);
    }

    #[test]
    fn the_folds_of_open_runs_lead_to_the_same_notice_after_a_restart() {
        let policies = Policies::default();
        let mut first = Composer::new(common("per = \"run\""), Vec::new());
        assert_eq!(first.take(start(1), &policies), None);
        let open: Vec<OpenRun> = first.take_changes().into_iter().filter_map(|(_, run)| run).collect();
        assert_eq!(open.len(), 1);
        let mut second = Composer::new(common("per = \"run\""), open);
        let notice = second.take(stop(1, Level::Error), &policies).unwrap();
        assert_eq!(first.take(stop(1, Level::Error), &policies), Some(notice));
        assert_eq!(second.take_changes(), [(RunId::from_bytes([1; 16]), None)], "an ended run is forgotten");
    }

    #[test]
    fn an_event_without_a_run_is_told_of_alone() {
        let mut composer = Composer::new(common("per = \"run\""), Vec::new());
        let note = composer.take(stored(Level::Info, "", "web1", "note"), &Policies::default());
        assert_eq!(note.unwrap().about, About::Event);
    }
}
