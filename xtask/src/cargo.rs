//! Calls of cargo as if from a shell, and where it puts what it builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// The programs that serve the administrator and the daemons. Not `hume`: see [`build_release`].
const PROGRAM_CRATES: [&str; 4] = ["humed-agent", "humed-master", "humequery", "humeconfig"];

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

/// Builds `hume` alone, for use.
pub(crate) fn build_hume() -> anyhow::Result<()> {
    build(&["hume-client"])
}

/// Builds all programs for use. `hume` is built alone: together with the daemons it would get the features that
/// they want of the crates it shares with them, and grow.
pub(crate) fn build_release() -> anyhow::Result<()> {
    build_hume()?;
    build(&PROGRAM_CRATES)
}

/// Builds the program that measures the others.
pub(crate) fn build_bench() -> anyhow::Result<()> {
    build(&["hume-bench"])
}

fn build(packages: &[&str]) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["build", "--release", "--locked"]);
    for package in packages {
        command.args(["--package", package]);
    }
    let status = command.status().context("could not start cargo")?;
    if !status.success() {
        bail!("could not build {} ({status})", packages.join(", "));
    }
    Ok(())
}

/// The folder of the programs built by [`build_release`]: beside this program's own.
pub(crate) fn release_folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("could not find the path of xtask")?;
    let target = own.parent().and_then(Path::parent).context("xtask does not stand in a target folder")?;
    Ok(target.join("release"))
}
