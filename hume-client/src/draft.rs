//! From what the caller wrote to one draft: any value fits, and what had to be changed for that is told.
//!
//! The id is minted here, before anything can fail, so that whatever is tried later is the same event. No draft made here
//! is refused for its bounds, alone or as a line.

mod surroundings;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use hume_core::{Level, fit};
use hume_proto::intake::{DraftLine, Pairs, SocketToken};

use crate::args::Args;
use crate::fitter::{Fitter, Message};
use crate::settings::Environment;
pub(crate) use surroundings::Surroundings;

/// Most bytes of a path or unit in the caller's surroundings.
const CALLER_TEXT_BYTES_MAX: usize = 4096;
/// Longest token that is sent, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

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

/// The same line with what every draft should have: an id, so that a retry is the same event; the time; the caller.
/// What is there already stays.
pub fn stamped(mut line: DraftLine) -> DraftLine {
    let surroundings = Surroundings::capture();
    let id = surroundings.id();
    let Surroundings { time, mut caller, .. } = surroundings;
    caller.unit = unit(std::env::var_os("INVOCATION_ID"));
    line.id.get_or_insert_with(|| id.to_string());
    line.time.get_or_insert_with(|| time.to_string());
    line.caller.get_or_insert(caller);
    line
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
    let id = surroundings.id();
    let Surroundings { time, mut caller, .. } = surroundings;
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
    if args.exit.is_some() && line.exit.is_none() {
        line.level = Some(untold(line.level.as_deref()).to_owned());
    }
    line.detach = fitter.detach(args.detach, line.command.as_deref());
    fitter.time_limit(args.recv_timeout.as_deref());
    fitter.run_key(args, environment, &mut line);
    line.line = fitter.script_line(environment);
    line.extra = Pairs(fitter.extra(&args.extra));
    fitter.shorten(&mut line);
    line.mangled = !fitter.changed.is_empty();
    Prepared { line, changed: fitter.changed, remarks: fitter.remarks }
}

impl Prepared {
    /// One more event of the same words: with a text, a level and surroundings of its own.
    pub(crate) fn again(&self, text: Message, level: Option<Level>, surroundings: &Surroundings) -> Prepared {
        let mut fitter = Fitter::after(&self.changed);
        let mut line = self.line.clone();
        line.id = Some(surroundings.id().to_string());
        line.time = Some(surroundings.time.to_string());
        if let Some(caller) = &mut line.caller {
            caller.boottime_us = surroundings.caller.boottime_us;
        }
        if let Some(level) = level {
            line.level = Some(level.as_str().to_owned());
        }
        (line.message, line.truncated_from) = fitter.message(text);
        fitter.shorten(&mut line);
        line.mangled = !fitter.changed.is_empty();
        Prepared { line, changed: fitter.changed, remarks: Vec::new() }
    }
}

/// The level where an exit code was told and could not be read: nobody knows how it went, unless the level says worse.
fn untold(level: Option<&str>) -> &str {
    let told = level.and_then(|word| word.parse::<Level>().ok()).unwrap_or(Level::Info);
    if told.rank() > Level::Unknown.rank() { told.as_str() } else { Level::Unknown.as_str() }
}

fn unit(value: Option<OsString>) -> Option<String> {
    value.filter(|value| !value.is_empty()).map(|value| caller_text(&value))
}

fn caller_text(raw: &OsStr) -> String {
    let text = fit::text(raw.as_bytes()).value;
    fit::cut(&text, CALLER_TEXT_BYTES_MAX).to_owned()
}

fn token(raw: &OsStr) -> SocketToken {
    let text = fit::text(raw.as_bytes()).value;
    SocketToken(fit::cut(&text, TOKEN_BYTES_MAX).to_owned())
}

#[cfg(test)]
mod tests;
