//! The two events around a command: what each of them says, made by the same rules as every other event.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use hume_core::Level;
use hume_proto::intake::DraftLine;

use super::args::Wishes;
use super::ending::{Account, End};
use super::tail::Tail;
use super::words;
use crate::ancestors;
use crate::args::Args;
use crate::draft::{Prepared, Surroundings, prepare};
use crate::fitter::Message;
use crate::settings::Environment;

/// The start event. Its run has a key of its own, so that a run of the same task around it is another one.
pub(super) fn start(wishes: &Wishes, environment: &Environment<'_>, surroundings: &Surroundings) -> Prepared {
    let Wishes { event, command, overlap, .. } = wishes;
    let key = event.run_id.clone().unwrap_or_else(|| surroundings.id().to_string().into());
    let args = Args { command: Some("counter-start".into()), run_id: Some(key), ..event.clone() };
    let text = event.text().unwrap_or_else(|| words::line(command).into());
    let tree = event.append_pstree.then(|| ancestors::tree(&ancestors::chain(), ancestors::command_line));
    let mut prepared = prepare(&args, environment, Message::from(text), tree, surroundings.later());
    let line = &mut prepared.line;
    // One that could not be used.
    if line.run_key.is_none() {
        line.run_key = Some(surroundings.id().to_string());
    }
    name_script(line, command);
    if line.command.is_some() {
        line.overlap = Some(overlap.map_or("policy", |overlap| overlap.as_str()).to_owned());
    }
    // A key that another run exported has its task with it.
    if line.run_key_task.is_none() {
        line.run_key_task = Some(line.task.clone());
    }
    prepared
}

/// The stop event of the run that `start` opened.
pub(super) fn stop(
    wishes: &Wishes,
    environment: &Environment<'_>,
    surroundings: &Surroundings,
    start: &DraftLine,
    account: &Account,
    tail: Option<&Tail>,
) -> Prepared {
    // A command that went on until it was told to end is no success, whatever it makes of that.
    let level = account.timed_out.map(|_| Level::Error.as_str().into());
    let facts = account.facts().into_iter().map(|(key, value)| format!("{key}={value}").into());
    let args = Args {
        command: Some("counter-stop".into()),
        run_id: start.run_key.clone().map(Into::into),
        extra: facts.collect(),
        level,
        ..wishes.event.clone()
    };
    let bytes = account.message(tail);
    let text = Message { bytes_total: bytes.len() as u64, bytes, fault: None };
    let mut prepared = prepare(&args, environment, text, None, surroundings.later());
    let line = &mut prepared.line;
    name_script(line, &wishes.command);
    line.run_key_task.clone_from(&start.run_key_task);
    line.host.clone_from(&start.host);
    match account.end {
        End::Exited(code) => line.exit = Some(code),
        End::Signalled(signal) => line.signal = Some(signal),
        End::NotStarted { code, .. } => line.exit = Some(i32::from(code)),
        End::Unknown => {}
    }
    prepared
}

/// The owner of the run is this process, but the script is the command.
fn name_script(line: &mut DraftLine, command: &[OsString]) {
    let command_line = command.join(OsStr::from_bytes(b"\0"));
    if let Some(caller) = &mut line.caller {
        caller.script = ancestors::script(command_line.as_bytes(), caller.cwd.as_deref());
    }
}
