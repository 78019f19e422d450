//! What the table of open runs decides, submission by submission and look by look.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::*;
use hume_core::event::{Correlation, DraftKey};
use hume_core::name::RunKey;
use hume_core::process::Link;

#[path = "agreement_tests.rs"]
mod agreement;

struct Counter(u64);

impl Counter {
    fn bytes(&mut self) -> [u8; 16] {
        self.0 += 1;
        let mut bytes = [0xaa; 16];
        bytes[8..].copy_from_slice(&self.0.to_be_bytes());
        bytes
    }
}

impl Mint for Counter {
    fn event(&mut self, _: Timestamp) -> EventId {
        EventId::from_bytes(self.bytes())
    }

    fn run(&mut self, _: Timestamp) -> RunId {
        RunId::from_bytes(self.bytes())
    }
}

/// Everybody lives but these.
#[derive(Default)]
struct Dead(RefCell<BTreeSet<u32>>);

impl Dead {
    fn of(pids: &[u32]) -> Dead {
        Dead(RefCell::new(pids.iter().copied().collect()))
    }

    fn kill(&self, pid: u32) {
        self.0.borrow_mut().insert(pid);
    }
}

impl Processes for Dead {
    fn is_alive(&self, process: ProcessRef) -> bool {
        !self.0.borrow().contains(&process.pid)
    }

    fn survivors(&self, _: ProcessRef) -> Vec<String> {
        vec!["rsync (pid 7)".to_owned()]
    }
}

const BOOT: BootId = BootId::from_bytes([5; 16]);
const START: Option<Command> = Some(Command::CounterStart);
const STOP: Option<Command> = Some(Command::CounterStop);

/// The wall clock is an hour ahead of the boot clock.
fn at(millis: u64) -> Moment {
    Moment { time: Timestamp::from_micros(millis as i64 * 1000 + 3_600_000_000), boot_us: millis * 1000 }
}

fn table(config: &str) -> RunTable {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default)]
        runs: Policies,
    }
    let file: File = toml::from_str(config).unwrap();
    RunTable::load(Vec::new(), Arc::new(file.runs), Some(BOOT), None)
}

fn submission(millis: u64, script: u32, command: Option<Command>) -> Submission {
    let link = |pid, comm: &str| Link {
        process: ProcessRef { pid, start_ticks: 1 },
        comm: comm.to_owned(),
        terminal_leader: false,
        subshell: false,
        shell_text: false,
    };
    let mut draft = Draft::new(EventId::from_bytes([200; 16]), TaskName::parse("BACKUP").unwrap());
    draft.command = command;
    draft.caller.boot_clock = Some(BootClock { boot: BOOT, micros: millis * 1000 });
    Submission {
        draft,
        reporter: Reporter {
            process: Process { uid: Some(0), ..Process::default() },
            chain: Chain::new(vec![
                link(900, "hume"),
                link(script, "job.sh"),
                link(30, "sh"),
                link(20, "cron"),
                link(1, "systemd"),
            ]),
        },
        received: at(millis),
        host: HostName::parse("web1").unwrap(),
        redacted: false,
    }
}

/// A table, its ids and its processes.
struct Host {
    table: RunTable,
    mint: Counter,
    dead: Dead,
}

impl Host {
    fn new(config: &str) -> Host {
        Host { table: table(config), mint: Counter(0), dead: Dead::default() }
    }

    fn stamp(&mut self, submission: Submission) -> Stamped {
        self.table.stamp(submission, &mut self.mint, &self.dead)
    }

    fn sweep(&mut self, millis: u64) -> Vec<Event> {
        self.table.sweep(at(millis), Folder::Empty, &mut self.mint, &self.dead)
    }

    /// Sees that somebody died, and looks again when what was in flight must have come.
    fn sweep_twice(&mut self, millis: u64) -> Vec<Event> {
        let mut events = self.sweep(millis);
        events.extend(self.sweep(millis + 500));
        events
    }
}

fn findings(events: &[Event]) -> Vec<Finding> {
    events.iter().filter_map(|event| event.finding).collect()
}

#[test]
fn a_run_is_open_from_its_start_to_its_stop() {
    let mut host = Host::new("");
    let start = host.stamp(submission(0, 40, START));
    let middle = host.stamp(submission(1, 40, None));
    let stop = host.stamp(submission(2, 40, STOP));
    assert!(start.run.is_some() && start.run == middle.run && start.run == stop.run);
    assert_eq!(host.table.take_changes(), [RunChange::Remove(start.run.unwrap())]);
    assert_eq!(host.sweep(501), [], "what was in flight may still come");
    assert!(!host.table.is_empty());
    assert_eq!(host.sweep(502), []);
    assert!(host.table.is_empty());
}

#[test]
fn a_second_start_tells_of_the_superseded_run_first() {
    let mut host = Host::new("");
    let first = host.stamp(submission(0, 40, START));
    let second = host.stamp(submission(1, 40, START));
    assert_eq!(findings(&second.events), [Finding::Superseded]);
    assert_eq!(second.events[0].run.map(|run| run.id), first.run);
    assert_ne!(second.run, first.run);
}

#[test]
fn a_plain_note_belongs_to_no_run() {
    let mut host = Host::new("");
    let mut note = submission(0, 40, None);
    note.draft.task = TaskName::none();
    let stamped = host.stamp(note);
    assert_eq!((stamped.run, host.table.take_changes().len()), (None, 0));
    assert!(host.table.is_empty());
}

#[test]
fn a_script_that_dies_is_aborted_after_what_was_in_flight_and_its_survivors_are_named() {
    let mut host = Host::new("");
    host.stamp(submission(0, 40, START));
    host.dead.kill(40);
    assert_eq!(host.sweep(3_600_000), [], "events may still be in flight");
    assert_eq!(host.table.next_sweep_us(), Some(3_600_500_000));
    let told = host.sweep(3_600_500);
    assert_eq!(findings(&told), [Finding::ProcessGone]);
    assert!(told[0].message.ends_with("; still there: rsync (pid 7)"), "{}", told[0].message);
    assert_eq!((told[0].not_before, told[0].boot_clock.is_some()), (None, true));
    assert_eq!(host.sweep(3_601_000), [], "it is told once");
}

#[test]
fn a_late_event_withdraws_the_verdict_and_the_run_lives_on_in_whoever_reports() {
    let mut host = Host::new("");
    let start = host.stamp(submission(0, 40, START));
    host.dead.kill(40);
    assert_eq!(findings(&host.sweep_twice(1000)), [Finding::ProcessGone]);
    let late = host.stamp(submission(3000, 41, None));
    assert_eq!(late.run, start.run);
    assert_eq!(host.sweep_twice(4000), [], "the survivor lives");
    host.dead.kill(41);
    assert_eq!(findings(&host.sweep_twice(5000)), [Finding::ProcessGone]);
}

#[test]
fn an_aborted_run_can_be_joined_for_as_long_as_its_job_goes_on() {
    let mut host = Host::new("");
    let start = host.stamp(submission(0, 40, START));
    host.dead.kill(40);
    host.sweep_twice(1000);
    host.sweep(2 * 3_600_000);
    let stop = host.stamp(submission(2 * 3_600_000, 42, STOP));
    assert_eq!(stop.run, start.run, "the shell above started both");
    let mut other = Host::new("");
    other.stamp(submission(0, 40, START));
    other.dead.kill(40);
    other.sweep_twice(1000);
    other.dead.kill(30);
    other.sweep(700_000);
    assert!(other.table.is_empty(), "the job is over and ten minutes have passed");
}

#[test]
fn nothing_is_said_of_the_dead_while_the_drop_folder_may_hold_their_stop() {
    let mut host = Host::new("");
    host.stamp(submission(0, 40, START));
    host.dead.kill(40);
    let mut look = |millis, folder| host.table.sweep(at(millis), folder, &mut host.mint, &host.dead);
    assert_eq!(look(1000, Folder::Waiting), []);
    assert_eq!(look(5000, Folder::Waiting), []);
    assert_eq!(findings(&look(5001, Folder::Empty)), [Finding::ProcessGone]);
}

#[test]
fn a_detached_run_and_a_run_with_a_key_end_by_their_stop_alone() {
    let mut host = Host::new("");
    let mut detached = submission(0, 40, START);
    detached.draft.detach = true;
    let stamped = host.stamp(detached);
    assert_eq!(stamped.events[0].flags, [EventFlag::Detached]);
    let mut keyed = submission(1, 41, START);
    keyed.draft.key = Some(key("k", KeySource::Flag, None));
    host.stamp(keyed);
    host.dead.kill(40);
    host.dead.kill(41);
    assert_eq!(host.sweep_twice(3_600_000), []);
}

#[test]
fn a_run_whose_owner_nobody_knows_is_never_called_dead() {
    let mut host = Host::new("");
    let mut start = submission(0, 40, START);
    start.reporter.chain = Chain::default();
    let start = host.stamp(start);
    assert!(start.run.is_some());
    assert_eq!(host.table.watched().count(), 0);
    for pid in [1, 20, 30, 40, 900] {
        host.dead.kill(pid);
    }
    assert_eq!(host.sweep_twice(10_000_000), [], "only its policy says how long it may take");
    assert_eq!(host.table.next_sweep_us(), None);
    let mut stop = submission(20_000_000, 40, STOP);
    stop.reporter.chain = Chain::default();
    assert_eq!(host.stamp(stop).run, start.run);
}

fn key(text: &str, source: KeySource, task: Option<&str>) -> DraftKey {
    let task = task.map(|task| TaskName::parse(task).unwrap());
    DraftKey { key: RunKey::parse(text).unwrap(), source, task }
}

#[test]
fn who_runs_the_job_itself_is_watched_although_its_run_has_a_key() {
    let mut host = Host::new("");
    let mut start = submission(0, 40, START);
    start.draft.key = Some(key("k", KeySource::Flag, None));
    start.draft.overlap = Some(OverlapWish::Policy);
    host.stamp(start);
    assert_eq!(host.table.watched().map(|process| process.pid).collect::<Vec<_>>(), [900]);
    host.dead.kill(900);
    assert_eq!(findings(&host.sweep_twice(1000)), [Finding::ProcessGone]);
}

fn run_by_exec(millis: u64, script: u32, wish: OverlapWish) -> Submission {
    let mut start = submission(millis, script, START);
    start.draft.key = Some(key("k", KeySource::Flag, None));
    start.draft.overlap = Some(wish);
    start
}

#[test]
fn who_runs_the_job_itself_is_watched_also_when_its_start_came_late() {
    let mut host = Host::new("");
    let mut inside = submission(0, 41, None);
    inside.draft.key = Some(key("k", KeySource::Environment, None));
    let inside = host.stamp(inside);
    assert_eq!(host.table.watched().count(), 0);
    let start = host.stamp(run_by_exec(1, 40, OverlapWish::Begun));
    assert_eq!((start.run, start.refused), (inside.run, None));
    host.dead.kill(900);
    assert_eq!(findings(&host.sweep_twice(1000)), [Finding::ProcessGone]);
}

#[test]
fn a_stop_from_inside_leaves_the_run_to_what_runs_it() {
    let mut host = Host::new("");
    let start = host.stamp(run_by_exec(0, 40, OverlapWish::Policy));
    let mut inner = submission(1000, 41, STOP);
    inner.draft.key = Some(key("k", KeySource::Environment, None));
    let mut links = inner.reporter.chain.links().to_vec();
    links[0].process.pid = 901;
    inner.reporter.chain = Chain::new(links);
    let inner = host.stamp(inner);
    assert_eq!((inner.run, &inner.events[0].flags[..]), (start.run, &[EventFlag::InnerStop][..]));
    assert_eq!(host.sweep_twice(60_000), []);
    let mut stop = submission(61_000, 40, STOP);
    stop.draft.key = Some(key("k", KeySource::Flag, None));
    let stop = host.stamp(stop);
    assert_eq!((stop.run, &stop.events[0].flags[..]), (start.run, &[][..]));
}

#[test]
fn a_command_run_again_by_the_same_key_is_a_new_run_and_is_watched() {
    let mut host = Host::new("");
    let first = host.stamp(run_by_exec(0, 40, OverlapWish::Policy));
    host.dead.kill(900);
    assert_eq!(findings(&host.sweep_twice(1000)), [Finding::ProcessGone]);
    host.dead.0.borrow_mut().clear();
    let second = host.stamp(run_by_exec(2000, 40, OverlapWish::Policy));
    assert_ne!(second.run, first.run);
    assert_eq!(second.events[0].flags, []);
    assert_eq!(host.table.watched().count(), 1);
}

#[test]
fn a_run_that_a_key_opened_without_a_start_ends_after_the_idle_gap() {
    let mut host = Host::new("");
    let mut event = submission(0, 40, None);
    event.draft.key = Some(key("k", KeySource::Flag, None));
    host.stamp(event);
    assert_eq!(host.sweep(599_000), []);
    assert_eq!(findings(&host.sweep(600_000)), [Finding::Idle]);
}

#[test]
fn a_stop_of_another_job_does_not_undo_the_death_of_a_run() {
    let mut host = Host::new("");
    let start = host.stamp(submission(0, 40, START));
    host.dead.kill(40);
    host.sweep_twice(1000);
    let mut stop = submission(2000, 70, STOP);
    let mut strange = stop.reporter.chain.links().to_vec();
    strange.retain(|link| link.process.pid != 30);
    strange[0].process.pid = 901;
    stop.reporter.chain = Chain::new(strange);
    let stop = host.stamp(stop);
    assert!(stop.run.is_some() && stop.run != start.run);
}

#[test]
fn the_longest_untouched_of_too_many_runs_that_nobody_ends_is_let_go() {
    let mut host = Host::new("");
    let start = |host: &mut Host, number: u64| {
        let mut start = submission(number, 40, START);
        start.draft.key = Some(key(&number.to_string(), KeySource::Flag, None));
        host.stamp(start)
    };
    let first = start(&mut host, 0);
    for number in 1..OPEN_RUNS_MAX as u64 {
        start(&mut host, number);
    }
    assert_eq!(host.table.take_changes().len(), OPEN_RUNS_MAX);
    start(&mut host, OPEN_RUNS_MAX as u64);
    let changes = host.table.take_changes();
    assert!(changes.len() == 2 && changes.contains(&RunChange::Remove(first.run.unwrap())), "{changes:?}");
    assert_eq!(host.table.open_runs(), OPEN_RUNS_MAX);
}

#[test]
fn a_folder_that_never_empties_holds_a_verdict_for_ten_seconds_only() {
    let mut host = Host::new("");
    host.stamp(submission(0, 40, START));
    host.dead.kill(40);
    let mut look = |millis| host.table.sweep(at(millis), Folder::Waiting, &mut host.mint, &host.dead);
    assert_eq!((look(1000), look(10_999)), (vec![], vec![]));
    assert_eq!(findings(&look(11_000)), [Finding::ProcessGone]);
}

#[test]
fn a_start_that_may_not_overlap_is_kept_without_a_run_and_answered_with_a_conflict() {
    let forbid = "[[runs]]\noverlap = \"forbid\"";
    for (config, wish, is_refused) in [
        ("", OverlapWish::Policy, false),
        (forbid, OverlapWish::Policy, true),
        ("", OverlapWish::Only(Overlap::Forbid), true),
        (forbid, OverlapWish::Only(Overlap::Warn), false),
    ] {
        let mut host = Host::new(config);
        host.stamp(submission(0, 40, START));
        let mut second = submission(1, 41, START);
        second.draft.key = Some(key("k", KeySource::Flag, None));
        second.draft.overlap = Some(wish);
        let stamped = host.stamp(second);
        assert_eq!(stamped.refused.is_some(), is_refused, "{config} {wish:?}");
        assert_eq!(stamped.run.is_none(), is_refused);
        let flag = if is_refused { EventFlag::OverlapRefused } else { EventFlag::Overlapped };
        assert_eq!(stamped.events.last().unwrap().flags, [flag]);
    }
    let mut host = Host::new(forbid);
    host.stamp(submission(0, 40, START));
    assert_eq!(host.stamp(submission(1, 41, START)).refused, None, "a plain hume is never refused");
}

#[test]
fn a_key_inherited_from_another_task_is_ignored_and_said_to_be() {
    let mut host = Host::new("");
    let mut start = submission(0, 40, START);
    start.draft.key = Some(key("k", KeySource::Flag, None));
    let start = host.stamp(start);
    let mut foreign = submission(1, 40, None);
    foreign.draft.task = TaskName::parse("OTHER").unwrap();
    foreign.draft.key = Some(key("k", KeySource::Environment, Some("BACKUP")));
    let stamped = host.stamp(foreign.clone());
    assert_ne!(stamped.run, start.run);
    assert_eq!(stamped.events[0].flags, [EventFlag::KeyIgnored]);
    // Two tasks may use one key, say the number of a build: they are two runs.
    foreign.draft.key = Some(key("k", KeySource::Flag, None));
    let own = host.stamp(foreign);
    assert!(own.run.is_some() && own.run != start.run);
    assert_eq!(own.events[0].flags, []);
}

#[test]
fn the_same_script_speaking_of_another_host_has_another_run() {
    let mut host = Host::new("");
    let start = host.stamp(submission(0, 40, START));
    let mut of_another = submission(1, 40, None);
    of_another.host = HostName::parse("web2").unwrap();
    let other = host.stamp(of_another);
    assert!(other.run.is_some() && other.run != start.run);
    assert_eq!(other.events[0].host.as_str(), "web2");
    assert_eq!(host.stamp(submission(2, 40, None)).run, start.run);
}

#[test]
fn a_key_finds_its_ended_run_within_the_linger_and_a_new_one_after_it() {
    let mut host = Host::new("");
    let keyed = |millis, command| {
        let mut submission = submission(millis, 40, command);
        submission.draft.key = Some(key("k", KeySource::Flag, None));
        submission
    };
    let start = host.stamp(keyed(0, START));
    assert_eq!(host.stamp(keyed(1000, STOP)).run, start.run);
    host.sweep(1400);
    assert_eq!(host.stamp(keyed(1400, None)).run, start.run, "it was in flight");
    host.sweep(1500);
    let late = host.stamp(keyed(1600, None));
    assert!(late.run.is_some() && late.run != start.run, "an ended run is not opened again");
    assert_eq!(late.events[0].run.unwrap().correlation, Correlation::Explicit);
}

#[test]
fn an_implicit_run_ends_with_its_job_or_after_the_idle_gap_of_its_task() {
    let mut host = Host::new("[[runs]]\nidle_gap = \"1m\"");
    host.stamp(submission(0, 40, None));
    assert_eq!(host.table.next_sweep_us(), Some(60_000_000));
    assert_eq!(host.sweep(59_999), []);
    assert_eq!(findings(&host.sweep(60_000)), [Finding::Idle]);
    host.stamp(submission(70_000, 40, None));
    host.dead.kill(40);
    assert_eq!(host.sweep_twice(71_000), [], "the job goes on");
    host.dead.kill(30);
    assert_eq!(findings(&host.sweep_twice(72_000)), [Finding::JobEnded]);
    assert!(host.table.is_empty());
}

#[test]
fn a_clock_that_jumps_ten_years_ends_no_run() {
    let mut host = Host::new("");
    host.stamp(submission(0, 40, None));
    let ten_years = 10 * 365 * 86_400 * 1_000_000;
    for jump in [ten_years, -ten_years] {
        let now = Moment { time: at(1000).time.plus_micros(jump), ..at(1000) };
        assert_eq!(host.table.sweep(now, Folder::Empty, &mut host.mint, &host.dead), []);
    }
}

#[test]
fn runs_of_an_earlier_boot_are_aborted_with_their_end_as_an_interval() {
    let mut host = Host::new("");
    let start = host.stamp(submission(100_000, 40, START));
    let [RunChange::Put(row)] = &host.table.take_changes()[..] else { panic!("{start:?}") };
    let next_boot = Some(BootId::from_bytes([6; 16]));
    let last_look = at(160_000).time;
    let mut again = RunTable::load(vec![(**row).clone()], Arc::default(), next_boot, Some(last_look));
    // Two minutes after the start of the machine.
    let now = Moment { time: at(400_000).time, boot_us: 120_000_000 };
    let waits = again.sweep(now, Folder::Waiting, &mut host.mint, &Dead::default());
    assert_eq!(waits, [], "its stop may be in the folder");
    let events = again.sweep(now, Folder::Empty, &mut host.mint, &Dead::default());
    let changes = again.take_changes();
    assert_eq!(findings(&events), [Finding::Reboot]);
    assert_eq!((events[0].not_before, events[0].time), (Some(last_look), at(280_000).time));
    assert_eq!(changes, [RunChange::Remove(start.run.unwrap())]);
    assert!(again.is_empty());
}

#[test]
fn who_died_while_no_agent_looked_ended_between_the_last_look_and_the_first() {
    let mut host = Host::new("");
    let start = host.stamp(submission(0, 40, START));
    let [RunChange::Put(row)] = &host.table.take_changes()[..] else { panic!("{start:?}") };
    let last_look = at(60_000).time;
    host.table = RunTable::load(vec![(**row).clone()], Arc::default(), Some(BOOT), Some(last_look));
    host.dead.kill(40);
    let told = host.sweep_twice(90_000);
    assert_eq!((told[0].not_before, told[0].time), (Some(last_look), at(90_000).time));
    host.stamp(submission(100_000, 41, START));
    host.dead.kill(41);
    assert_eq!(host.sweep_twice(101_000)[0].not_before, None, "this one was watched");
}

#[test]
fn the_table_survives_a_restart_by_its_rows() {
    let mut host = Host::new("");
    let start = host.stamp(submission(0, 40, START));
    let [RunChange::Put(row)] = &host.table.take_changes()[..] else { panic!("{start:?}") };
    let text = serde_json::to_string(&row.run).unwrap();
    let run: OpenRun = serde_json::from_str(&text).unwrap();
    host.table =
        RunTable::load(vec![OpenRunRow { run, ..(**row).clone() }], Arc::default(), Some(BOOT), None);
    assert_eq!(host.stamp(submission(1, 40, None)).run, start.run);
}

#[test]
fn a_thousand_overlapping_runs_of_one_task_keep_their_events_apart() {
    let mut host = Host::new("");
    let starts: Vec<_> = (0..1000).map(|n| host.stamp(submission(n, 10_000 + n as u32, START))).collect();
    assert_eq!(host.table.watched().count(), 1000);
    let overlapped = starts.iter().filter(|start| start.events[0].flags == [EventFlag::Overlapped]).count();
    assert_eq!(overlapped, 999, "all but the first");
    for (n, start) in starts.iter().enumerate() {
        assert_eq!(host.stamp(submission(2000, 10_000 + n as u32, None)).run, start.run);
        assert_eq!(host.stamp(submission(2001, 10_000 + n as u32, STOP)).run, start.run);
    }
    assert_eq!(host.table.next_sweep_us(), Some(2_501_000), "the first stop is over then");
    host.sweep(3000);
    assert!(host.table.is_empty());
}

#[test]
fn a_thousand_scripts_that_die_together_are_aborted_in_one_look() {
    let mut host = Host::new("");
    let starts: Vec<_> = (0..1000).map(|n| host.stamp(submission(n, 10_000 + n as u32, START))).collect();
    for n in 0..1000 {
        host.dead.kill(10_000 + n);
    }
    assert_eq!(host.sweep(2000), []);
    assert_eq!(host.table.next_sweep_us(), Some(2_500_000));
    let told = host.sweep(2500);
    assert!(told.iter().all(|event| event.finding == Some(Finding::ProcessGone)));
    let aborted: BTreeSet<_> = told.iter().filter_map(|event| event.run.map(|run| run.id)).collect();
    assert_eq!(aborted, starts.iter().filter_map(|start| start.run).collect());
    assert_eq!((told.len(), host.table.watched().count()), (1000, 0));
}
