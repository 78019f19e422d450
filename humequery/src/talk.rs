//! What is said beside the data: one line on stderr for each thing, and the exit code that goes with it.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::ask::AskError;
use crate::client::ClientError;
use crate::render::text::clean;
use crate::{EXIT_ANSWERED, EXIT_NOT_ANSWERED, EXIT_USAGE};

/// One line to the user, who may be at a terminal.
pub(crate) fn talk(text: &str) {
    // Nobody is left to be told when stderr is gone.
    let _ = writeln!(io::stderr(), "humequery: {}", clean(text));
}

/// A command line that cannot be meant.
pub(crate) fn usage(text: &str) -> ExitCode {
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(EXIT_USAGE)
}

/// Says why there is no answer, cause by cause, and what to do.
pub(crate) fn fail(error: &dyn Error, advice: Option<String>) -> ExitCode {
    talk(&with_causes(error, advice));
    ExitCode::from(EXIT_NOT_ANSWERED)
}

/// The end of an answer: a reader that hung up has what it wanted.
pub(crate) fn finish(written: io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::from(EXIT_ANSWERED),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(EXIT_ANSWERED),
        Err(error) => fail(&AskError::Write(error), None),
    }
}

/// A failure with its causes and what to do about it, as one sentence.
pub(crate) fn sentence(error: &ClientError) -> String {
    with_causes(error, error.advice())
}

/// The same for any failure.
pub(crate) fn with_causes(error: &dyn Error, advice: Option<String>) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Some errors repeat their cause.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    if let Some(advice) = advice {
        text.push_str("; ");
        text.push_str(&advice);
    }
    text
}
