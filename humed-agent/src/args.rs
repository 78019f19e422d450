//! The command line of humed-agent.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Keep what scripts of this host report, and replicate it to the master.
#[derive(Debug, Parser)]
#[command(
    name = "humed-agent",
    version,
    about,
    after_long_help = "\
Runs in the foreground and logs on standard error; systemd is told when it is ready.
SIGTERM ends it cleanly within 10 seconds: what was accepted is on disk, and goes on at the next start.

Exit codes: 0 stopped as asked, 64 usage, 69 a socket cannot be had, 70 a fault of the program, 74 the disk
failed, 75 another agent has the spool, 78 the configuration or a certificate is wrong.

SIGHUP reads the configuration and says what is wrong with it; certificates are read at every connection anyway.

Examples:
  humed-agent --config /etc/hume/agent.toml
  humed-agent check-config --config /etc/hume/agent.toml"
)]
pub struct Args {
    /// Configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/hume/agent.toml")]
    pub config: PathBuf,

    /// Log level or filter, instead of the one in the file (`HUME_LOG` overrules both).
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// What to do instead of running.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do instead of running.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Action {
    /// Read the configuration and the certificates, say what is wrong, and exit (0 or 78).
    CheckConfig,
}
