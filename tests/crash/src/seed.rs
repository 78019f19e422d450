//! Chance that can be repeated: `HUME_TEST_SEED` sets it, and what was drawn is printed; `HUME_CRASH_ROUNDS` asks for more of it.

/// Set to a number to repeat a run.
const SEED_VARIABLE: &str = "HUME_TEST_SEED";
/// Set to a number above 1 to run every workload so often, each time with another seed.
const ROUNDS_VARIABLE: &str = "HUME_CRASH_ROUNDS";

/// The seeds of this run, one for each round; printed, because a failed test shows what it printed.
#[expect(clippy::print_stdout, reason = "the seed belongs into the output of a test that failed")]
pub fn seeds() -> impl Iterator<Item = u64> {
    let first = number(SEED_VARIABLE).unwrap_or_else(|| fastrand::u64(..));
    (0..number(ROUNDS_VARIABLE).unwrap_or(1).max(1)).map(move |round| {
        let seed = first.wrapping_add(round);
        println!("{SEED_VARIABLE}={seed}");
        seed
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}
