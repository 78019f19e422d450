//! Calls of cargo as if from a shell, and where it puts what it builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// A call of cargo in the workspace, without the variables that `cargo run` set for this program: build scripts
/// that watch them would run again.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|start| name.starts_with(start)) {
            command.env_remove(name.as_ref());
        }
    }
    command
}

/// Runs a build of `what`, with the caller's terminal for what the compiler says.
/// # Errors
/// If it fails.
pub(crate) fn build(mut command: Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().context("could not start cargo")?;
    if !status.success() {
        bail!("could not build {what} ({status})");
    }
    Ok(())
}

/// The folder that cargo builds in: the one that this program stands in.
/// # Errors
/// If this program does not stand in one.
pub(crate) fn target_folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("could not find the path of xtask")?;
    let target = own.parent().and_then(Path::parent).context("xtask does not stand in a target folder")?;
    Ok(target.to_path_buf())
}
