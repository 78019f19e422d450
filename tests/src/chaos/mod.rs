//! Many agents and a master as real processes under a random order of faults, and the oracle's verdict at the end.
//!
//! The order is that of the seed; when each fault comes, and whether its victim is there to be struck, is up to the machine.

mod lane;
mod report;
mod schedule;
mod ward;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;

use self::lane::Lane;
pub use self::report::Report;
pub use self::schedule::Reverts;
use self::schedule::{Fault, Schedule};
use self::ward::{End, Ward};
use crate::ledger::{Ledger, Tally};
use crate::oracle::{self, Excuses};
use crate::proxy::Proxy;
use crate::reporter::{About, Load, Reporter, Stage, Way};
use crate::{Agent, Disk, Evidence, Master, SOON, Site, http, let_pass, process};

/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(20);
/// Between two words on how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// When the faults are over everything is at the master within this time.
const DRAIN_TIME_MAX: Duration = Duration::from_mins(4);
/// Every third agent has a disk that can be full.
const DISK_EVERY: usize = 3;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Of the order of faults, and of what is sent.
    pub seed: u64,
    /// How long faults come.
    pub time: Duration,
    /// So many.
    pub agents: usize,
    /// Whether spools are put back.
    pub reverts: Reverts,
}

/// Runs it. `say` gets a line now and then; `is_over` breaks it off.
pub fn run(plan: &Plan, say: &dyn Fn(&str), is_over: &AtomicBool) -> Report {
    let site = Site::new();
    let mut report = Report { seed: plan.seed, ..Report::default() };
    let mut disks = Vec::new();
    let mut agents = Vec::new();
    let proxies: Vec<Proxy> = (0..plan.agents).map(|_| Proxy::to(site.master().grpc())).collect();
    for (number, proxy) in proxies.iter().enumerate() {
        let host = format!("host{number}");
        let is_wanted = number % DISK_EVERY == 0;
        disks.push(is_wanted.then(|| Disk::mount(&site.folder().path().join(&host))).flatten());
        if is_wanted && disks.last().is_none_or(Option::is_none) {
            report.skipped = vec!["full disks: this user may not mount a tmpfs".to_owned()];
        }
        let agent = site.prepare_agent(&host);
        agent.configure(|toml| {
            if let Some(master) = toml.get_mut("master").and_then(toml::Value::as_table_mut) {
                master.insert("address".to_owned(), proxy.address().to_string().into());
            }
        });
        agents.push(agent);
    }
    agents.iter().for_each(Agent::start);
    let ledger = Ledger::default();
    let excuses = {
        let lanes = agents.iter().zip(&proxies).zip(&disks);
        let lanes = lanes.map(|((agent, proxy), disk)| Lane::new(agent, proxy, disk.as_ref())).collect();
        let storm = Storm {
            plan,
            site: &site,
            ledger: &ledger,
            lanes,
            master: Ward::new("the master", site.master()),
            rng: Rng::with_seed(plan.seed ^ 0x9e37_79b9_7f4a_7c15),
            backup: None,
            known: Known::default(),
            report: &mut report,
            say,
            is_over,
        };
        storm.rage()
    };
    if !report.is_interrupted {
        report.tally = ledger.tally();
        note_sometimes(&mut report, &agents, site.master());
        let evidence = Evidence::gather(site.master());
        report.verdict = oracle::judge(&ledger.snapshot(), &evidence, &excuses);
        if !report.is_clean() {
            let folder = site.folder().keep();
            // What is on a disk of its own goes with it.
            for agent in &agents {
                let copy = format!("{}.kept", agent.dir().display());
                drop(Command::new("cp").arg("-a").arg(agent.dir()).arg(copy).status());
            }
            say(&format!("the folders are kept: {}", folder.display()));
        }
    }
    // Processes before their disks.
    drop(agents);
    drop(disks);
    report
}

/// Batches that the master had already, over all its lives.
#[derive(Default)]
struct Known {
    sum: u64,
    last: u64,
}

impl Known {
    fn look(&mut self, master: &Master) {
        let answer = master.try_get_socket("/metrics").filter(|answer| answer.status == 200);
        let Some(answer) = answer else { return };
        let now = http::metrics(&answer).get("hume_master_known_batches_total").copied().unwrap_or_default();
        self.sum += if now >= self.last { now - self.last } else { now };
        self.last = now;
    }
}

/// The faults, while they go on.
struct Storm<'a> {
    plan: &'a Plan,
    site: &'a Site,
    ledger: &'a Ledger,
    lanes: Vec<Lane<'a>>,
    master: Ward<'a>,
    rng: Rng,
    backup: Option<PathBuf>,
    known: Known,
    report: &'a mut Report,
    say: &'a dyn Fn(&str),
    is_over: &'a AtomicBool,
}

impl Storm<'_> {
    /// From the first fault until everything is at the master, or the time is over.
    fn rage(mut self) -> Excuses {
        let stage = Stage::default();
        let names = [(Way::Hume, "call"), (Way::Socket, "write")];
        let load = Load { pause_ms_max: 500, patience_ms: 1_500, ..Load::default() };
        let senders: Vec<_> = self
            .lanes
            .iter()
            .flat_map(|lane| names.map(|(way, name)| (lane.agent, way, name)))
            .map(|(agent, way, name)| {
                (Reporter { agent, ledger: self.ledger, stage: &stage, load, name }, way)
            })
            .collect();
        thread::scope(|scope| {
            let curtain = stage.curtain();
            let handles: Vec<_> = senders
                .iter()
                .map(|(reporter, way)| {
                    let (reporter, way, rng) = (*reporter, *way, self.rng.fork());
                    scope.spawn(move || reporter.run(way, rng))
                })
                .collect();
            self.strike_all();
            drop(curtain);
            self.calm(&stage, &handles);
        });
        if !self.report.is_interrupted {
            self.drain();
            self.report.sometimes.insert("batches on the wire that the master had already", self.known.sum);
        }
        Excuses {
            reverts: self.lanes.into_iter().flat_map(|lane| lane.reverts).collect(),
            forgotten: BTreeSet::new(),
        }
    }

    fn is_interrupted(&mut self) -> bool {
        self.report.is_interrupted |= self.is_over.load(Ordering::Relaxed);
        self.report.is_interrupted
    }

    fn strike_all(&mut self) {
        let began = Instant::now();
        let mut told_at = began;
        let Plan { seed, time, agents, reverts } = *self.plan;
        for (pause_ms, fault) in Schedule::new(seed, agents, reverts) {
            let until = (Instant::now() + Duration::from_millis(pause_ms)).min(began + time);
            while Instant::now() < until && !self.is_interrupted() {
                self.tick();
            }
            if began.elapsed() >= time || self.is_interrupted() {
                return;
            }
            if self.strike(&fault) {
                self.report.happened(fault.kind());
            }
            if told_at.elapsed() >= PROGRESS_EVERY {
                told_at = Instant::now();
                self.tell(began, &fault);
            }
        }
    }

    fn tell(&mut self, began: Instant, fault: &Fault) {
        self.look();
        let Tally { confirmed, dropped, repeated, refused } = self.ledger.tally();
        let (seconds, faults) = (began.elapsed().as_secs(), self.report.fault_count());
        (self.say)(&format!(
            "{seconds:>4} s: {faults} faults, {confirmed} events confirmed ({dropped} by drop folders), {repeated} sent again, \
             {refused} refused; last: {fault}"
        ));
    }

    fn look(&mut self) {
        if !self.master.is_stopped() {
            self.known.look(self.site.master());
        }
    }

    /// What is due.
    fn tick(&mut self) {
        let mut ends = Vec::new();
        for lane in &mut self.lanes {
            lane.tick();
            let is_full = lane.is_full();
            ends.extend(lane.ward.tick(&mut self.rng).map(|end| (end, is_full)));
        }
        ends.extend(self.master.tick(&mut self.rng).map(|end| (end, false)));
        for (end, is_full) in ends {
            match end {
                End::ByFault => self.report.happened("killed itself at a fail point"),
                // It is started again, as a service manager would.
                End::NoDisk(_) if is_full => self.report.happened("did not start on a full disk"),
                End::NoDisk(what) | End::Unasked(what) => self.report.unasked.push(what),
            }
        }
        let_pass(TICK, || false);
    }

    /// False when it could not happen now.
    fn strike(&mut self, fault: &Fault) -> bool {
        let rng = &mut self.rng;
        match fault {
            Fault::Agent(agent, blow) => self.lanes[*agent].ward.strike(blow, rng),
            Fault::Master(blow) => self.master.strike(blow, rng),
            Fault::Both(agent) => {
                let is_up = self.lanes[*agent].ward.is_up() && self.master.is_up();
                if is_up {
                    self.lanes[*agent].ward.kill(rng);
                    self.master.kill(rng);
                }
                is_up
            }
            Fault::Net(agent, net, ms) => self.lanes[*agent].disturb(*net, *ms),
            Fault::NetOfAll(net, ms) => {
                self.lanes.iter_mut().filter_map(|lane| lane.disturb(*net, *ms).then_some(())).count() > 0
            }
            Fault::FullDisk(agent, ms) => self.lanes[*agent].fill(*ms),
            Fault::Backup => self.back_up(),
            Fault::Restore => self.restore(),
            Fault::CopySpool(agent) => self.lanes[*agent].copy_spool(rng),
            Fault::RevertSpool(agent) => self.lanes[*agent].revert_spool(rng),
        }
    }

    fn upkeep(&self, words: &[&str]) -> bool {
        let master = self.site.master();
        let output =
            process::run(process::command("humed-master").args(words).arg("--config").arg(master.config()));
        if output.code != Some(0) {
            (self.say)(&format!("{}: {}", output.words, output.stderr.trim()));
        }
        output.code == Some(0)
    }

    fn back_up(&mut self) -> bool {
        let path = self.site.folder().path().join("backup.db");
        let is_made = self.upkeep(&["backup", "--force", "--to", &path.display().to_string()]);
        if is_made {
            self.backup = Some(path);
        }
        is_made
    }

    fn restore(&mut self) -> bool {
        let Some(path) = self.backup.clone().filter(|_| self.master.is_up()) else { return false };
        self.look();
        if !self.master.stop() {
            self.report.unasked.push("the master did not stop for a restore".to_owned());
        }
        let is_restored = self.upkeep(&["restore", "--from", &path.display().to_string()]);
        self.master.start();
        is_restored
    }

    /// The faults are over: everybody is there again, and what was begun is finished.
    fn calm(&mut self, stage: &Stage, handles: &[ScopedJoinHandle<'_, ()>]) {
        self.look();
        for lane in &mut self.lanes {
            lane.calm(&mut self.rng);
        }
        self.master.calm(&mut self.rng);
        let until = Instant::now() + DRAIN_TIME_MAX;
        while handles.iter().any(|handle| !handle.is_finished()) {
            self.tick();
            if self.is_interrupted() {
                return stage.abandon();
            }
            if Instant::now() > until {
                self.report.undrained.push("events that were never answered".to_owned());
                return stage.abandon();
            }
        }
    }

    /// Waits until all is at the master, and something new arrives there.
    fn drain(&mut self) {
        (self.say)("the faults are over; waiting until everything is at the master");
        let until = Instant::now() + DRAIN_TIME_MAX;
        let mut waiting = self.waiting();
        while !waiting.is_empty() && Instant::now() < until && !self.is_interrupted() {
            self.tick();
            waiting = self.waiting();
        }
        self.report.undrained.extend(waiting);
        if !self.report.undrained.is_empty() || self.report.is_interrupted {
            return;
        }
        let stage = Stage::default();
        for lane in &self.lanes {
            let load = Load { about: About::Nothing, patience_ms: 20_000, ..Load::default() };
            let fresh =
                Reporter { agent: lane.agent, ledger: self.ledger, stage: &stage, load, name: "fresh" };
            let before = self.ledger.tally().confirmed;
            fresh.once(&mut self.rng);
            if self.ledger.tally().confirmed == before {
                self.report.undrained.push(format!("{}: a fresh event was not taken", lane.agent.host()));
                continue;
            }
            let until = Instant::now() + SOON;
            let waits = || waiting_at(lane.agent);
            while waits().is_some() && Instant::now() < until {
                let_pass(TICK, || false);
            }
            self.report.undrained.extend(waits());
        }
        self.look();
    }

    fn waiting(&self) -> Vec<String> {
        if !self.site.master().is_ready() {
            return vec!["the master is not ready".to_owned()];
        }
        self.lanes.iter().filter_map(|lane| waiting_at(lane.agent)).collect()
    }
}

/// What still waits at an agent, in words.
fn waiting_at(agent: &Agent) -> Option<String> {
    let host = agent.host();
    if !agent.is_ready() {
        return Some(format!("{host}: the agent is not ready"));
    }
    let dropped = agent.waiting().len();
    if dropped > 0 {
        return Some(format!("{host}: {dropped} files wait in the drop folder"));
    }
    let answer = agent.try_get("/metrics").filter(|answer| answer.status == 200);
    let metrics = answer.map(|answer| http::metrics(&answer)).unwrap_or_default();
    let of = |name: &str| metrics.get(name).copied();
    let (connected, unacked) = (of("hume_agent_uplink_connected"), of("hume_agent_spool_unacked_events"));
    (connected != Some(1) || unacked != Some(0))
        .then(|| format!("{host}: connected {connected:?}, events that wait {unacked:?}"))
}

/// What the logs say that must happen now and then.
fn note_sometimes(report: &mut Report, agents: &[Agent], master: &Master) {
    let logs: Vec<String> = agents.iter().map(|agent| agent.log()).chain([master.log()]).collect();
    let count = |text: &str| logs.iter().map(|log| log.matches(text).count() as u64).sum();
    for (what, text) in [
        ("sessions", "connected to the master"),
        ("places to go on from that the master asked for", "the master asks to go on from another place"),
        ("epochs that took over", "a new epoch took over"),
        ("times that a master was slow", "the master is slow"),
        ("gaps that agents declared", "are no longer here"),
        ("looks at the drop folder that found something", "recorded what was in the drop folder"),
        ("repairs of a spool", "the spool goes on"),
        ("times that a disk was full", "the disk of the spool is full"),
        ("faults at fail points", "a fault that HUME_FAULTS asks for"),
    ] {
        report.sometimes.insert(what, count(text));
    }
    let Tally { confirmed: _, dropped, repeated, refused } = report.tally;
    report.sometimes.insert("events confirmed by drop folders", dropped);
    report.sometimes.insert("events sent again by their senders", repeated);
    report.sometimes.insert("events refused", refused);
}
