//! Builds the debug programs, which have fail points, and the one that lets faults happen to them, and hands over to it.

use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::cargo::{build, cargo, target_folder};

/// Its exit code is that of the program that does it.
/// # Errors
/// If something could not be built or started.
pub(crate) fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    let mut command = cargo();
    command.args(["build", "--workspace", "--bins", "--locked"]);
    build(command, "the programs")?;
    let program = target_folder()?.join("debug/hume-chaos");
    let status = Command::new(&program).args(words).status();
    let status = status.with_context(|| format!("could not start {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
