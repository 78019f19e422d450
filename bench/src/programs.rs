//! The programs that are measured, as they are shipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    target: PathBuf,
}

impl Programs {
    /// Those that `cargo xtask dist` made in this program's target folder.
    /// # Errors
    /// If this is no release build, or a program is missing: `cargo xtask bench` builds them all.
    pub(crate) fn find() -> anyhow::Result<Programs> {
        let own = std::env::current_exe().context("could not find the path of this program")?;
        let folder = own.parent().context("this program stands in no folder")?;
        ensure!(!cfg!(debug_assertions), "not a release build: `cargo xtask bench` makes one");
        let target = folder.parent().context("this program stands in no target folder")?.to_path_buf();
        for name in ["hume", "humed-agent", "humed-master", "humeconfig"] {
            let path = target.join("dist/bin").join(name);
            ensure!(path.exists(), "{} does not exist: `cargo xtask bench` builds it", path.display());
        }
        Ok(Programs { target })
    }

    /// What is kept between two runs, and where scratch folders are made.
    pub(crate) fn bench_folder(&self) -> PathBuf {
        self.target.join("bench")
    }

    /// One of them.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.target.join("dist/bin").join(name)
    }

    /// A call of one of them that knows nothing of this shell's own settings for hume.
    pub(crate) fn command(&self, name: &str) -> Command {
        command(&self.path(name))
    }
}

/// A call of a program without the variables that change what hume's programs do.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_proxy = text.to_ascii_lowercase().ends_with("_proxy");
        let others = ["HTASK", "HTAGS", "LINENO", "INVOCATION_ID", "NOTIFY_SOCKET"];
        if text.starts_with("HUME") || is_proxy || others.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
    command
}
