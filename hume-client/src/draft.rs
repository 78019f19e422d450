//! From what the caller wrote to one draft: any value fits, and what had to be changed for that is told.
//!
//! The id is minted here, before anything can fail, so that whatever is tried later is the same event. This is the only
//! place of this crate that reads the clock. No draft made here is refused for its bounds, alone or as a line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hume_core::{EventId, Timestamp, fit};
use hume_proto::intake::{CallerLine, DraftLine, Pairs};
use rustix::process::Pid;
use rustix::rand::GetRandomFlags;
use rustix::time::ClockId;

use crate::args::Args;
use crate::fitter::{Fitter, Message};
use crate::settings::Environment;

/// Most bytes of a path or unit in the caller's surroundings.
const CALLER_TEXT_BYTES_MAX: usize = 4096;
/// Longest token that is sent, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// Where and when the caller is.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    id: EventId,
    time: Timestamp,
    caller: CallerLine,
}

/// A draft, and what was changed to make it one.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    /// Within all bounds.
    pub(crate) line: DraftLine,
    /// Fields that were cut, escaped or set aside; the draft is flagged `mangled` when there is one.
    pub(crate) changed: Vec<&'static str>,
    /// What of the environment was not used, and why.
    pub(crate) remarks: Vec<String>,
}

impl Surroundings {
    /// Reads clocks, ids and working folder of this process, and mints the event's id.
    pub(crate) fn capture() -> Surroundings {
        let boottime = rustix::time::clock_gettime(ClockId::Boottime);
        let boottime_ns =
            u64::try_from(boottime.tv_sec).unwrap_or(0) * 1_000_000_000 + boottime.tv_nsec.unsigned_abs();
        let time = now();
        let pid = rustix::process::getpid();
        let number = |pid: Pid| pid.as_raw_nonzero().get().unsigned_abs();
        let caller = CallerLine {
            pid: Some(number(pid)),
            ppid: rustix::process::getppid().map(number),
            session: session(),
            cwd: std::env::current_dir().ok().as_deref().map(caller_text),
            boottime_us: Some(boottime_ns / 1000),
            ..CallerLine::default()
        };
        Surroundings { id: EventId::mint(time, random(number(pid), boottime_ns)), time, caller }
    }
}

/// The same line with what every draft should have: an id, so that a retry is the same event; the time; the caller.
/// What is there already stays.
pub fn stamped(mut line: DraftLine) -> DraftLine {
    let Surroundings { id, time, mut caller } = Surroundings::capture();
    caller.unit = unit(std::env::var_os("INVOCATION_ID"));
    line.id.get_or_insert_with(|| id.to_string());
    line.time.get_or_insert_with(|| time.to_string());
    line.caller.get_or_insert(caller);
    line
}

/// The session of this process; none when its leader lies outside the container's process namespace, or when no session
/// was ever made (a child of a bare init): the kernel calls both 0.
fn session() -> Option<u32> {
    // rustix takes 0 for impossible here, and panics.
    let session = nix::unistd::getsid(None).ok()?;
    u32::try_from(session.as_raw()).ok().filter(|&number| number != 0)
}

#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the clock")]
fn now() -> Timestamp {
    let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    };
    Timestamp::from_micros(micros)
}

/// Ten random bytes.
fn random(pid: u32, boottime_ns: u64) -> [u8; 10] {
    let mut bytes = [0_u8; 10];
    match rustix::rand::getrandom(&mut bytes, GetRandomFlags::NONBLOCK) {
        Ok(count) if count == bytes.len() => bytes,
        Ok(_) | Err(_) => scarce(pid, boottime_ns),
    }
}

/// In place of random bytes while the kernel has none yet, early at boot: no script may wait for them, and a pid with the
/// nanoseconds since boot tells the events of one host apart as well.
fn scarce(pid: u32, boottime_ns: u64) -> [u8; 10] {
    let mut bytes = [0_u8; 10];
    let [_, _, nanos @ ..] = boottime_ns.to_be_bytes();
    bytes[..6].copy_from_slice(&nanos);
    bytes[6..].copy_from_slice(&pid.to_be_bytes());
    bytes
}

/// The draft of these words. `text` is the message, `tree` the process tree if it was asked for.
pub(crate) fn prepare(
    args: &Args,
    environment: &Environment<'_>,
    text: Message,
    tree: Option<String>,
    surroundings: Surroundings,
) -> Prepared {
    let mut fitter = Fitter::default();
    if args.value_is_missing {
        fitter.changed("options");
    }
    let Surroundings { id, time, mut caller } = surroundings;
    caller.unit = unit(environment.get("INVOCATION_ID"));
    let mut line = DraftLine {
        id: Some(id.to_string()),
        time: Some(time.to_string()),
        host: fitter.host(args.hostname.as_deref()),
        task: fitter.task(args, environment),
        tags: fitter.tags(args, environment),
        level: fitter.level(args.level.as_deref()),
        flag: fitter.flag(args.flag.as_deref()),
        exit: fitter.exit(args.exit.as_deref()),
        tree,
        caller: Some(caller),
        token: args.auth_token.clone().or_else(|| environment.get("HUME_TOKEN")).as_deref().map(token),
        ..DraftLine::default()
    };
    (line.message, line.truncated_from) = fitter.message(text);
    line.command = fitter.command(args.command.as_deref(), &line);
    fitter.time_limit(args.recv_timeout.as_deref());
    fitter.run_key(args, environment, &mut line);
    line.line = fitter.script_line(environment);
    line.extra = Pairs(fitter.extra(&args.extra));
    fitter.shorten(&mut line);
    line.mangled = !fitter.changed.is_empty();
    Prepared { line, changed: fitter.changed, remarks: fitter.remarks }
}

fn unit(value: Option<OsString>) -> Option<String> {
    value.filter(|value| !value.is_empty()).map(|value| caller_text(Path::new(&value)))
}

fn caller_text(path: &Path) -> String {
    let text = fit::text(path.as_os_str().as_bytes()).value;
    fit::cut(&text, CALLER_TEXT_BYTES_MAX).to_owned()
}

fn token(raw: &OsStr) -> String {
    let text = fit::text(raw.as_bytes()).value;
    fit::cut(&text, TOKEN_BYTES_MAX).to_owned()
}

#[cfg(test)]
mod tests;
