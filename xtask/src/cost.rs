//! What one event costs a script: CPU instructions of `hume`, beside those of `logger(1)`, counted in the same run.
//!
//! Both report the same words over a Unix socket to a receiver that is here; `hume` waits for its answer. Instructions
//! are counted by callgrind: they repeat to a fraction of a percent, where times on a shared machine do not.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, bail, ensure};

use crate::dist;
use crate::say::say;

const MESSAGE: &str = "Core update error in /var/www/site1";
const ANSWER: &str = r#"{"ok":true,"id":"01a205d5-dbc7-76d7-bb72-6537da510c2a","seq":1,"run":null}"#;

/// Measures and prints.
/// # Errors
/// If a tool is missing, or an event did not arrive.
pub(crate) fn run() -> anyhow::Result<()> {
    let hume = dist::build_hume()?;
    let bytes = std::fs::metadata(&hume).context("could not find hume")?.len();
    let folder = tempfile::tempdir().context("could not make a temporary folder")?;
    let hume_instructions = of_hume(&hume, &folder.path().join("hume.sock"))?;
    let logger_instructions = of_logger(&folder.path().join("log.sock"))?;
    say(format_args!(
        "hume, answered    {hume_instructions:>9} instructions\n\
         logger(1)         {logger_instructions:>9} instructions\n\
         hume : logger     {:>9.2}\n\
         size of hume      {bytes:>9} bytes",
        hume_instructions as f64 / logger_instructions as f64
    ))
}

fn of_hume(hume: &Path, socket: &Path) -> anyhow::Result<u64> {
    let listener = UnixListener::bind(socket).context("could not bind a socket")?;
    let receiver = thread::spawn(move || -> std::io::Result<String> {
        let (mut stream, _) = listener.accept()?;
        let mut line = String::new();
        BufReader::new(stream.try_clone()?).read_line(&mut line)?;
        writeln!(stream, "{ANSWER}")?;
        Ok(line)
    });
    let mut command = counted(hume);
    command.env("HUME_SOCKET", socket).env("HUME_DROP_DIR", "/nonexistent");
    command.args(["--strict", "--recv-timeout", "60000", "-t", "WORDPRESS_UPDATE", "-T", "wordpress,cron"]);
    command.args(["-L", "error", "-m", MESSAGE]);
    let instructions = count(command)?;
    let line = receiver.join().map_err(|_| anyhow::anyhow!("the receiver of hume failed"))??;
    ensure!(line.contains(MESSAGE), "hume sent something else: {line}");
    Ok(instructions)
}

fn of_logger(socket: &Path) -> anyhow::Result<u64> {
    let receiver = UnixDatagram::bind(socket).context("could not bind a socket")?;
    let mut command = counted(Path::new("logger"));
    command.arg("-u").arg(socket).args(["-t", "WORDPRESS_UPDATE", "-p", "user.err", MESSAGE]);
    let instructions = count(command)?;
    receiver.set_nonblocking(true).context("could not set up a socket")?;
    let mut line = [0; 2048];
    let length = receiver.recv(&mut line).context("logger sent nothing")?;
    let line = String::from_utf8_lossy(line.get(..length).unwrap_or_default()).into_owned();
    ensure!(line.contains(MESSAGE), "logger sent something else: {line}");
    Ok(instructions)
}

/// The program under callgrind, in an environment that does not differ from machine to machine.
fn counted(program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    command
}

fn count(mut command: Command) -> anyhow::Result<u64> {
    let output = command.output().context("could not start valgrind: apt-get install valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{command:?} failed ({}): {text}", output.status);
    }
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .and_then(|(_, count)| count.trim().parse().ok())
        .with_context(|| format!("callgrind counted nothing: {text}"))
}
