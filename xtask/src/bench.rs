//! Builds what is measured and the program that measures, and hands over to it.

use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::cargo::{build_bench, build_release, release_folder};

/// Measures; its exit code is that of the program that does.
/// # Errors
/// If something could not be built or started.
pub(crate) fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    build_release()?;
    build_bench()?;
    let program = release_folder()?.join("hume-bench");
    let mut command = Command::new(&program);
    let status = command.args(words).status();
    let status = status.with_context(|| format!("could not start {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
