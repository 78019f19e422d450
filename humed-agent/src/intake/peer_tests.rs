//! Who is believed to have called: a kernel that knows, one that does not, and callers that speak for themselves.

use std::collections::HashMap;

use super::*;

const USER: u32 = 1000;
/// The caller connected ten seconds after the machine was started.
const ACCEPTED_US: u64 = 10_000_000;
const ACCEPTED_TICKS: u64 = 1000;

/// One process: its parent, name, user, start in ticks and words.
#[derive(Clone)]
struct Entry {
    parent: u32,
    comm: &'static str,
    uid: u32,
    start_ticks: u64,
    words: &'static str,
}

/// Processes as a test wants them.
#[derive(Clone)]
struct Machine(HashMap<u32, Entry>);

impl Machine {
    /// cron (20) runs `sh -c` (30), which runs a script (40), which calls hume (50).
    fn with_a_script() -> Machine {
        let entry = |parent, comm, uid, words| Entry { parent, comm, uid, start_ticks: 5, words };
        Machine(HashMap::from([
            (1, entry(0, "systemd", 0, "/sbin/init")),
            (20, entry(1, "cron", 0, "cron -f")),
            (30, entry(20, "sh", USER, "sh -c backup")),
            (40, entry(30, "bash", USER, "bash backup.sh")),
            (50, entry(40, "hume", USER, "hume -m x")),
        ]))
    }

    fn change(mut self, pid: u32, change: impl FnOnce(&mut Entry)) -> Machine {
        change(self.0.get_mut(&pid).unwrap());
        self
    }

    fn without(mut self, pid: u32) -> Machine {
        self.0.remove(&pid);
        self
    }
}

impl Proc for Machine {
    fn stat(&self, pid: u32) -> Option<String> {
        let Entry { parent, comm, start_ticks, .. } = self.0.get(&pid)?;
        Some(format!("{pid} ({comm}) S {parent} 30 30 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start_ticks} 0"))
    }

    fn cmdline(&self, pid: u32) -> Option<Vec<u8>> {
        self.0.get(&pid).map(|entry| entry.words.replace(' ', "\0").into_bytes())
    }

    fn owner_of(&self, pid: u32) -> Option<u32> {
        self.0.get(&pid).map(|entry| entry.uid)
    }
}

fn connected(machine: &Machine, pid: i32) -> Peer {
    Peer::known(Some(pid), USER, ACCEPTED_US, machine)
}

fn says(ppid: u32) -> Caller {
    Caller { ppid: Some(ppid), cwd: Some("/opt".to_owned()), ..Caller::default() }
}

fn pids(reporter: &Reporter) -> Vec<u32> {
    reporter.chain.links().iter().map(|link| link.process.pid).collect()
}

#[test]
fn a_caller_that_lives_is_known_with_its_ancestors_and_the_script_that_owns_it() {
    let machine = Machine::with_a_script();
    let reporter = connected(&machine, 50).reporter_by(&says(40), &machine);
    assert_eq!(pids(&reporter), [50, 40, 30, 20, 1]);
    assert_eq!((reporter.process.pid, reporter.process.uid), (Some(50), Some(USER)));
    assert_eq!(reporter.process.script.as_deref(), Some("/opt/backup.sh"));
}

#[test]
fn a_process_that_started_after_the_accept_has_no_ancestors() {
    for (start_ticks, is_known) in [(ACCEPTED_TICKS, true), (ACCEPTED_TICKS + 1, false)] {
        let machine = Machine::with_a_script().change(50, |hume| hume.start_ticks = start_ticks);
        let reporter = connected(&machine, 50).reporter_by(&Caller::default(), &machine);
        assert_eq!(!reporter.chain.is_empty(), is_known, "{start_ticks}");
        assert_eq!(reporter.process.script.is_some(), is_known, "{start_ticks}");
        assert_eq!(reporter.process.pid, Some(50), "that is what the kernel said");
    }
}

#[test]
fn a_caller_of_another_pid_namespace_has_no_ancestors() {
    let machine = Machine::with_a_script();
    for pid in [Some(0), None] {
        let peer = Peer::known(pid, USER, ACCEPTED_US, &machine);
        let reporter = peer.reporter_by(&says(40), &machine);
        assert_eq!((reporter.process.pid, pids(&reporter)), (None, vec![]), "its numbers mean others here");
        assert_eq!(reporter.process.script, None);
    }
}

#[test]
fn ancestors_are_read_when_the_caller_connects_and_not_again() {
    let machine = Machine::with_a_script();
    let peer = connected(&machine, 50);
    let empty = Machine(HashMap::new());
    for _ in 0..2 {
        assert_eq!(pids(&peer.reporter_by(&says(40), &empty)), [50, 40, 30, 20, 1]);
    }
}

#[test]
fn who_is_gone_already_is_known_by_the_parent_that_it_named() {
    let machine = Machine::with_a_script().without(50);
    let peer = connected(&machine, 50);
    assert!(peer.chain.is_empty());
    let reporter = peer.reporter_by(&says(40), &machine);
    assert_eq!(pids(&reporter), [40, 30, 20, 1]);
    assert_eq!(reporter.process.script.as_deref(), Some("/opt/backup.sh"));
    assert_eq!(reporter.process.pid, Some(50), "the parent is not the caller");
    assert_eq!(pids(&peer.reporter_by(&Caller::default(), &machine)), [0; 0], "who names none has none");
}

#[test]
fn who_was_handed_over_to_the_first_process_is_known_by_the_parent_that_it_named() {
    let machine = Machine::with_a_script().change(50, |hume| hume.parent = 1);
    let peer = connected(&machine, 50);
    assert_eq!(pids(&peer.reporter_by(&says(40), &machine)), [40, 30, 20, 1]);
    assert_eq!(pids(&peer.reporter_by(&says(1), &machine)), [50, 1], "that is where it hangs");
    assert_eq!(pids(&peer.reporter_by(&says(77), &machine)), [50, 1], "nobody has that number");
    assert_eq!(pids(&peer.reporter_by(&says(50), &machine)), [50, 1], "nobody is its own parent");
}

#[test]
fn a_parent_of_another_user_is_not_believed() {
    let machine = Machine::with_a_script().without(50).change(40, |script| script.uid = 0);
    let reporter = connected(&machine, 50).reporter_by(&says(40), &machine);
    assert_eq!((pids(&reporter), reporter.process.script), (vec![], None));
}

#[test]
fn an_own_word_never_replaces_ancestors_that_the_kernel_knows() {
    let mut machine = Machine::with_a_script();
    let other = Entry { parent: 20, comm: "bash", uid: USER, start_ticks: 5, words: "bash other.sh" };
    machine.0.insert(60, other);
    let reporter = connected(&machine, 50).reporter_by(&says(60), &machine);
    assert_eq!(pids(&reporter), [50, 40, 30, 20, 1]);
    assert_eq!(reporter.process.script.as_deref(), Some("/opt/backup.sh"));
}

#[test]
fn what_it_runs_is_believed_only_of_a_caller_that_owns_what_it_reports() {
    let named = || Caller { script: Some("/opt/job".to_owned()), ..says(40) };
    let of_a_script = Machine::with_a_script();
    let reporter = connected(&of_a_script, 50).reporter_by(&named(), &of_a_script);
    assert_eq!(reporter.process.script.as_deref(), Some("/opt/backup.sh"));
    let of_itself = Machine::with_a_script().change(50, |own| own.comm = "python3");
    let reporter = connected(&of_itself, 50).reporter_by(&named(), &of_itself);
    assert_eq!(reporter.process.script.as_deref(), Some("/opt/job"));
}
