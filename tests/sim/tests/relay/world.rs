//! Runs a plan to its end: until everything is mended, all agents have come back, and the master has what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use hume_core::{Event, EventId};
use hume_runtime::{clock, sqlite};
use humed_master::store::{self, Taken};
use tokio::runtime::Runtime;
use turmoil::Sim;

use crate::agent::{self, Agent};
use crate::journal::{Entry, Journal};
use crate::master::Master;
use crate::network::{Cuts, Net};
use crate::plan::{self, Deed, Disk, Plan, Way};
use crate::site::{self, MASTER, Site};

/// How far virtual time goes at once for each host.
const TICK: Duration = Duration::from_millis(10);
/// How long a message takes, unless a plan says otherwise.
const DELAY: Duration = Duration::from_millis(15);
/// Virtual time within which everything must be at the master when nothing is broken any more: the keepalive finds a dead
/// connection in 50 s, the longest pause before the next try takes 120 s, and a second session may be needed after a fork.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2 * (50 + 120) + 60);
/// Virtual time for the stop of everybody.
const STOP_TIME_MAX: Duration = Duration::from_secs(20);

/// What an agent was told, and what it may have lost.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Accepted, in this order.
    pub(crate) accepted: Vec<Event>,
    /// They were on a disk that was put back to an earlier state.
    pub(crate) perished: BTreeSet<EventId>,
}

/// What came of a plan.
pub(crate) struct Course {
    pub(crate) site: Site,
    pub(crate) ledgers: Vec<Ledger>,
    pub(crate) journal: Arc<Journal>,
    /// How long after the end of all faults the master had everything; none when it never had.
    pub(crate) drained_after: Option<Duration>,
    /// What broke the simulation itself.
    pub(crate) error: Option<String>,
}

struct World<'a> {
    sim: Sim<'a>,
    plan: &'a Plan,
    site: Site,
    master: Arc<Master>,
    agents: Vec<Arc<Agent>>,
    ledgers: Vec<Ledger>,
    /// Of each spool that was copied: how many events it had accepted by then.
    copies: BTreeMap<usize, usize>,
    has_backup: bool,
    journal: Arc<Journal>,
    cuts: Cuts,
    chance: Rng,
}

/// Runs it.
pub(crate) fn run(plan: &Plan) -> Course {
    fastrand::seed(plan.seed);
    let site = Site::new(plan.agents);
    let journal = Arc::new(Journal::default());
    let real = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut world = World::new(plan, site, &journal, &Arc::new(real));
    let ended = world.live();
    let World { site, ledgers, .. } = world;
    let (drained_after, error) = match ended {
        Ok(drained_after) => (drained_after, None),
        Err(error) => (None, Some(error.to_string())),
    };
    Course { site, ledgers, journal, drained_after, error }
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, site: Site, journal: &Arc<Journal>, real: &Arc<Runtime>) -> World<'a> {
        let cuts = Cuts::default();
        let mut sim = turmoil::Builder::new()
            .rng_seed(plan.seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_hours(24))
            .min_message_latency(DELAY)
            .max_message_latency(DELAY)
            .build();
        let tls = Arc::clone(&site.relay);
        let master =
            Arc::new(Master::new(site.path("store").join("store.db"), tls, Arc::clone(journal), plan));
        let host = Arc::clone(&master);
        sim.host(MASTER, move || Arc::clone(&host).live());
        let agents: Vec<_> = (0..plan.agents)
            .map(|number| {
                let net = Net { agent: number, cuts: cuts.clone(), journal: Arc::clone(journal) };
                let spool = site.path(&format!("spool{number}"));
                Arc::new(Agent::new(number, spool, site.uplink(number), net, Arc::clone(real)))
            })
            .collect();
        for agent in &agents {
            let host = Arc::clone(agent);
            sim.host(site::name(agent.number), move || Arc::clone(&host).live());
        }
        let ledgers = agents.iter().map(|_| Ledger::default()).collect();
        let (copies, chance) = (BTreeMap::new(), Rng::with_seed(plan.seed));
        let journal = Arc::clone(journal);
        World { sim, plan, site, master, agents, ledgers, copies, has_backup: false, journal, cuts, chance }
    }

    fn live(&mut self) -> turmoil::Result<Option<Duration>> {
        let (mut deeds, mut reports) =
            (self.plan.deeds.iter().peekable(), self.plan.reports.iter().peekable());
        while self.sim.elapsed() < self.plan.end {
            while let Some((_, deed)) = deeds.next_if(|(at, _)| *at <= self.sim.elapsed()) {
                self.do_(*deed)?;
            }
            while let Some((_, agent, count)) = reports.next_if(|(at, ..)| *at <= self.sim.elapsed()) {
                self.report(*agent, *count);
            }
            self.step()?;
        }
        self.mend()?;
        for agent in 0..self.plan.agents {
            self.report(agent, 1);
        }
        let drained_after = self.drain()?;
        self.stop()?;
        Ok(drained_after)
    }

    fn step(&mut self) -> turmoil::Result {
        self.sim.step()?;
        self.agents.iter().for_each(|agent| agent.settle());
        Ok(())
    }

    fn note(&self, text: String) {
        self.journal.note_at(self.sim.elapsed(), Entry::Done(text));
    }

    fn report(&mut self, agent: usize, count: usize) {
        let ledger = &mut self.ledgers[agent];
        let first = ledger.accepted.len();
        let numbers = first as u64..(first + count) as u64;
        let events: Vec<_> = numbers.map(|number| site::event(agent, number, &mut self.chance)).collect();
        if self.agents[agent].report(events.clone()) {
            ledger.accepted.extend(events);
        }
    }

    fn do_(&mut self, deed: Deed) -> turmoil::Result {
        self.note(format!("{deed:?}"));
        match deed {
            Deed::Cut(agent, way) => self.cut(agent, way),
            Deed::Mend(agent) => self.mend_way(agent),
            Deed::Hold(agent) => self.sim.hold(site::name(agent), MASTER),
            Deed::Release(agent) => self.sim.release(site::name(agent), MASTER),
            Deed::Delay(agent, takes) => {
                self.sim.set_link_latency(site::name(agent), MASTER, plan::at(takes));
            }
            Deed::Jitter(agent, most) => {
                self.sim.set_link_latency(site::name(agent), MASTER, Duration::ZERO);
                self.sim.set_link_max_message_latency(site::name(agent), MASTER, plan::at(most));
            }
            Deed::Kill(agent) => self.kill(agent),
            Deed::Copy(agent) => self.copy(agent),
            Deed::Start(agent, disk) => self.start(agent, disk),
            Deed::KillMaster => self.kill_master(),
            Deed::StopMaster => self.master.ask_to_stop(),
            Deed::StartMaster(disk) => self.start_master(disk)?,
            Deed::Backup => self.backup()?,
        }
        Ok(())
    }

    fn cut(&mut self, agent: usize, way: Way) {
        let name = site::name(agent);
        self.mend_way(agent);
        match way {
            Way::Both => self.sim.partition(name, MASTER),
            Way::ToMaster => self.sim.partition_oneway(name, MASTER),
            Way::FromMaster => self.sim.partition_oneway(MASTER, name),
        }
        self.cuts.set(agent, way != Way::FromMaster);
    }

    fn mend_way(&mut self, agent: usize) {
        self.sim.repair(site::name(agent), MASTER);
        self.cuts.set(agent, false);
    }

    fn is_alive(&mut self, name: String) -> bool {
        self.sim.is_host_running(name)
    }

    fn kill(&mut self, agent: usize) {
        if !self.is_alive(site::name(agent)) {
            return;
        }
        self.sim.crash(site::name(agent));
        self.agents[agent].bury();
    }

    fn copy(&mut self, agent: usize) {
        if !self.is_alive(site::name(agent)) {
            let copy = self.copy_of(agent);
            agent::copy_spool(&self.agents[agent].spool, &copy);
            self.copies.insert(agent, self.ledgers[agent].accepted.len());
        }
    }

    fn copy_of(&self, agent: usize) -> PathBuf {
        self.site.path(&format!("copy{agent}"))
    }

    fn start(&mut self, agent: usize, disk: Disk) {
        if self.is_alive(site::name(agent)) {
            return;
        }
        if let (Disk::Older, Some(known)) = (disk, self.copies.get(&agent)) {
            self.note(format!("agent{agent} is put back to its first {known} events"));
            let lost =
                self.ledgers[agent].accepted[*known..].iter().map(|event| event.id).collect::<Vec<_>>();
            self.ledgers[agent].perished.extend(lost);
            agent::copy_spool(&self.copy_of(agent), &self.agents[agent].spool);
        }
        self.sim.bounce(site::name(agent));
    }

    fn kill_master(&mut self) {
        if self.is_alive(MASTER.to_owned()) {
            self.sim.crash(MASTER);
            self.master.bury();
        }
    }

    fn start_master(&mut self, disk: Disk) -> turmoil::Result {
        // It may not have stopped in time.
        self.kill_master();
        self.master.bury();
        if disk == Disk::Older && self.has_backup {
            self.note("the master gets its backup".to_owned());
            let (folder, store) = (self.site.path("store"), self.site.path("store").join("store.db"));
            let lock = sqlite::lock(&folder)?;
            store::restore(&lock, &self.site.path("backup.db"), &store, clock::now(), &mut |_| {}, None)?;
            // The next one may come within a second of real time, which is in their names.
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().contains(".replaced-") {
                    std::fs::remove_file(entry.path())?;
                }
            }
        }
        self.sim.bounce(MASTER);
        Ok(())
    }

    fn backup(&mut self) -> turmoil::Result {
        let store = self.site.path("store").join("store.db");
        if store.exists() {
            store::backup(&store, &self.site.path("backup.db"), Taken::Replace, &mut |_| {}, None)?;
            self.has_backup = true;
        }
        Ok(())
    }

    /// The end of all faults.
    fn mend(&mut self) -> turmoil::Result {
        self.note("everything is mended".to_owned());
        for agent in 0..self.plan.agents {
            self.mend_way(agent);
            self.sim.release(site::name(agent), MASTER);
            self.sim.set_link_latency(site::name(agent), MASTER, DELAY);
            self.start(agent, Disk::Left);
        }
        if !self.is_alive(MASTER.to_owned()) {
            self.start_master(Disk::Left)?;
        }
        Ok(())
    }

    fn drain(&mut self) -> turmoil::Result<Option<Duration>> {
        let began = self.sim.elapsed();
        while self.sim.elapsed().saturating_sub(began) < DRAIN_TIME_MAX {
            for _ in 0..100 {
                self.step()?;
            }
            // A master that is asked to stop at the very end comes back like any other.
            if !self.is_alive(MASTER.to_owned()) {
                self.start_master(Disk::Left)?;
            }
            if self.agents.iter().all(|agent| agent.is_drained()) {
                return Ok(Some(self.sim.elapsed().saturating_sub(began)));
            }
        }
        Ok(None)
    }

    fn stop(&mut self) -> turmoil::Result {
        self.agents.iter().for_each(|agent| agent.ask_to_stop());
        self.master.ask_to_stop();
        let began = self.sim.elapsed();
        let names: Vec<_> =
            self.agents.iter().map(|agent| site::name(agent.number)).chain([MASTER.to_owned()]).collect();
        while names.iter().any(|name| self.sim.is_host_running(name.as_str())) {
            if self.sim.elapsed().saturating_sub(began) > STOP_TIME_MAX {
                return Err("somebody did not stop".into());
            }
            self.sim.step()?;
        }
        self.agents.iter().for_each(|agent| agent.bury());
        self.master.bury();
        Ok(())
    }
}
