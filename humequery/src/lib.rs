//! From a command line to an answer on stdout: what is asked, who is asked, what comes back, how it is shown.
//!
//! Data goes to stdout and talk to stderr. Exit codes: [`EXIT_ANSWERED`], [`EXIT_NOT_ANSWERED`], [`EXIT_USAGE`]; those of a
//! monitoring plugin for `check` and `--exit-status`. A reader that hangs up is no failure.

pub mod answer;
pub mod args;
pub mod ask;
pub mod check;
pub mod client;
pub mod diff;
pub mod fleet;
pub mod follow;
pub mod meant;
pub mod nothing;
pub mod offset;
pub mod papers;
pub mod question;
pub mod render;
mod show;
mod talk;
pub mod timeline;
pub mod when;
pub mod whom;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Zoned;
use jiff::tz::TimeZone;

use crate::args::{Args, CheckArgs, ColorWhen, Instead, Output};
use crate::client::Client;
use crate::meant::{MeantFor, meant_for};
use crate::question::Question;
use crate::render::View;
use crate::render::text::Colour;
use crate::talk::{fail, finish, talk, usage, with_causes};
use crate::whom::Whom;

/// The question was answered, also when nothing was found.
pub const EXIT_ANSWERED: u8 = 0;
/// The question was not answered; for a monitoring system: nobody can tell.
pub const EXIT_NOT_ANSWERED: u8 = 3;
/// The command line is wrong.
pub const EXIT_USAGE: u8 = 64;

/// What the program is to do.
enum Job<'a> {
    Answer(&'a Question),
    Check(&'a CheckArgs),
}

/// Runs the program with these arguments, the first of which is its name.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.into_iter().collect();
    let args = match Args::read(&words) {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            let text = error.render().to_string();
            return misused(meant_for(&words), text.strip_prefix("error: ").unwrap_or(&text));
        }
        // --help and --version
        Err(error) => return finish(error.print()),
    };
    let question = match &args.instead {
        Some(Instead::Completions { shell }) => return completions(*shell),
        Some(word) => question::instead(word, &args.asked, &args.output, &Zoned::now()),
        None => question::question(&args.asked, &args.output, &Zoned::now()).map(Some),
    };
    match (question, &args.instead) {
        (Ok(Some(question)), _) => work(&args, &Job::Answer(&question)),
        (Ok(None), Some(Instead::Check(check))) => work(&args, &Job::Check(check)),
        (Ok(None), _) => finish(Ok(())),
        (Err(error), Some(Instead::Check(_))) => misused(MeantFor::Check, &error.to_string()),
        (Err(error), _) if args.output.exit_status => misused(MeantFor::ExitStatus, &format!("{error}\n")),
        (Err(error), _) => misused(MeantFor::People, &format!("{error}\n")),
    }
}

/// Says what is wrong with the command line, to whom it may concern.
fn misused(meant_for: MeantFor, text: &str) -> ExitCode {
    match meant_for {
        MeantFor::People => usage(&format!("humequery: {text}")),
        MeantFor::ExitStatus => {
            usage(&format!("humequery: {text}"));
            ExitCode::from(EXIT_NOT_ANSWERED)
        }
        MeantFor::Check => {
            // What stands first says it; the rest is for people.
            let first = text.split("\n\n").next().unwrap_or(text);
            show::unknown_line(&format!("usage: {first}; see humequery check --help"))
        }
    }
}

fn work(args: &Args, job: &Job<'_>) -> ExitCode {
    let not_done = |error: &dyn Error, advice| match job {
        Job::Check(check) => show::cannot_tell(args, check, &with_causes(error, advice)),
        Job::Answer(_) => fail(error, advice),
    };
    let client = match open(args) {
        Ok(client) => client,
        Err(error) => return not_done(error.error.as_ref(), error.advice),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return not_done(&error, None),
    };
    let code = runtime.block_on(async {
        match job {
            Job::Answer(Question::Follow(follow)) => show::show_coming(args, follow, &client).await,
            Job::Answer(question) => show::show(args, question, &client).await,
            Job::Check(check) => show::show_check(args, check, &client).await,
        }
    });
    // Not waited for: a name server that does not answer would outlast --timeout.
    runtime.shutdown_background();
    code
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
    let Output { format: _, color, exit_status: _, utc } = output;
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
    clap_complete::generate(shell, &mut args::command(), "humequery", &mut script);
    finish(io::stdout().write_all(&script))
}
