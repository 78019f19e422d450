//! Faults 8, 9 and 14: syncs fail, reads fail, the disk becomes read-only.

use hume_core::name::Seq;
use hume_crash_tests::{Failure, Fault, Kind, Operation, Times, seed};

use crate::judge::judge_all;
use crate::site::{Open, Site, block_on};

const ROUNDS: usize = 5;
/// More syncs than the rounds need.
const SYNCS_MAX: u64 = 100;

fn fault(operation: Operation, after: u64, times: Times) -> Fault {
    Fault { operation, on: None, failure: Failure::Io, after, times }
}

#[test]
fn a_sync_that_fails_once_confirms_nothing_and_loses_nothing_that_is_confirmed_later() {
    for seed in seed::seeds() {
        block_on(async {
            for after in 0..SYNCS_MAX {
                let mut site = Site::new(seed);
                let open = site.open();
                site.disk.inject(fault(Operation::Sync, after, Times::Once));
                let mut acked = Seq::ZERO;
                for _ in 0..ROUNDS {
                    let number = site.plan_any();
                    if site.append(&open, number).await.is_err() {
                        site.append_until_taken(&open, number).await;
                    }
                    let (_, last) = site.ledger.last_answered().unwrap();
                    acked = Seq::new(site.chance.u64(acked.get()..=last.get())).unwrap();
                    site.acknowledge(&open, acked);
                }
                open.close().await;
                let struck = site.disk.faults() > 0;
                site.disk.heal();
                judge_all(&site, seed).await;
                if !struck {
                    assert!(after > ROUNDS as u64, "every commit syncs");
                    return;
                }
            }
            panic!("there is no end to the syncs of {ROUNDS} rounds");
        });
    }
}

#[test]
fn while_no_sync_succeeds_nothing_is_confirmed_and_what_was_stays() {
    for seed in seed::seeds() {
        block_on(async {
            let mut site = Site::new(seed);
            let open = site.open();
            for _ in 0..ROUNDS {
                let number = site.plan_any();
                site.append(&open, number).await.unwrap();
            }
            site.disk.inject(fault(Operation::Sync, 0, Times::UntilHealed));
            for _ in 0..ROUNDS {
                let number = site.plan_any();
                assert!(site.append(&open, number).await.is_err(), "confirmed without a sync");
            }
            open.close().await;
            assert!(site.disk.faults() > 0);
            site.disk.heal();
            // The next start finds a disk that is well.
            let open = site.open();
            for number in ROUNDS..2 * ROUNDS {
                site.append_until_taken(&open, number).await;
            }
            open.close().await;
            judge_all(&site, seed).await;
        });
    }
}

#[test]
fn a_sync_that_fails_while_the_spool_is_made_costs_nothing_that_is_confirmed_later() {
    for seed in seed::seeds() {
        block_on(async {
            for after in 0..SYNCS_MAX {
                let mut site = Site::new(seed);
                site.disk.inject(fault(Operation::Sync, after, Times::Once));
                let open = match Open::at(site.folder.path(), &site.config) {
                    Ok(open) => open,
                    // Whoever starts the agent does it again.
                    Err(_) => site.open(),
                };
                let was_made = site.disk.faults() == 0;
                site.disk.heal();
                let number = site.plan_any();
                site.append(&open, number).await.unwrap();
                open.close().await;
                judge_all(&site, seed).await;
                if was_made {
                    assert!(after > 1, "a spool is made by more than one sync");
                    return;
                }
            }
            panic!("there is no end to the syncs of a start");
        });
    }
}

/// What is asked while reads fail; true when each question is refused.
async fn all_fail(open: &Open) -> bool {
    let reader = &open.spool.questions;
    let epoch = open.spool.writer.tail().borrow().epoch;
    let batch = open.spool.reader.stretch(epoch, Seq::ZERO.next(), 10, 1000);
    batch.await.is_err() && reader.epochs().await.is_err() && reader.open_runs().await.is_err()
}

#[test]
fn a_read_that_fails_is_an_error_and_not_an_answer_and_later_everything_is_read() {
    for seed in seed::seeds() {
        block_on(async {
            for on in [Kind::Main, Kind::Wal] {
                let mut site = Site::new(seed);
                for _ in 0..2 {
                    let open = site.open();
                    let number = site.plan_any();
                    site.append(&open, number).await.unwrap();
                    open.close().await;
                }
                let open = site.open();
                let number = site.plan_any();
                site.append(&open, number).await.unwrap();
                site.disk.inject(Fault { on: Some(on), ..fault(Operation::Read, 0, Times::UntilHealed) });
                assert!(all_fail(&open).await, "{on:?}");
                let number = site.plan_any();
                let taken = site.append(&open, number).await.is_ok();
                site.disk.heal();
                if !taken {
                    site.append_until_taken(&open, number).await;
                }
                assert!(site.disk.faults() > 0);
                assert_eq!(site.look(&open, Seq::ZERO).await, site.ledger.last_answered().unwrap().1);
                open.close().await;
                judge_all(&site, seed).await;
            }
        });
    }
}

#[test]
fn a_disk_that_becomes_read_only_refuses_what_is_new_and_answers_what_is_kept() {
    for seed in seed::seeds() {
        block_on(async {
            let mut site = Site::new(seed);
            let open = site.open();
            for _ in 0..ROUNDS {
                let number = site.plan_any();
                site.append(&open, number).await.unwrap();
            }
            let last = site.look(&open, Seq::ZERO).await;
            site.disk.make_read_only();
            for _ in 0..2 {
                let number = site.plan_any();
                assert!(site.append(&open, number).await.is_err(), "confirmed on a disk that takes nothing");
                site.acknowledge(&open, last);
            }
            assert_eq!(site.look(&open, Seq::ZERO).await, last, "what is kept can be sent");
            open.close().await;
            assert!(Open::at(site.folder.path(), &site.config).is_err(), "a start that can write nothing");
            site.disk.heal();
            let open = site.open();
            for number in ROUNDS..ROUNDS + 2 {
                site.append_until_taken(&open, number).await;
            }
            open.close().await;
            judge_all(&site, seed).await;
        });
    }
}
