//! From a question to what is on stdout, and the exit code: answers, events as they come, and the line of a plugin.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use hume_core::Timestamp;
use hume_core::check::Rules;
use hume_core::status::Severity;
use hume_proto::rest::TaskList;
use jiff::Zoned;
use tokio::signal::unix::{SignalKind, signal};

use crate::answer::Answer;
use crate::args::{Args, CheckArgs, FormatName};
use crate::ask::{self, AskError};
use crate::check::object::CheckReport;
use crate::check::{gather, plugin};
use crate::client::Client;
use crate::follow::follow;
use crate::question::{Follow, Question};
use crate::render::{self, Stream, View};
use crate::talk::{fail, finish, sentence, talk, with_causes};
use crate::{nothing, view};

/// Shows the answer to a question.
pub(crate) async fn show(args: &Args, question: &Question, client: &Client) -> ExitCode {
    let mut format = render::format(args.output.format, view(&args.output));
    let mut stdout = BufWriter::new(io::stdout().lock());
    let (mut found, mut more) = (false, None);
    let (mut left_out, mut severities) = (Vec::new(), Vec::new());
    let pages = format.pages();
    let asked = ask::ask(client, question, pages, &mut |answer: &Answer| {
        found |= !answer.is_empty();
        more = answer.more();
        left_out.extend(answer.left_out());
        severities.extend(answer.severities());
        format.write(answer, &mut stdout)
    })
    .await;
    match asked.and_then(|()| Ok(stdout.flush()?)) {
        Ok(()) => {}
        // Whoever hung up may still wait for the exit code.
        Err(AskError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return exit_code(args, &severities);
        }
        Err(AskError::Write(error)) => return finish(Err(error)),
        Err(AskError::Client(error)) => {
            // What came before the failure is true, and stays.
            let _ = stdout.flush();
            let advice = error.advice();
            return fail(&error, advice);
        }
    }
    if !found && let Some(sentence) = nothing::sentence(question) {
        let hint = near_names(args.output.format, question, client).await;
        talk(&hint.map_or_else(|| sentence.clone(), |hint| format!("{sentence}; {hint}")));
    }
    for note in left_out {
        talk(&note);
    }
    // Who set a limit knows of it, unless they go from page to page.
    let unexpected = args.asked.limit.is_none() || args.asked.cursor.is_some();
    if let Some(more) = more.filter(|_| unexpected) {
        talk(&more);
    }
    exit_code(args, &severities)
}

fn exit_code(args: &Args, severities: &[Severity]) -> ExitCode {
    if args.output.exit_status {
        ExitCode::from(Rules::default().together(severities).code())
    } else {
        finish(Ok(()))
    }
}

/// One more question, for people only. If it fails there is no hint.
async fn near_names(format: FormatName, question: &Question, client: &Client) -> Option<String> {
    if format != FormatName::Table || !nothing::names_something(question) {
        return None;
    }
    let known: TaskList = client.get("tasks", &()).await.ok()?;
    nothing::hint(question, &known.tasks)
}

/// Shows events as they come, until a signal.
pub(crate) async fn show_coming(args: &Args, asked: &Follow, client: &Client) -> ExitCode {
    let (mut interrupt, mut terminate) =
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
            (Err(error), _) | (_, Err(error)) => return fail(&error, None),
        };
    let view: View = view(&args.output);
    let mut stream = match args.output.format {
        FormatName::Ndjson => Stream::Ndjson,
        FormatName::Table | FormatName::Json | FormatName::Csv => Stream::table(view),
    };
    let mut stdout = BufWriter::new(io::stdout().lock());
    let ended = tokio::select! {
        ended = follow(client, asked, &mut stream, &mut stdout, &talk) => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    match ended {
        Ok(()) => finish(Ok(())),
        Err(AskError::Write(error)) => finish(Err(error)),
        Err(AskError::Client(error)) => {
            let advice = error.advice();
            fail(&error, advice)
        }
    }
}

/// Prints what a plugin says; the exit code says the same.
pub(crate) async fn show_check(args: &Args, asked: &CheckArgs, client: &Client) -> ExitCode {
    let now = Timestamp::from_micros(Zoned::now().timestamp().as_microsecond());
    // One limit for all questions together: whoever starts plugins has little patience.
    let gathered = tokio::time::timeout(args.connection.timeout, gather(client, asked, now)).await;
    let why = match gathered {
        Ok(Ok(checks)) => {
            let (task, rules) = (asked.task.as_str(), asked.rules());
            let (output, severity) = plugin::report(task, &checks, &rules);
            return match args.output.format {
                FormatName::Json => print_object(&CheckReport::new(task, &checks, &rules)),
                FormatName::Table | FormatName::Ndjson | FormatName::Csv => print_plugin(&output, severity),
            };
        }
        Ok(Err(AskError::Client(error))) => sentence(&error),
        Ok(Err(error @ AskError::Write(_))) => with_causes(&error, None),
        Err(_) => format!("no answer within {:?}; raise --timeout", args.connection.timeout),
    };
    cannot_tell(args, asked, &why)
}

/// `HUME UNKNOWN - …`, in the form that was asked for, and exit code 3.
pub(crate) fn cannot_tell(args: &Args, asked: &CheckArgs, why: &str) -> ExitCode {
    match args.output.format {
        FormatName::Json => print_object(&CheckReport::unknown(asked.task.as_str(), why)),
        FormatName::Table | FormatName::Ndjson | FormatName::Csv => unknown_line(why),
    }
}

/// The same as a line, when nobody knows which form was meant.
pub(crate) fn unknown_line(why: &str) -> ExitCode {
    print_plugin(&plugin::unknown(why), Severity::Unknown)
}

fn print_object(report: &CheckReport) -> ExitCode {
    let mut stdout = BufWriter::new(io::stdout().lock());
    match render::json::object(report, &mut stdout).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::from(report.severity),
        Err(error) => fail(&AskError::Write(error), None),
    }
}

fn print_plugin(output: &str, severity: Severity) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(output.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::from(severity.code()),
        Err(error) => fail(&AskError::Write(error), None),
    }
}
