//! The command line: one file to read, and at most one thing to do instead of running.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use hume_transfer::command::Order;

/// Where the configuration is when nobody says.
pub const CONFIG_PATH: &str = "/etc/hume/master.toml";

const MORE: &str = "\
Examples:
  humed-master --config /etc/hume/master.toml
  humed-master check-config --config /etc/hume/master.toml
  HUME_LOG=info,humed_master::relay=debug humed-master --config master.toml
  humed-master backup --to /backup/hume-$(date +%F).db
  humed-master restore --from /backup/hume-2026-11-26.db

Signals:
  SIGTERM, SIGINT  end it cleanly within 10 seconds: agents are told when to come back. A second one
                   ends it at once, with 128 and its number
  SIGHUP           reads the certificates again, begins the transfers anew, files they write
                   included, and says which other changes of the file want a restart

Environment:
  HUME_LOG         level or filter of the log, instead of --log-level and log.level
  NO_COLOR         no colour in the log, also at a terminal
  NOTIFY_SOCKET    set by systemd, which is told when the master is ready, and how it is
  WATCHDOG_USEC    set by systemd, which is told twice in that time that the master lives

Exit codes:
  0   stopped as asked, or check-config found nothing wrong, or what was asked for is done
  64  the command line is wrong
  65  restore: the file is damaged, no backup of a master, or of a newer version; transfer test: the
      file holds no event
  66  there is no such backup, no store to be copied, no such transfer or dead letter
  69  a port cannot be had; transfer test: the peer did not take it
  70  a fault of the program
  73  the socket cannot be made; backup: the file exists already
  74  the disk failed
  75  another master has the store; there is no room for the copy
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

const BACKUP_MORE: &str = "\
The master may run meanwhile, and goes on taking events. The copy is of one moment, and is checked
before it has its name; until then it is a hidden file beside it. Afterwards one line on standard
output says how many events and bytes it has, and when the newest of them came. The file holds the
keys of the CA, as far as they are on this machine: keep it as safe as those, or use --without-ca.

Examples:
  humed-master backup --to /backup/hume-$(date +%F).db
  humed-master backup --config /etc/hume/master.toml --to /backup/hume.db --force";

const RESTORE_MORE: &str = "\
Stop the master first. The file is checked before anything is changed, and stays as it is. The store
that was there is kept beside the new one as store.db.replaced-TIME; remove it when all is well.
Registry and CA are put back only where they are missing or damaged, or with --all: those that are
there know who was revoked since the backup. The
agents notice when the master is back, and send again what came after the backup, as far as they
still have it (spool.acked_hours and spool.acked_bytes_max in agent.toml).

Examples:
  humed-master restore --from /backup/hume-2026-11-26.db
  sudo -u hume-master humed-master restore --from /backup/hume.db && systemctl start humed-master";

const TRANSFER_MORE: &str = "\
The master may run or not. What retry and skip ask for is done by the running master within seconds.

Examples:
  humed-master transfer status
  humed-master transfer test oncall
  humed-master transfer dead oncall
  humed-master transfer retry oncall --all";

/// Something else than to run.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Read configuration and certificates, say what is wrong, and exit (0 or 78)
    CheckConfig,
    /// Copy the store, the registry and the CA to a file, also while the master runs
    #[command(after_help = BACKUP_MORE)]
    Backup {
        /// The file to be made, for its owner alone (0600)
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
        /// Leave out the folder of the CA, which has its keys: you keep a copy of it elsewhere
        #[arg(long)]
        without_ca: bool,
    },
    /// Put a backup in the place of the store, while the master does not run
    #[command(after_help = RESTORE_MORE)]
    Restore {
        /// The backup
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// Put the backup's registry and CA in the place of those that are there, too
        #[arg(long)]
        all: bool,
    },
    /// Look at the transfers, test them, and retry or skip what they could not deliver
    #[command(after_help = TRANSFER_MORE)]
    Transfer {
        /// What to do.
        #[command(subcommand)]
        order: Order,
    },
    /// Print completions for a shell
    #[command(after_help = "Example: humed-master completions bash >/etc/bash_completion.d/humed-master")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
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
        for command in Args::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }

    #[test]
    fn the_command_line_holds_together() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(["humed-master", "check-config", "--config", "x.toml"]).unwrap();
        assert_eq!((args.command, args.config), (Some(Command::CheckConfig), PathBuf::from("x.toml")));
        let args = Args::try_parse_from(["humed-master", "backup", "--to", "b.db"]).unwrap();
        assert_eq!(
            args.command,
            Some(Command::Backup { to: PathBuf::from("b.db"), force: false, without_ca: false })
        );
        assert!(Args::try_parse_from(["humed-master", "restore"]).is_err(), "it must be said from where");
    }
}
