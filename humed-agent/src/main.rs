//! `humed-agent`: arguments → configuration → agent → exit code.

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use hume_runtime::{activation, exit, limits, log, signal, tls};
use humed_agent::agent::{self, Agent, Sure};
use humed_agent::args::{Action, Args};
use humed_agent::config::Config;
use tracing::{error, info};

/// Threads that still answer a question may take this long at the end.
const RUNTIME_GRACE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no errors; a closed terminal is none of ours.
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    tls::install_provider();
    start(args).unwrap_or_else(|error| {
        say_error(&error);
        exit::CONFIG.into()
    })
}

/// The log may not be open; without a stderr nobody is there to be told.
fn say_error(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "humed-agent: {error:#}");
}

fn said(text: &[u8]) -> ExitCode {
    match std::io::stdout().lock().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => exit::IO.into(),
    }
}

fn start(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(Action::Completions { shell }) = args.action {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "humed-agent", &mut script);
        return Ok(said(&script));
    }
    let mut config = Config::load(&args.config)?;
    if let Some(level) = args.log_level {
        config.log.level = level;
    }
    match args.action {
        Some(Action::CheckConfig) => {
            log::check(&config.log)?;
            agent::check(&config, &args.config)?;
            Ok(said(format!("{}: ok\n", args.config.display()).as_bytes()))
        }
        Some(Action::Discard { task, yes }) => {
            let sure = if yes { Sure::Yes } else { Sure::NotYet };
            match agent::discard(&config, task.as_ref(), sure) {
                Ok(text) => Ok(said(text.as_bytes())),
                Err(error) => {
                    let code = error.exit_code();
                    say_error(&error.into());
                    Ok(code.into())
                }
            }
        }
        Some(Action::Transfer { order }) => {
            let host = config.host();
            let place = agent::place(&config, &args.config, &host);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            match runtime.block_on(hume_transfer::command::run(order, place, std::io::stdout())) {
                Ok(()) => Ok(ExitCode::SUCCESS),
                Err(error) => {
                    let code = error.exit_code();
                    say_error(&error.into());
                    Ok(code.into())
                }
            }
        }
        Some(Action::Completions { .. }) | None => {
            log::init(&config.log)?;
            // While there is but this thread.
            let door = activation::take(agent::DOOR)?;
            limits::raise_open_files();
            // One thread is enough beside that of the spool's writer, and a frame wakes no other (docs/PERFORMANCE.md).
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let ended = runtime.block_on(run(config, args.config, door));
            // Dropped, it would wait for every thread that reads the spool or a folder, however long that takes.
            runtime.shutdown_timeout(RUNTIME_GRACE);
            Ok(ended)
        }
    }
}

async fn run(config: Config, file: PathBuf, door: Option<UnixListener>) -> ExitCode {
    let hangups = signal::hangups();
    signal::survive_file_limit();
    let mut stop = std::pin::pin!(signal::stop_requested());
    // The first poll catches the signals: a stop during the start is a clean one, too.
    if tokio::time::timeout(Duration::ZERO, &mut stop).await.is_ok() {
        return ExitCode::SUCCESS;
    }
    let agent = match Agent::start(config, &file, door).await {
        Ok(agent) => agent,
        Err(error) => {
            let code = error.exit_code();
            error!(error = %format!("{:#}", anyhow::Error::from(error)), "humed-agent cannot start");
            return code.into();
        }
    };
    match agent.run(stop, hangups, file).await {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(_) => exit::SOFTWARE.into(),
    }
}
