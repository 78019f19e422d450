//! The command line of `humeconfig watch`.

use std::path::PathBuf;

use clap::Subcommand;

pub(crate) const WATCH_EXAMPLES: &str = "\
Examples:
  hume watch --daily --at 02:00 --grace 30m -t BACKUP
  hume watch --schedule '30 2 * * mon-fri' --max-runtime 2h -t SYNC
  hume watch --never -t SYNC
  humeconfig watch import                          what the crontabs and timers of this host say
  humeconfig watch import --create";

/// `humeconfig watch`.
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct WatchArgs {
    /// What to do besides saying when one task is expected.
    #[command(subcommand)]
    pub order: Option<WatchOrder>,
    /// The task that is expected.
    #[arg(short = 't', long, value_name = "TASK", required = true)]
    pub task: Option<String>,
    /// On another host than this one, where the master allows that.
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// The agent's socket [default: `HUME_SOCKET`, else /run/hume/hume.sock].
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,
    /// When.
    #[command(flatten)]
    pub when: When,
}

/// When a task is expected.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(id = "when", required = true, multiple = true, args = ["schedule", "every", "hourly", "daily", "weekly", "monthly", "never"])]
pub struct When {
    /// A time as cron or systemd has it; may be repeated.
    #[arg(long, value_name = "TIME")]
    pub schedule: Vec<String>,
    /// So long after the start before, such as 6h.
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["schedule", "hourly", "daily", "weekly", "monthly"])]
    pub every: Option<String>,
    /// Once in each hour.
    #[arg(long, conflicts_with_all = ["daily", "weekly", "monthly", "at"])]
    pub hourly: bool,
    /// Once in each day, or at the times of --at.
    #[arg(long, conflicts_with_all = ["weekly", "monthly"])]
    pub daily: bool,
    /// Once in each week, or on the days of --on at the times of --at.
    #[arg(long, conflicts_with = "monthly")]
    pub weekly: bool,
    /// Once in each month, or on its first day at the times of --at.
    #[arg(long)]
    pub monthly: bool,
    /// A time of the day such as 02:00, with --daily, --weekly or --monthly; may be repeated.
    #[arg(long, value_name = "HH:MM", conflicts_with_all = ["schedule", "every"])]
    pub at: Vec<String>,
    /// Days of the week such as mon-fri or sun, with --at.
    #[arg(long, value_name = "DAYS", requires = "at", conflicts_with = "monthly")]
    pub on: Option<String>,
    /// A start may be so much later, such as 30m.
    #[arg(long, value_name = "DURATION")]
    pub grace: Option<String>,
    /// A run that goes on for longer is overdue.
    #[arg(long, value_name = "DURATION")]
    pub max_runtime: Option<String>,
    /// Any other key of [watch.NAME], such as tolerate='1 of 4'; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub keys: Vec<String>,
    /// It is not expected any more.
    #[arg(long, exclusive = false, conflicts_with_all = ["schedule", "every", "hourly", "daily", "weekly", "monthly", "at", "grace", "max_runtime", "keys"])]
    pub never: bool,
}

/// What else can be asked.
#[derive(Debug, Clone, Subcommand)]
pub enum WatchOrder {
    /// Show what the crontabs and timers of this host say, and declare it.
    Import(ImportArgs),
}

/// `humeconfig watch import`.
#[derive(Debug, Clone, clap::Args)]
pub struct ImportArgs {
    /// The root of the host's files.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Declare what is shown, and note it for --check.
    #[arg(long, conflicts_with = "check")]
    pub create: bool,
    /// Compare with what was declared: whether a crontab or a timer says something else by now.
    #[arg(long)]
    pub check: bool,
    /// Where it is noted what was declared.
    #[arg(long, value_name = "FILE", default_value = "/etc/hume/imported-watches.toml")]
    pub record: PathBuf,
}
