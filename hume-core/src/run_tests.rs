//! The life of a run, told event by event: the tables of what a fold must say.

use std::time::Duration;

use proptest::prelude::*;

use crate::event::{
    BootClock, Command, Correlation, End, Event, EventFlag, EventKind, Exit, Finding, Process, RunRef,
    StoredEvent,
};
use crate::name::{BootId, Epoch, EventId, HostName, RunId, Seq, TaskName};
use crate::policy::{Policies, RunPolicy};
use crate::run::{Now, Phase, RunFlag, RunState};
use crate::status::{Circumstances, Judgement, Outcome, Severity, Status, judge};
use crate::{Level, Position, Timestamp};

const SECOND: i64 = 1_000_000;

fn event(at_s: i64, seq: u64, level: Level, command: Option<Command>) -> StoredEvent {
    StoredEvent {
        position: Position { agent: None, epoch: Epoch::from_bytes([9; 16]), seq: Seq::new(seq).unwrap() },
        arrived_at: None,
        event: Event {
            id: EventId::from_bytes([seq as u8; 16]),
            kind: EventKind::Reported,
            time: Timestamp::from_micros(at_s * SECOND),
            received_at: Timestamp::from_micros(at_s * SECOND),
            boot_clock: None,
            host: HostName::parse("web1").unwrap(),
            task: TaskName::parse("BACKUP").unwrap(),
            tags: vec![],
            level,
            command,
            flag: None,
            message: format!("event {seq}"),
            truncated_from: None,
            extra: vec![],
            exit: None,
            line: None,
            process: Process::default(),
            run: Some(RunRef { id: RunId::from_bytes([7; 16]), correlation: Correlation::Ancestry }),
            finding: None,
            not_before: None,
            flags: vec![],
        },
    }
}

fn finding(at_s: i64, seq: u64, finding: Finding) -> StoredEvent {
    let mut stored = event(at_s, seq, Level::Info, None);
    stored.event.kind = EventKind::Run;
    stored.event.finding = Some(finding);
    stored
}

fn fold(events: &[StoredEvent]) -> RunState {
    let (first, rest) = events.split_first().unwrap();
    let mut state = RunState::open(first).unwrap();
    for stored in rest {
        state.apply(stored);
    }
    state
}

/// As it is shown a minute after 1970 began, with the policy that holds where nothing is configured.
fn shown(run: &RunState) -> Judgement {
    shown_at(run, 60, &RunPolicy::default())
}

fn shown_at(run: &RunState, at_s: i64, policy: &RunPolicy) -> Judgement {
    let now = Now::elsewhere(Timestamp::from_micros(at_s * SECOND));
    judge(run, policy, Circumstances { now, complete: true, agent_silent_for: Duration::ZERO })
}

fn with_gap(run: &RunState) -> Judgement {
    let now = Now::elsewhere(Timestamp::EPOCH);
    let policy = RunPolicy::default();
    judge(run, &policy, Circumstances { now, complete: false, agent_silent_for: Duration::ZERO })
}

/// The policy of these lines of a section `[[runs]]`.
fn policy(lines: &str) -> RunPolicy {
    #[derive(serde::Deserialize)]
    struct File {
        runs: Policies,
    }
    let file: File = toml::from_str(&format!("[[runs]]\n{lines}")).unwrap();
    file.runs.of(&TaskName::parse("BACKUP").unwrap())
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const START: Option<Command> = Some(Command::CounterStart);
const STOP: Option<Command> = Some(Command::CounterStop);

#[test]
fn nothing_happens_later_than_it_was_known() {
    let ahead = |at_s, seq, command| {
        let mut stored = event(at_s, seq, Level::Info, command);
        stored.event.time = stored.event.time.plus_micros(10 * 365 * 86_400 * SECOND);
        stored
    };
    let run = fold(&[ahead(0, 1, START), ahead(9, 2, STOP)]);
    assert_eq!(
        (run.started_at(), run.ended_at()),
        (Timestamp::EPOCH, Some(Timestamp::from_micros(9 * SECOND)))
    );
    let mut of_a_host_ahead = event(5000, 1, Level::Info, START);
    of_a_host_ahead.arrived_at = Some(Timestamp::from_micros(7 * SECOND));
    assert_eq!(fold(&[of_a_host_ahead]).started_at(), Timestamp::from_micros(7 * SECOND));
}

#[test]
fn nothing_of_a_run_happens_before_its_start() {
    let run = fold(&[
        event(5000, 1, Level::Info, START),
        event(9, 2, Level::Info, Some(Command::CounterReset)),
        event(5, 3, Level::Info, STOP),
    ]);
    assert_eq!((run.ended_at(), shown(&run).duration), (Some(run.started_at()), seconds(0)));
}

#[test]
fn an_open_run_before_a_gap_may_have_lost_its_stop_and_an_ended_one_has_not() {
    let gap = |run: &RunState, from, to| {
        let seq = |value| Seq::new(value).unwrap();
        run.may_have_had(&run.spans()[0], seq(from), seq(to))
    };
    let open = fold(&[event(0, 4, Level::Info, START)]);
    assert!(gap(&open, 5, 9) && !gap(&open, 1, 3));
    let ended = fold(&[event(0, 4, Level::Info, START), event(9, 8, Level::Info, STOP)]);
    assert!(gap(&ended, 5, 5) && !gap(&ended, 9, 9));
}

#[test]
fn a_soft_flag_outranks_a_level_that_nobody_could_tell() {
    let run = fold(&[event(0, 1, Level::Unknown, START), event(9, 2, Level::Info, STOP)]);
    assert_eq!(shown(&run).outcome, Some(Outcome::Unknown));
    let overran = shown_at(&run, 60, &policy("max_runtime = \"5s\""));
    assert_eq!((overran.outcome, overran.severity), (Some(Outcome::Warning), Severity::Warning));
}

#[test]
fn an_aborted_run_whose_worst_is_critical_keeps_that_label() {
    let run = fold(&[event(0, 1, Level::Critical, START), finding(9, 2, Finding::ProcessGone)]);
    let told = shown(&run);
    assert_eq!((told.status, told.severity), (Status::Critical, Severity::Critical));
    assert_eq!((told.outcome, run.reason()), (Some(Outcome::Aborted), Some("process_gone")));
}

#[test]
fn a_run_that_was_hard_overdue_when_its_agent_was_last_heard_is_not_merely_lost() {
    let run = fold(&[event(0, 1, Level::Info, START)]);
    let policy = policy("hard_runtime = \"1h\"");
    let told = |now_s: i64, silent_s| {
        let now = Now::elsewhere(Timestamp::from_micros(now_s * SECOND));
        let agent_silent_for = seconds(silent_s);
        judge(&run, &policy, Circumstances { now, complete: true, agent_silent_for })
    };
    assert_eq!((told(8000, 4000).status, told(8000, 4000).severity), (Status::Overdue, Severity::Critical));
    assert_eq!(told(4000, 1000).status, Status::Lost, "it may have ended within its time");
}

#[test]
fn a_stop_from_inside_counts_by_its_level_and_ends_nothing() {
    let mut inner = event(5, 2, Level::Error, STOP);
    inner.event.flags = vec![EventFlag::InnerStop];
    let open = [event(0, 1, Level::Info, START), inner];
    assert_eq!((fold(&open).phase(), fold(&open).declared()), (Phase::Running, None));
    let [start, inner] = open;
    let ended = fold(&[start, inner, event(9, 3, Level::Info, STOP)]);
    assert_eq!((shown(&ended).outcome, shown(&ended).duration), (Some(Outcome::Failed), seconds(9)));
}

#[test]
fn a_run_starts_ends_and_counts_its_events() {
    let run = fold(&[
        event(0, 1, Level::Info, START),
        event(5, 2, Level::Warning, None),
        event(10, 3, Level::Info, STOP),
    ]);
    assert_eq!((run.phase(), run.events(), shown(&run).duration), (Phase::Ended, 3, seconds(10)));
    assert_eq!(run.by_level()[Level::Info.index()], 2);
    assert_eq!(shown(&run).outcome, Some(Outcome::Warning));
    assert_eq!(run.first_error(), None);
}

#[test]
fn an_open_run_is_running_and_lost_when_its_agent_is_silent() {
    let run = fold(&[event(0, 1, Level::Error, START)]);
    assert_eq!(shown(&run).outcome, None);
    assert_eq!((shown(&run).status, shown(&run).severity), (Status::Running, Severity::Ok));
    assert_eq!(shown(&run).worst, Level::Error, "it is told while it runs");
    let silent = |seconds| {
        let now = Now::elsewhere(Timestamp::EPOCH);
        let agent_silent_for = Duration::from_secs(seconds);
        judge(&run, &RunPolicy::default(), Circumstances { now, complete: true, agent_silent_for })
    };
    assert_eq!(silent(300).status, Status::Running);
    assert_eq!((silent(301).status, silent(301).severity), (Status::Lost, Severity::Unknown));
    let ended = fold(&[event(0, 1, Level::Info, START), event(1, 2, Level::Info, STOP)]);
    let long = Circumstances {
        now: Now::elsewhere(Timestamp::EPOCH),
        complete: true,
        agent_silent_for: Duration::from_hours(9),
    };
    assert_eq!(judge(&ended, &RunPolicy::default(), long).status, Status::Ok, "what has ended is not lost");
}

#[test]
fn pauses_do_not_count_as_active_time() {
    let run = fold(&[
        event(0, 1, Level::Info, START),
        event(10, 2, Level::Info, Some(Command::CounterPause)),
        event(40, 3, Level::Info, START),
        event(45, 4, Level::Info, STOP),
    ]);
    let told = shown(&run);
    assert_eq!((told.duration, told.paused, told.active()), (seconds(45), seconds(30), seconds(15)));
    let paused =
        fold(&[event(0, 1, Level::Info, START), event(10, 2, Level::Info, Some(Command::CounterPause))]);
    assert_eq!(paused.phase(), Phase::Paused);
    let later = shown_at(&paused, 25, &RunPolicy::default());
    assert_eq!((later.duration, later.active()), (seconds(25), seconds(10)));
    assert_eq!(later.status, Status::Running);
}

#[test]
fn a_reset_restarts_the_clock_and_earlier_errors_no_longer_count() {
    let run = fold(&[
        event(0, 1, Level::Info, START),
        event(1, 2, Level::Error, None),
        event(60, 3, Level::Info, Some(Command::CounterReset)),
        event(70, 4, Level::Info, STOP),
    ]);
    assert_eq!(shown(&run).duration, seconds(10));
    assert_eq!(shown(&run).flags, [RunFlag::PreReset]);
    assert_eq!(shown(&run).outcome, Some(Outcome::Ok));
    assert_eq!(run.events(), 4, "they stay");
    assert_eq!(run.first_error().unwrap().message, "event 2");
}

#[test]
fn an_exit_code_from_before_a_reset_no_longer_counts() {
    let mut failed = event(1, 2, Level::Info, None);
    failed.event.exit = Some(Exit::Code(1));
    let run = fold(&[
        event(0, 1, Level::Info, START),
        failed,
        event(60, 3, Level::Info, Some(Command::CounterReset)),
        event(70, 4, Level::Info, STOP),
    ]);
    assert_eq!((run.exit(), shown(&run).outcome), (None, Some(Outcome::Ok)));
}

#[test]
fn a_run_that_is_closed_while_it_pauses_was_active_until_the_pause() {
    let run = fold(&[
        event(0, 1, Level::Info, None),
        event(7, 2, Level::Info, Some(Command::CounterPause)),
        finding(607, 3, Finding::Idle),
    ]);
    assert_eq!((shown(&run).active(), shown(&run).paused), (seconds(7), Duration::ZERO));
}

#[test]
fn the_worst_of_levels_declared_outcome_and_exit_decides() {
    for (levels, declared, exit, expected) in [
        (vec![Level::Info], Level::Ok, None, Outcome::Ok),
        (vec![Level::Unknown], Level::Info, None, Outcome::Unknown),
        (vec![Level::Unknown, Level::Warning], Level::Info, None, Outcome::Warning),
        (vec![Level::Error, Level::Warning], Level::Ok, None, Outcome::Failed),
        (vec![Level::Critical, Level::Error], Level::Ok, None, Outcome::Critical),
        (vec![Level::Info], Level::Critical, None, Outcome::Critical),
        (vec![Level::Info], Level::Info, Some(Exit::Code(0)), Outcome::Ok),
        (vec![Level::Info], Level::Info, Some(Exit::Code(3)), Outcome::Failed),
        (vec![Level::Info], Level::Info, Some(Exit::Signal(9)), Outcome::Failed),
    ] {
        let mut events = vec![event(0, 1, Level::Info, START)];
        events.extend(levels.iter().map(|level| event(1, 2, *level, None)));
        let mut stop = event(2, 9, declared, STOP);
        stop.event.exit = exit;
        events.push(stop);
        assert_eq!(shown(&fold(&events)).outcome, Some(expected), "{levels:?} {declared} {exit:?}");
    }
}

#[test]
fn missing_events_make_an_ok_run_unknown_and_leave_a_failed_one_failed() {
    let ok = fold(&[event(0, 1, Level::Info, START), event(1, 3, Level::Info, STOP)]);
    assert_eq!(with_gap(&ok).outcome, Some(Outcome::Unknown));
    let failed = fold(&[event(0, 1, Level::Error, START), event(1, 3, Level::Info, STOP)]);
    assert_eq!(with_gap(&failed).outcome, Some(Outcome::Failed));
    let seq = |n| Seq::new(n).unwrap();
    assert!(ok.spans()[0].meets(Epoch::from_bytes([9; 16]), seq(2), seq(2)));
    assert!(!ok.spans()[0].meets(Epoch::from_bytes([9; 16]), seq(4), seq(9)));
    assert!(!ok.spans()[0].meets(Epoch::from_bytes([8; 16]), seq(2), seq(2)));
}

#[test]
fn a_superseded_run_is_aborted_and_shows_as_failed() {
    let run = fold(&[event(0, 1, Level::Info, START), finding(5, 2, Finding::Superseded)]);
    assert_eq!((shown(&run).outcome, run.reason()), (Some(Outcome::Aborted), Some("superseded")));
    assert_eq!((shown(&run).status, shown(&run).severity), (Status::Failed, Severity::Critical));
    assert_eq!(run.events(), 1, "what nobody reported is not counted");
}

#[test]
fn a_later_event_withdraws_the_verdict_that_the_process_is_gone() {
    let run = fold(&[
        event(0, 1, Level::Info, START),
        finding(5, 2, Finding::ProcessGone),
        event(6, 3, Level::Info, STOP),
    ]);
    assert_eq!((shown(&run).outcome, run.reason()), (Some(Outcome::Ok), None));
}

#[test]
fn an_implicit_run_ends_at_its_latest_event() {
    let run = fold(&[
        event(0, 1, Level::Info, None),
        event(7, 2, Level::Info, None),
        finding(607, 3, Finding::Idle),
    ]);
    assert_eq!((run.flags(), shown(&run).duration), (&[RunFlag::Implicit][..], seconds(7)));
    assert_eq!((shown(&run).outcome, run.reason()), (Some(Outcome::Ok), Some("idle")));
}

#[test]
fn a_stop_without_a_start_is_flagged_and_back_dated_by_its_duration() {
    let mut stop = event(100, 1, Level::Info, STOP);
    stop.event.extra = vec![("duration".to_owned(), "90.5".to_owned())];
    let run = fold(&[stop]);
    assert_eq!(run.flags(), [RunFlag::StopWithoutStart]);
    assert_eq!(shown(&run).duration, Duration::from_millis(90_500));
    assert_eq!(run.started_at(), Timestamp::from_micros(9_500_000));
    assert_eq!(shown(&fold(&[event(100, 1, Level::Info, STOP)])).duration, Duration::ZERO);
}

#[test]
fn durations_follow_the_boot_clock_when_the_wall_clock_jumps() {
    let with_clock = |at_s, seq, micros, command| {
        let mut stored = event(at_s, seq, Level::Info, command);
        stored.event.boot_clock = Some(BootClock { boot: BootId::from_bytes([3; 16]), micros });
        stored
    };
    let run = fold(&[with_clock(1_000_000, 1, 50, START), with_clock(0, 2, 2_000_050, STOP)]);
    assert_eq!(shown(&run).duration, seconds(2));
}

#[test]
fn by_the_policy_final_only_the_stop_and_the_exit_code_decide() {
    let retried = |declared, exit| {
        let mut stop = event(9, 3, declared, STOP);
        stop.event.exit = exit;
        fold(&[event(0, 1, Level::Info, START), event(1, 2, Level::Error, None), stop])
    };
    let by_final = policy("status_by = \"final\"");
    for (declared, exit, expected) in [
        (Level::Info, None, Status::Ok),
        (Level::Ok, Some(Exit::Code(0)), Status::Ok),
        (Level::Warning, None, Status::Warning),
        (Level::Info, Some(Exit::Code(1)), Status::Failed),
    ] {
        assert_eq!(shown_at(&retried(declared, exit), 60, &by_final).status, expected, "{declared} {exit:?}");
        assert_eq!(shown(&retried(declared, exit)).outcome, Some(Outcome::Failed), "by the worst");
    }
    let never_stopped = fold(&[event(0, 1, Level::Error, None), finding(9, 2, Finding::Idle)]);
    assert_eq!(shown_at(&never_stopped, 60, &by_final).status, Status::Failed, "nothing else was said");
}

#[test]
fn by_the_policy_final_soft_flags_still_make_a_warning() {
    let run = fold(&[event(0, 1, Level::Error, START), event(9, 2, Level::Ok, STOP)]);
    assert_eq!(shown_at(&run, 60, &policy("status_by = \"final\"")).outcome, Some(Outcome::Ok));
    let overran = policy("status_by = \"final\"\nmax_runtime = \"5s\"");
    assert_eq!(shown_at(&run, 60, &overran).outcome, Some(Outcome::Warning));
}

#[test]
fn an_exit_code_means_what_the_policy_says() {
    let mut stop = event(9, 2, Level::Info, STOP);
    stop.event.exit = Some(Exit::Code(24));
    let run = fold(&[event(0, 1, Level::Info, START), stop]);
    let by = |lines| shown_at(&run, 60, &policy(lines)).status;
    assert_eq!(by(""), Status::Failed);
    assert_eq!(by("exit_map = { 24 = \"ok\" }"), Status::Ok);
    assert_eq!(by("exit_map = { 24 = \"warning\" }"), Status::Warning);
    assert_eq!(by("exit_map = { 24 = \"unknown\" }"), Status::Unknown);
    assert_eq!(by("exit_map = { other = \"critical\" }"), Status::Critical);
}

#[test]
fn an_open_run_is_overdue_softly_then_hard_and_pauses_extend_both() {
    let limits = policy("max_runtime = \"10s\"\nhard_runtime = \"20s\"");
    let run = fold(&[event(0, 1, Level::Info, START)]);
    for (at, status, severity) in [
        (10, Status::Running, Severity::Ok),
        (11, Status::Overdue, Severity::Warning),
        (20, Status::Overdue, Severity::Warning),
        (21, Status::Overdue, Severity::Critical),
    ] {
        let told = shown_at(&run, at, &limits);
        assert_eq!((told.status, told.severity), (status, severity), "after {at} s");
    }
    let paused =
        fold(&[event(0, 1, Level::Info, START), event(5, 2, Level::Info, Some(Command::CounterPause))]);
    assert_eq!(shown_at(&paused, 50, &limits).status, Status::Running);
    let resumed = fold(&[
        event(0, 1, Level::Info, START),
        event(5, 2, Level::Info, Some(Command::CounterPause)),
        event(45, 3, Level::Info, START),
    ]);
    assert_eq!(shown_at(&resumed, 50, &limits).status, Status::Running);
    assert_eq!(shown_at(&resumed, 51, &limits).status, Status::Overdue);
}

#[test]
fn a_pause_counts_as_paused_only_up_to_its_maximum() {
    let limits = policy("max_runtime = \"10s\"\nmax_pause = \"30s\"");
    let paused =
        fold(&[event(0, 1, Level::Info, START), event(5, 2, Level::Info, Some(Command::CounterPause))]);
    let told = shown_at(&paused, 60, &limits);
    assert_eq!((told.paused, told.active(), told.status), (seconds(30), seconds(30), Status::Overdue));
}

#[test]
fn an_overdue_run_that_ends_well_after_all_is_a_warning_and_has_overran() {
    let run = fold(&[event(0, 1, Level::Info, START), event(50, 2, Level::Info, STOP)]);
    let told = shown_at(&run, 60, &policy("max_runtime = \"10s\"\nhard_runtime = \"20s\""));
    assert_eq!((told.status, told.flags), (Status::Warning, vec![RunFlag::Overran]));
}

#[test]
fn a_run_that_was_too_short_is_a_warning_unless_its_length_is_not_known() {
    let limits = policy("min_runtime = \"10s\"");
    let run = fold(&[event(0, 1, Level::Info, START), event(9, 2, Level::Info, STOP)]);
    let told = shown_at(&run, 60, &limits);
    assert_eq!((told.status, told.flags), (Status::Warning, vec![RunFlag::TooShort]));
    let open = fold(&[event(0, 1, Level::Info, START)]);
    assert_eq!(shown_at(&open, 1, &limits).flags, []);
    let only_stopped = fold(&[event(0, 1, Level::Info, STOP)]);
    assert_eq!(shown_at(&only_stopped, 60, &limits).status, Status::Ok);
    let aborted = fold(&[event(0, 1, Level::Info, START), finding(1, 2, Finding::ProcessGone)]);
    assert_eq!(shown_at(&aborted, 60, &limits).flags, []);
}

#[test]
fn an_overlap_is_a_warning_unless_the_policy_allows_it() {
    let mut start = event(0, 1, Level::Info, START);
    start.event.flags = vec![EventFlag::Overlapped];
    let run = fold(&[start, event(9, 2, Level::Info, STOP)]);
    assert_eq!(shown(&run).status, Status::Warning);
    let allowed = shown_at(&run, 60, &policy("overlap = \"allow\""));
    assert_eq!((allowed.status, allowed.flags), (Status::Ok, vec![RunFlag::Overlapped]));
}

#[test]
fn soft_flags_never_hide_what_is_worse() {
    let run = fold(&[event(0, 1, Level::Error, START), event(50, 2, Level::Info, STOP)]);
    let told = shown_at(&run, 60, &policy("max_runtime = \"10s\""));
    assert_eq!((told.status, told.flags), (Status::Failed, vec![RunFlag::Overran]));
    let incomplete = with_gap(&fold(&[event(0, 1, Level::Warning, START), event(1, 2, Level::Info, STOP)]));
    assert_eq!((incomplete.status, incomplete.severity), (Status::Warning, Severity::Warning));
}

#[test]
fn an_end_that_is_only_known_to_lie_in_an_interval_says_so_until_it_is_withdrawn() {
    let mut gone = finding(50, 2, Finding::ProcessGone);
    gone.event.not_before = Some(Timestamp::from_micros(20 * SECOND));
    let run = fold(&[event(0, 1, Level::Info, START), gone.clone()]);
    assert_eq!(run.ended_after(), Some(Timestamp::from_micros(20 * SECOND)));
    let back = fold(&[event(0, 1, Level::Info, START), gone, event(51, 3, Level::Info, None)]);
    assert_eq!((back.ended_after(), back.phase()), (None, Phase::Running));
}

#[test]
fn on_its_own_host_a_run_that_goes_on_is_timed_by_the_boot_clock() {
    let clock = |micros| BootClock { boot: BootId::from_bytes([3; 16]), micros };
    let mut start = event(1_000_000, 1, Level::Info, START);
    start.event.boot_clock = Some(clock(50));
    let run = fold(&[start]);
    let ten_years_back = Timestamp::from_micros(-300_000_000 * SECOND);
    let here = Now::here(ten_years_back, clock(5_000_050));
    assert_eq!(run.duration_us(here), 5_000_000);
    assert_eq!(run.duration_us(Now::elsewhere(ten_years_back)), 0, "never negative");
}

#[test]
fn every_level_alone_has_its_severity_and_critical_its_own_label() {
    for (level, status, code) in [
        (Level::Debug, Status::Ok, 0),
        (Level::Info, Status::Ok, 0),
        (Level::Ok, Status::Ok, 0),
        (Level::Warning, Status::Warning, 1),
        (Level::Error, Status::Failed, 2),
        (Level::Critical, Status::Critical, 2),
        (Level::Unknown, Status::Unknown, 3),
    ] {
        let said = event(1, 2, level, None);
        let within = fold(&[event(0, 1, Level::Debug, START), said, event(2, 3, Level::Debug, STOP)]);
        let declared = fold(&[event(0, 1, Level::Debug, START), event(2, 2, level, STOP)]);
        for run in [within, declared] {
            let told = shown(&run);
            assert_eq!((told.status, told.severity.code(), told.worst), (status, code, level), "{level}");
        }
    }
}

#[test]
fn every_row_of_the_exit_code_table_is_what_a_run_says() {
    let start = || event(0, 1, Level::Info, START);
    let ended = |level| fold(&[start(), event(10, 2, level, STOP)]);
    let open = || fold(&[start()]);
    let aborted = |found| fold(&[start(), finding(10, 2, found)]);
    let exited = |code| {
        let mut stop = event(10, 2, Level::Info, STOP);
        stop.event.exit = Some(Exit::Code(code));
        fold(&[start(), stop])
    };
    let mut overlapped = start();
    overlapped.event.flags = vec![EventFlag::Overlapped];
    let overlapped = fold(&[overlapped, event(10, 2, Level::Info, STOP)]);
    let paused = fold(&[start(), event(5, 2, Level::Info, Some(Command::CounterPause))]);
    let limits = "max_runtime = \"40s\"\nhard_runtime = \"50s\"";
    let (whole, heard) = (true, 0);
    for (run, lines, complete, silent_s, status, code) in [
        (ended(Level::Info), "", whole, heard, Status::Ok, 0),
        (exited(0), "", whole, heard, Status::Ok, 0),
        (open(), "max_runtime = \"61s\"", whole, heard, Status::Running, 0),
        (paused, limits, whole, heard, Status::Running, 0),
        (ended(Level::Warning), "", whole, heard, Status::Warning, 1),
        (open(), "max_runtime = \"40s\"", whole, heard, Status::Overdue, 1),
        (ended(Level::Info), "min_runtime = \"11s\"", whole, heard, Status::Warning, 1),
        (ended(Level::Info), "max_runtime = \"9s\"", whole, heard, Status::Warning, 1),
        (overlapped, "", whole, heard, Status::Warning, 1),
        (ended(Level::Error), "", whole, heard, Status::Failed, 2),
        (exited(1), "", whole, heard, Status::Failed, 2),
        (ended(Level::Critical), "", whole, heard, Status::Critical, 2),
        (aborted(Finding::ProcessGone), "", whole, heard, Status::Failed, 2),
        (aborted(Finding::Superseded), "", whole, heard, Status::Failed, 2),
        (aborted(Finding::Reboot), "", whole, heard, Status::Failed, 2),
        (open(), limits, whole, heard, Status::Overdue, 2),
        (open(), "", whole, 301, Status::Lost, 3),
        (ended(Level::Unknown), "", whole, heard, Status::Unknown, 3),
        (ended(Level::Info), "", false, heard, Status::Unknown, 3),
        (ended(Level::Warning), "", false, heard, Status::Warning, 1),
        (ended(Level::Error), "", false, heard, Status::Failed, 2),
        (ended(Level::Info), "max_runtime = \"9s\"", false, heard, Status::Warning, 1),
    ] {
        let circumstances = Circumstances {
            now: Now::elsewhere(Timestamp::from_micros(60 * SECOND)),
            complete,
            agent_silent_for: seconds(silent_s),
        };
        let told = judge(&run, &policy(lines), circumstances);
        assert_eq!(
            (told.status, told.severity.code()),
            (status, code),
            "{lines} {complete} {silent_s} {run:?}"
        );
    }
}

#[test]
fn several_pauses_count_together_up_to_the_maximum() {
    let limits = policy("max_pause = \"30s\"");
    let pause = Some(Command::CounterPause);
    let mut run = fold(&[
        event(0, 1, Level::Info, START),
        event(5, 2, Level::Info, pause),
        event(25, 3, Level::Info, START),
        event(30, 4, Level::Info, pause),
    ]);
    let told = |run: &RunState, at| {
        let told = shown_at(run, at, &limits);
        (told.paused, told.active())
    };
    assert_eq!(told(&run, 35), (seconds(25), seconds(10)));
    assert_eq!(told(&run, 40), (seconds(30), seconds(10)));
    assert_eq!(told(&run, 50), (seconds(30), seconds(20)), "what is beyond counts as active");
    run.apply(&event(60, 5, Level::Info, START));
    assert_eq!(told(&run, 70), (seconds(30), seconds(40)), "and time goes on after the resume");
    run.apply(&event(80, 6, Level::Info, STOP));
    assert_eq!(told(&run, 90), (seconds(30), seconds(50)));
}

#[test]
fn a_duration_that_is_none_is_not_believed() {
    for text in ["", "soon", "-5", "-0.1", "0", "NaN", "inf", "-inf", "1e300", "3.2e9", "1h", "5,5", "0x10"] {
        let mut stop = event(100, 1, Level::Info, STOP);
        stop.event.extra = vec![("duration".to_owned(), text.to_owned())];
        let run = fold(&[stop]);
        assert_eq!(shown(&run).duration, Duration::ZERO, "{text}");
        assert_eq!(run.started_at(), Timestamp::from_micros(100 * SECOND), "{text}");
        assert!(run.has_no_length(), "{text}");
    }
}

#[test]
fn only_the_verdict_that_a_process_is_gone_is_withdrawn() {
    for found in Finding::ALL {
        let run =
            fold(&[event(0, 1, Level::Info, START), finding(5, 2, found), event(6, 3, Level::Info, None)]);
        let expected = if found == Finding::ProcessGone || found.end().is_none() {
            (Phase::Running, None)
        } else {
            (Phase::Ended, Some(found.as_str()))
        };
        assert_eq!((run.phase(), run.reason()), expected, "{}", found.as_str());
        assert_eq!(run.is_aborted(), found.end() == Some(End::CutShort) && found != Finding::ProcessGone);
    }
}

#[test]
fn what_the_clock_or_the_master_found_does_not_end_a_run() {
    for found in Finding::ALL {
        for kind in [EventKind::Watchdog, EventKind::Host, EventKind::System] {
            let mut told = finding(5, 2, found);
            told.event.kind = kind;
            let run = fold(&[event(0, 1, Level::Info, START), told]);
            assert_eq!((run.phase(), run.reason()), (Phase::Running, None), "{}", found.as_str());
        }
    }
}

#[test]
fn a_run_that_a_key_opened_without_a_start_says_so_until_the_start_comes() {
    for command in Command::ALL.map(Some).into_iter().chain([None]) {
        let mut first = event(0, 1, Level::Info, command);
        first.event.run = Some(RunRef { id: RunId::from_bytes([7; 16]), correlation: Correlation::Explicit });
        let expected: &[RunFlag] = match command {
            START => &[],
            STOP => &[RunFlag::StopWithoutStart],
            _ => &[RunFlag::Implicit],
        };
        assert_eq!(fold(&[first.clone()]).flags(), expected, "{command:?}");
        if expected == [RunFlag::Implicit] {
            assert_eq!(fold(&[first, event(1, 2, Level::Info, START)]).flags(), []);
        }
    }
}

#[test]
fn pauses_of_a_boot_clock_that_lies_have_an_end() {
    // Each pause lasts as long as a boot clock can tell, by the word of the reporter.
    let at = |seq, command, micros| {
        let mut stored = event(1, seq, Level::Info, command);
        stored.event.boot_clock = Some(BootClock { boot: BootId::from_bytes([1; 16]), micros });
        stored
    };
    let mut events = vec![at(1, START, 0)];
    for pause in 0..4 {
        events.push(at(2 * pause + 2, Some(Command::CounterPause), 0));
        events.push(at(2 * pause + 3, START, u64::MAX));
    }
    events.push(at(10, Some(Command::CounterPause), 0));
    let told = shown(&fold(&events));
    assert!(told.active() <= told.duration);
}

proptest! {
    #[test]
    fn any_order_of_commands_has_a_defined_result(
        steps in proptest::collection::vec((0usize..8, -1000i64..1000, 0usize..7), 1..60)
    ) {
        let events: Vec<_> = steps.iter().enumerate().map(|(index, (what, at, level))| {
            let seq = index as u64 + 1;
            let level = Level::from_index(*level).unwrap();
            match what {
                0 => event(*at, seq, level, None),
                7 => finding(*at, seq, Finding::ALL[index % Finding::ALL.len()]),
                command => event(*at, seq, level, Command::ALL.get(*command - 1).copied()),
            }
        }).collect();
        let run = fold(&events);
        let told = shown(&run);
        prop_assert!(told.active() <= told.duration);
        prop_assert_eq!(run.events(), run.by_level().iter().sum::<u64>());
        prop_assert_eq!(told.outcome.is_some(), run.phase() == Phase::Ended);
        prop_assert!(with_gap(&run).flags.contains(&RunFlag::Incomplete));
    }
}
