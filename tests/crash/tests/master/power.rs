//! Faults 3 and 36: the power is lost at every sync of the work of several agents, in every way.

use std::time::Duration;

use hume_crash_tests::{Kind, seed};
use humed_master::store::EventWriter as _;

use crate::judge::{judge, judge_all_losses};
use crate::sender::{Site, block_on};

/// Starts of the master in one workload, and rounds between a start and the end.
const SESSIONS: usize = 2;
const ROUNDS: usize = 8;
/// Longer than any machine needs.
const SOON: Duration = Duration::from_secs(20);

async fn work(site: &mut Site) {
    for _ in 0..SESSIONS {
        let open = site.open();
        site.enter(&open).await.unwrap();
        for _ in 0..ROUNDS {
            site.send_some(&open).await.unwrap();
        }
        open.close().await.unwrap();
    }
}

#[test]
fn after_a_power_loss_at_any_sync_everything_acknowledged_is_there_once_and_the_rest_is_sent_again() {
    for seed in seed::seeds() {
        block_on(async {
            let mut site = Site::new(seed);
            work(&mut site).await;
            let record = site.disk.record();
            assert!(record.boundaries().len() >= SESSIONS * ROUNDS, "every round syncs");
            let mut findings = judge_all_losses(&record, &site.senders, seed).await;
            findings.extend(judge(site.folder.path(), &site.senders, usize::MAX).await);
            assert!(findings.is_empty(), "{findings:#?}");
        });
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    for seed in seed::seeds() {
        block_on(async {
            let mut site = Site::new(seed);
            site.open().close().await.unwrap();
            site.disk.lie_about_syncs();
            work(&mut site).await;
            let findings = judge_all_losses(&site.disk.record(), &site.senders, seed).await;
            assert!(findings.iter().any(|finding| finding.contains("acknowledged")), "{findings:#?}");
        });
    }
}

#[test]
fn nothing_is_acknowledged_before_its_sync_is_over() {
    block_on(async {
        let mut site = Site::new(1);
        let open = site.open();
        site.enter(&open).await.unwrap();
        let held = site.disk.hold_syncs(Kind::Wal);
        let mut sending = Box::pin(site.send_some(&open));
        let early = tokio::time::timeout(Duration::from_millis(1), &mut sending).await;
        assert!(early.is_err() && held.waits_within(SOON), "the commit does not sync");
        let early = tokio::time::timeout(Duration::from_millis(1), &mut sending).await;
        assert!(early.is_err(), "acknowledged before the sync");
        drop(held);
        sending.await.unwrap();
        assert!(open.store.commit(Vec::new()).await.is_ok());
        open.close().await.unwrap();
    });
}
