//! Each finding of the oracle is made where it should be, and excused only where nobody can do better.

use std::time::Duration;

use super::*;
use crate::evidence::EpochRow;

const AGENT: &str = "agent-1";
const EPOCH: &str = "epoch-1";

/// A site where events `k1` to `k9` were sent one after the other and arrived at the places of their numbers.
struct Case {
    began: Instant,
    entries: BTreeMap<String, Entry>,
    evidence: Evidence,
    excuses: Excuses,
}

impl Case {
    fn new() -> Case {
        let began = Instant::now();
        let mut case = Case {
            began,
            entries: BTreeMap::new(),
            evidence: Evidence::default(),
            excuses: Excuses::default(),
        };
        case.evidence.agents.insert("web1".to_owned(), AGENT.to_owned());
        case.evidence.epochs.push(EpochRow { agent: AGENT.to_owned(), epoch: EPOCH.to_owned(), acked: 9 });
        for number in 1..=9 {
            let (first_at, at) = (case.at(number * 10), case.at(number * 10 + 5));
            let confirmed = Some(Confirmed { by: By::Agent { seq: number }, at });
            let entry = Entry {
                host: "web1".to_owned(),
                print: number,
                id: Some(format!("id{number}")),
                first_at,
                last_at: first_at,
                confirmed,
            };
            case.entries.insert(format!("k{number}"), entry);
            case.evidence.stored.push(stored(number));
        }
        case
    }

    fn at(&self, seconds: u64) -> Instant {
        self.began + Duration::from_secs(seconds)
    }

    fn entry(&mut self, key: &str) -> &mut Entry {
        self.entries.get_mut(key).unwrap()
    }

    fn lose(&mut self, number: u64) {
        self.evidence.stored.retain(|stored| stored.seq != number);
    }

    fn gap(&mut self, from: u64, to: u64, reason: &str) {
        let (agent, epoch, reason) = (AGENT.to_owned(), EPOCH.to_owned(), reason.to_owned());
        self.evidence.gaps.push(Gap { agent, epoch, from, to, reason });
    }

    fn revert(&mut self, copied_s: u64, ended_s: u64) {
        let (copied_at, ended_at) = (self.at(copied_s), self.at(ended_s));
        let revert = Revert { host: "web1".to_owned(), copied_at, waiting: BTreeSet::new(), ended_at };
        self.excuses.reverts.push(revert);
    }

    fn judge(&self) -> Verdict {
        judge(&self.entries, &self.evidence, &self.excuses)
    }

    /// The kinds of findings, with their counts.
    fn found(&self) -> Vec<(&'static str, usize)> {
        let verdict = self.judge();
        let all = verdict.findings().map(|(name, findings)| (name, findings.count));
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

fn stored(number: u64) -> Stored {
    Stored {
        agent: AGENT.to_owned(),
        host: "web1".to_owned(),
        epoch: EPOCH.to_owned(),
        seq: number,
        id: format!("id{number}"),
        key: Some(format!("k{number}")),
        print: number,
    }
}

#[test]
fn what_is_as_it_was_sent_is_clean() {
    let case = Case::new();
    assert!(case.judge().is_clean(), "{}", case.judge());
    assert_eq!((case.judge().confirmed, case.judge().stored), (9, 9));
}

#[test]
fn what_was_confirmed_and_is_not_there_is_lost_and_what_was_not_is_nothing() {
    let mut case = Case::new();
    case.lose(4);
    assert_eq!(case.found(), [("lost", 1), ("unexplained holes", 1)]);
    case.entry("k4").confirmed = None;
    assert_eq!(case.found(), [("unexplained holes", 1)]);
}

#[test]
fn a_gap_explains_its_own_places_and_no_others() {
    let mut case = Case::new();
    case.lose(4);
    case.gap(4, 4, "evicted");
    assert_eq!(case.found(), []);
    assert_eq!((case.judge().excused_lost, case.judge().told_lost), (1, 1));
    case.evidence.gaps[0].reason = "restamped".to_owned();
    assert_eq!(case.found(), [("lost", 1)], "an event that was moved is somewhere else");
    case.evidence.gaps.clear();
    case.gap(5, 5, "evicted");
    assert_eq!(case.found(), [("lost", 1), ("unexplained holes", 2)], "4 is missing, and 5 is both");
}

#[test]
fn a_gap_explains_one_event_of_the_drop_folder_for_each_place() {
    let mut case = Case::new();
    for number in [4, 5] {
        case.lose(number);
        case.entry(&format!("k{number}")).confirmed.as_mut().unwrap().by = By::Folder;
    }
    case.gap(4, 5, "evicted");
    assert_eq!(case.found(), []);
    case.evidence.gaps[0].to = 4;
    assert_eq!(case.found(), [("lost", 1), ("unexplained holes", 1)]);
}

#[test]
fn two_copies_are_found_by_key_by_id_and_by_place() {
    let mut case = Case::new();
    case.evidence.stored.push(Stored { seq: 10, ..stored(9) });
    case.evidence.epochs[0].acked = 10;
    case.entry("k9").confirmed = None;
    assert_eq!(case.found(), [("doubled", 2)]);
    case.evidence.stored[9].key = Some("k10".to_owned());
    assert_eq!(case.found(), [("doubled", 1), ("phantom", 1)]);
    case.evidence.stored[9] = Stored { id: "id10".to_owned(), seq: 9, key: None, ..stored(9) };
    case.evidence.epochs[0].acked = 9;
    assert_eq!(case.found(), [("out of order", 1), ("misplaced", 1)]);
}

#[test]
fn another_payload_or_id_or_place_is_found() {
    let mut case = Case::new();
    case.evidence.stored[2].print = 33;
    case.evidence.stored[3].id = "other".to_owned();
    assert_eq!(case.found(), [("changed", 2)]);
    let mut case = Case::new();
    case.entry("k5").confirmed.as_mut().unwrap().by = By::Agent { seq: 6 };
    assert_eq!(case.found(), [("misplaced", 1)]);
}

#[test]
fn an_order_against_the_answers_is_found_and_one_against_the_drop_folder_is_none() {
    let mut case = Case::new();
    case.evidence.stored.swap(3, 4);
    assert_eq!(case.found(), [("out of order", 2)], "by the places, and by the answers");
    let mut case = Case::new();
    for (at, seq) in [(3, 4), (4, 5)] {
        case.evidence.stored[at] = Stored { seq, ..stored(if at == 3 { 5 } else { 4 }) };
    }
    for key in ["k4", "k5"] {
        let seq = if key == "k4" { 5 } else { 4 };
        case.entry(key).confirmed.as_mut().unwrap().by = By::Agent { seq };
    }
    assert_eq!(case.found(), [("out of order", 1)]);
    case.entry("k4").confirmed.as_mut().unwrap().by = By::Folder;
    assert_eq!(case.found(), []);
}

#[test]
fn what_lies_beyond_the_cursor_or_in_an_unknown_epoch_is_found() {
    let mut case = Case::new();
    case.evidence.epochs[0].acked = 8;
    assert_eq!(case.found(), [("unexplained holes", 1)]);
    case.evidence.epochs.clear();
    assert_eq!(case.found(), [("unexplained holes", 1)]);
}

#[test]
fn a_spool_that_was_put_back_excuses_what_it_had_alone_and_nothing_else() {
    let mut case = Case::new();
    case.lose(4);
    case.evidence.epochs[0].acked = 3;
    case.evidence.stored.truncate(3);
    for number in 5..=9 {
        case.entries.remove(&format!("k{number}"));
    }
    // 4 was sent at 40 and confirmed at 45.
    case.revert(42, 60);
    assert_eq!((case.found(), case.judge().excused_lost), (vec![], 1));
    case.excuses.reverts[0].copied_at = case.at(46);
    assert_eq!(case.found(), [("lost", 1)], "it is in the copy");
    case.excuses.reverts[0].waiting.insert("k4".to_owned());
    assert_eq!(case.found(), [], "it was in the drop folder");
    case.excuses.reverts[0] = Revert {
        copied_at: case.at(20),
        ended_at: case.at(39),
        waiting: BTreeSet::new(),
        host: "web1".to_owned(),
    };
    assert_eq!(case.found(), [("lost", 1)], "it was sent after the spool was put back");
    case.excuses.reverts[0].host = "db1".to_owned();
    assert_eq!(case.found(), [("lost", 1)]);
}

#[test]
fn an_event_that_was_sent_on_both_sides_of_a_revert_may_be_there_twice() {
    let mut case = Case::new();
    case.evidence.stored.push(Stored { seq: 10, ..stored(9) });
    case.evidence.epochs[0].acked = 10;
    case.revert(80, 93);
    assert_eq!(case.found(), [("doubled", 2)], "it was not sent again");
    let later = case.at(94);
    case.entry("k9").last_at = later;
    assert_eq!((case.found(), case.judge().excused_doubled), (vec![], 1));
}

#[test]
fn what_the_retention_was_told_to_forget_may_be_gone() {
    let mut case = Case::new();
    case.lose(4);
    case.excuses.forgotten.insert("k4".to_owned());
    assert_eq!(case.found(), []);
    case.lose(5);
    assert_eq!(case.found(), [("lost", 1)]);
}
