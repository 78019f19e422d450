//! The programs as they are shipped, in one folder: `hume` static and optimised for one short call, the others as cargo
//! builds them for release.
//!
//! `hume` is built alone: together with the daemons it would get the features that they want of the crates it shares with
//! them, and grow. It has the C library inside, so that no loader looks for it in every call. That is only safe as long as
//! nothing in it asks the name service (users, host names), whose modules are loaded at run time; the linker tells, and the
//! build fails then. `humed-agent`, which stands on every host, is built alone as well: it runs on one thread, and what the
//! master's many threads want of tokio would be memory there, with the library of mathematics that it needs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::cargo::{build, cargo, target_folder};
use crate::say::say;

/// The programs that cargo builds for release, by what is built together.
const OTHERS: [&[&str]; 2] = [&["humed-agent"], &["humed-master", "humequery", "humeconfig"]];

/// Flags of the compiler for `hume`. The GNU linker is the one that says what is not safe in a static program; any word of
/// it is an error.
const STATIC: &str = "-C target-feature=+crt-static -C link-arg=-fuse-ld=bfd -D linker-messages";

/// One more: addresses that are put right at the start take a bit each in the file, and not 24 bytes.
const PACKED: &str = "-C link-arg=-Wl,-z,pack-relative-relocs";

/// A static program understands [`PACKED`] from this version of glibc on.
const PACKED_GLIBC_MIN: (u32, u32) = (2, 36);

/// Mode of a program.
const PROGRAM_MODE: u32 = 0o755;

/// Builds all programs, says where they are and how large, and what is in them.
/// # Errors
/// If one cannot be built, or `hume` does not run.
pub(crate) fn run() -> anyhow::Result<()> {
    let folder = build_all()?;
    for name in std::iter::once("hume").chain(others()) {
        let program = folder.join(name);
        let bytes = fs::metadata(&program).with_context(|| format!("could not find {name}"))?.len();
        say(format_args!("{bytes:>9} bytes  {}", program.display()))?;
    }
    Ok(())
}

/// Builds all programs. Returns the folder they are in.
/// # Errors
/// If one cannot be built, or `hume` does not run.
pub(crate) fn build_all() -> anyhow::Result<PathBuf> {
    build_hume()?;
    for together in OTHERS {
        let mut command = cargo();
        command.args(["build", "--release", "--locked"]);
        command.args(together.iter().flat_map(|name| ["--package", name]));
        build(command, &together.join(", "))?;
    }
    let folder = folder()?;
    for name in others() {
        put(&target_folder()?.join("release").join(name), &folder.join(name), PROGRAM_MODE)?;
    }
    Ok(folder)
}

fn others() -> impl Iterator<Item = &'static str> {
    OTHERS.into_iter().flatten().copied()
}

/// Builds `hume` alone. Returns its path.
/// # Errors
/// If it cannot be built, or does not run.
pub(crate) fn build_hume() -> anyhow::Result<PathBuf> {
    // With a target that is named, the flags are not for what runs while building.
    let host = host()?;
    let mut command = cargo();
    command.env("RUSTFLAGS", flags(&c_library()?)).env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.args(["build", "--profile", "dist", "--locked", "--package", "hume-client", "--target", &host]);
    build(command, "hume")?;
    let hume = folder()?.join("hume");
    put(&target_folder()?.join(&host).join("dist/hume"), &hume, PROGRAM_MODE)?;
    let output = Command::new(&hume).arg("--version").output();
    let output = output.with_context(|| format!("could not start {}", hume.display()))?;
    ensure!(
        output.status.success() && output.stdout.starts_with(b"hume "),
        "{} does not run ({})",
        hume.display(),
        output.status
    );
    Ok(hume)
}

/// Writes beside the target and renames, so that a program that runs keeps its old file.
/// # Errors
/// If the file cannot be copied.
pub(crate) fn put(source: &Path, target: &Path, mode: u32) -> anyhow::Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut fresh = target.as_os_str().to_owned();
    fresh.push(".new");
    fs::copy(source, &fresh).with_context(|| format!("from {}", source.display()))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(mode))?;
    fs::rename(&fresh, target)?;
    Ok(())
}

/// The C library of this machine, as it calls itself, such as `glibc 2.36`.
/// # Errors
/// If `getconf` is missing.
pub(crate) fn c_library() -> anyhow::Result<String> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let output = output.context("could not start getconf")?;
    let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(if name.is_empty() { "another C library".to_owned() } else { name })
}

fn flags(c_library: &str) -> String {
    let version = c_library.strip_prefix("glibc ").and_then(|version| version.split_once('.'));
    let version = version.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    match version {
        Some(version) if version >= PACKED_GLIBC_MIN => format!("{STATIC} {PACKED}"),
        Some(_) | None => STATIC.to_owned(),
    }
}

fn folder() -> anyhow::Result<PathBuf> {
    Ok(target_folder()?.join("dist/bin"))
}

/// The machine that is built for, as the compiler calls it.
fn host() -> anyhow::Result<String> {
    let output = cargo().arg("-vV").output().context("could not start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).with_context(|| format!("cargo does not say for which host it is: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_packed_only_where_the_c_library_understands_it() {
        for (c_library, packs) in [
            ("glibc 2.36", true),
            ("glibc 2.41", true),
            ("glibc 3.0", true),
            ("glibc 2.35", false),
            ("musl", false),
        ] {
            assert_eq!(flags(c_library).contains(PACKED), packs, "{c_library}");
        }
    }
}
