//! The command line: one file to read, and at most one thing to do with it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Where the configuration is when nobody says.
pub const CONFIG_PATH: &str = "/etc/hume/master.toml";

const MORE: &str = "\
Examples:
  humed-master --config /etc/hume/master.toml
  humed-master check-config --config /etc/hume/master.toml
  HUME_LOG=info,humed_master::relay=debug humed-master --config master.toml

Signals:
  SIGTERM, SIGINT  end it cleanly within 10 seconds: agents are told when to come back. A second one
                   ends it at once, with 128 and its number
  SIGHUP           reads the certificates again, and says which changes of the file want a restart

Environment:
  HUME_LOG         level or filter of the log, instead of --log-level and log.level
  NO_COLOR         no colour in the log, also at a terminal
  NOTIFY_SOCKET    set by systemd, which is told when the master is ready

Exit codes:
  0   stopped as asked, or check-config found nothing wrong
  64  the command line is wrong
  69  a port cannot be had
  70  a fault of the program
  73  the socket cannot be made
  74  the disk failed
  75  another master has the store
  78  the configuration or a certificate is wrong";

/// Gathers what agents report, keeps it, and answers.
///
/// Runs in the foreground and logs on standard error.
#[derive(Debug, Parser)]
#[command(name = "humed-master", version, after_long_help = MORE)]
pub struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG_PATH, global = true)]
    pub config: PathBuf,

    /// What is logged: error, warn, info, debug, trace or a filter
    ///
    /// Instead of `log.level`; `HUME_LOG` overrules both.
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log_level: Option<String>,

    /// Something else than to run
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Something else than to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
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

    #[test]
    fn the_command_line_holds_together() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(["humed-master", "check-config", "--config", "x.toml"]).unwrap();
        assert_eq!((args.command, args.config), (Some(Command::CheckConfig), PathBuf::from("x.toml")));
    }
}
