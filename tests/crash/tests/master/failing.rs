//! Faults 8 and 37 at the master: syncs fail, the disk is full.

use hume_core::ErrorClass;
use hume_core::filter::EventFilter;
use hume_crash_tests::{Failure, Fault, Kind, Operation, Times, seed};
use humed_master::store::EventReader as _;

use crate::judge::{judge, judge_all_losses};
use crate::sender::{Site, block_on};

const ROUNDS: usize = 4;
/// More syncs than the rounds need.
const SYNCS_MAX: u64 = 100;

async fn judge_all(site: &Site, seed: u64) {
    let mut findings = judge_all_losses(&site.disk.record(), &site.senders, seed).await;
    findings.extend(judge(site.folder.path(), &site.senders, usize::MAX).await);
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn a_sync_that_fails_once_acknowledges_nothing_and_loses_nothing_that_is_acknowledged_later() {
    for seed in seed::seeds() {
        block_on(async {
            for after in 0..SYNCS_MAX {
                let mut site = Site::new(seed);
                let open = site.open();
                site.enter(&open).await.unwrap();
                let failure = Failure::Io;
                site.disk.inject(Fault {
                    operation: Operation::Sync,
                    on: None,
                    failure,
                    after,
                    times: Times::Once,
                });
                for _ in 0..ROUNDS {
                    if site.send_some(&open).await.is_err() {
                        // The agents are told to go on after the cursor.
                        site.come_back(&open).await.unwrap();
                    }
                }
                // At its end it may find the disk failing as well.
                let _ = open.close().await;
                let struck = site.disk.faults() > 0;
                site.disk.heal();
                judge_all(&site, seed).await;
                if !struck {
                    assert!(after >= ROUNDS as u64, "every commit syncs");
                    return;
                }
            }
            panic!("there is no end to the syncs of {ROUNDS} rounds");
        });
    }
}

#[test]
fn while_no_sync_succeeds_nothing_is_acknowledged_and_what_was_stays_after_the_next_start_as_well() {
    for seed in seed::seeds() {
        block_on(async {
            let mut site = Site::new(seed);
            let open = site.open();
            site.enter(&open).await.unwrap();
            for _ in 0..ROUNDS {
                site.send_some(&open).await.unwrap();
            }
            let (operation, failure, times) = (Operation::Sync, Failure::Io, Times::UntilHealed);
            site.disk.inject(Fault { operation, on: None, failure, after: 0, times });
            for _ in 0..ROUNDS {
                // All agents have something: a round without anything new needs no sync.
                site.enter(&open).await.unwrap_err();
                site.send_all(&open).await.unwrap_err();
            }
            let _ = open.close().await;
            site.disk.heal();
            // The next start finds a disk that is well.
            let open = site.open();
            for _ in 0..ROUNDS {
                site.come_back(&open).await.unwrap();
                site.send_all(&open).await.unwrap();
            }
            open.close().await.unwrap();
            judge_all(&site, seed).await;
        });
    }
}

#[test]
fn a_full_disk_takes_nothing_answers_questions_and_takes_all_again_by_itself_when_there_is_room() {
    for seed in seed::seeds() {
        block_on(async {
            for after in [0, 1, 4] {
                let mut site = Site::new(seed.wrapping_add(after));
                let open = site.open();
                site.enter(&open).await.unwrap();
                site.send_some(&open).await.unwrap();
                let (operation, on) = (Operation::Write, Some(Kind::Wal));
                let times = Times::UntilHealed;
                site.disk.inject(Fault { operation, on, failure: Failure::Full, after, times });
                let refusal = loop {
                    if let Err(error) = site.send_some(&open).await {
                        break error;
                    }
                };
                assert_eq!(refusal.class(), ErrorClass::Full, "{refusal}");
                assert!(open.store.count_events(EventFilter::default()).await.is_ok());
                site.disk.heal();
                site.come_back(&open).await.unwrap();
                site.send_some(&open).await.unwrap();
                open.close().await.unwrap();
                judge_all(&site, seed).await;
            }
        });
    }
}
