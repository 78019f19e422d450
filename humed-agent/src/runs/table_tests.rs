//! What the table of open runs decides, submission by submission.

use super::*;
use hume_core::process::Link;

struct Counter(u8);

impl Mint for Counter {
    fn event(&mut self, _: Timestamp) -> EventId {
        self.0 += 1;
        EventId::from_bytes([self.0; 16])
    }

    fn run(&mut self, _: Timestamp) -> RunId {
        self.0 += 1;
        RunId::from_bytes([self.0; 16])
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn submission(seconds: i64, script: u32, command: Option<Command>) -> Submission {
    let link = |pid, comm: &str| Link {
        process: ProcessRef { pid, start_ticks: 1 },
        comm: comm.to_owned(),
        terminal_leader: false,
        subshell: false,
        shell_text: false,
    };
    let mut draft = Draft::new(EventId::from_bytes([200; 16]), TaskName::parse("BACKUP").unwrap());
    draft.command = command;
    Submission {
        draft,
        reporter: Reporter {
            process: Process { uid: Some(0), ..Process::default() },
            chain: Chain::new(vec![
                link(900, "hume"),
                link(script, "job.sh"),
                link(20, "cron"),
                link(1, "systemd"),
            ]),
        },
        received_at: at(seconds),
        host: HostName::parse("web1").unwrap(),
    }
}

const ALIVE: fn(ProcessRef) -> bool = |_| true;
const GONE: fn(ProcessRef) -> bool = |_| false;

#[test]
fn a_run_is_open_from_its_start_to_its_stop() {
    let (mut table, mut mint) = (RunTable::default(), Counter(0));
    let start = table.stamp(submission(0, 40, Some(Command::CounterStart)), &mut mint, ALIVE);
    let middle = table.stamp(submission(1, 40, None), &mut mint, ALIVE);
    assert!(!table.is_empty());
    let stop = table.stamp(submission(2, 40, Some(Command::CounterStop)), &mut mint, ALIVE);
    assert!(table.is_empty());
    assert!(start.run.is_some() && start.run == middle.run && start.run == stop.run);
    assert_eq!(stop.changes, [RunChange::Remove(start.run.unwrap())]);
}

#[test]
fn a_second_start_tells_of_the_superseded_run_first() {
    let (mut table, mut mint) = (RunTable::default(), Counter(0));
    let first = table.stamp(submission(0, 40, Some(Command::CounterStart)), &mut mint, ALIVE);
    let second = table.stamp(submission(1, 40, Some(Command::CounterStart)), &mut mint, ALIVE);
    assert_eq!(second.events.len(), 2);
    assert_eq!(second.events[0].finding, Some(Finding::Superseded));
    assert_eq!(second.events[0].run.map(|run| run.id), first.run);
    assert_ne!(second.run, first.run);
}

#[test]
fn a_plain_note_belongs_to_no_run() {
    let (mut table, mut mint) = (RunTable::default(), Counter(0));
    let mut note = submission(0, 40, None);
    note.draft.task = TaskName::none();
    let stamped = table.stamp(note, &mut mint, ALIVE);
    assert_eq!((stamped.run, stamped.changes.len()), (None, 0));
    assert!(table.is_empty());
}

#[test]
fn a_script_that_dies_leaves_an_aborted_run_that_a_late_event_takes_back() {
    let (mut table, mut mint) = (RunTable::default(), Counter(0));
    let start = table.stamp(submission(0, 40, Some(Command::CounterStart)), &mut mint, ALIVE);
    assert_eq!(table.sweep(at(0), &mut mint, GONE).0, [], "events may still be in flight");
    let (events, _) = table.sweep(at(1), &mut mint, GONE);
    assert_eq!(events[0].finding, Some(Finding::ProcessGone));
    assert_eq!(table.sweep(at(2), &mut mint, GONE).0, [], "it is told once");
    let late = table.stamp(submission(3, 41, None), &mut mint, GONE);
    assert_eq!(late.run, start.run);
    let (_, changes) = table.sweep(at(4000), &mut mint, ALIVE);
    assert_eq!(changes, [], "it lives again");
}

#[test]
fn an_implicit_run_ends_with_its_job_or_after_the_idle_gap() {
    let (mut table, mut mint) = (RunTable::default(), Counter(0));
    table.stamp(submission(0, 40, None), &mut mint, ALIVE);
    assert_eq!(table.sweep(at(599), &mut mint, ALIVE).0, []);
    assert_eq!(table.sweep(at(600), &mut mint, ALIVE).0[0].finding, Some(Finding::Idle));
    table.stamp(submission(700, 40, None), &mut mint, ALIVE);
    assert_eq!(table.sweep(at(701), &mut mint, GONE).0[0].finding, Some(Finding::JobEnded));
    assert!(table.is_empty());
}

#[test]
fn after_a_reboot_every_open_run_is_aborted() {
    let (mut table, mut mint) = (RunTable::default(), Counter(0));
    table.stamp(submission(0, 40, Some(Command::CounterStart)), &mut mint, ALIVE);
    let (events, changes) = table.reboot(at(9), &mut mint);
    assert_eq!(events[0].finding, Some(Finding::Reboot));
    assert_eq!(changes.len(), 1);
    assert!(table.is_empty());
}

#[test]
fn the_table_survives_a_restart_by_its_rows() {
    let (mut table, mut mint) = (RunTable::default(), Counter(0));
    let start = table.stamp(submission(0, 40, Some(Command::CounterStart)), &mut mint, ALIVE);
    let [RunChange::Put(row)] = &start.changes[..] else { panic!("{:?}", start.changes) };
    let mut again = RunTable::load(vec![(**row).clone()]);
    assert_eq!(again.stamp(submission(1, 40, None), &mut mint, ALIVE).run, start.run);
}
