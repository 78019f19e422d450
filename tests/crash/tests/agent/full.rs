//! Faults 5 and 6: the disk is full.

use hume_core::ErrorClass;
use hume_core::name::Seq;
use hume_crash_tests::{Failure, Fault, Kind, Operation, Times, seed};
use humed_agent::spool::Config;

use crate::judge::judge_all;
use crate::site::{Site, block_on};

/// Writes of one commit, and some more.
const WRITES: u64 = 12;

#[test]
fn a_full_disk_refuses_as_full_keeps_serving_and_takes_more_by_itself_when_there_is_room() {
    for seed in seed::seeds() {
        block_on(async {
            for after in (0..WRITES).step_by(3) {
                let mut site = Site::new(seed.wrapping_add(after));
                let open = site.open();
                let first = site.plan_any();
                site.append(&open, first).await.unwrap();
                let full = Fault {
                    operation: Operation::Write,
                    on: Some(Kind::Wal),
                    failure: Failure::Full,
                    after,
                    times: Times::UntilHealed,
                };
                site.disk.inject(full);
                let refused = loop {
                    let number = site.plan_any();
                    if let Err(error) = site.append(&open, number).await {
                        assert_eq!(error.class(), ErrorClass::Full, "{error}");
                        break number;
                    }
                };
                let last = site.ledger.last_answered().unwrap().1;
                assert_eq!(site.look(&open, Seq::ZERO).await, last, "what is kept can be sent");
                site.acknowledge(&open, last);
                let again = site.append(&open, refused).await.unwrap_err();
                assert_eq!(again.class(), ErrorClass::Full, "{again}");
                site.disk.heal();
                site.append_until_taken(&open, refused).await;
                open.close().await;
                judge_all(&site, seed).await;
            }
        });
    }
}

#[test]
fn a_disk_that_others_have_filled_has_room_again_when_the_master_has_what_is_kept() {
    for seed in seed::seeds() {
        block_on(async {
            let mut site = Site::new(seed);
            // In proportion to what is kept, as the usual one is.
            site.config = Config { ballast_bytes: 1024 * 1024, ..Config::default() };
            let open = site.open();
            for _ in 0..4 {
                let number = site.plan(20, 2_000);
                site.append(&open, number).await.unwrap();
            }
            site.disk.set_capacity(Some(site.disk.used_bytes() + 100 * 1024));
            let refused = loop {
                let number = site.plan(20, 2_000);
                if let Err(error) = site.append(&open, number).await {
                    assert_eq!(error.class(), ErrorClass::Full, "{error}");
                    break number;
                }
            };
            let last = site.ledger.last_answered().unwrap().1;
            site.acknowledge(&open, last);
            site.append_until_taken(&open, refused).await;
            site.disk.heal();
            open.close().await;
            judge_all(&site, seed).await;
        });
    }
}
