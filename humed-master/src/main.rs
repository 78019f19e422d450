//! `humed-master`: reads the command line and the configuration, runs the master, and turns how it ended into an exit code.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use hume_runtime::log::{self, LogError};
use hume_runtime::{exit, limits, signal, tls};
use hume_transfer::command::Order;
use humed_master::args::{Args, Command};
use humed_master::config::{self, Config};
use humed_master::master::{self, CopiesError, Extent, Keys, Master, MasterError, Taken};

/// Threads that still answer a question may take this long at the end.
const RUNTIME_GRACE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    if let Some(Command::Completions { shell }) = args.command {
        return completions(shell);
    }
    let mut config = match config::load(&args.config) {
        Ok(config) => config,
        Err(error) => return before_log(&error.into()),
    };
    if let Some(level) = &args.log_level {
        config.log.level.clone_from(level);
    }
    tls::install_provider();
    match &args.command {
        Some(Command::CheckConfig) => return check_config(&args, &config),
        Some(Command::Backup { to, force, without_ca }) => {
            let taken = if *force { Taken::Replace } else { Taken::Refuse };
            let keys = if *without_ca { Keys::LeftOut } else { Keys::Included };
            return copied(master::backup(&config, to, taken, keys));
        }
        Some(Command::Restore { from, all }) => {
            let extent = if *all { Extent::All } else { Extent::Needed };
            return copied(master::restore(&config, from, extent));
        }
        Some(Command::Transfer { order }) => return transfer(order.clone(), &args, &config),
        Some(Command::Completions { .. }) | None => {}
    }
    if let Err(error) = log::init(&config.log) {
        let error: LogError = error;
        return before_log(&error.into());
    }
    match run(&args, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            let code = error.downcast_ref::<MasterError>().map_or(exit::SOFTWARE, MasterError::exit_code);
            ExitCode::from(code)
        }
    }
}

/// How a backup or a restore ended. What it did it has said.
fn copied(ended: Result<(), CopiesError>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            say_error(&error.into());
            ExitCode::from(code)
        }
    }
}

/// An order about transfers.
fn transfer(order: Order, args: &Args, config: &Config) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say_error(&error.into());
            return exit::SOFTWARE.into();
        }
    };
    let host = master::host_name();
    let place = master::place(config, &args.config, &host);
    match runtime.block_on(hume_transfer::command::run(order, place, std::io::stdout())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            say_error(&error.into());
            code.into()
        }
    }
}

fn completions(shell: clap_complete::Shell) -> ExitCode {
    use std::io::Write as _;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "humed-master", &mut script);
    match std::io::stdout().lock().write_all(&script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => exit::IO.into(),
    }
}

/// The verdict on stdout, as that of humed-agent, and what is wrong on stderr.
fn check_config(args: &Args, config: &Config) -> ExitCode {
    use std::io::Write as _;
    if let Err(error) = log::check(&config.log) {
        return before_log(&error.into());
    }
    if let Err(error) = master::check(config, &args.config) {
        let code = error.exit_code();
        before_log(&error.into());
        return code.into();
    }
    match writeln!(std::io::stdout().lock(), "{}: ok", args.config.display()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => exit::IO.into(),
    }
}

fn run(args: &Args, config: Config) -> anyhow::Result<()> {
    limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("master")
        .build()
        .context("could not start the threads")?;
    let ended = runtime.block_on(async {
        let hangups = signal::hangups();
        signal::survive_file_limit();
        let mut stop = std::pin::pin!(signal::stop_requested());
        // The first poll catches the signals: a stop during the start is a clean one, too.
        if tokio::time::timeout(Duration::ZERO, &mut stop).await.is_ok() {
            return Ok(());
        }
        let master = Master::bind(&args.config, config).await?;
        master.run(stop, hangups).await
    });
    runtime.shutdown_timeout(RUNTIME_GRACE);
    if ended.is_ok() {
        tracing::info!("ended cleanly");
    }
    Ok(ended?)
}

/// What clap has to say; its code 2 is 64 here.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done about a closed stdout or stderr.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(exit::USAGE),
    }
}

/// Without a log there is only stderr.
fn before_log(error: &anyhow::Error) -> ExitCode {
    say_error(error);
    ExitCode::from(exit::CONFIG)
}

fn say_error(error: &anyhow::Error) {
    use std::io::Write as _;
    // Without stderr there is nobody left to tell.
    let _ = writeln!(std::io::stderr().lock(), "humed-master: {error:#}");
}
