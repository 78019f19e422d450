//! What becomes of one prepared event: stored by the agent, in the drop folder, or lost; and what is said about that.
//!
//! Without `--strict` every verdict on an event has the code 0.

use std::io::{self, Write as _};
use std::path::PathBuf;

use hume_core::ErrorClass;
use hume_proto::intake::DraftLine;
use hume_proto::status::exit_code;

use crate::draft::Prepared;
use crate::drop_folder::{self, DropError};
use crate::settings::Settings;
use crate::submit::{Receipt, SubmitError, submit};

/// Most bytes of one line on stderr.
const LINE_BYTES_MAX: usize = 1024;

/// What became of an event.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The agent has it on disk.
    Stored(Receipt),
    /// It is in the drop folder, because of this.
    Dropped { file: PathBuf, cause: SubmitError },
    /// It was refused, or there was no drop folder either.
    Lost { cause: SubmitError, folder: Option<DropError> },
}

/// What to say about it, and with which code to end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// 0 unless strictness was asked for.
    pub(crate) code: u8,
    /// Without the name of the program before it.
    pub(crate) line: Option<String>,
}

/// To the agent, and to the drop folder when the agent did not judge it.
pub(crate) fn deliver(line: &DraftLine, settings: &Settings) -> Outcome {
    settle(submit(line, &settings.socket, settings.timeout), line, settings)
}

/// What the agent said of the event, or could not say; it goes to the drop folder when the agent did not judge it.
pub(crate) fn settle(said: Result<Receipt, SubmitError>, line: &DraftLine, settings: &Settings) -> Outcome {
    match said {
        Ok(receipt) => Outcome::Stored(receipt),
        Err(cause) if !cause.may_retry() => Outcome::Lost { cause, folder: None },
        Err(cause) => match drop_folder::put(line, &settings.drop_dir) {
            Ok(file) => Outcome::Dropped { file, cause },
            Err(error) => Outcome::Lost { cause, folder: Some(error) },
        },
    }
}

/// The rules of the exit code and of the one line.
pub(crate) fn verdict(outcome: &Outcome, prepared: &Prepared, settings: &Settings) -> Verdict {
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

/// Writes one line to stderr at once. There is nobody to tell when that fails.
pub(crate) fn say(text: &str) {
    let mut line = text.trim_end().to_owned();
    if !line.contains('\n') {
        line = hume_core::fit::cut(&line, LINE_BYTES_MAX).to_owned();
    }
    line.push('\n');
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests;
