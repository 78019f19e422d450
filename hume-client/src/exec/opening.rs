//! The start event on its way: written to the agent before the command begins, answered while it runs.

use hume_core::ErrorClass;
use hume_core::policy::Overlap;
use hume_proto::intake::DraftLine;

use crate::delivery::{Outcome, deliver, settle};
use crate::settings::Settings;
use crate::submit::{Connection, Receipt, SubmitError, TimeLimit, encoded, judged, submit};

/// How far the start event has come.
pub(super) enum Opening {
    /// The agent said this, or nothing in time.
    Said(Result<Receipt, SubmitError>),
    /// It is on its way.
    Sent(Connection, TimeLimit),
    /// The agent could not take it at once.
    Unsent,
}

/// Sends the start event. Its answer is waited for only when the agent may say that the command is not to begin.
pub(super) fn announce(line: &DraftLine, wish: Option<Overlap>, settings: &Settings) -> Opening {
    match wish {
        None | Some(Overlap::Forbid) => Opening::Said(submit(line, &settings.socket, settings.timeout)),
        Some(Overlap::Allow | Overlap::Warn) => send_at_once(line, settings).unwrap_or(Opening::Unsent),
    }
}

fn send_at_once(line: &DraftLine, settings: &Settings) -> Result<Opening, SubmitError> {
    let bytes = encoded(line)?;
    let time = TimeLimit::new(settings.timeout);
    let connection = Connection::open_at_once(&settings.socket)?;
    let sent = connection.send_at_once(&bytes)?;
    // Half a line is no event: a new connection has to try again.
    Ok(if sent == bytes.len() { Opening::Sent(connection, time) } else { Opening::Unsent })
}

/// The same wish for a command that has begun.
fn begun(wish: &str) -> String {
    match wish {
        "policy" => "begun".to_owned(),
        "forbid" => Overlap::Warn.as_str().to_owned(),
        other => other.to_owned(),
    }
}

impl Opening {
    /// Why the command is not to begin, in the agent's words.
    pub(super) fn refusal(&self) -> Option<&str> {
        match self {
            Opening::Said(Err(SubmitError::Refused { class: ErrorClass::Conflict, error, .. })) => {
                Some(error)
            }
            Opening::Said(_) | Opening::Sent(..) | Opening::Unsent => None,
        }
    }

    /// What became of it in the end.
    pub(super) fn settle(self, line: &DraftLine, settings: &Settings) -> Outcome {
        // The command has begun: what is stored from now on is no longer to be refused.
        let line = &DraftLine { overlap: line.overlap.as_deref().map(begun), ..line.clone() };
        match self {
            Opening::Said(said) => settle(said, line, settings),
            Opening::Sent(mut connection, time) => {
                settle(connection.answer(&time).and_then(judged), line, settings)
            }
            Opening::Unsent => deliver(line, settings),
        }
    }
}
