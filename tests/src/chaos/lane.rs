//! One agent under faults: its way to the master, its disk, and the copy of its spool.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use super::schedule::Net;
use super::ward::Ward;
use crate::Agent;
use crate::disk::{Disk, copy_folder};
use crate::ledger::key_of;
use crate::oracle::Revert;
use crate::proxy::{Direction, Proxy, Weather};

/// A start that met a full disk has ended by then.
const FULL_MEETS_MAX: Duration = Duration::from_secs(5);
/// A slow way.
const SLOW_BYTES_PER_SECOND: u64 = 20_000;

/// A copy of a spool.
struct Copy {
    copied_at: Instant,
    waiting: BTreeSet<String>,
}

/// One agent.
pub(super) struct Lane<'a> {
    pub(super) agent: &'a Agent,
    pub(super) ward: Ward<'a>,
    proxy: &'a Proxy,
    disk: Option<&'a Disk>,
    clear_at: Option<Instant>,
    empty_at: Option<Instant>,
    emptied_at: Option<Instant>,
    copy: Option<Copy>,
    pub(super) reverts: Vec<Revert>,
}

impl<'a> Lane<'a> {
    pub(super) fn new(agent: &'a Agent, proxy: &'a Proxy, disk: Option<&'a Disk>) -> Lane<'a> {
        let ward = Ward::new(&format!("the agent of {}", agent.host()), agent);
        let (clear_at, empty_at, emptied_at) = (None, None, None);
        Lane { agent, ward, proxy, disk, clear_at, empty_at, emptied_at, copy: None, reverts: Vec::new() }
    }

    /// Ends what has lasted long enough.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        if self.clear_at.take_if(|at| now >= *at).is_some() {
            self.proxy.set(Weather::Clear);
        }
        if self.empty_at.take_if(|at| now >= *at).is_some()
            && let Some(disk) = self.disk
        {
            // It took nothing when there was no room for its name.
            drop(disk.empty());
            self.emptied_at = Some(now);
        }
    }

    /// True while its disk is full, and for a while after: whoever met that is found out later.
    pub(super) fn is_full(&self) -> bool {
        self.empty_at.is_some() || self.emptied_at.is_some_and(|at| at.elapsed() < FULL_MEETS_MAX)
    }

    /// Lets something happen on its way; false when something lasts there already, or there was nothing to meet it.
    pub(super) fn disturb(&mut self, net: Net, ms: u64) -> bool {
        if self.clear_at.is_some() {
            return false;
        }
        let weather = match net {
            Net::Cut => return self.proxy.cut() > 0,
            Net::Reset => return self.proxy.reset() > 0,
            Net::Forget => return self.proxy.forget() > 0,
            Net::Corrupt => {
                self.proxy.corrupt();
                return true;
            }
            Net::StallUp => Weather::Stalled(Direction::Up),
            Net::StallDown => Weather::Stalled(Direction::Down),
            Net::StallBoth => Weather::StalledBoth,
            Net::Slow => Weather::Slow(SLOW_BYTES_PER_SECOND),
            Net::Apart => Weather::Refusing,
        };
        self.proxy.set(weather);
        if weather == Weather::Refusing {
            self.proxy.cut();
        }
        self.clear_at = Some(Instant::now() + Duration::from_millis(ms));
        true
    }

    /// Fills its disk; false when it has none that can be filled, or it is full.
    pub(super) fn fill(&mut self, ms: u64) -> bool {
        let Some(disk) = self.disk.filter(|_| self.empty_at.is_none()) else { return false };
        drop(disk.fill());
        self.empty_at = Some(Instant::now() + Duration::from_millis(ms));
        true
    }

    fn copy_dir(&self) -> PathBuf {
        self.agent.dir().with_extension("copy")
    }

    fn state_dir(&self) -> PathBuf {
        self.agent.dir().join("state")
    }

    /// Copies its spool while it is away.
    pub(super) fn copy_spool(&mut self, rng: &mut Rng) -> bool {
        if !self.ward.is_up() {
            return false;
        }
        let copied_at = Instant::now();
        if rng.bool() {
            self.ward.end();
        } else {
            self.ward.stop();
        }
        let waiting = self.agent.waiting().iter().filter_map(|name| self.key_in(name)).collect();
        let is_copied = copy_folder(&self.state_dir(), &self.copy_dir()).is_ok();
        self.copy = is_copied.then_some(Copy { copied_at, waiting });
        self.ward.start();
        is_copied
    }

    /// The key of the event in a file of the drop folder.
    fn key_in(&self, name: &str) -> Option<String> {
        let bytes = fs::read(self.agent.drop_dir().join(name)).ok()?;
        let line: Value = serde_json::from_slice(&bytes).ok()?;
        Some(key_of(line["message"].as_str()?).to_owned())
    }

    /// Puts its spool back to the copy, if there is one.
    pub(super) fn revert_spool(&mut self, rng: &mut Rng) -> bool {
        if self.copy.is_none() || !self.ward.is_up() || self.is_full() {
            return false;
        }
        let ended_at = Instant::now();
        if rng.bool() {
            self.ward.end();
        } else {
            self.ward.stop();
        }
        let Some(Copy { copied_at, waiting }) = self.copy.take() else { return false };
        copy_folder(&self.copy_dir(), &self.state_dir()).expect("a spool can be put back where it came from");
        let host = self.agent.host().to_owned();
        self.reverts.push(Revert { host, copied_at, waiting, ended_at });
        self.ward.start();
        true
    }

    /// The faults are over.
    pub(super) fn calm(&mut self, rng: &mut Rng) {
        let now = Instant::now();
        (self.clear_at, self.empty_at) = (self.clear_at.map(|_| now), self.empty_at.map(|_| now));
        self.tick();
        self.ward.calm(rng);
    }
}
