//! A bounded run of what `cargo xtask chaos` does for as long as one likes (faults 1, 2, 18, 22, 25, 27, 28, 32, 36, 39, 55).

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hume_tests::chaos::{self, Plan, Reverts};

/// `HUME_TEST_SEED` repeats an order of faults.
#[test]
fn under_a_random_order_of_faults_nothing_is_lost_doubled_or_made_up() {
    let seed = std::env::var("HUME_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(0..1_000_000));
    say(&format!("HUME_TEST_SEED={seed}"));
    let plan = Plan { seed, time: Duration::from_secs(20), agents: 3, reverts: Reverts::Some };
    let report = chaos::run(&plan, &say, &AtomicBool::new(false));
    say(&report.to_string());
    assert!(report.is_clean(), "{report}");
    // A run in which nothing happened would prove nothing.
    assert!(report.fault_count() >= 10 && report.verdict.confirmed >= 100, "{report}");
    assert!(report.sometimes["sessions"] > 3, "{report}");
}

#[expect(clippy::print_stdout, reason = "what a test that fails was about")]
fn say(what: &str) {
    println!("{what}");
}
