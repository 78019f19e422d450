//! `humed-agent`: arguments → configuration → agent → exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use hume_runtime::{exit, log, signal, tls};
use humed_agent::agent::{Agent, StartError};
use humed_agent::args::{Action, Args};
use humed_agent::config::Config;
use humed_agent::uplink;
use tracing::{error, info};

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
    match start(args) {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the log may not be open yet")]
            {
                eprintln!("humed-agent: {error:#}");
            }
            exit::CONFIG.into()
        }
    }
}

fn start(args: Args) -> anyhow::Result<ExitCode> {
    let mut config = Config::load(&args.config)?;
    if let Some(level) = args.log_level {
        config.log.level = level;
    }
    match args.action {
        Some(Action::CheckConfig) => {
            if let Some(master) = &config.master {
                uplink::identity(master)?;
                tls::Roots::load(&master.ca)?;
            }
            #[expect(clippy::print_stdout, reason = "the answer to check-config")]
            {
                println!("{}: ok", args.config.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        None => {
            log::init(&config.log)?;
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            Ok(runtime.block_on(run(config, args.config)))
        }
    }
}

async fn run(config: Config, file: PathBuf) -> ExitCode {
    let hangups = signal::hangups();
    let agent = match Agent::start(config).await {
        Ok(agent) => agent,
        Err(error) => {
            let code = match &error {
                StartError::Identity(_) => exit::CONFIG,
                StartError::Spool(humed_agent::spool::SpoolError::Lock(_)) | StartError::Web(_) => {
                    exit::UNAVAILABLE
                }
                StartError::Intake(_) => exit::UNAVAILABLE,
                StartError::Spool(_) => exit::IO,
            };
            error!(error = %format!("{:#}", anyhow::Error::from(error)), "humed-agent cannot start");
            return code.into();
        }
    };
    match agent.run(signal::stop_requested(), hangups, file).await {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(_) => exit::SOFTWARE.into(),
    }
}
