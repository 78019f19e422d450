//! What one call of `hume` costs a script, beside `logger(1)` and a program that does nothing.
//!
//! The calls take turns, so that what else goes on meets all of them alike. `hume` waits until its event is on disk.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};

use super::{Context, Findings};
use crate::args::Part;
use crate::disk::Syncs;
use crate::proc;
use crate::programs::command;
use crate::row::{Quantity, Row, Unit};
use crate::site::{Company, Site};
use crate::stats::median;
use crate::talk::tell;
use crate::wait::{SOON, wait_for};

const WALL_SHARE_MAX: f64 = 0.6;
const WALL_SYNCS_MAX: u32 = 2;
const INSTRUCTIONS_SHARE_MAX: f64 = 0.15;
const MEMORY_BYTES_MAX: f64 = 2.0 * 1024.0 * 1024.0;
const BINARY_BYTES_MAX: f64 = 1_700_000.0;

const MESSAGE: &str = "Core update error in /var/www/site1";
const ANSWER: &str = r#"{"ok":true,"id":"01a205d5-dbc7-76d7-bb72-6537da510c2a","seq":1,"run":null}"#;
const TRUE_SOURCE: &str = "int main(void) { return 0; }\n";

/// See the parent.
pub(super) fn measure(context: &Context) -> anyhow::Result<Findings> {
    let site = Site::new(&context.programs)?;
    let folder = site.scratch().path().to_path_buf();
    let hume = context.programs.path("hume");
    tell(format_args!("call: {}", hume.display()));
    let mut findings = Findings::default();
    wall(context, &site, &hume, &mut findings)?;
    instructions(&hume, &folder, &mut findings)?;
    let memory = peak_memory(&hume, &folder.join("held.sock"))?;
    let bytes = fs::metadata(&hume).with_context(|| format!("could not look at {}", hume.display()))?.len();
    let row = |what: &str, value| Row::new(Part::Call, format!("hume: {what}"), value);
    findings.rows.push(row("peak memory", Quantity::bytes(memory)).at_most(MEMORY_BYTES_MAX, ""));
    findings.rows.push(row("size", Quantity::bytes(bytes)).at_most(BINARY_BYTES_MAX, ""));
    Ok(findings)
}

fn wall(context: &Context, site: &Site, hume: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    let agent = site.start_agent("web1", Company::Alone)?;
    let folder = site.scratch().path();
    let mut syncs = Syncs::new(folder)?;
    let log_socket = folder.join("log.sock");
    let log = UnixDatagram::bind(&log_socket).context("could not bind a socket")?;
    log.set_nonblocking(true).context("could not set up a socket")?;
    let nothing = static_true(folder)?;
    if nothing.is_none() {
        findings.skipped.push("a static program that does nothing: apt-get install gcc libc6-dev".to_owned());
    }
    let rounds = context.extent.pick(100, 400);
    tell(format_args!("call: {rounds} rounds of a sync, hume, logger and nothing"));
    let (mut of_hume, mut of_logger, mut of_nothing) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        syncs.time(1)?;
        let mut call = command(hume);
        call.env("HUME_SOCKET", agent.socket()).env("HUME_DROP_DIR", agent.drop_dir()).args(hume_words());
        of_hume.push(timed(&mut call)?);
        let mut call = command(Path::new("logger"));
        of_logger.push(timed(call.arg("-u").arg(&log_socket).args(logger_words()))?);
        // The bound of its queue is small; nothing is lost as long as it is emptied.
        log.recv(&mut [0; 4096]).context("logger sent nothing")?;
        if let Some(nothing) = &nothing {
            of_nothing.push(timed(&mut command(nothing))?);
        }
    }
    let of = |times: &[Duration]| median(times).context("no call was timed");
    let (of_hume, of_logger) = (of(&of_hume)?, of(&of_logger)?);
    let sync = syncs.median()?;
    let limit = of_logger.mul_f64(WALL_SHARE_MAX) + sync * WALL_SYNCS_MAX;
    let row = || Row::new(Part::Call, "hume, on disk: wall", Quantity::time(of_hume));
    findings.rows.push(
        row()
            .beside("logger(1)", Quantity::time(of_logger))
            .at_most(Quantity::time(limit).value, "0.6 × logger + 2 syncs"),
    );
    findings.rows.push(row().beside("one fdatasync, median", Quantity::time(sync)));
    if nothing.is_some() {
        findings.rows.push(row().beside("a static C `true`", Quantity::time(of(&of_nothing)?)));
    }
    Ok(())
}

fn hume_words() -> [&'static str; 11] {
    [
        "--strict",
        "--recv-timeout",
        "60000",
        "-t",
        "WORDPRESS_UPDATE",
        "-T",
        "wordpress,cron",
        "-L",
        "error",
        "-m",
        MESSAGE,
    ]
}

fn logger_words() -> [&'static str; 5] {
    ["-t", "WORDPRESS_UPDATE", "-p", "user.err", MESSAGE]
}

/// From the start of a program to its end.
fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let began = Instant::now();
    let status = command.status();
    let took = began.elapsed();
    let status = status.with_context(|| format!("could not start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed ({status})");
    Ok(took)
}

/// A static program that does nothing; none without a C compiler.
fn static_true(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let (source, program) = (folder.join("true.c"), folder.join("true"));
    fs::write(&source, TRUE_SOURCE).with_context(|| format!("could not write {}", source.display()))?;
    let compiled = Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source).output();
    Ok(compiled.is_ok_and(|output| output.status.success()).then_some(program))
}

/// The most memory that `hume` had while it waits for its answer.
fn peak_memory(hume: &Path, socket: &Path) -> anyhow::Result<u64> {
    let listener = UnixListener::bind(socket).context("could not bind a socket")?;
    listener.set_nonblocking(true).context("could not set up a socket")?;
    let mut call = command(hume);
    call.env("HUME_SOCKET", socket).env("HUME_DROP_DIR", "/nonexistent").args(hume_words());
    let mut child = call.stdin(Stdio::null()).spawn().with_context(|| format!("could not start {call:?}"))?;
    let held = || -> anyhow::Result<u64> {
        let mut stream = wait_for("hume connects", SOON, || Ok(listener.accept().ok()))?.0;
        stream.set_nonblocking(false)?;
        BufReader::new(stream.try_clone()?).read_line(&mut String::new())?;
        let memory = proc::memory(child.id(), "VmHWM")?;
        writeln!(stream, "{ANSWER}")?;
        Ok(memory)
    };
    let memory = held();
    let status = child.wait().context("could not wait for hume")?;
    ensure!(status.success(), "hume failed ({status})");
    memory
}

fn instructions(hume: &Path, folder: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        findings.skipped.push("instructions of a call: apt-get install valgrind".to_owned());
        return Ok(());
    }
    tell("call: instructions, by callgrind");
    let socket = folder.join("counted.sock");
    let listener = UnixListener::bind(&socket).context("could not bind a socket")?;
    let receiver = thread::spawn(move || -> anyhow::Result<()> {
        let (mut stream, _) = listener.accept()?;
        BufReader::new(stream.try_clone()?).read_line(&mut String::new())?;
        Ok(writeln!(stream, "{ANSWER}")?)
    });
    let mut call = counted(hume);
    call.env("HUME_SOCKET", &socket).env("HUME_DROP_DIR", "/nonexistent").args(hume_words());
    let of_hume = count(&mut call)?;
    receiver.join().map_err(|_| anyhow!("the receiver of hume failed"))??;
    let socket = folder.join("counted-log.sock");
    let _log = UnixDatagram::bind(&socket).context("could not bind a socket")?;
    let of_logger = count(counted(Path::new("logger")).arg("-u").arg(&socket).args(logger_words()))?;
    let value = |count: u64| Quantity::new(count as f64, Unit::Instructions);
    findings.rows.push(
        Row::new(Part::Call, "hume: instructions", value(of_hume))
            .beside("logger(1)", value(of_logger))
            .at_most(INSTRUCTIONS_SHARE_MAX * of_logger as f64, "0.15 × logger"),
    );
    Ok(())
}

/// The program under callgrind, in an environment that does not differ from machine to machine.
fn counted(program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    command
}

fn count(command: &mut Command) -> anyhow::Result<u64> {
    let output = command.output().context("could not start valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{command:?} failed ({}): {text}", output.status);
    }
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .and_then(|(_, count)| count.trim().parse().ok())
        .with_context(|| format!("callgrind counted nothing: {text}"))
}
