//! The oracle: what was confirmed is at the master exactly once, as it was sent and in order, and what is missing is told.
//!
//! Pure: [`Evidence`] and the entries of a [`Ledger`](crate::Ledger) in, a [`Verdict`] out. Only what nobody can keep is
//! excused: what a spool had when it was put back to an earlier state, and what a gap row tells of.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::time::Instant;

use crate::evidence::{Evidence, Gap, Stored};
use crate::ledger::{By, Confirmed, Entry};

/// Findings of one kind that are told in words; the rest is counted.
const TOLD_MAX: usize = 5;

/// A spool was put back to an earlier state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revert {
    /// On this host.
    pub host: String,
    /// Before the copy was made: what was confirmed earlier is in it.
    pub copied_at: Instant,
    /// What was in the drop folder then, and so is not in the copy: the keys.
    pub waiting: BTreeSet<String>,
    /// Before the agent was ended for it: what was sent later is in the spool that was put back, or refused.
    pub ended_at: Instant,
}

/// What may be otherwise than P1 to P7 say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excuses {
    /// Spools that were put back.
    pub reverts: Vec<Revert>,
    /// The retention was told to forget these.
    pub forgotten: BTreeSet<String>,
}

/// Findings of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many.
    pub count: usize,
    /// The first of them, in words.
    pub told: Vec<String>,
}

impl Findings {
    fn add(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(what());
        }
    }
}

/// What the oracle found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Events that were confirmed.
    pub confirmed: usize,
    /// Reported events that the master has.
    pub stored: usize,
    /// P1: confirmed, and not there.
    pub lost: Findings,
    /// P2: there more than once.
    pub doubled: Findings,
    /// P3: not as they were sent, or with another id.
    pub changed: Findings,
    /// P4: nobody tried them.
    pub phantom: Findings,
    /// P6: the order of arrival is not that of the places, or of who was answered before another one was sent.
    pub disordered: Findings,
    /// P6: not at the place that was confirmed, or at one that was given out twice.
    pub misplaced: Findings,
    /// P7: places that are neither there nor told of, or both.
    pub holes: Findings,
    /// Lost with a spool that was put back, or told of by a gap.
    pub excused_lost: usize,
    /// Sent before and after a spool was put back.
    pub excused_doubled: usize,
    /// Places that gaps tell of as lost.
    pub told_lost: u64,
}

impl Verdict {
    /// The kinds of findings, by what they are called.
    pub fn findings(&self) -> [(&'static str, &Findings); 7] {
        [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("changed", &self.changed),
            ("phantom", &self.phantom),
            ("out of order", &self.disordered),
            ("misplaced", &self.misplaced),
            ("unexplained holes", &self.holes),
        ]
    }

    /// True when nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings().iter().all(|(_, findings)| findings.count == 0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "confirmed {}, stored {}", self.confirmed, self.stored)?;
        for (name, findings) in self.findings() {
            write!(out, ", {name} {}", findings.count)?;
        }
        write!(
            out,
            "; lost or doubled by a spool that was put back, or told of: {} and {}, places told of as lost: {}",
            self.excused_lost, self.excused_doubled, self.told_lost
        )?;
        for (name, findings) in self.findings() {
            for what in &findings.told {
                write!(out, "\n  {name}: {what}")?;
            }
        }
        Ok(())
    }
}

/// Judges what was kept by what was tried.
pub fn judge(entries: &BTreeMap<String, Entry>, evidence: &Evidence, excuses: &Excuses) -> Verdict {
    let mut verdict = Verdict {
        confirmed: entries.values().filter(|entry| entry.confirmed.is_some()).count(),
        ..Verdict::default()
    };
    let mut by_key: BTreeMap<&str, Vec<&Stored>> = BTreeMap::new();
    for stored in &evidence.stored {
        if let Some(key) = &stored.key {
            verdict.stored += 1;
            by_key.entry(key).or_default().push(stored);
        }
    }
    for (key, copies) in &by_key {
        match entries.get(*key) {
            Some(entry) => judge_kept(key, entry, copies, excuses, &mut verdict),
            None => verdict.phantom.add(|| format!("{:?}", copies.first())),
        }
    }
    judge_ids(evidence, entries, excuses, &mut verdict);
    judge_lost(entries, &by_key, evidence, excuses, &mut verdict);
    judge_order(entries, evidence, &mut verdict);
    judge_places(evidence, excuses, &mut verdict);
    verdict
}

/// What is there of one event.
fn judge_kept(key: &str, entry: &Entry, copies: &[&Stored], excuses: &Excuses, verdict: &mut Verdict) {
    if copies.len() > 1 {
        if excuses.spans_a_revert(entry) {
            verdict.excused_doubled += copies.len() - 1;
        } else {
            let places: Vec<_> = copies.iter().map(|copy| (&copy.epoch, copy.seq)).collect();
            verdict.doubled.add(|| format!("{key} of {} at {places:?}", entry.host));
        }
    }
    for copy in copies {
        let is_same = copy.print == entry.print && copy.host == entry.host;
        if !is_same || entry.id.as_ref().is_some_and(|id| *id != copy.id) {
            verdict.changed.add(|| format!("{key} of {}: {copy:?}, tried as {entry:?}", entry.host));
        }
        // A fork moves what was not acknowledged to another place.
        if let Some(Confirmed { by: By::Agent { seq }, .. }) = entry.confirmed
            && seq != copy.seq
            && !excuses.has_revert(&entry.host)
        {
            verdict.misplaced.add(|| format!("{key} of {}: confirmed at {seq}, at {}", entry.host, copy.seq));
        }
    }
}

/// An id is there once, whoever made the event.
fn judge_ids(
    evidence: &Evidence,
    entries: &BTreeMap<String, Entry>,
    excuses: &Excuses,
    verdict: &mut Verdict,
) {
    let mut ids = HashSet::new();
    for stored in &evidence.stored {
        let entry = stored.key.as_ref().and_then(|key| entries.get(key));
        let is_excused = entry.is_some_and(|entry| excuses.spans_a_revert(entry));
        if !ids.insert(&stored.id) && !is_excused {
            verdict.doubled.add(|| format!("the id of {stored:?}"));
        }
    }
}

fn judge_lost(
    entries: &BTreeMap<String, Entry>,
    by_key: &BTreeMap<&str, Vec<&Stored>>,
    evidence: &Evidence,
    excuses: &Excuses,
    verdict: &mut Verdict,
) {
    let losses = || evidence.gaps.iter().filter(|gap| gap.is_loss());
    let places = |gap: &Gap| gap.to - gap.from + 1;
    verdict.told_lost = losses().map(places).sum();
    // An event of the drop folder has no place that anybody was told: a gap of its agent covers one such event for each place.
    let mut told: HashMap<&str, u64> = HashMap::new();
    for gap in losses() {
        *told.entry(&gap.agent).or_default() += places(gap);
    }
    for (key, entry) in entries {
        let Some(confirmed) = entry.confirmed else { continue };
        if by_key.contains_key(key.as_str()) || excuses.forgotten.contains(key) {
            continue;
        }
        if excuses.lost_with_a_spool(key, entry, confirmed) {
            verdict.excused_lost += 1;
            continue;
        }
        let agent = evidence.agents.get(&entry.host).map(String::as_str).unwrap_or_default();
        let is_told = match confirmed.by {
            By::Agent { seq } => losses().any(|gap| gap.agent == agent && (gap.from..=gap.to).contains(&seq)),
            By::Folder => told.get(agent).is_some_and(|left| *left > 0),
        };
        if is_told {
            verdict.excused_lost += 1;
            told.entry(agent).and_modify(|left| *left = left.saturating_sub(1));
        } else {
            verdict
                .lost
                .add(|| format!("{key} of {}, confirmed {:?}, id {:?}", entry.host, confirmed.by, entry.id));
        }
    }
}

/// In order of arrival: places grow within an epoch, and nobody who was sent after another's answer stands before it.
fn judge_order(entries: &BTreeMap<String, Entry>, evidence: &Evidence, verdict: &mut Verdict) {
    let mut last: HashMap<(&str, &str), u64> = HashMap::new();
    let mut sent: HashMap<&str, (Instant, &str)> = HashMap::new();
    for stored in &evidence.stored {
        let before = last.insert((&stored.agent, &stored.epoch), stored.seq);
        if before.is_some_and(|before| before >= stored.seq) {
            verdict.disordered.add(|| format!("after place {before:?}: {stored:?}"));
        }
        // The drop folder comes in when it can; the agent's own answers are in order.
        let Some(key) = stored.key.as_deref() else { continue };
        let Some(Entry { first_at, confirmed: Some(Confirmed { by: By::Agent { .. }, at }), host, .. }) =
            entries.get(key)
        else {
            continue;
        };
        if let Some((latest, other)) = sent.get(host.as_str())
            && latest > at
        {
            verdict
                .disordered
                .add(|| format!("{key} was confirmed before {other} was sent, and stands behind it"));
        }
        if sent.get(host.as_str()).is_none_or(|(latest, _)| first_at > latest) {
            sent.insert(host, (*first_at, key));
        }
    }
}

/// Of each epoch every place up to the cursor is there, or in a gap, and not both.
fn judge_places(evidence: &Evidence, excuses: &Excuses, verdict: &mut Verdict) {
    let mut places: HashMap<(&str, &str), BTreeSet<u64>> = HashMap::new();
    for stored in &evidence.stored {
        let of_epoch = places.entry((&stored.agent, &stored.epoch)).or_default();
        if !of_epoch.insert(stored.seq) {
            verdict.misplaced.add(|| format!("a place that is taken: {stored:?}"));
        }
    }
    // The retention leaves no trace of the places of what it forgot.
    let may_have_holes = !excuses.forgotten.is_empty();
    for epoch in &evidence.epochs {
        let stored = places.remove(&(epoch.agent.as_str(), epoch.epoch.as_str())).unwrap_or_default();
        let gaps =
            evidence.gaps.iter().filter(|gap| (&gap.agent, &gap.epoch) == (&epoch.agent, &epoch.epoch));
        let mut told = BTreeSet::new();
        for gap in gaps {
            for place in gap.from..=gap.to {
                if !told.insert(place) || stored.contains(&place) {
                    verdict.holes.add(|| format!("place {place} is told of as a gap, and there: {gap:?}"));
                }
            }
        }
        for place in 1..=epoch.acked {
            if !stored.contains(&place) && !told.contains(&place) && !may_have_holes {
                verdict.holes.add(|| format!("place {place} of {epoch:?}"));
            }
        }
        if let Some(beyond) = stored.range(epoch.acked + 1..).next() {
            verdict.holes.add(|| format!("place {beyond} beyond the cursor of {epoch:?}"));
        }
    }
    for ((agent, epoch), _) in places {
        verdict.holes.add(|| format!("the epoch {epoch} of {agent} is not known"));
    }
}

impl Excuses {
    fn has_revert(&self, host: &str) -> bool {
        self.reverts.iter().any(|revert| revert.host == host)
    }

    /// Whether an event was sent before a spool was put back, and again after.
    fn spans_a_revert(&self, entry: &Entry) -> bool {
        let of_host = self.reverts.iter().filter(|revert| revert.host == entry.host);
        of_host.into_iter().any(|revert| {
            // What is in the drop folder the agent takes whenever it comes to it, also what it had from the socket before.
            let is_dropped = entry
                .confirmed
                .is_some_and(|confirmed| confirmed.by == By::Folder && confirmed.at > revert.copied_at);
            entry.first_at < revert.ended_at && (entry.last_at > revert.ended_at || is_dropped)
        })
    }

    /// Whether the only copy may have been in a spool that was put back to a state without it.
    fn lost_with_a_spool(&self, key: &str, entry: &Entry, confirmed: Confirmed) -> bool {
        let of_host = self.reverts.iter().filter(|revert| revert.host == entry.host);
        of_host.into_iter().any(|revert| {
            let is_later = confirmed.at > revert.copied_at || revert.waiting.contains(key);
            is_later && entry.first_at < revert.ended_at
        })
    }
}

#[cfg(test)]
#[path = "oracle_tests.rs"]
mod tests;
