//! Which faults come, in which order: by the seed alone, so that a run can be made again.

use std::fmt;

use fastrand::Rng;
use hume_runtime::points::Point;

/// Longest time between two faults, in milliseconds.
const PAUSE_MS_MAX: u64 = 900;
/// Longest time that a fault lasts, in milliseconds.
const LASTS_MS_MAX: u64 = 4_000;
/// A clock is wrong by up to ten years.
const SHIFT_SECONDS_MAX: i64 = 10 * 365 * 86_400;

/// What happens to a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT after so many milliseconds.
    Stop(u64),
    /// SIGTERM.
    Restart,
    /// SIGKILL, and a start with this fault of its own.
    Point(Point, String),
    /// SIGTERM, and a start with a clock that is wrong by so many seconds.
    Clock(i64),
}

/// What happens on the way between an agent and the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Net {
    /// The connections end.
    Cut,
    /// They are reset.
    Reset,
    /// Nothing is carried on them any more.
    Forget,
    /// A bit of them flips.
    Corrupt,
    /// Nothing goes to the master.
    StallUp,
    /// Nothing comes from the master.
    StallDown,
    /// Nothing goes at all.
    StallBoth,
    /// Little goes.
    Slow,
    /// The connections end and new ones are refused.
    Apart,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// To the agent of this number.
    Agent(usize, Blow),
    /// To the master.
    Master(Blow),
    /// To both at once.
    Both(usize),
    /// On the way of this agent; those that last do so for so many milliseconds.
    Net(usize, Net, u64),
    /// On the way of all agents.
    NetOfAll(Net, u64),
    /// The disk of this agent is full for so many milliseconds.
    FullDisk(usize, u64),
    /// A copy of the master's store is made.
    Backup,
    /// The master's store is put back to the last copy.
    Restore,
    /// A copy of the spool is made while its agent is away.
    CopySpool(usize),
    /// The spool is put back to that copy.
    RevertSpool(usize),
}

impl Fault {
    /// What it is counted as.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Fault::Agent(_, blow) => match blow {
                Blow::Kill => "kill -9 of an agent",
                Blow::Stop(_) => "SIGSTOP of an agent",
                Blow::Restart => "restart of an agent",
                Blow::Point(..) => "fail point armed at an agent",
                Blow::Clock(_) => "wrong clock at an agent",
            },
            Fault::Master(blow) => match blow {
                Blow::Kill => "kill -9 of the master",
                Blow::Stop(_) => "SIGSTOP of the master",
                Blow::Restart => "restart of the master",
                Blow::Point(..) => "fail point armed at the master",
                Blow::Clock(_) => "wrong clock at the master",
            },
            Fault::Both(_) => "kill -9 of an agent and the master",
            Fault::Net(_, net, _) | Fault::NetOfAll(net, _) => match net {
                Net::Cut => "connection cut",
                Net::Reset => "connection reset",
                Net::Forget => "connection forgotten",
                Net::Corrupt => "connection corrupted",
                Net::StallUp => "way to the master stalled",
                Net::StallDown => "way from the master stalled",
                Net::StallBoth => "network stalled",
                Net::Slow => "network slow",
                Net::Apart => "network partitioned",
            },
            Fault::FullDisk(..) => FULL_DISK,
            Fault::Backup => "backup",
            Fault::Restore => RESTORE,
            Fault::CopySpool(_) => "copy of a spool",
            Fault::RevertSpool(_) => SPOOL_PUT_BACK,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.kind())?;
        match self {
            Fault::Agent(agent, blow) => write!(out, " {agent} {blow:?}"),
            Fault::Master(blow) => write!(out, " {blow:?}"),
            Fault::Net(agent, _, ms) | Fault::FullDisk(agent, ms) => write!(out, " {agent}, {ms} ms"),
            Fault::NetOfAll(_, ms) => write!(out, " of all, {ms} ms"),
            Fault::Both(agent) | Fault::CopySpool(agent) | Fault::RevertSpool(agent) => {
                write!(out, " {agent}")
            }
            Fault::Backup | Fault::Restore => Ok(()),
        }
    }
}

// Names of kinds on which the judgement of a run depends.
pub(super) const FULL_DISK: &str = "full disk";
pub(super) const RESTORE: &str = "restore of an older store";
pub(super) const SPOOL_PUT_BACK: &str = "spool put back";

/// Whether spools are put back to earlier states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reverts {
    /// Never.
    None,
    /// Now and then.
    Some,
}

/// The faults of a seed, without end.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    rng: Rng,
    agents: usize,
    reverts: Reverts,
}

impl Schedule {
    /// For so many agents.
    pub(super) fn new(seed: u64, agents: usize, reverts: Reverts) -> Schedule {
        Schedule { rng: Rng::with_seed(seed), agents, reverts }
    }

    fn lasts(&mut self) -> u64 {
        self.rng.u64(50..=LASTS_MS_MAX)
    }

    fn fault(&mut self) -> Fault {
        let agent = self.rng.usize(0..self.agents);
        match self.rng.u32(0..100) {
            0..26 => Fault::Agent(agent, self.blow("agent.")),
            26..40 => Fault::Master(self.blow("master.")),
            40..44 => Fault::Both(agent),
            44..68 => Fault::Net(agent, self.net(), self.lasts()),
            68..74 => Fault::NetOfAll(self.net(), self.lasts()),
            74..80 => Fault::FullDisk(agent, self.lasts()),
            80..84 => Fault::Backup,
            84..86 => Fault::Restore,
            86..93 if self.reverts == Reverts::Some => Fault::CopySpool(agent),
            93..100 if self.reverts == Reverts::Some => Fault::RevertSpool(agent),
            _ => Fault::Agent(agent, Blow::Kill),
        }
    }

    fn blow(&mut self, prefix: &str) -> Blow {
        match self.rng.u32(0..10) {
            0..3 => Blow::Kill,
            3..5 => Blow::Stop(self.lasts()),
            5 => Blow::Restart,
            6 => Blow::Clock(self.rng.i64(-SHIFT_SECONDS_MAX..=SHIFT_SECONDS_MAX)),
            _ => self.point(prefix),
        }
    }

    fn point(&mut self, prefix: &str) -> Blow {
        let is_there =
            |point: &&Point| point.name().starts_with(prefix) || point.name().starts_with("sqlite.");
        let points: Vec<Point> = Point::ALL.iter().filter(is_there).copied().collect();
        let point = points[self.rng.usize(0..points.len())];
        let action = match self.rng.u32(0..6) {
            0..3 => "kill".to_owned(),
            3 => format!("kill({})", self.rng.u32(1..5_000)),
            4 => format!("pause({})", self.rng.u32(10..2_000)),
            _ => "error".to_owned(),
        };
        Blow::Point(point, format!("{action}@{}", self.rng.u32(1..20)))
    }

    fn net(&mut self) -> Net {
        match self.rng.u32(0..18) {
            0..3 => Net::Cut,
            3..6 => Net::Reset,
            6 => Net::Forget,
            7..9 => Net::Corrupt,
            9..11 => Net::StallUp,
            11..13 => Net::StallDown,
            13..15 => Net::StallBoth,
            15 => Net::Slow,
            _ => Net::Apart,
        }
    }
}

impl Iterator for Schedule {
    /// How long nothing comes, in milliseconds, and what comes then.
    type Item = (u64, Fault);

    fn next(&mut self) -> Option<(u64, Fault)> {
        Some((self.rng.u64(0..=PAUSE_MS_MAX), self.fault()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_an_order_and_another_seed_another() {
        let first = |seed| Schedule::new(seed, 6, Reverts::Some).take(200).collect::<Vec<_>>();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn every_kind_comes_and_spools_are_put_back_only_when_asked_for() {
        let kinds = |reverts| {
            let faults = Schedule::new(3, 6, reverts).take(5_000).map(|(_, fault)| fault.kind());
            faults.collect::<BTreeSet<_>>()
        };
        let (with, without) = (kinds(Reverts::Some), kinds(Reverts::None));
        let only: Vec<_> = with.difference(&without).copied().collect();
        assert_eq!(only, ["copy of a spool", "spool put back"]);
        assert_eq!(with.len(), 25);
    }

    #[test]
    fn a_point_is_one_of_the_daemon_it_is_asked_of() {
        for (_, fault) in Schedule::new(4, 6, Reverts::None).take(5_000) {
            let (prefix, blow) = match &fault {
                Fault::Agent(_, blow) => ("agent.", blow),
                Fault::Master(blow) => ("master.", blow),
                _ => continue,
            };
            if let Blow::Point(point, _) = blow {
                assert!(point.name().starts_with(prefix) || point.name().starts_with("sqlite."), "{fault}");
            }
        }
    }
}
