//! What a run of faults came to, in words.

use std::collections::BTreeMap;
use std::fmt;

use super::schedule::{FULL_DISK, RESTORE, SPOOL_PUT_BACK};
use crate::ledger::Tally;
use crate::oracle::Verdict;

/// The end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By which it can be made again.
    pub seed: u64,
    /// How many faults of each kind really happened.
    pub faults: BTreeMap<String, u64>,
    /// What must happen now and then, or the run proved little.
    pub sometimes: BTreeMap<&'static str, u64>,
    /// What the senders met.
    pub tally: Tally,
    /// What cannot be done on this machine.
    pub skipped: Vec<String>,
    /// Daemons that ended of themselves, and what else should not be.
    pub unasked: Vec<String>,
    /// Where something still waited when the time was over.
    pub undrained: Vec<String>,
    /// Whether the run was broken off: then there is no verdict.
    pub is_interrupted: bool,
    /// The oracle's.
    pub verdict: Verdict,
}

impl Report {
    /// True when nothing is wrong.
    pub fn is_clean(&self) -> bool {
        !self.is_interrupted
            && self.unasked.is_empty()
            && self.undrained.is_empty()
            && self.verdict.is_clean()
            && (self.may_lose() || !self.has_told_losses())
    }

    /// Whether events may be gone, and told of: with a spool that was put back, or where a full disk took the tail of a spool and
    /// the master was put back to before it.
    fn may_lose(&self) -> bool {
        let came = |kind: &str| self.faults.contains_key(kind);
        came(SPOOL_PUT_BACK) || (came(FULL_DISK) && came(RESTORE))
    }

    /// True when something is told of as lost, which the oracle excuses.
    fn has_told_losses(&self) -> bool {
        self.verdict.told_lost > 0 || self.verdict.excused_lost > 0
    }

    /// How many faults there were.
    pub fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }

    pub(super) fn happened(&mut self, kind: &str) {
        *self.faults.entry(kind.to_owned()).or_default() += 1;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "faults that happened: {}", self.fault_count())?;
        for (kind, count) in &self.faults {
            writeln!(out, "  {count:>5}  {kind}")?;
        }
        writeln!(out, "what happened now and then:")?;
        for (what, count) in &self.sometimes {
            writeln!(out, "  {count:>5}  {what}")?;
        }
        for what in &self.skipped {
            writeln!(out, "skipped: {what}")?;
        }
        for what in &self.unasked {
            writeln!(out, "NOT ASKED FOR: {what}")?;
        }
        for what in &self.undrained {
            writeln!(out, "NOT DRAINED: {what}")?;
        }
        if !self.may_lose() && self.has_told_losses() {
            writeln!(out, "TOLD OF AS LOST, although no fault of this run costs an event")?;
        }
        if self.is_interrupted {
            return write!(out, "interrupted: no verdict");
        }
        write!(out, "{}\nverdict: {}", self.verdict, if self.is_clean() { "clean" } else { "NOT CLEAN" })
    }
}
