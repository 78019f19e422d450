//! What one event costs a script: CPU instructions, peak memory and size of `hume` as it is shipped, beside `logger(1)`.
//!
//! Both report the same words over a Unix socket to a receiver that is here; `hume` waits for its answer. Instructions
//! are counted by callgrind: they repeat to a fraction of a percent, where times on a shared machine do not. So they have
//! a budget, and `hume` may not outgrow it unnoticed.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use crate::dist;
use crate::say::say;

/// Instructions of one event, answered. To renew it, write here what `cargo xtask cost` says, and into the message of the
/// commit what they are spent on.
const BUDGET_INSTRUCTIONS: u64 = 142_388;
/// Growth over the budget that is let pass.
const GROWTH_PERCENT_MAX: u64 = 5;
/// The budget is for one kind of processor and for one C library, which is in the program and takes more than half of it.
const BUDGET_ARCHITECTURE: &str = "x86_64";
const BUDGET_C_LIBRARY: &str = "glibc 2.36";

/// Where everything is measured.
const FOLDER: &str = "/tmp";

const MESSAGE: &str = "Core update error in /var/www/site1";
const ANSWER: &str = r#"{"ok":true,"id":"01a205d5-dbc7-76d7-bb72-6537da510c2a","seq":1,"run":null}"#;

/// How `hume` stands to its budget.
pub(crate) enum Standing {
    /// It keeps to it.
    Within,
    /// It does not: by how much, and what can be done.
    Over(String),
    /// The numbers of this machine cannot be compared with it.
    NotComparable(String),
}

/// Measures and prints.
/// # Errors
/// If a tool is missing, or an event did not arrive.
pub(crate) fn run() -> anyhow::Result<()> {
    let (folder, hume) = prepared()?;
    let bytes = fs::metadata(&hume).context("could not find hume")?.len();
    let hume_instructions = of_hume(&hume, folder.path())?;
    let logger_instructions = of_logger(&folder.path().join("log.sock"))?;
    let peak_kib = called(Command::new(&hume), folder.path())?.peak_kib;
    say(format_args!(
        "hume, answered    {hume_instructions:>9} instructions; the budget is {BUDGET_INSTRUCTIONS} with {BUDGET_C_LIBRARY}\n\
         logger(1)         {logger_instructions:>9} instructions\n\
         hume : logger     {:>9.3}\n\
         memory of hume    {peak_kib:>9} KiB at its peak\n\
         size of hume      {bytes:>9} bytes",
        hume_instructions as f64 / logger_instructions as f64
    ))
}

/// Compares with the budget.
/// # Errors
/// As [`run`].
pub(crate) fn check() -> anyhow::Result<Standing> {
    let (architecture, c_library) = (std::env::consts::ARCH, dist::c_library()?);
    if architecture != BUDGET_ARCHITECTURE || c_library != BUDGET_C_LIBRARY {
        return Ok(Standing::NotComparable(format!(
            "the budget was counted on {BUDGET_ARCHITECTURE} with {BUDGET_C_LIBRARY}, and this is {architecture} with {c_library}"
        )));
    }
    let (folder, hume) = prepared()?;
    let instructions = of_hume(&hume, folder.path())?;
    say(format_args!("hume, answered: {instructions} instructions; the budget is {BUDGET_INSTRUCTIONS}"))?;
    Ok(judged(instructions))
}

fn judged(instructions: u64) -> Standing {
    if instructions * 100 <= BUDGET_INSTRUCTIONS * (100 + GROWTH_PERCENT_MAX) {
        return Standing::Within;
    }
    Standing::Over(format!(
        "one event takes {instructions} instructions, and {BUDGET_INSTRUCTIONS} with {GROWTH_PERCENT_MAX} % more are allowed: \
         find what is new by `valgrind --tool=callgrind`, or renew BUDGET_INSTRUCTIONS in xtask/src/cost.rs and say why"
    ))
}

/// A temporary folder with the program in it. Every character of the program's path, of its working folder and of the
/// socket's takes instructions, so these are of the same length for everybody.
fn prepared() -> anyhow::Result<(TempDir, PathBuf)> {
    let shipped = dist::build_hume()?;
    let folder = tempfile::tempdir_in(FOLDER).context("could not make a temporary folder")?;
    let hume = folder.path().join("hume");
    fs::copy(&shipped, &hume).context("could not copy hume")?;
    Ok((folder, hume))
}

fn of_hume(hume: &Path, folder: &Path) -> anyhow::Result<u64> {
    count(&called(counted(hume), folder)?.talk)
}

/// What came of one call of `hume`.
struct Call {
    /// What it, or valgrind for it, wrote to stderr.
    talk: String,
    /// Memory that was resident at most.
    peak_kib: u64,
}

/// Calls `hume` by `command`, in an environment that does not differ from machine to machine, and answers it.
fn called(mut command: Command, folder: &Path) -> anyhow::Result<Call> {
    let socket = folder.join("hume.sock");
    let listener = UnixListener::bind(&socket).context("could not bind a socket")?;
    command.current_dir(folder).env_clear().env("PATH", "/usr/bin:/bin");
    command.env("HUME_SOCKET", &socket).env("HUME_DROP_DIR", "/nonexistent");
    command.args(["--strict", "--recv-timeout", "60000", "-t", "WORDPRESS_UPDATE", "-T", "wordpress,cron"]);
    command.args(["-L", "error", "-m", MESSAGE]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("could not start {command:?}"))?;
    let pid = child.id();
    let receiver = thread::spawn(move || received(&listener, pid));
    let output = child.wait_with_output().context("could not wait for hume")?;
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        bail!("{command:?} failed ({}): {talk}", output.status);
    }
    let (line, status) = receiver.join().map_err(|_| anyhow::anyhow!("the receiver of hume failed"))??;
    ensure!(line.contains(MESSAGE), "hume sent something else: {line}");
    fs::remove_file(&socket).context("could not remove a socket")?;
    Ok(Call { talk, peak_kib: peak_kib(&status).with_context(|| format!("no peak is told: {status}"))? })
}

/// The line that comes, and the status of its sender, which waits for the answer: all but its end is done then.
fn received(listener: &UnixListener, pid: u32) -> io::Result<(String, String)> {
    let (mut stream, _) = listener.accept()?;
    let mut line = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut line)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    writeln!(stream, "{ANSWER}")?;
    Ok((line, status))
}

fn peak_kib(status: &str) -> Option<u64> {
    let field = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    field.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn of_logger(socket: &Path) -> anyhow::Result<u64> {
    let receiver = UnixDatagram::bind(socket).context("could not bind a socket")?;
    let mut command = counted(Path::new("logger"));
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command.arg("-u").arg(socket).args(["-t", "WORDPRESS_UPDATE", "-p", "user.err", MESSAGE]);
    let output = command.output().with_context(|| format!("could not start {command:?}"))?;
    let talk = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed ({}): {talk}", output.status);
    receiver.set_nonblocking(true).context("could not set up a socket")?;
    let mut line = [0; 2048];
    let length = receiver.recv(&mut line).context("logger sent nothing")?;
    let line = String::from_utf8_lossy(line.get(..length).unwrap_or_default()).into_owned();
    ensure!(line.contains(MESSAGE), "logger sent something else: {line}");
    count(&talk)
}

/// The program under callgrind: needs valgrind.
fn counted(program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    command
}

fn count(talk: &str) -> anyhow::Result<u64> {
    let collected = talk.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .and_then(|(_, count)| count.trim().parse().ok())
        .with_context(|| format!("callgrind counted nothing: {talk}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growth_of_a_twentieth_passes_and_more_fails_with_both_numbers() {
        let limit = BUDGET_INSTRUCTIONS * 105 / 100;
        assert!(matches!(judged(BUDGET_INSTRUCTIONS), Standing::Within));
        assert!(matches!(judged(limit), Standing::Within));
        let Standing::Over(why) = judged(limit + 1) else { panic!("it passed") };
        assert!(
            why.contains(&(limit + 1).to_string()) && why.contains(&BUDGET_INSTRUCTIONS.to_string()),
            "{why}"
        );
    }

    #[test]
    fn the_count_and_the_peak_are_found_in_what_is_said() {
        let talk = "==7== Events    : Ir\n==7== Collected : 129704\n==7==\n";
        assert_eq!(count(talk).unwrap(), 129_704);
        assert!(count("").is_err());
        assert_eq!(peak_kib("VmPeak:\t    9 kB\nVmHWM:\t    1192 kB\n"), Some(1192));
        assert_eq!(peak_kib("State:\tZ (zombie)\n"), None);
    }
}
