//! From a command line to an answer on stdout: what is asked, who is asked, what comes back, how it is shown.
//!
//! Data goes to stdout and talk to stderr. Exit codes: [`EXIT_ANSWERED`], [`EXIT_NOT_ANSWERED`], [`EXIT_USAGE`].
//! A reader that hangs up is no failure.

pub mod answer;
pub mod args;
pub mod ask;
pub mod client;
pub mod nothing;
pub mod question;
pub mod render;
pub mod when;
pub mod whom;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use hume_proto::rest::TaskList;
use jiff::Zoned;
use jiff::tz::TimeZone;

use crate::answer::Answer;
use crate::args::{Args, ColorWhen, FormatName, Instead, Output};
use crate::ask::AskError;
use crate::client::Client;
use crate::question::Question;
use crate::render::View;
use crate::render::text::{Colour, clean};
use crate::whom::Whom;

/// The question was answered, also when nothing was found.
pub const EXIT_ANSWERED: u8 = 0;
/// The question was not answered.
pub const EXIT_NOT_ANSWERED: u8 = 3;
/// The command line is wrong.
pub const EXIT_USAGE: u8 = 64;

/// Runs the program with these arguments, the first of which is its name.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            let text = error.render().to_string();
            return usage(&format!("humequery: {}", text.strip_prefix("error: ").unwrap_or(&text)));
        }
        // --help and --version
        Err(error) => return finish(error.print()),
    };
    let question = match args.instead {
        Some(Instead::Completions { shell }) => return completions(shell),
        Some(word) => question::instead(word, &args.asked),
        None => question::question(&args.asked, args.output.format, &Zoned::now()).map(Some),
    };
    match question {
        Ok(Some(question)) => answer(&args, &question),
        Ok(None) => ExitCode::from(EXIT_ANSWERED),
        Err(error) => usage(&format!("humequery: {error}\n")),
    }
}

fn answer(args: &Args, question: &Question) -> ExitCode {
    let client = match open(args) {
        Ok(client) => client,
        Err(error) => return fail(error.error.as_ref(), error.advice),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, None),
    };
    let code = runtime.block_on(show(args, question, &client));
    // Not waited for: a name server that does not answer would outlast --timeout.
    runtime.shutdown_background();
    code
}

async fn show(args: &Args, question: &Question, client: &Client) -> ExitCode {
    let mut format = render::format(args.output.format, view(&args.output));
    let mut stdout = BufWriter::new(io::stdout().lock());
    let mut found = false;
    let mut more = None;
    let mut left_out = Vec::new();
    let pages = format.pages();
    let asked = ask::ask(client, question, pages, &mut |answer: &Answer| {
        found |= !answer.is_empty();
        more = answer.more();
        left_out.extend(answer.left_out());
        format.write(answer, &mut stdout)
    })
    .await;
    match asked.and_then(|()| Ok(stdout.flush()?)) {
        Ok(()) => {}
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
    ExitCode::from(EXIT_ANSWERED)
}

/// One more question, for people only. If it fails there is no hint.
async fn near_names(format: FormatName, question: &Question, client: &Client) -> Option<String> {
    if format != FormatName::Table || !nothing::names_something(question) {
        return None;
    }
    let known: TaskList = client.get("tasks", &()).await.ok()?;
    nothing::hint(question, &known.tasks)
}

/// A failure before anybody was asked.
struct NotOpened {
    error: Box<dyn Error>,
    advice: Option<String>,
}

fn open(args: &Args) -> Result<Client, NotOpened> {
    let whom = whom(args).map_err(|error| NotOpened { error: error.into(), advice: None })?;
    if let Some(found) = &whom.found
        && io::stderr().is_terminal()
    {
        talk(&format!("asking {} (from {found})", whom.place));
    }
    let opened = Client::open(whom, args.connection.timeout)
        .map_err(|error| NotOpened { advice: error.advice(), error: error.into() })?;
    if let Some(warning) = opened.warning {
        talk(&warning);
    }
    Ok(opened.client)
}

fn whom(args: &Args) -> Result<Whom, whom::WhomError> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let paths = whom::file_paths(variable("XDG_CONFIG_HOME"), variable("HOME"));
    let given = &args.connection;
    // A broken file is nobody's business when the command line decides.
    let files = match given.url.as_deref() {
        Some(url) if !url.is_empty() => Vec::new(),
        _ => paths.iter().filter_map(|path| whom::read_file(path).transpose()).collect::<Result<_, _>>()?,
    };
    whom::choose(given, &files, &paths, whom::knock)
}

fn view(output: &Output) -> View {
    let Output { format: _, color, utc } = output;
    let stdout = io::stdout();
    let colour = match color {
        ColorWhen::Always => Colour::On,
        ColorWhen::Never => Colour::Off,
        ColorWhen::Auto => match anstream::AutoStream::choice(&stdout) {
            anstream::ColorChoice::Never => Colour::Off,
            _ => Colour::On,
        },
    };
    let width = stdout.is_terminal().then(|| match rustix::termios::tcgetwinsize(&stdout) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => 80,
    });
    View { width, colour, zone: if *utc { TimeZone::UTC } else { TimeZone::system() } }
}

fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "humequery", &mut script);
    finish(io::stdout().write_all(&script))
}

/// The end of an answer: a reader that hung up has what it wanted.
fn finish(written: io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::from(EXIT_ANSWERED),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(EXIT_ANSWERED),
        Err(error) => fail(&AskError::Write(error), None),
    }
}

fn usage(text: &str) -> ExitCode {
    // Nobody is left to be told when stderr is gone.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(EXIT_USAGE)
}

/// Says why, cause by cause, and what to do.
fn fail(error: &dyn Error, advice: Option<String>) -> ExitCode {
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
    talk(&text);
    ExitCode::from(EXIT_NOT_ANSWERED)
}

/// One line to the user, who may be at a terminal.
fn talk(text: &str) {
    let _ = writeln!(io::stderr(), "humequery: {}", clean(text));
}
