//! Both ends of the relay in one simulated network: the real uplink over the real spool, the real relay over the real store, real
//! TLS between them, and virtual time. A site runs through a plan of faults; then everything is mended, and P1 to P7 must hold.
//!
//! What is simulated is the network and the time of tokio. A cut loses messages for good: there is nothing that sends them again, so
//! a connection that lost one is dead, and only the keepalive finds out. A hold delays them, as sending again would. The messages of a
//! connection overtake each other on the way, and are put in order by the other end. Not simulated: the wall clock, the disk
//! (tests/crash), the loss of single packets and of bandwidth (tests/e2e), the accept loop (hume-runtime).
//!
//! What a seed repeats: the threads of spool and store stop virtual time while they work, so that with odd seeds all happens again at
//! the same millisecond, until a spool that was put back begins a new epoch: for that the uplink waits outside of virtual time, for a tick
//! more or less. With even seeds messages overtake each other, which takes a chance that a race may shift.
//!
//! `HUME_TEST_SEED` repeats one seed, and prints what happened; `HUME_SIM_SEEDS` asks for so many of them.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "all of it is test code")]

mod agent;
mod journal;
mod master;
mod network;
mod oracle;
mod plan;
mod site;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use journal::{Entry, Outcome};
use plan::{Deed, Disk, Plan, Way, at};

/// Seeds of the ordinary suite.
const SEEDS: u64 = 6;
/// Seeds that are run twice: odd ones, in which no message overtakes another.
const REPEATED: [u64; 2] = [5, 7];

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn seeds() -> Vec<u64> {
    match variable("HUME_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (1..=variable("HUME_SIM_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

/// Runs a plan and judges it; whoever fails says how to see it again.
fn judge(plan: &Plan) -> world::Course {
    let course = world::run(plan);
    let findings = oracle::judge(&course);
    if variable("HUME_TEST_SEED").is_some() {
        println!("{}", course.journal);
    }
    assert!(findings.is_empty(), "HUME_TEST_SEED={} finds {findings:#?}\n{}", plan.seed, course.journal);
    course
}

#[test]
fn whatever_happens_to_network_processes_and_disks_everything_arrives_once_and_in_order() {
    let mut tally = Tally::default();
    for seed in seeds() {
        let course = judge(&Plan::by_seed(seed));
        tally.add(&course);
        println!(
            "seed {seed}: the master had everything {:?} after the end of all faults",
            course.drained_after.unwrap()
        );
    }
    println!("{tally:?}");
    let Tally { resumed, taken_over, forked, put_back } = tally;
    let is_ordinary = seeds().len() as u64 >= SEEDS;
    assert!(
        !is_ordinary || [resumed, taken_over, forked, put_back].iter().all(|count| *count > 0),
        "{tally:?}"
    );
}

/// How often what the seeds are for really happened.
#[derive(Debug, Default)]
struct Tally {
    /// A session went on after others.
    resumed: usize,
    /// An agent came back before the master knew that it was gone.
    taken_over: usize,
    /// A spool that was put back began a new epoch.
    forked: usize,
    /// A master was put back, and told so by an agent that knew more.
    put_back: usize,
}

impl Tally {
    fn add(&mut self, course: &world::Course) {
        let (mut highest, mut here) = (BTreeMap::<usize, u64>::new(), BTreeSet::new());
        for (_, entry) in course.journal.entries() {
            match entry {
                Entry::Entered { agent, cursors } => {
                    self.taken_over += usize::from(!here.insert(agent));
                    self.resumed += usize::from(cursors.iter().any(|(_, cursor)| *cursor > 0));
                    self.forked += usize::from(cursors.len() > 1);
                    let is_behind =
                        |(epoch, cursor): &(usize, u64)| highest.get(epoch).is_some_and(|had| had > cursor);
                    self.put_back += usize::from(cursors.iter().any(is_behind));
                }
                Entry::Committed { epoch, first, events, outcome: Outcome::Stored, .. } => {
                    highest.insert(epoch, first + events as u64 - 1);
                }
                Entry::Committed { .. } | Entry::Done(_) | Entry::Dials(_) => {}
                Entry::Left { agent } => {
                    here.remove(&agent);
                }
            }
        }
    }
}

#[test]
fn one_seed_gives_one_course_but_for_forks_and_jitter() {
    for seed in REPEATED {
        let plan = Plan::by_seed(seed).without_forks();
        let [one, other] = [(), ()].map(|()| judge(&plan).journal.entries());
        for (one, other) in one.iter().zip(&other) {
            assert_eq!(one, other, "seed {seed}");
        }
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}

const CUT: Duration = at(20_000);

/// When this first happens after that.
fn first_after(course: &world::Course, after: Duration, what: impl Fn(&Entry) -> bool) -> Duration {
    let entries = course.journal.entries();
    let found = entries.iter().find(|(at, entry)| *at > after && what(entry));
    found.unwrap_or_else(|| panic!("not after {after:?}:\n{}", course.journal)).0
}

/// Fault 30. What either says is lost, and nobody is told.
#[test]
fn a_connection_that_is_dead_without_a_word_is_given_up_within_a_minute() {
    let mended = at(110_000);
    let deeds = vec![(CUT, Deed::Cut(0, Way::Both)), (mended, Deed::Mend(0))];
    let course = judge(&Plan::by_hand(1, 1, at(120_000), deeds));
    let again = first_after(&course, CUT, |entry| matches!(entry, Entry::Dials(_)));
    assert!(again < CUT + Duration::from_mins(1), "{again:?}");
    let back = first_after(&course, mended, |entry| matches!(entry, Entry::Entered { .. }));
    assert!(back < mended + Duration::from_mins(1), "{back:?}");
}

/// Fault 27, one way. What the master says is lost: it stores what it gets, and the next session goes on after that.
#[test]
fn what_was_stored_without_an_ack_that_arrived_is_not_sent_again() {
    let deeds = vec![(CUT, Deed::Cut(0, Way::FromMaster)), (at(90_000), Deed::Mend(0))];
    let course = judge(&Plan::by_hand(2, 1, at(120_000), deeds));
    let unheard = course.journal.entries().into_iter().filter_map(|(at, entry)| match entry {
        Entry::Committed { first, events, outcome, .. } if at > CUT + Duration::from_secs(1) => {
            assert_eq!(outcome, Outcome::Stored);
            Some((at, first + events as u64 - 1))
        }
        _ => None,
    });
    let back = first_after(&course, CUT, |entry| matches!(entry, Entry::Entered { .. }));
    let (_, stored) = unheard.take_while(|(at, _)| *at < back).last().expect("the way there was open");
    let resumed = |entry: &Entry| matches!(entry, Entry::Entered { cursors, .. } if cursors[0].1 == stored);
    assert_eq!(first_after(&course, CUT, resumed), back);
}

/// Fault 27, flapping. Every session is acknowledged, none lasts a minute; then one does.
#[test]
fn sessions_that_never_last_a_minute_are_tried_less_and_less_often() {
    let kills: Vec<Duration> = (1..=10).map(|number| at(20_000 * number)).chain([at(500_000)]).collect();
    let deeds = kills
        .iter()
        .flat_map(|kill| [(*kill, Deed::KillMaster), (*kill + at(1_000), Deed::StartMaster(Disk::Left))])
        .collect();
    let course = judge(&Plan::by_hand(5, 1, at(520_000), deeds));
    let dials = |entry: &Entry| matches!(entry, Entry::Dials(_));
    let pause = |kill: Duration| first_after(&course, kill, dials).saturating_sub(kill);
    let longest = kills[5..10].iter().map(|kill| pause(*kill)).max().unwrap();
    assert!(longest > at(5_000), "after ten short sessions {longest:?}");
    assert!(pause(kills[10]) <= at(1_010), "after a long one {:?}", pause(kills[10]));
}

/// Fault 39. The agents have what the backup lacks.
#[test]
fn a_master_that_is_put_back_to_its_backup_is_filled_again_by_the_agents() {
    let back = at(62_000);
    let deeds =
        vec![(CUT, Deed::Backup), (at(60_000), Deed::KillMaster), (back, Deed::StartMaster(Disk::Older))];
    let course = judge(&Plan::by_hand(3, 2, at(90_000), deeds));
    let mut tally = Tally::default();
    tally.add(&course);
    assert!(tally.put_back >= 2, "{tally:?}");
}

/// Fault 55. What is reported after the spool was put back is new, though it stands at places that the master knows.
#[test]
fn a_spool_that_is_put_back_begins_an_epoch_and_nothing_new_is_taken_for_old() {
    let lives = [(20_000, Disk::Left), (60_000, Disk::Older)];
    let mut deeds: Vec<_> = lives
        .into_iter()
        .flat_map(|(now, disk)| [(at(now), Deed::Kill(0)), (at(now + 1_000), Deed::Start(0, disk))])
        .collect();
    deeds.insert(1, (CUT, Deed::Copy(0)));
    let course = judge(&Plan::by_hand(4, 1, at(90_000), deeds));
    let mut tally = Tally::default();
    tally.add(&course);
    assert!(tally.forked >= 1, "{tally:?}");
}
