//! The command line of orders to the master of this machine, below `args.rs`.

use std::path::PathBuf;

use clap::Subcommand;
use hume_core::host_patterns::HostPattern;

pub(crate) const AGENTS_EXAMPLES: &str = "\
Examples:
  humeconfig agents list
  humeconfig agents allow-host gateway 'printer-*'
  humeconfig agents revoke web1";

/// `humeconfig agents`.
#[derive(Debug, Clone, clap::Args)]
pub struct AgentsArgs {
    /// Folder of the master: its master.toml says where the socket is.
    #[arg(long, value_name = "DIR", default_value = "/etc/hume", global = true)]
    pub dir: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub order: AgentsOrder,
}

/// What to do with agents. NAME is an id, the beginning of one, or a host.
#[derive(Debug, Clone, Subcommand)]
pub enum AgentsOrder {
    /// List all agents, by host.
    List {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Show what is known of an agent.
    Show {
        /// An id, the beginning of one, or a host.
        name: String,
    },
    /// Let an agent speak that waits for approval or is suspended.
    Approve {
        /// An id, the beginning of one, or a host.
        name: String,
    },
    /// Let an agent speak no more, until it is approved again; its session is cut.
    Suspend {
        /// An id, the beginning of one, or a host.
        name: String,
    },
    /// Let an agent report for other hosts besides its own.
    AllowHost {
        /// An id, the beginning of one, or a host.
        name: String,
        /// Names of hosts, with `*` for any text and `?` for any character.
        #[arg(required = true, value_name = "PATTERN")]
        patterns: Vec<HostPattern>,
        /// Take these away again.
        #[arg(long)]
        remove: bool,
    },
    /// Let an agent never speak again; its session is cut.
    Revoke {
        /// An id, the beginning of one, or a host.
        name: String,
    },
}
