//! Whatever happens on a host, the agent that stamped the events and the master that reads them tell the same of every run.

use super::*;
use hume_core::event::Exit;
use hume_core::policy::RunPolicy;
use hume_core::run::{Now, Phase, RunState};
use hume_core::status::{Circumstances, judge};
use hume_core::{AgentId, Epoch, Position, Seq, StoredEvent};
use hume_proto::event::EventBytes;
use proptest::prelude::*;

/// So short that runs go idle between some of the steps.
const CONFIG: &str = "[[runs]]\nidle_gap = \"3s\"";
/// Each judges the same runs in its own way.
const POLICIES: [&str; 3] = [
    "",
    "[[runs]]\nmin_runtime = \"1s\"\nmax_runtime = \"2s\"\nhard_runtime = \"4s\"\nmax_pause = \"1s\"
     exit_map = { 3 = \"warning\" }",
    "[[runs]]\nstatus_by = \"final\"\noverlap = \"allow\"\nlost_after = \"never\"\nmax_runtime = \"5s\"",
];

/// What may happen on a host.
#[derive(Clone, Debug)]
enum Step {
    Report(Said),
    Die(u32),
    Look(Folder),
    /// The agent is killed and comes back with what is on disk.
    Restart,
    /// The machine is started anew.
    Reboot,
}

/// One report, and who made it.
#[derive(Clone, Debug)]
struct Said {
    script: u32,
    command: Option<Command>,
    level: Level,
    key: Option<&'static str>,
    detach: bool,
    exit: Option<Exit>,
    uid: u32,
    unit: Option<&'static str>,
    overlap: Option<OverlapWish>,
    /// False for a caller in another pid namespace.
    has_ancestors: bool,
}

fn said() -> impl Strategy<Value = Said> {
    let command = prop_oneof![
        3 => Just(None),
        3 => Just(START),
        2 => Just(STOP),
        3 => proptest::sample::select(Command::ALL.to_vec()).prop_map(Some),
    ];
    let exit = prop_oneof![
        4 => Just(None),
        1 => (0i32..4).prop_map(|code| Some(Exit::Code(code))),
        1 => Just(Some(Exit::Signal(9))),
    ];
    // Only hume exec says what is to become of an overlap.
    let overlap = prop_oneof![
        6 => Just(None),
        1 => Just(Some(OverlapWish::Policy)),
        1 => Just(Some(OverlapWish::Only(Overlap::Forbid))),
    ];
    let key = prop_oneof![3 => Just(None), 1 => Just(Some("k")), 1 => Just(Some("l"))];
    let unit = prop_oneof![3 => Just(None), 1 => Just(Some("u")), 1 => Just(Some("v"))];
    let level = proptest::sample::select(Level::ALL.to_vec());
    let rarely = proptest::bool::weighted(0.1);
    let of_root = proptest::bool::weighted(0.3);
    let has_ancestors = proptest::bool::weighted(0.8);
    (40u32..44, command, level, key, rarely, exit, of_root, unit, overlap, has_ancestors).prop_map(
        |(script, command, level, key, detach, exit, of_root, unit, overlap, has_ancestors)| Said {
            script,
            command,
            level,
            key,
            detach,
            exit,
            uid: if of_root { 0 } else { 1000 },
            unit,
            overlap,
            has_ancestors,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let mortal = prop_oneof![5 => 40u32..44, 1 => Just(30u32), 1 => Just(900u32)];
    prop_oneof![
        10 => said().prop_map(Step::Report),
        2 => mortal.prop_map(Step::Die),
        2 => Just(Step::Look(Folder::Empty)),
        1 => Just(Step::Look(Folder::Waiting)),
        1 => Just(Step::Restart),
        1 => Just(Step::Reboot),
    ]
}

impl Said {
    fn submission(&self, millis: u64, id: EventId, boot: BootId) -> Submission {
        let Said { script, command, level, key, detach, exit, uid, unit, overlap, has_ancestors } =
            self.clone();
        let mut said = submission(millis, script, command);
        said.draft.id = id;
        said.draft.level = level;
        said.draft.key = key.map(|text| super::key(text, KeySource::Flag, None));
        said.draft.detach = detach;
        said.draft.exit = exit;
        said.draft.overlap = overlap.filter(|_| command == START);
        said.draft.caller.boot_clock = Some(BootClock { boot, micros: millis * 1000 });
        said.reporter.process.uid = Some(uid);
        said.reporter.process.unit = unit.map(str::to_owned);
        if !has_ancestors {
            said.reporter.chain = Chain::default();
        }
        said
    }
}

/// Folds as a store keeps them.
#[derive(Default)]
struct Folds(HashMap<RunId, RunState>);

impl Folds {
    fn add(&mut self, stored: &StoredEvent) {
        let Some(run) = stored.event.run else { return };
        match self.0.get_mut(&run.id) {
            Some(state) => state.apply(stored),
            None => {
                self.0.extend(RunState::open(stored).map(|state| (run.id, state)));
            }
        }
    }

    /// Written to disk and read again, as after a crash.
    fn restart(&mut self) {
        for state in self.0.values_mut() {
            *state = serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap();
        }
    }
}

/// A host with its disk: what is kept of open runs, of ended ones, and of all events.
struct Machine {
    host: Host,
    boot: BootId,
    millis: u64,
    rows: HashMap<RunId, OpenRunRow>,
    folds: Folds,
    log: Vec<(Position, EventBytes)>,
}

impl Machine {
    fn new() -> Machine {
        let (rows, folds, log) = (HashMap::new(), Folds::default(), Vec::new());
        Machine { host: Host::new(CONFIG), boot: BOOT, millis: 0, rows, folds, log }
    }

    fn take(&mut self, step: Step) {
        self.millis += 700;
        let now = at(self.millis);
        let events = match step {
            Step::Report(said) => {
                let id = self.host.mint.event(now.time);
                let stamped = self.host.stamp(said.submission(self.millis, id, self.boot));
                let may_be_nowhere = said.command == STOP || stamped.refused.is_some();
                assert!(stamped.run.is_some() || may_be_nowhere, "{said:?}");
                assert_eq!(stamped.events.last().map(|event| event.id), Some(id));
                stamped.events
            }
            Step::Die(pid) => {
                self.host.dead.kill(pid);
                vec![]
            }
            Step::Look(folder) => {
                let Host { table, mint, dead } = &mut self.host;
                table.sweep(now, folder, mint, dead)
            }
            Step::Restart | Step::Reboot => {
                if let Step::Reboot = step {
                    self.boot = BootId::from_bytes(self.host.mint.bytes());
                    self.host.dead = Dead::of(&[]);
                }
                let kept = self.rows.values().cloned().collect();
                let policies = Arc::clone(&self.host.table.policies);
                self.host.table = RunTable::load(kept, policies, Some(self.boot), None);
                self.folds.restart();
                vec![]
            }
        };
        let changes = self.host.table.take_changes();
        for change in changes {
            match change {
                RunChange::Put(row) => drop(self.rows.insert(row.run.id, *row)),
                RunChange::Remove(run) => drop(self.rows.remove(&run)),
            }
        }
        for event in events {
            let seq = Seq::new(self.log.len() as u64 + 1).unwrap();
            let agent = Some(AgentId::from_bytes([1; 16]));
            let position = Position { agent, epoch: Epoch::from_bytes([2; 16]), seq };
            self.log.push((position, EventBytes::encode(&event)));
            self.folds.add(&StoredEvent { position, arrived_at: None, event });
        }
    }
}

/// What a master makes of the log, when batches overlap as `replays` says and it restarts now and then. What it knows
/// already it does not add again.
fn master_of(machine: &Machine, replays: Vec<usize>) -> Folds {
    let (mut master, mut acked) = (Folds::default(), 0);
    let mut replays = replays.into_iter().cycle();
    while acked < machine.log.len() {
        let back = replays.next().unwrap_or(0);
        if back == 3 {
            master.restart();
        }
        let first = acked.saturating_sub(back);
        let last = (acked + 1 + back).min(machine.log.len());
        for (place, (position, body)) in machine.log.iter().enumerate().take(last).skip(first) {
            if place >= acked {
                let event = body.decode().unwrap();
                let arrived_at = Some(at(machine.millis + 1).time);
                master.add(&StoredEvent { position: *position, arrived_at, event });
            }
        }
        acked = last;
    }
    master
}

/// No run goes on after an end that is not withdrawn, and each reported event counts once.
fn check_log(machine: &Machine) {
    let (mut over, mut reported) = (BTreeSet::new(), 0);
    for (_, body) in &machine.log {
        let event = body.decode().unwrap();
        let Some(run) = event.run else { continue };
        assert!(!over.contains(&run.id), "{event:?}");
        match event.finding {
            Some(Finding::ProcessGone) => {}
            Some(_) => drop(over.insert(run.id)),
            None => reported += 1,
        }
    }
    assert_eq!(machine.folds.0.values().map(RunState::events).sum::<u64>(), reported);
}

/// Both show the same of every run, by every policy, whether events are missing or not, now and later.
fn check_statuses(machine: &Machine, master: &Folds) {
    let policies = POLICIES.map(|text| table(text).policies.of(&TaskName::parse("BACKUP").unwrap()));
    let of = |policy: &RunPolicy, run: &RunState, now, complete| {
        judge(run, policy, Circumstances { now, complete, agent_silent_for: Duration::ZERO })
    };
    for (id, run) in &machine.folds.0 {
        for later in [0, 1500, 60_000] {
            let Moment { time, boot_us } = at(machine.millis + later);
            let here = Now::here(time, BootClock { boot: machine.boot, micros: boot_us });
            let elsewhere = Now::elsewhere(time);
            for (policy, complete) in policies.iter().flat_map(|policy| [(policy, true), (policy, false)]) {
                let told = of(policy, run, here, complete);
                assert_eq!(told, of(policy, &master.0[id], elsewhere, complete), "the clocks agree");
                assert_eq!(told.outcome.is_some(), run.phase() == Phase::Ended);
                assert!(told.active() <= told.duration, "{told:?}");
            }
        }
    }
}

proptest! {
    /// The agent folds what it stamped; the master folds the bytes that travelled, some of them twice, in other groups and
    /// with restarts of its own.
    #[test]
    fn agent_and_master_agree_whatever_happens(
        steps in proptest::collection::vec(step(), 1..80),
        replays in proptest::collection::vec(0usize..4, 1..20),
    ) {
        let mut machine = Machine::new();
        for step in steps {
            machine.take(step);
        }
        check_log(&machine);
        let master = master_of(&machine, replays);
        prop_assert_eq!(&machine.folds.0, &master.0);
        check_statuses(&machine, &master);
    }
}
