//! The command line of tokens, of joining, and of orders to the master of this machine; below `args.rs`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use hume_core::host_patterns::HostPattern;
use hume_core::{HostName, duration};

pub(crate) const AGENTS_EXAMPLES: &str = "\
Examples:
  humeconfig agents list
  humeconfig agents allow-host gateway 'printer-*'
  humeconfig agents revoke web1";

pub(crate) const TOKEN_EXAMPLES: &str = "\
Examples:
  humeconfig token new --host web1                       one host, within an hour
  humeconfig token new --host 'web*' --uses 20 --ttl 1d
  humeconfig token new | ssh root@web1 humeconfig join -";

pub(crate) const JOIN_EXAMPLES: &str = "\
Examples:
  humeconfig join --file token                           the agent of this machine, in /etc/hume
  humeconfig join hume1-… --out web1 --host web1        everything in one folder";

/// `humeconfig token`.
#[derive(Debug, Clone, clap::Args)]
pub struct TokenArgs {
    /// Folder of the master: its master.toml says where the socket is.
    #[arg(long, value_name = "DIR", default_value = "/etc/hume", global = true)]
    pub dir: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub order: TokenOrder,
}

/// What to do with tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenOrder {
    /// Make a token with which a host joins; it is printed once.
    New {
        /// The host that may join with it, or a pattern with * and ?; any without.
        #[arg(long, value_name = "NAME|PATTERN")]
        host: Option<String>,
        /// How long it is good, such as 90s, 1h or 2d; a week at most.
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = span)]
        ttl: Duration,
        /// How many hosts may join with it.
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        uses: u32,
        /// Whoever joins waits until `humeconfig agents approve`.
        #[arg(long)]
        approve: bool,
    },
    /// List the tokens; what is secret of them is not kept.
    List {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Take a token back: nobody joins with it any more.
    Revoke {
        /// The name of the token, the second part of it.
        id: String,
    },
}

/// `humeconfig join`.
#[derive(Debug, Clone, clap::Args)]
pub struct JoinArgs {
    /// The token, or `-` for the standard input. Other users see it in the list of processes while this runs.
    #[arg(value_name = "TOKEN", required_unless_present = "file", conflicts_with = "file")]
    pub token: Option<String>,
    /// A file that holds the token.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Name of the host in all its events [default: the name of this machine].
    #[arg(long, value_name = "HOST", value_parser = HostName::parse)]
    pub host: Option<HostName>,
    /// Folder of an agent that has everything in one place, for tests and for users without root [default: the agent of this
    /// machine, in /etc/hume].
    #[arg(long, value_name = "ADIR")]
    pub out: Option<PathBuf>,
    /// Install the agent's units, user and folders afterwards, and start it.
    #[arg(long, conflicts_with = "out")]
    pub install_systemd: bool,
    /// Replace what exists: a new identity, for which you set `spool.dir` aside, or the agent does not start; the old files are kept
    /// beside the new ones.
    #[arg(long)]
    pub force: bool,
}

fn span(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "expected a duration such as 90s, 1h or 2d".to_owned())
}

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
        /// Print JSON, as `list --json` does.
        #[arg(long)]
        json: bool,
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

pub(crate) const API_TOKEN_EXAMPLES: &str = "\
Examples:
  humeconfig api-token new icinga --role viewer --task 'BACKUP*' --ttl 365d > icinga.token
  humeconfig api-token list
  humeconfig api-token revoke icinga";

pub(crate) const API_CERT_EXAMPLES: &str = "\
Examples:
  humeconfig api-cert new ana --role operator            the key is made here, in the folder ana
  humeconfig api-cert request ana                        on Ana's machine: the key stays there
  humeconfig api-cert new ana --csr request.pem          on the master: for that key
  humeconfig api-cert revoke ana";

/// What a token or a certificate lets see.
#[derive(Debug, Clone, clap::Args)]
pub struct RightsArgs {
    /// viewer (events, runs, tasks, hosts), operator (agents, status and figures as well) or admin (all).
    #[arg(long, default_value = "viewer", value_parser = ["viewer", "operator", "admin"])]
    pub role: String,
    /// It sees only tasks of this name, with * and ?; may be repeated.
    #[arg(long = "task", value_name = "PATTERN")]
    pub tasks: Vec<String>,
    /// It sees only hosts of this name, with * and ?; may be repeated.
    #[arg(long = "host", value_name = "PATTERN")]
    pub hosts: Vec<String>,
}

/// `humeconfig api-token`.
#[derive(Debug, Clone, clap::Args)]
pub struct ApiTokenArgs {
    /// Folder of the master: its master.toml says where the socket is.
    #[arg(long, value_name = "DIR", default_value = "/etc/hume", global = true)]
    pub dir: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub order: ApiTokenOrder,
}

/// What to do with tokens of the API.
#[derive(Debug, Clone, Subcommand)]
pub enum ApiTokenOrder {
    /// Make a token and show it, this once: alone on the standard output.
    New {
        /// What it is called: letters, digits, - . _ @.
        name: String,
        /// What it lets see.
        #[command(flatten)]
        rights: RightsArgs,
        /// It ends after this time, such as 90d; without it, when it is revoked.
        #[arg(long, value_name = "DURATION", value_parser = crate::api_access::ttl)]
        ttl: Option<Duration>,
    },
    /// List all who may ask, tokens and certificates, those that are revoked or have ended too; never their secrets.
    List {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Make a token, or a certificate, good for nothing, at once.
    Revoke {
        /// What it is called.
        name: String,
    },
}

/// `humeconfig api-cert`.
#[derive(Debug, Clone, clap::Args)]
pub struct ApiCertArgs {
    /// Folder of the master: its master.toml says where the socket is.
    #[arg(long, value_name = "DIR", default_value = "/etc/hume", global = true)]
    pub dir: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub order: ApiCertOrder,
}

/// What to do with client certificates of the API.
#[derive(Debug, Clone, Subcommand)]
pub enum ApiCertOrder {
    /// Make a certificate, and a folder of what humequery needs: ready to be its ~/.config/hume.
    New {
        /// What it is called: letters, digits, - . _ @.
        name: String,
        /// What it lets see.
        #[command(flatten)]
        rights: RightsArgs,
        /// It ends after this time, or when the CA does that signs it.
        #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = crate::api_access::ttl)]
        ttl: Duration,
        /// A request for the certificate (PKCS#10 in PEM, a key of P-256), or `-` for the standard input. Without it the key is
        /// made here.
        #[arg(long, value_name = "FILE")]
        csr: Option<PathBuf>,
        /// The folder [default: NAME, below this one].
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
    /// Make a key and a request for its certificate, on the machine of who will ask. No master is needed.
    Request {
        /// What the folder is called.
        name: String,
        /// The folder [default: NAME, below this one].
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
    /// List all who may ask, as `humeconfig api-token list` does.
    List {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Make a certificate, or a token, good for nothing: from the next request on, also on connections that are open.
    Revoke {
        /// What it is called.
        name: String,
    },
}

pub(crate) const CA_EXAMPLES: &str = "\
Examples:
  humeconfig ca show
  humeconfig ca export-root --remove /media/safe/hume-root.key
  humeconfig ca rotate --root-key /media/safe/hume-root.key";

/// `humeconfig ca`.
#[derive(Debug, Clone, clap::Args)]
pub struct CaArgs {
    /// Folder of the master: its master.toml says where the socket is.
    #[arg(long, value_name = "DIR", default_value = "/etc/hume", global = true)]
    pub dir: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub order: CaOrder,
}

/// What to do with the CA.
#[derive(Debug, Clone, Subcommand)]
pub enum CaOrder {
    /// Show root, issuing CA and the master's certificate, and where the key of the root is.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let another issuing CA take over, at once: sessions go on, and what the one before issued stays good until it ends.
    Rotate {
        /// The key of the root, for this order alone, when it is not on the master's machine; - reads it from standard input.
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
    },
    /// Write the key of the root to a file, for its owner alone; it is needed for nothing but a rotation.
    ExportRoot {
        /// The file, which must not exist, or - for standard output; without it standard output, if that is no terminal.
        #[arg(value_name = "FILE|-")]
        file: Option<PathBuf>,
        /// Take the key from the master's machine, after the file is on disk and was read back.
        #[arg(long)]
        remove: bool,
    },
}
