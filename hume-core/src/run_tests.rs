//! The life of a run, told event by event: the tables of what a fold must say.

use proptest::prelude::*;

use crate::event::{
    BootClock, Command, Correlation, Event, EventKind, Exit, Finding, Process, RunRef, StoredEvent,
};
use crate::name::{BootId, Epoch, EventId, HostName, RunId, Seq, TaskName};
use crate::run::{Outcome, Phase, RunFlag, RunState, Status, status};
use crate::{Level, Position, Timestamp};

const SECOND: i64 = 1_000_000;
const NOW: Timestamp = Timestamp::EPOCH;

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

const START: Option<Command> = Some(Command::CounterStart);
const STOP: Option<Command> = Some(Command::CounterStop);

#[test]
fn a_run_starts_ends_and_counts_its_events() {
    let run = fold(&[
        event(0, 1, Level::Info, START),
        event(5, 2, Level::Warning, None),
        event(10, 3, Level::Info, STOP),
    ]);
    assert_eq!((run.phase(), run.events(), run.duration_us(NOW)), (Phase::Ended, 3, 10_000_000));
    assert_eq!(run.by_level()[Level::Info.index()], 2);
    assert_eq!(run.outcome(true), Some(Outcome::Warning));
    assert_eq!(run.first_error(), None);
}

#[test]
fn an_open_run_is_running_and_lost_when_its_agent_is_silent() {
    let run = fold(&[event(0, 1, Level::Error, START)]);
    assert_eq!(run.outcome(true), None);
    assert_eq!(status(&run, true, false), Status::Running);
    assert_eq!(status(&run, true, true), Status::Lost);
}

#[test]
fn pauses_do_not_count_as_active_time() {
    let run = fold(&[
        event(0, 1, Level::Info, START),
        event(10, 2, Level::Info, Some(Command::CounterPause)),
        event(40, 3, Level::Info, START),
        event(45, 4, Level::Info, STOP),
    ]);
    assert_eq!(
        (run.duration_us(NOW), run.paused_us(NOW), run.active_us(NOW)),
        (45_000_000, 30_000_000, 15_000_000)
    );
    let paused =
        fold(&[event(0, 1, Level::Info, START), event(10, 2, Level::Info, Some(Command::CounterPause))]);
    assert_eq!(paused.phase(), Phase::Paused);
    let later = Timestamp::from_micros(25 * SECOND);
    assert_eq!((paused.duration_us(later), paused.active_us(later)), (25_000_000, 10_000_000));
    assert_eq!(status(&paused, true, false), Status::Running);
}

#[test]
fn a_reset_restarts_the_clock_and_earlier_errors_no_longer_count() {
    let run = fold(&[
        event(0, 1, Level::Info, START),
        event(1, 2, Level::Error, None),
        event(60, 3, Level::Info, Some(Command::CounterReset)),
        event(70, 4, Level::Info, STOP),
    ]);
    assert_eq!(run.duration_us(NOW), 10_000_000);
    assert_eq!(run.flags(), [RunFlag::PreReset]);
    assert_eq!(run.outcome(true), Some(Outcome::Ok));
    assert_eq!(run.events(), 4, "they stay");
    assert_eq!(run.first_error().unwrap().message, "event 2");
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
        assert_eq!(fold(&events).outcome(true), Some(expected), "{levels:?} {declared} {exit:?}");
    }
}

#[test]
fn missing_events_make_an_ok_run_unknown_and_leave_a_failed_one_failed() {
    let ok = fold(&[event(0, 1, Level::Info, START), event(1, 3, Level::Info, STOP)]);
    assert_eq!(ok.outcome(false), Some(Outcome::Unknown));
    let failed = fold(&[event(0, 1, Level::Error, START), event(1, 3, Level::Info, STOP)]);
    assert_eq!(failed.outcome(false), Some(Outcome::Failed));
    let seq = |n| Seq::new(n).unwrap();
    assert!(ok.spans()[0].meets(Epoch::from_bytes([9; 16]), seq(2), seq(2)));
    assert!(!ok.spans()[0].meets(Epoch::from_bytes([9; 16]), seq(4), seq(9)));
    assert!(!ok.spans()[0].meets(Epoch::from_bytes([8; 16]), seq(2), seq(2)));
}

#[test]
fn a_superseded_run_is_aborted_and_shows_as_failed() {
    let run = fold(&[event(0, 1, Level::Info, START), finding(5, 2, Finding::Superseded)]);
    assert_eq!((run.outcome(true), run.reason()), (Some(Outcome::Aborted), Some("superseded")));
    assert_eq!(status(&run, true, false), Status::Failed);
    assert_eq!(run.events(), 1, "what nobody reported is not counted");
}

#[test]
fn a_later_event_withdraws_the_verdict_that_the_process_is_gone() {
    let run = fold(&[
        event(0, 1, Level::Info, START),
        finding(5, 2, Finding::ProcessGone),
        event(6, 3, Level::Info, STOP),
    ]);
    assert_eq!((run.outcome(true), run.reason()), (Some(Outcome::Ok), None));
}

#[test]
fn an_implicit_run_ends_at_its_latest_event() {
    let run = fold(&[
        event(0, 1, Level::Info, None),
        event(7, 2, Level::Info, None),
        finding(607, 3, Finding::Idle),
    ]);
    assert_eq!((run.flags(), run.duration_us(NOW)), (&[RunFlag::Implicit][..], 7_000_000));
    assert_eq!((run.outcome(true), run.reason()), (Some(Outcome::Ok), Some("idle")));
}

#[test]
fn a_stop_without_a_start_is_flagged_and_back_dated_by_its_duration() {
    let mut stop = event(100, 1, Level::Info, STOP);
    stop.event.extra = vec![("duration".to_owned(), "90.5".to_owned())];
    let run = fold(&[stop]);
    assert_eq!((run.flags(), run.duration_us(NOW)), (&[RunFlag::StopWithoutStart][..], 90_500_000));
    assert_eq!(run.started_at(), Timestamp::from_micros(9_500_000));
    assert_eq!(fold(&[event(100, 1, Level::Info, STOP)]).duration_us(NOW), 0);
}

#[test]
fn durations_follow_the_boot_clock_when_the_wall_clock_jumps() {
    let with_clock = |at_s, seq, micros, command| {
        let mut stored = event(at_s, seq, Level::Info, command);
        stored.event.boot_clock = Some(BootClock { boot: BootId::from_bytes([3; 16]), micros });
        stored
    };
    let run = fold(&[with_clock(1_000_000, 1, 50, START), with_clock(0, 2, 2_000_050, STOP)]);
    assert_eq!(run.duration_us(NOW), 2_000_000);
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
        prop_assert!(run.active_us(NOW) <= run.duration_us(NOW));
        prop_assert_eq!(run.events(), run.by_level().iter().sum::<u64>());
        prop_assert_eq!(run.outcome(true).is_some(), run.phase() == Phase::Ended);
        prop_assert!(status(&run, true, false).severity() <= 3);
    }
}
