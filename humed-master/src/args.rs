//! The command line: one file to read, and at most one thing to do with it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Where the configuration is when nobody says.
pub const CONFIG_PATH: &str = "/etc/hume/master.toml";

/// Gathers what agents report, keeps it, and answers.
///
/// Runs in the foreground and logs on stderr. SIGTERM ends it cleanly, SIGHUP reloads the certificates.
#[derive(Debug, Parser)]
#[command(name = "humed-master", version)]
pub struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG_PATH, global = true)]
    pub config: PathBuf,

    /// What is logged: error, warn, info, debug, trace or a filter; instead of `log.level`
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log_level: Option<String>,

    /// Something else than to run
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Something else than to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Reads the configuration and the certificates, says what is wrong, and ends
    CheckConfig,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_holds_together() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(["humed-master", "check-config", "--config", "x.toml"]).unwrap();
        assert_eq!((args.command, args.config), (Some(Command::CheckConfig), PathBuf::from("x.toml")));
    }
}
