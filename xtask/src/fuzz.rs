//! libFuzzer at one decoder, from the corpus in `fuzz/corpus`; what it finds is named by it and left in `fuzz/artifacts`.
//!
//! cargo-fuzz wants flags of the compiler that only a nightly one takes unasked; this one is told to.

use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, bail};

use crate::cargo::{cargo, workspace};

/// Longest input, in bytes: a frame, or a line beyond its bound.
const INPUT_BYTES_MAX: u32 = 300_000;
/// An input that needs more memory, in MiB, is a finding.
const MEMORY_MIB_MAX: u32 = 1024;

/// Fuzzes the decoder of this name for so long.
/// # Errors
/// If there is no such decoder, or cargo-fuzz is not installed. A finding is no error but a failing exit code.
pub(crate) fn run(door: &str, seconds: u32) -> anyhow::Result<ExitCode> {
    let folder = workspace().join("fuzz");
    if !folder.join("fuzz_targets").join(format!("{door}.rs")).is_file() {
        bail!("there is no door {door:?}: see fuzz/fuzz_targets");
    }
    let probe = cargo().args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.context("could not start cargo")?.success() {
        bail!("cargo-fuzz is not installed: cargo install --locked cargo-fuzz");
    }
    // What it adds to the corpus is kept apart: only what is chosen goes into the repository.
    let found = folder.join("target/found").join(door);
    std::fs::create_dir_all(&found).context("could not make a folder for what is found")?;
    let status = cargo()
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["fuzz", "run", "--fuzz-dir", "fuzz", door])
        .args([found.as_path(), &folder.join("corpus").join(door)])
        .arg("--")
        .args([
            format!("-max_total_time={seconds}"),
            format!("-max_len={INPUT_BYTES_MAX}"),
            format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
        ])
        .status()
        .context("could not start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
