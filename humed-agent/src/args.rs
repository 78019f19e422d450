//! The command line of humed-agent.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

const MORE: &str = "\
Examples:
  humed-agent --config /etc/hume/agent.toml
  humed-agent check-config --config /etc/hume/agent.toml
  HUME_LOG=info,humed_agent::uplink=debug humed-agent --config agent.toml

Signals:
  SIGTERM, SIGINT  end it cleanly within 10 seconds: what was accepted is on disk, and goes on at
                   the next start. A second one ends it at once, with 128 and its number
  SIGHUP           reads the configuration and says what is wrong with it; certificates are read at
                   every connection anyway

Environment:
  HUME_LOG         level or filter of the log, instead of --log-level and log.level
  NO_COLOR         no colour in the log, also at a terminal
  NOTIFY_SOCKET    set by systemd, which is told when the agent is ready

Exit codes:
  0   stopped as asked, or check-config found nothing wrong
  64  the command line is wrong
  69  a socket cannot be had
  70  a fault of the program
  74  the disk failed
  75  another agent has the spool
  78  the configuration or a certificate is wrong, or the spool is another agent's";

/// Keep what scripts of this host report, and replicate it to the master.
///
/// Runs in the foreground and logs on standard error.
#[derive(Debug, Parser)]
#[command(name = "humed-agent", version, after_long_help = MORE)]
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
    /// Read configuration and certificates, say what is wrong, and exit (0 or 78)
    CheckConfig,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_help_tells_signals_environment_and_exit_codes_in_lines_that_fit() {
        let help = Args::command().render_long_help().to_string();
        for part in ["Usage:", "Examples:", "SIGHUP", "Environment:", "HUME_LOG", "Exit codes:", "  78  "] {
            assert!(help.contains(part), "{part}: {help}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}
