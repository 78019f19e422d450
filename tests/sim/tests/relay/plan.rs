//! What happens to a site, and when: pure, by a seed or by hand.

use std::time::Duration;

use fastrand::Rng;

/// Something that is done to the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// What this agent and the master send each other is lost, one way or both.
    Cut(usize, Way),
    /// Nothing is lost any more.
    Mend(usize),
    /// What they send each other waits.
    Hold(usize),
    /// It arrives, in any order.
    Release(usize),
    /// A message between them takes so many milliseconds.
    Delay(usize, u64),
    /// A message between them takes up to so many milliseconds; of two, either may come first.
    Jitter(usize, u64),
    /// The agent dies.
    Kill(usize),
    /// While it is dead, its spool is copied.
    Copy(usize),
    /// It is started again, on the spool that it left or on the copy.
    Start(usize, Disk),
    /// The master dies.
    KillMaster,
    /// It is asked to stop.
    StopMaster,
    /// It is started again.
    StartMaster(Disk),
    /// A backup of the master's store is taken.
    Backup,
}

/// Which messages are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Both,
    ToMaster,
    FromMaster,
}

/// What somebody finds on his disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// What he left there.
    Left,
    /// What was there some time before.
    Older,
}

/// A site's course.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The chance of everything that is not written here: delays, pauses, contents.
    pub(crate) seed: u64,
    pub(crate) agents: usize,
    /// In order of time.
    pub(crate) deeds: Vec<(Duration, Deed)>,
    /// When scripts report so many events to an agent; in order of time.
    pub(crate) reports: Vec<(Duration, usize, usize)>,
    /// Then everything is mended and started.
    pub(crate) end: Duration,
}

/// A moment of a plan.
pub(crate) const fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const AGENTS: usize = 3;
/// How long bad times last.
const END_MS: u64 = 150_000;

impl Plan {
    /// A site whose agents report now and then, and to which these things are done.
    pub(crate) fn by_hand(seed: u64, agents: usize, end: Duration, deeds: Vec<(Duration, Deed)>) -> Plan {
        let reports = reports(&mut Rng::with_seed(seed), agents, end);
        Plan { seed, agents, deeds, reports, end }
    }

    /// With an even seed messages overtake each other. That takes the chance of the simulated network, of which a write more or
    /// less takes more or less, and how many writes there are is a race of threads in real time. With an odd one all is as planned.
    fn has_jitter(seed: u64) -> bool {
        seed.is_multiple_of(2)
    }

    /// The same, but no spool is put back to an earlier state. The beginning of an epoch is the one thing that the uplink waits for
    /// outside of virtual time.
    pub(crate) fn without_forks(mut self) -> Plan {
        for (_, deed) in &mut self.deeds {
            if let Deed::Start(_, disk) = deed {
                *disk = Disk::Left;
            }
        }
        self
    }

    /// The course of a site, by a seed.
    pub(crate) fn by_seed(seed: u64) -> Plan {
        let mut chance = Rng::with_seed(seed);
        let mut deeds = Vec::new();
        for agent in 0..AGENTS {
            weather(agent, Plan::has_jitter(seed), &mut chance, &mut deeds);
            lives(agent, &mut chance, &mut deeds);
        }
        masters(&mut chance, &mut deeds);
        deeds.sort_by_key(|(at, _)| *at);
        let end = at(END_MS);
        let reports = reports(&mut chance, AGENTS, end);
        Plan { seed, agents: AGENTS, deeds, reports, end }
    }
}

/// What happens on the way between an agent and the master.
fn weather(agent: usize, has_jitter: bool, chance: &mut Rng, deeds: &mut Vec<(Duration, Deed)>) {
    let mut now = chance.u64(1_000..20_000);
    while now < END_MS {
        let lasts = chance.u64(500..30_000);
        let way = [Way::Both, Way::ToMaster, Way::FromMaster][chance.usize(..3)];
        match chance.u32(..5) {
            0 => {
                let most = [5, 100, 500, 2_000][chance.usize(..4)];
                let deed = if has_jitter { Deed::Jitter(agent, most) } else { Deed::Delay(agent, most) };
                deeds.push((at(now), deed));
            }
            1 => {
                deeds.push((at(now), Deed::Hold(agent)));
                deeds.push((at(now + lasts), Deed::Release(agent)));
            }
            2 => {
                for half in 0..chance.u64(3..8) {
                    deeds.push((at(now + 4_000 * half), Deed::Cut(agent, way)));
                    deeds.push((at(now + 4_000 * half + 2_000), Deed::Mend(agent)));
                }
                now += 28_000;
            }
            _ => {
                // Some of them longer than the keepalive waits.
                let lasts = if chance.u32(..4) == 0 { lasts + 50_000 } else { lasts };
                deeds.push((at(now), Deed::Cut(agent, way)));
                deeds.push((at(now + lasts), Deed::Mend(agent)));
                now += lasts;
            }
        }
        now += lasts + chance.u64(1_000..25_000);
    }
}

/// The deaths of an agent.
fn lives(agent: usize, chance: &mut Rng, deeds: &mut Vec<(Duration, Deed)>) {
    let mut now = chance.u64(10_000..60_000);
    while now < END_MS {
        let away = chance.u64(20..8_000);
        let disk = if chance.u32(..3) == 0 { Disk::Older } else { Disk::Left };
        deeds.push((at(now), Deed::Kill(agent)));
        // A copy of what is put in place at once would be no older.
        if disk == Disk::Left && chance.bool() {
            deeds.push((at(now), Deed::Copy(agent)));
        }
        deeds.push((at(now + away), Deed::Start(agent, disk)));
        now += away + chance.u64(5_000..70_000);
    }
}

/// The stops and deaths of the master, and its backups.
fn masters(chance: &mut Rng, deeds: &mut Vec<(Duration, Deed)>) {
    let mut now = chance.u64(5_000..40_000);
    while now < END_MS {
        let away = chance.u64(20..15_000);
        if chance.u32(..2) == 0 {
            deeds.push((at(now.saturating_sub(chance.u64(..10_000))), Deed::Backup));
        }
        let end = if chance.u32(..3) == 0 { Deed::StopMaster } else { Deed::KillMaster };
        let disk = if chance.u32(..3) == 0 { Disk::Older } else { Disk::Left };
        // A stop takes up to eight seconds.
        let away = if end == Deed::StopMaster { away + 8_000 } else { away };
        deeds.push((at(now), end));
        deeds.push((at(now + away), Deed::StartMaster(disk)));
        now += away + chance.u64(5_000..60_000);
    }
}

/// Scripts report one event or a few, with pauses of all lengths.
fn reports(chance: &mut Rng, agents: usize, end: Duration) -> Vec<(Duration, usize, usize)> {
    let mut reports = Vec::new();
    for agent in 0..agents {
        let mut now = chance.u64(..1_000);
        while at(now) < end {
            let count = if chance.u32(..20) == 0 { chance.usize(20..200) } else { chance.usize(1..4) };
            reports.push((at(now), agent, count));
            now +=
                [chance.u64(10..300), chance.u64(100..3_000), chance.u64(1_000..12_000)][chance.usize(..3)];
        }
    }
    reports.sort();
    reports
}
