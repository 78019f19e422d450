//! One event from the command line to its verdict: its text is read, the event delivered, and the exit code decided.

use std::io::{self, IsTerminal as _, Read};

use crate::ancestors;
use crate::args::{Args, one_line};
use crate::delivery::{Verdict, deliver, say, verdict};
use crate::draft::{self, Surroundings};
use crate::fitter::{MESSAGE_READ_BYTES_MAX, Message};
use crate::settings::{Environment, Settings};

/// Reports one event. Returns the exit code.
pub(crate) fn report(args: &Args) -> u8 {
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
    let outcome = deliver(&prepared.line, &settings);
    let Verdict { code, line } = verdict(&outcome, &prepared, &settings);
    if let Some(line) = line {
        say(&format!("hume: {}", one_line(&line)));
    }
    code
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
                let room = MESSAGE_READ_BYTES_MAX.saturating_sub(message.bytes.len());
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

#[cfg(test)]
mod tests;
