//! Fault 3: the power is lost at every sync of a workload, in every way.

use hume_core::name::Seq;
use hume_crash_tests::record::Op;
use hume_crash_tests::{Kind, seed};
use humed_agent::spool::Config;

use crate::judge::{judge, judge_all_losses};
use crate::site::{SOON, Site, all, block_on, now_or_later};

/// Starts of the agent in one workload, and rounds between a start and the end.
const SESSIONS: usize = 3;
const ROUNDS: usize = 7;

/// Some groups of appends, acknowledgements and looks, with clean ends between them.
async fn work(site: &mut Site) {
    let (mut acked, mut seen) = (Seq::ZERO, Seq::ZERO);
    for _ in 0..SESSIONS {
        let open = site.open();
        for _ in 0..ROUNDS {
            let numbers: Vec<usize> = (0..site.chance.usize(1..=3)).map(|_| site.plan_any()).collect();
            let appends = all(numbers.into_iter().map(|number| site.append(&open, number)));
            let (answers, looked) = tokio::join!(appends, site.look(&open, seen));
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            seen = looked;
            if site.chance.bool() {
                let (_, last) = site.ledger.last_answered().unwrap();
                acked = Seq::new(site.chance.u64(acked.get()..=last.get())).unwrap();
                site.acknowledge(&open, acked);
            }
        }
        open.close().await;
    }
}

#[test]
fn after_a_power_loss_at_any_sync_everything_answered_is_there_once() {
    for seed in seed::seeds() {
        block_on(async {
            let mut site = Site::new(seed);
            work(&mut site).await;
            let record = site.disk.record();
            assert!(record.boundaries().len() >= SESSIONS * (ROUNDS + 2), "every round and every end syncs");
            let findings = judge_all_losses(&record, &site.ledger, seed).await;
            assert!(findings.is_empty(), "{findings:#?}");
            // Without a loss as well.
            let findings = judge(site.folder.path(), site.ledger.at(usize::MAX)).await;
            assert!(findings.is_empty(), "{findings:#?}");
        });
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    for seed in seed::seeds() {
        block_on(async {
            let mut site = Site::new(seed);
            site.open().close().await;
            site.disk.lie_about_syncs();
            work(&mut site).await;
            // Of these the master has nothing, so they must be there.
            let open = site.open();
            let last = site.plan(3, 100);
            site.append(&open, last).await.unwrap();
            open.close().await;
            let findings = judge_all_losses(&site.disk.record(), &site.ledger, seed).await;
            let lost = findings.iter().filter(|finding| finding.ends_with("is lost")).count();
            assert!(lost > 0, "{findings:#?}");
        });
    }
}

#[test]
fn nothing_is_answered_or_seen_by_a_reader_before_its_sync_is_over() {
    block_on(async {
        let mut site = Site::new(0);
        let open = site.open();
        let (first, second) = (site.plan(3, 100), site.plan(3, 100));
        site.append(&open, first).await.unwrap();
        let held = site.disk.hold_syncs(Kind::Wal);
        let mut append = Box::pin(site.append(&open, second));
        assert!(now_or_later(&mut append).await.is_none());
        assert!(held.waits_within(SOON), "the commit does not sync");
        assert!(now_or_later(&mut append).await.is_none(), "answered before the sync");
        assert_eq!(site.look(&open, Seq::ZERO).await.get(), 3, "seen before the sync");
        assert_eq!(open.spool.writer.tail().borrow().last.get(), 3, "told before the sync");
        drop(held);
        assert_eq!(append.await.unwrap().first.get(), 4);
        assert_eq!(site.look(&open, Seq::ZERO).await.get(), 6);
        open.close().await;
    });
}

#[test]
fn a_power_loss_while_the_log_is_copied_back_under_load_loses_nothing() {
    // Events of 15 KiB, so that few commits make a log that must be cut.
    const APPENDS: usize = 9;
    const EVENTS: u64 = 75;
    for seed in seed::seeds() {
        block_on(async {
            let mut site = Site::new(seed);
            let open = site.open();
            for _ in 0..APPENDS {
                let number = site.plan(EVENTS, 15_000);
                site.append(&open, number).await.unwrap();
            }
            let before_end = site.disk.now();
            open.close().await;
            let record = site.disk.record();
            let is_cut = |op: &Op| matches!(op, Op::Truncate { length: 0, .. });
            assert!(record.ops()[..before_end].iter().any(is_cut), "the log was never cut");
            let findings = judge_all_losses(&record, &site.ledger, seed).await;
            assert!(findings.is_empty(), "{findings:#?}");
        });
    }
}

#[test]
fn a_power_loss_while_a_full_spool_forgets_loses_nothing_that_the_master_does_not_have() {
    for seed in seed::seeds() {
        block_on(async {
            let mut site = Site::new(seed);
            site.config = Config { bytes_max: 300 * 1024, ..Config::default() };
            let open = site.open();
            for _ in 0..2 {
                loop {
                    let number = site.plan(20, 500);
                    if site.append(&open, number).await.is_err() {
                        let (_, last) = site.ledger.last_answered().unwrap();
                        site.acknowledge(&open, last);
                        site.append_until_taken(&open, number).await;
                        break;
                    }
                }
            }
            open.close().await;
            let findings = judge_all_losses(&site.disk.record(), &site.ledger, seed).await;
            assert!(findings.is_empty(), "{findings:#?}");
        });
    }
}
