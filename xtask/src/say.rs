//! The one place that writes to standard output: whole lines, at once.

use std::fmt::Display;
use std::io::Write as _;

use anyhow::Context as _;

/// Writes `text` and a line end.
/// # Errors
/// If standard output is closed: whoever read it has gone, and there is nobody to work for.
pub(crate) fn say(text: impl Display) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("could not write to standard output")
}
