//! Callers and open runs by hand: where each event goes, and by which rule.

use super::*;
use crate::process::Link;

fn chain(pids: &[u32]) -> Chain {
    Chain::new(
        pids.iter()
            .enumerate()
            .map(|(index, &pid)| Link {
                process: ProcessRef { pid, start_ticks: u64::from(pid) },
                comm: if index == 0 { "hume" } else { "job.sh" }.to_owned(),
                terminal_leader: false,
                subshell: false,
                shell_text: false,
            })
            .collect(),
    )
}

fn origin(pids: &[u32]) -> Origin {
    Origin {
        key: None,
        uid: Some(1000),
        chain: chain(pids),
        attested: true,
        unit: None,
        session: None,
        made_us: None,
    }
}

fn run(number: u8, pids: &[u32]) -> OpenRun {
    OpenRun {
        id: RunId::from_bytes([number; 16]),
        opened_us: u64::from(number),
        touched_us: u64::from(number),
        touched_at: Timestamp::EPOCH,
        boot: None,
        key: None,
        uid: Some(1000),
        chain: chain(pids),
        watched: chain(pids).owner(),
        unit: None,
        session: None,
        implicit: false,
        paused: false,
        gone_us: None,
        stopped: None,
    }
}

fn joined(placement: &Placement) -> Option<u8> {
    match placement {
        Placement::Join { run, .. } => Some(run.as_bytes()[0]),
        Placement::Open { .. } | Placement::Nowhere { .. } | Placement::Refused { .. } => None,
    }
}

fn place(
    command: Option<Command>,
    origin: &Origin,
    open: &[OpenRun],
    alive: fn(ProcessRef) -> bool,
) -> Placement {
    super::place(command, origin, open, Overlap::Warn, alive)
}

const ALIVE: fn(ProcessRef) -> bool = |_| true;
const GONE: fn(ProcessRef) -> bool = |_| false;

#[test]
fn two_copies_of_one_script_keep_their_events_apart() {
    let open = [run(1, &[90, 40, 20, 1]), run(2, &[91, 41, 20, 1])];
    for (pids, expected) in [(&[95, 40, 20, 1][..], 1), (&[96, 60, 41, 20, 1], 2)] {
        assert_eq!(joined(&place(None, &origin(pids), &open, ALIVE)), Some(expected));
        assert_eq!(joined(&place(Some(Command::CounterStop), &origin(pids), &open, ALIVE)), Some(expected));
    }
}

#[test]
fn an_event_after_its_own_stop_does_not_slip_into_a_living_siblings_run() {
    let open = [run(1, &[90, 40, 20, 1])];
    let late = place(None, &origin(&[95, 41, 20, 1]), &open, ALIVE);
    assert!(matches!(late, Placement::Open { implicit: true, .. }));
}

#[test]
fn steps_of_one_job_share_the_run_when_its_starter_is_gone() {
    let open = [run(1, &[90, 40, 20, 1])];
    assert_eq!(joined(&place(None, &origin(&[95, 41, 20, 1]), &open, GONE)), Some(1));
}

#[test]
fn the_caller_of_the_starter_shares_its_run() {
    let open = [run(1, &[90, 40, 20, 1])];
    assert_eq!(joined(&place(None, &origin(&[95, 20, 1]), &open, ALIVE)), Some(1));
}

#[test]
fn of_nested_runs_the_deepest_wins() {
    let open = [run(1, &[90, 40, 20, 1]), run(2, &[91, 50, 40, 20, 1])];
    assert_eq!(joined(&place(None, &origin(&[95, 50, 40, 20, 1]), &open, ALIVE)), Some(2));
    assert_eq!(joined(&place(None, &origin(&[95, 40, 20, 1]), &open, ALIVE)), Some(1));
}

#[test]
fn a_second_start_by_the_same_owner_supersedes_and_by_another_overlaps() {
    let open = [run(1, &[90, 40, 20, 1])];
    let again = place(Some(Command::CounterStart), &origin(&[95, 40, 20, 1]), &open, ALIVE);
    let Placement::Open { ends, flags, .. } = again else { panic!("{again:?}") };
    assert_eq!((ends, flags), (Some((open[0].id, Finding::Superseded)), vec![]));
    let other = place(Some(Command::CounterStart), &origin(&[95, 41, 20, 1]), &open, ALIVE);
    let Placement::Open { ends, flags, .. } = other else { panic!("{other:?}") };
    assert_eq!((ends, flags), (None, vec![EventFlag::Overlapped]));
}

#[test]
fn a_start_resumes_the_paused_run_of_its_owner() {
    let open = [OpenRun { paused: true, ..run(1, &[90, 40, 20, 1]) }];
    assert_eq!(joined(&place(Some(Command::CounterStart), &origin(&[95, 40, 20, 1]), &open, ALIVE)), Some(1));
}

#[test]
fn a_start_in_words_ends_the_implicit_run_of_its_owner_without_blame() {
    let open = [OpenRun { implicit: true, ..run(1, &[90, 40, 20, 1]) }];
    let start = place(Some(Command::CounterStart), &origin(&[95, 40, 20, 1]), &open, ALIVE);
    let Placement::Open { ends, flags, .. } = start else { panic!("{start:?}") };
    assert_eq!((ends, flags), (Some((open[0].id, Finding::Started)), vec![]));
}

#[test]
fn a_key_joins_the_run_opened_with_it_and_no_other() {
    let key = RunKey::parse("k").ok();
    let open = [run(1, &[90, 40, 20, 1]), OpenRun { key: key.clone(), ..run(2, &[91, 41, 20, 1]) }];
    let keyed = Origin { key: key.clone(), ..origin(&[95, 40, 20, 1]) };
    for command in [None, Some(Command::CounterStart), Some(Command::CounterStop)] {
        assert_eq!(joined(&place(command, &keyed, &open, ALIVE)), Some(2));
    }
    let unknown = place(None, &keyed, &open[..1], ALIVE);
    assert!(matches!(unknown, Placement::Open { correlation: Correlation::Explicit, implicit: true, .. }));
}

#[test]
fn the_unit_decides_only_between_exactly_one() {
    let unit = Some("u".to_owned());
    let open = [OpenRun { unit: unit.clone(), ..run(1, &[]) }, run(2, &[])];
    let caller = Origin { unit, ..origin(&[]) };
    assert_eq!(joined(&place(None, &caller, &open, ALIVE)), Some(1));
    let both = [open[0].clone(), OpenRun { unit: caller.unit.clone(), ..run(2, &[]) }];
    assert_eq!(joined(&place(None, &caller, &both, ALIVE)), None);
}

#[test]
fn without_ancestors_the_only_open_run_of_the_user_is_joined() {
    let open = [run(1, &[90, 40, 20, 1]), OpenRun { uid: Some(7), ..run(2, &[91, 41, 20, 1]) }];
    assert_eq!(joined(&place(None, &origin(&[]), &open, ALIVE)), Some(1));
    assert_eq!(joined(&place(None, &origin(&[]), &[open[0].clone(), run(3, &[])], ALIVE)), None);
}

#[test]
fn a_stop_without_an_open_run_opens_one_of_no_length() {
    let stop = place(Some(Command::CounterStop), &origin(&[95, 40, 1]), &[], ALIVE);
    assert!(matches!(stop, Placement::Open { implicit: true, .. }));
}

#[test]
fn a_stop_from_a_stranger_closes_the_only_run_but_never_one_of_several() {
    let open = [run(1, &[90, 40, 20]), run(2, &[91, 41, 20])];
    let stranger = origin(&[95, 70]);
    assert_eq!(joined(&place(Some(Command::CounterStop), &stranger, &open[..1], ALIVE)), Some(1));
    let none = place(Some(Command::CounterStop), &stranger, &open, ALIVE);
    assert_eq!(none, Placement::Nowhere { flags: vec![EventFlag::UnmatchedStop] });
    let kin = origin(&[95, 42, 20]);
    assert_eq!(
        joined(&place(Some(Command::CounterStop), &kin, &open, ALIVE)),
        Some(1),
        "the oldest that matches"
    );
    let other_user = Origin { uid: Some(7), ..stranger };
    let refused = place(Some(Command::CounterStop), &other_user, &open[..1], ALIVE);
    assert_eq!(refused, Placement::Nowhere { flags: vec![EventFlag::UnmatchedStop] });
}

#[test]
fn a_start_that_may_not_overlap_is_refused_only_while_another_run_is_open() {
    let start = Some(Command::CounterStart);
    let other = origin(&[95, 41, 20, 1]);
    let by = |overlap, open: &[OpenRun]| super::place(start, &other, open, overlap, ALIVE);
    let open = [run(1, &[90, 40, 20, 1])];
    assert_eq!(by(Overlap::Forbid, &open), Placement::Refused { open: open[0].id });
    let opens = |placement| match placement {
        Placement::Open { flags, .. } => flags,
        other => panic!("{other:?}"),
    };
    assert_eq!(opens(by(Overlap::Warn, &open)), [EventFlag::Overlapped]);
    assert_eq!(opens(by(Overlap::Allow, &open)), []);
    for over in [
        OpenRun { implicit: true, ..open[0].clone() },
        OpenRun { gone_us: Some(5), ..open[0].clone() },
        OpenRun { stopped: Some(Stopped { seen_us: 5, made_us: None }), ..open[0].clone() },
    ] {
        assert_eq!(opens(by(Overlap::Forbid, &[over])), []);
    }
    let own = super::place(start, &origin(&[95, 40, 20, 1]), &open, Overlap::Forbid, ALIVE);
    assert!(matches!(own, Placement::Open { ends: Some(_), .. }), "its own earlier run is superseded");
}

#[test]
fn what_outlived_its_script_is_known_by_the_session() {
    let open = [OpenRun { session: Some(40), ..run(1, &[90, 40, 20, 1]) }];
    let orphan = Origin { session: Some(40), ..origin(&[95, 60, 1]) };
    assert_eq!(joined(&place(None, &orphan, &open, GONE)), Some(1));
    assert_eq!(joined(&place(Some(Command::CounterStop), &orphan, &open, GONE)), Some(1));
    assert_eq!(joined(&place(None, &orphan, &open, ALIVE)), None, "that script lives, and is another");
    for stranger in
        [Origin { session: Some(41), ..orphan.clone() }, Origin { uid: Some(7), ..orphan.clone() }]
    {
        assert_eq!(joined(&place(None, &stranger, &open, GONE)), None, "{stranger:?}");
    }
    let two = [open[0].clone(), OpenRun { session: Some(40), ..run(2, &[91, 41, 20, 1]) }];
    assert_eq!(joined(&place(None, &orphan, &two, GONE)), None);
}

#[test]
fn an_event_that_its_stop_overtook_still_belongs_to_the_run() {
    let stopped =
        OpenRun { stopped: Some(Stopped { seen_us: 90, made_us: Some(80) }), ..run(1, &[90, 40, 20, 1]) };
    let made = |made_us| Origin { made_us: Some(made_us), ..origin(&[95, 40, 20, 1]) };
    assert_eq!(joined(&place(None, &made(79), std::slice::from_ref(&stopped), ALIVE)), Some(1));
    assert_eq!(joined(&place(None, &made(81), std::slice::from_ref(&stopped), ALIVE)), None);
    let next = run(2, &[91, 40, 20, 1]);
    assert_eq!(joined(&place(None, &made(79), &[stopped.clone(), next], ALIVE)), Some(2));
    let again = place(Some(Command::CounterStart), &made(95), &[stopped], ALIVE);
    assert!(matches!(again, Placement::Open { ends: None, .. }), "{again:?}");
}

#[test]
fn a_key_still_finds_its_ended_run_and_a_start_by_the_same_key_opens_a_new_one() {
    let key = RunKey::parse("k").ok();
    let stopped = OpenRun {
        key: key.clone(),
        stopped: Some(Stopped { seen_us: 9, made_us: None }),
        ..run(1, &[90, 40, 20, 1])
    };
    let keyed = Origin { key, ..origin(&[95, 40, 20, 1]) };
    assert_eq!(joined(&place(None, &keyed, std::slice::from_ref(&stopped), ALIVE)), Some(1));
    let again = place(Some(Command::CounterStart), &keyed, &[stopped], ALIVE);
    assert!(matches!(again, Placement::Open { correlation: Correlation::Explicit, .. }), "{again:?}");
}

#[test]
fn what_a_caller_says_of_itself_places_its_events_only_in_runs_of_its_user() {
    let unit = Some("u".to_owned());
    let of_root = OpenRun { uid: Some(0), unit: unit.clone(), ..run(1, &[90, 40, 20, 1]) };
    let open = std::slice::from_ref(&of_root);
    let claims = Origin { attested: false, unit: unit.clone(), ..origin(&[95, 40, 20, 1]) };
    assert_eq!(joined(&place(None, &claims, open, ALIVE)), None);
    assert_eq!(joined(&place(Some(Command::CounterStop), &claims, open, ALIVE)), None);
    let root = Origin { uid: Some(0), ..claims.clone() };
    assert_eq!(joined(&place(None, &root, open, ALIVE)), Some(1));
    let by_the_kernel = Origin { attested: true, unit: None, ..claims };
    assert_eq!(joined(&place(None, &by_the_kernel, open, ALIVE)), Some(1), "as by sudo");
}

#[test]
fn a_job_that_only_systemd_calls_is_found_by_its_unit() {
    let unit = Some("u".to_owned());
    let by_systemd = |pid| Origin { unit: unit.clone(), ..origin(&[pid, 1]) };
    let start = place(Some(Command::CounterStart), &by_systemd(90), &[], ALIVE);
    assert!(matches!(start, Placement::Open { correlation: Correlation::Unit, .. }), "{start:?}");
    let open = [OpenRun { unit: unit.clone(), ..run(1, &[90, 1]) }];
    assert_eq!(open[0].watched, None);
    let stop = place(Some(Command::CounterStop), &by_systemd(95), &open, GONE);
    assert_eq!(stop, Placement::Join { run: open[0].id, correlation: Correlation::Unit });
}

#[test]
fn a_run_whose_owner_is_gone_no_longer_counts_as_open() {
    let gone = OpenRun { gone_us: Some(5), ..run(1, &[]) };
    assert_eq!(joined(&place(None, &origin(&[]), &[gone, run(2, &[])], ALIVE)), Some(2));
}

/// The run an event joins, and the rule by which; none and the rule by which later events find the run that it opens.
fn by_rule(placement: &Placement) -> (Option<u8>, Option<Correlation>) {
    match placement {
        Placement::Join { run, correlation } => (Some(run.as_bytes()[0]), Some(*correlation)),
        Placement::Open { correlation, .. } => (None, Some(*correlation)),
        Placement::Nowhere { .. } | Placement::Refused { .. } => (None, None),
    }
}

#[test]
fn the_first_rule_that_finds_a_run_gives_its_name() {
    let key = || RunKey::parse("k").ok();
    let unit = || Some("u".to_owned());
    let plain = || run(1, &[90, 40, 20, 1]);
    let other = || run(2, &[91, 41, 20, 1]);
    let unknown = |number| run(number, &[]);
    let near = || origin(&[95, 40, 20, 1]);
    for (what, caller, open, expected) in [
        (
            "the key, although the ancestors name another run",
            Origin { key: key(), ..near() },
            vec![plain(), OpenRun { key: key(), ..other() }],
            (Some(2), Correlation::Explicit),
        ),
        (
            "the ancestors, although the unit names another run",
            Origin { unit: unit(), ..near() },
            vec![plain(), OpenRun { unit: unit(), ..other() }],
            (Some(1), Correlation::Ancestry),
        ),
        (
            "the unit, although the run is also the only one",
            Origin { unit: unit(), ..origin(&[]) },
            vec![OpenRun { unit: unit(), ..unknown(1) }],
            (Some(1), Correlation::Unit),
        ),
        (
            "the unit, for ancestors that are of no run",
            Origin { unit: unit(), ..origin(&[95, 60, 1]) },
            vec![OpenRun { unit: unit(), ..plain() }, other()],
            (Some(1), Correlation::Unit),
        ),
        (
            "the only open run, for another unit and no ancestors",
            Origin { unit: Some("v".to_owned()), ..origin(&[]) },
            vec![OpenRun { unit: unit(), ..unknown(1) }],
            (Some(1), Correlation::OnlyOpen),
        ),
        (
            "nothing, for ancestors that are of no run",
            origin(&[95, 60, 1]),
            vec![plain()],
            (None, Correlation::Implicit),
        ),
        ("nothing, when there is no run", origin(&[]), vec![], (None, Correlation::Implicit)),
    ] {
        let (run, rule) = by_rule(&place(None, &caller, &open, ALIVE));
        assert_eq!((run, rule), (expected.0, Some(expected.1)), "{what}");
    }
}

#[test]
fn of_runs_equally_near_the_one_that_started_last_wins() {
    let keyed = OpenRun { key: RunKey::parse("k").ok(), ..run(2, &[91, 40, 20, 1]) };
    let open = [keyed, run(1, &[90, 40, 20, 1])];
    assert_eq!(joined(&place(None, &origin(&[95, 40, 20, 1]), &open, ALIVE)), Some(2));
    let other_way = [open[1].clone(), open[0].clone()];
    assert_eq!(joined(&place(None, &origin(&[95, 40, 20, 1]), &other_way, ALIVE)), Some(2));
}

#[test]
fn a_start_by_another_owner_does_not_resume_a_paused_run() {
    let open = [OpenRun { paused: true, ..run(1, &[90, 40, 20, 1]) }];
    let start = place(Some(Command::CounterStart), &origin(&[95, 41, 20, 1]), &open, ALIVE);
    let Placement::Open { ends, flags, implicit, .. } = start else { panic!("{start:?}") };
    assert_eq!((ends, flags, implicit), (None, vec![EventFlag::Overlapped], false));
}

#[test]
fn a_key_without_an_open_run_opens_one_whatever_is_said() {
    let keyed = Origin { key: RunKey::parse("k").ok(), ..origin(&[95, 40, 20, 1]) };
    let open = [run(1, &[90, 40, 20, 1])];
    for command in Command::ALL.map(Some).into_iter().chain([None]) {
        let opened = place(command, &keyed, &open, ALIVE);
        let Placement::Open { correlation, implicit, ends, .. } = opened else {
            panic!("{command:?}: {opened:?}")
        };
        let is_start = command == Some(Command::CounterStart);
        assert_eq!((correlation, implicit, ends), (Correlation::Explicit, !is_start, None), "{command:?}");
    }
}

fn gone(run: OpenRun) -> OpenRun {
    OpenRun { gone_us: Some(run.opened_us + 5), ..run }
}

#[test]
fn a_stop_from_a_stranger_never_wakes_a_run_whose_owner_is_gone() {
    let open = [gone(run(1, &[90, 40, 20, 1]))];
    let stop = place(Some(Command::CounterStop), &origin(&[95, 70, 1]), &open, GONE);
    assert!(matches!(stop, Placement::Open { implicit: true, .. }), "{stop:?}");
    let step = place(Some(Command::CounterStop), &origin(&[95, 41, 20, 1]), &open, GONE);
    assert_eq!(joined(&step), Some(1), "a later step of the same job is no stranger");
}

#[test]
fn a_stop_by_the_caller_of_several_runs_closes_the_oldest() {
    let open = [run(1, &[90, 40, 20, 1]), run(2, &[91, 41, 20, 1])];
    assert_eq!(joined(&place(Some(Command::CounterStop), &origin(&[95, 20, 1]), &open, ALIVE)), Some(1));
    let step = origin(&[95, 42, 20, 1]);
    assert_eq!(joined(&place(Some(Command::CounterStop), &step, &open, GONE)), Some(1));
    assert_eq!(joined(&place(None, &step, &open, GONE)), Some(2), "what is no stop goes to the latest");
}

#[test]
fn a_start_by_the_key_of_a_run_whose_process_is_gone_opens_a_new_one() {
    let key = RunKey::parse("k").ok();
    let keyed = Origin { key: key.clone(), ..origin(&[95, 41, 20, 1]) };
    let told = OpenRun { key: key.clone(), ..gone(run(1, &[90, 40, 20, 1])) };
    let untold = OpenRun { key, ..run(1, &[90, 40, 20, 1]) };
    for open in [[told], [untold]] {
        let start = place(Some(Command::CounterStart), &keyed, &open, GONE);
        let Placement::Open { flags, .. } = start else { panic!("{start:?}") };
        assert_eq!(flags, [], "what is gone overlaps nothing");
        assert_eq!(joined(&place(None, &keyed, &open, GONE)), Some(1), "its own late events still join");
    }
}

#[test]
fn a_start_right_after_the_death_of_another_copy_overlaps_nothing() {
    let open = [run(1, &[90, 40, 20, 1])];
    let start = |alive| {
        super::place(Some(Command::CounterStart), &origin(&[95, 41, 20, 1]), &open, Overlap::Forbid, alive)
    };
    assert!(matches!(start(ALIVE), Placement::Refused { .. }));
    assert!(matches!(start(GONE), Placement::Open { .. }));
    // Both are gone when their files are read, and both ran at once.
    let dropped = Origin { attested: false, ..origin(&[95, 41, 20, 1]) };
    let Placement::Open { flags, .. } = place(Some(Command::CounterStart), &dropped, &open, GONE) else {
        panic!("refused")
    };
    assert_eq!(flags, [EventFlag::Overlapped]);
}

#[test]
fn a_key_does_not_reach_into_the_run_of_another_user_unless_the_run_called() {
    let key = RunKey::parse("k").ok();
    let open = [OpenRun { key: key.clone(), ..run(1, &[90, 40, 20, 1]) }];
    let other = |pids| Origin { key: key.clone(), uid: Some(7), ..origin(pids) };
    assert_eq!(joined(&place(None, &other(&[95, 70, 1]), &open, ALIVE)), None);
    assert_eq!(
        joined(&place(None, &other(&[95, 60, 40, 20, 1]), &open, ALIVE)),
        Some(1),
        "su inside the job"
    );
    let claimed = Origin { attested: false, ..other(&[95, 60, 40, 20, 1]) };
    assert_eq!(joined(&place(None, &claimed, &open, ALIVE)), None, "by its own word alone");
    assert_eq!(joined(&place(None, &Origin { uid: Some(0), ..other(&[95, 70, 1]) }, &open, ALIVE)), Some(1));
}

#[test]
fn what_nobody_can_see_above_hume_is_placed_as_without_ancestors() {
    let caller = origin(&[95]);
    let placement = place(None, &caller, &[run(1, &[90])], ALIVE);
    assert_eq!(
        placement,
        Placement::Join { run: RunId::from_bytes([1; 16]), correlation: Correlation::OnlyOpen }
    );
}
