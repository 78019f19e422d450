//! A test that the machine cannot make says so, and fails where nothing may be skipped.

/// With this variable a test that this machine cannot run is a failure.
const NO_SKIP: &str = "HUME_NO_SKIP";

/// Says why a test is not made.
#[track_caller]
pub fn skip(why: &str) {
    assert!(std::env::var_os(NO_SKIP).is_none_or(|value| value != "1"), "skipped: {why}");
    #[expect(clippy::print_stdout, reason = "a test that was not made says so")]
    {
        println!("skipped: {why}");
    }
}
