//! One event from the command line to its verdict: what became of it, what is said about it, and the exit code.
//!
//! Nothing that goes wrong here stops the script that called: without `--strict` every verdict on an event is 0.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::path::PathBuf;

use hume_core::ErrorClass;
use hume_core::event::MESSAGE_BYTES_MAX;
use hume_proto::status::exit_code;

use crate::ancestors;
use crate::args::{self, Args, Asked, one_line};
use crate::draft::{self, Prepared, Surroundings};
use crate::drop_folder::{self, DropError};
use crate::fitter::Message;
use crate::settings::{Environment, Settings};
use crate::submit::{Receipt, SubmitError, submit};

/// Wrong use of the command itself, after sysexits(3).
const USAGE: u8 = 64;
/// Most bytes kept of what stdin gives: a message, and enough to tell that there was more without splitting a character
/// of the part that stays.
const READ_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 4;
/// Most bytes of one line on stderr.
const LINE_BYTES_MAX: usize = 1024;

/// What became of an event.
#[derive(Debug)]
enum Outcome {
    /// The agent has it on disk.
    Stored(Receipt),
    /// It is in the drop folder, because of this.
    Dropped { file: PathBuf, cause: SubmitError },
    /// It was refused, or there was no drop folder either.
    Lost { cause: SubmitError, folder: Option<DropError> },
}

/// What to say about it, and with which code to end.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    code: u8,
    line: Option<String>,
}

/// Runs the program `hume` with these words, its own name first. Returns the exit code.
pub fn run(words: impl IntoIterator<Item = OsString>) -> u8 {
    match args::parse(words) {
        Ok(Asked::Report(args)) => report(&args),
        Ok(Asked::Show(page)) => {
            // A reader that has seen enough closes its end; that is no failure.
            let _ = page.print();
            0
        }
        Err(error) => {
            say(&error.to_string());
            USAGE
        }
    }
}

fn report(args: &Args) -> u8 {
    let lookup = |name: &str| std::env::var_os(name);
    let environment = Environment(&lookup);
    let settings = Settings::new(args, &environment);
    let text = message(args);
    let tree = args.append_pstree.then(|| ancestors::tree(&ancestors::chain(), ancestors::command_line));
    let prepared = draft::prepare(args, &environment, text, tree, Surroundings::capture());
    if settings.is_verbose {
        for remark in settings.remarks.iter().chain(&prepared.remarks) {
            say(&format!("hume: {}", one_line(remark)));
        }
    }
    let outcome = deliver(&prepared, &settings);
    let Verdict { code, line } = verdict(&outcome, &prepared, &settings);
    if let Some(line) = line {
        say(&format!("hume: {}", one_line(&line)));
    }
    code
}

/// To the agent, and to the drop folder when the agent did not judge it.
fn deliver(prepared: &Prepared, settings: &Settings) -> Outcome {
    match submit(&prepared.line, &settings.socket, settings.timeout) {
        Ok(receipt) => Outcome::Stored(receipt),
        Err(cause) if !cause.may_retry() => Outcome::Lost { cause, folder: None },
        Err(cause) => match drop_folder::put(&prepared.line, &settings.drop_dir) {
            Ok(file) => Outcome::Dropped { file, cause },
            Err(error) => Outcome::Lost { cause, folder: Some(error) },
        },
    }
}

/// The rules of the exit code and of the one line.
fn verdict(outcome: &Outcome, prepared: &Prepared, settings: &Settings) -> Verdict {
    let Settings { is_strict, is_verbose, .. } = *settings;
    let is_mangled = !prepared.changed.is_empty();
    let mangled =
        if is_mangled { format!("; changed to fit: {}", prepared.changed.join(", ")) } else { String::new() };
    let stored_code = if is_strict && is_mangled { exit_code(ErrorClass::Invalid) } else { 0 };
    let id = prepared.line.id.as_deref().unwrap_or_default();
    match outcome {
        Outcome::Stored(receipt) => {
            let seq = receipt.seq.map(|seq| format!(", seq {seq}")).unwrap_or_default();
            let run = receipt.run.map_or_else(|| ", no run".to_owned(), |run| format!(", run {run}"));
            let line = format!("stored by the agent: id {id}{seq}{run}{mangled}");
            Verdict { code: stored_code, line: (is_verbose || stored_code != 0).then_some(line) }
        }
        Outcome::Dropped { file, cause } => {
            // Nothing but a change of the settings will ever heal this one.
            let is_lasting = matches!(cause, SubmitError::PathTooLong { .. });
            let line = format!("{cause}; stored in the drop folder: {}{mangled}", file.display());
            Verdict {
                code: stored_code,
                line: (is_verbose || is_lasting || stored_code != 0).then_some(line),
            }
        }
        Outcome::Lost { cause, folder } => {
            let folder = folder.as_ref().map(|error| format!("; {error}")).unwrap_or_default();
            let line = format!("nothing stored: {cause}{folder}; {}", remedy(cause));
            let code = if is_strict { exit_code(strict_class(cause.class())) } else { 0 };
            Verdict { code, line: Some(line) }
        }
    }
}

/// The class that decides the code: for a script it is the same whether there is no agent or one that cannot store.
fn strict_class(class: ErrorClass) -> ErrorClass {
    match class {
        ErrorClass::Invalid
        | ErrorClass::Unauthenticated
        | ErrorClass::Denied
        | ErrorClass::Full
        | ErrorClass::Busy
        | ErrorClass::Unavailable => class,
        ErrorClass::NotFound | ErrorClass::Conflict | ErrorClass::Internal => ErrorClass::Unavailable,
    }
}

/// What a sysadmin can do about it.
fn remedy(cause: &SubmitError) -> &'static str {
    match cause {
        SubmitError::PathTooLong { .. } => "give a shorter path by --socket or HUME_SOCKET",
        SubmitError::LineTooLong { .. } => "report less at once",
        SubmitError::NoAgent { .. } => {
            "start humed-agent, or name its socket in HUME_SOCKET and its drop folder in HUME_DROP_DIR"
        }
        SubmitError::NoAnswer { .. } => "see the log of humed-agent, or allow more time by --recv-timeout",
        SubmitError::Broken(_) | SubmitError::Garbled => "see the log of humed-agent",
        SubmitError::Refused { class, .. } => match class {
            ErrorClass::Invalid => "correct the value",
            ErrorClass::Unauthenticated | ErrorClass::Denied => {
                "ask the administrator of humed-agent, or give a token in HUME_TOKEN"
            }
            ErrorClass::Full => "make room on this host",
            ErrorClass::Busy => "try again later",
            ErrorClass::NotFound | ErrorClass::Conflict | ErrorClass::Unavailable | ErrorClass::Internal => {
                "see the log of humed-agent"
            }
        },
    }
}

fn message(args: &Args) -> Message {
    if args.text_is_on_stdin() {
        let stdin = io::stdin();
        // A script started by hand must not stop and wait for somebody to type.
        if stdin.is_terminal() {
            return Message { fault: Some("stdin is a terminal"), ..Message::default() };
        }
        return read_message(stdin.lock());
    }
    args.text().map(Message::from).unwrap_or_default()
}

/// Everything up to the end, so that the writing program is not cut off; no more is kept than a message may hold.
fn read_message(mut from: impl Read) -> Message {
    let mut message = Message::default();
    let mut chunk = [0_u8; 16 * 1024];
    let mut line_ends = 0;
    loop {
        match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                let read = chunk.get(..count).unwrap_or_default();
                message.bytes_total += count as u64;
                let room = READ_BYTES_MAX.saturating_sub(message.bytes.len());
                message.bytes.extend_from_slice(read.get(..room.min(count)).unwrap_or_default());
                let ends = read.iter().rev().take_while(|byte| **byte == b'\n').count() as u64;
                line_ends = if ends == count as u64 { line_ends + ends } else { ends };
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                message.fault = Some("stdin could not be read");
                break;
            }
        }
    }
    // As `$(…)` does: the end of the last line is no part of the text.
    message.bytes_total -= line_ends;
    let kept = usize::try_from(message.bytes_total).unwrap_or(usize::MAX);
    message.bytes.truncate(kept);
    message
}

/// Writes one line to stderr at once. There is nobody to tell when that fails.
fn say(text: &str) {
    let mut line = text.trim_end().to_owned();
    if !line.contains('\n') {
        line = hume_core::fit::cut(&line, LINE_BYTES_MAX).to_owned();
    }
    line.push('\n');
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests;
