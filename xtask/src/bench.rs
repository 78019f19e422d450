//! Builds what is measured and the program that measures, and hands over to it.

use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::cargo::{build, cargo, target_folder};
use crate::dist;

/// Measures the programs as they are shipped; its exit code is that of the program that does.
/// # Errors
/// If something could not be built or started.
pub(crate) fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    dist::build_all()?;
    let mut command = cargo();
    command.args(["build", "--release", "--locked", "--package", "hume-bench"]);
    build(command, "hume-bench")?;
    let program = target_folder()?.join("release/hume-bench");
    let mut command = Command::new(&program);
    let status = command.args(words).status();
    let status = status.with_context(|| format!("could not start {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
