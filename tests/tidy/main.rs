//! The rules of the house that no compiler knows, held by reading the sources as text.
//!
//! Each test collects every violation and prints it as `file:line: what is wrong`.

mod docs;
mod exits;
mod faults;
mod files;
mod limits;
mod lints;
mod markdown;
mod rooms;
mod security;
mod source;

/// Fails with all violations at once, if there are any.
fn none_of(violations: &[String]) {
    assert!(violations.is_empty(), "{} found:\n{}\n", violations.len(), violations.join("\n"));
}
