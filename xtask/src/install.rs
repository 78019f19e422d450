//! The programs as they are shipped, put where an administrator wants them; a configuration is never touched.

use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;

use crate::say::say;
use crate::{cargo, dist};

/// Programs and documents: where each comes from, the folder under the prefix it goes to, and its mode.
struct Item {
    source: PathBuf,
    folder: &'static str,
    mode: u32,
}

/// Builds, copies, and says what comes next. `destdir` stands for `/` while files are copied.
pub(crate) fn run(prefix: &Path, destdir: Option<&Path>) -> anyhow::Result<()> {
    let prefix = std::path::absolute(prefix).context("could not resolve the prefix")?;
    let programs = dist::build_all()?;
    for item in items(&programs, cargo::workspace()) {
        let target = place(&item, &prefix, destdir)?;
        dist::put(&item.source, &target, item.mode)
            .with_context(|| format!("could not install {}", target.display()))?;
        say(target.display())?;
    }
    say(next_steps(&prefix))
}

fn items(programs: &Path, workspace: &Path) -> Vec<Item> {
    let program = |name, folder| Item { source: programs.join(name), folder, mode: 0o755 };
    let document = |path| Item { source: workspace.join(path), folder: "share/doc/hume", mode: 0o644 };
    vec![
        program("hume", "bin"),
        program("humequery", "bin"),
        program("humeconfig", "bin"),
        program("humed-agent", "sbin"),
        program("humed-master", "sbin"),
        document("humed-agent/agent.example.toml"),
        document("humed-master/master.example.toml"),
        document("hume-transfer/transfers.example.toml"),
        document("LICENSE"),
    ]
}

fn place(item: &Item, prefix: &Path, destdir: Option<&Path>) -> anyhow::Result<PathBuf> {
    let name = item.source.file_name().context("a file to install has no name")?;
    let mut target = destdir.unwrap_or(Path::new("/")).to_path_buf();
    target.extend(prefix.components().filter(|part| !matches!(part, Component::RootDir)));
    Ok(target.join(item.folder).join(name))
}

fn next_steps(prefix: &Path) -> String {
    let prefix = prefix.display();
    format!(
        "\nNo configuration was written or changed. What comes next:
  {prefix}/bin/humeconfig init --dir DIR --name MASTER-NAME         the master's configuration
  {prefix}/sbin/humed-master --config DIR/master.toml
  {prefix}/bin/humeconfig token new --dir DIR                          then, on the host:
  {prefix}/bin/humeconfig join TOKEN
  {prefix}/sbin/humed-agent
Every key stands in {prefix}/share/doc/hume and in docs/OPERATIONS.md."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destdir_stands_for_the_root_of_the_file_system() {
        let item = Item { source: "target/dist/bin/hume".into(), folder: "bin", mode: 0o755 };
        let prefix = Path::new("/usr/local");
        let plain = place(&item, prefix, None).expect("has a name");
        assert_eq!(plain, Path::new("/usr/local/bin/hume"));
        let staged = place(&item, prefix, Some(Path::new("/stage"))).expect("has a name");
        assert_eq!(staged, Path::new("/stage/usr/local/bin/hume"));
    }
}
