//! Results go to standard output, talk to standard error; long work says now and then how far it is.

use std::fmt::Display;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Between two lines about the same work.
const EVERY: Duration = Duration::from_secs(5);

/// Writes to standard output.
/// # Errors
/// If it is closed: whoever read it has gone, and there is nobody to work for.
pub(crate) fn say(text: impl Display) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("could not write to standard output")
}

/// Writes to standard error.
pub(crate) fn tell(text: impl Display) {
    // Nobody is there to be told; the results are what counts.
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}

/// Says every few seconds how far something is.
pub(crate) struct Progress<'a> {
    what: &'a str,
    total: u64,
    told_at: Instant,
}

impl<'a> Progress<'a> {
    /// Of `total` of something.
    pub(crate) fn new(what: &'a str, total: u64) -> Progress<'a> {
        Progress { what, total, told_at: Instant::now() }
    }

    /// So many are done.
    pub(crate) fn at(&mut self, done: u64) {
        if self.told_at.elapsed() >= EVERY {
            self.told_at = Instant::now();
            tell(format_args!("{}: {done} of {}", self.what, self.total));
        }
    }
}
