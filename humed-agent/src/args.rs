//! The command line of humed-agent.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use hume_core::TaskName;
use hume_transfer::command::Order;

const MORE: &str = "\
Examples:
  humed-agent --config /etc/hume/agent.toml
  humed-agent check-config --config /etc/hume/agent.toml
  humed-agent discard --task FLOOD
  HUME_LOG=info,humed_agent::uplink=debug humed-agent --config agent.toml

Signals:
  SIGTERM, SIGINT  end it cleanly within 10 seconds: what was accepted is on disk, and goes on at
                   the next start. A second one ends it at once, with 128 and its number
  SIGHUP           reads the configuration: transfers begin anew with it, files they write are
                   opened anew; certificates are read at every connection anyway; the rest needs
                   a restart

Environment:
  HUME_LOG         level or filter of the log, instead of --log-level and log.level
  NO_COLOR         no colour in the log, also at a terminal
  NOTIFY_SOCKET    set by systemd, which is told when the agent is ready, and how it is
  WATCHDOG_USEC    set by systemd, which is told twice in that time that the agent lives
  LISTEN_FDS       set by systemd, which has opened the socket; the agent does not bind its own then

Exit codes:
  0   stopped as asked, or check-config found nothing wrong, or what was asked for is done
  64  the command line is wrong
  65  transfer test: the file holds no event
  66  there is no such transfer or dead letter
  69  a socket cannot be had; transfer test: the peer did not take it
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
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// Read configuration and certificates, say what is wrong, and exit (0 or 78)
    CheckConfig,
    /// Give up events that the master does not have, while the agent does not run
    #[command(after_help = DISCARD_MORE)]
    Discard {
        /// Only those of this task
        #[arg(long, value_name = "TASK", value_parser = TaskName::parse)]
        task: Option<TaskName>,
        /// Do it, and not only say what would be given up
        #[arg(long)]
        yes: bool,
    },
    /// Look at the transfers, test them, and retry or skip what they could not deliver
    #[command(after_help = TRANSFER_MORE)]
    Transfer {
        /// What to do.
        #[command(subcommand)]
        order: Order,
    },
    /// Print completions for a shell
    #[command(after_help = "Example: humed-agent completions bash >/etc/bash_completion.d/humed-agent")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const TRANSFER_MORE: &str = "\
The agent may run or not. What retry and skip ask for is done by the running agent within seconds.

Examples:
  humed-agent transfer status
  humed-agent transfer test oncall
  humed-agent transfer dead oncall
  humed-agent transfer retry oncall --all";

const DISCARD_MORE: &str = "\
For events that nobody wants, such as the flood of a script gone wild. Without --yes nothing is
changed. The master is told of every hole that this leaves, and counts it as lost; events that the
master has stay here as its tail. Stop the agent first.

Examples:
  systemctl stop humed-agent
  humed-agent discard --task FLOOD
  humed-agent discard --task FLOOD --yes
  systemctl start humed-agent";

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
        for command in Args::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }

    #[test]
    fn the_command_line_holds_together() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(["humed-agent", "discard", "--task", "FLOOD"]).unwrap();
        let task = TaskName::parse("FLOOD").ok();
        assert_eq!(args.action, Some(Action::Discard { task, yes: false }));
        let long = "x".repeat(300);
        assert!(Args::try_parse_from(["humed-agent", "discard", "--task", &long]).is_err());
    }
}
