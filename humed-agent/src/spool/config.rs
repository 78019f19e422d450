//! Section `[spool]` of agent.toml: where events are kept, how many, for how long.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Section `[spool]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the spool.
    pub dir: PathBuf,
    /// The spool's file may have this many bytes; at 95 % of them new events are refused as `full`.
    pub bytes_max: u64,
    /// What gives way when it has: the newcomer, or the oldest that the master does not have.
    pub when_full: WhenFull,
    /// Room that is held beside the spool, and given up when the disk is full, so that acknowledgements and trims go on.
    /// 0 for none.
    pub ballast_bytes: u64,
    /// Use a network file system all the same: whoever says so answers for its locks and syncs.
    pub allow_network: bool,
    /// Acknowledged events are kept this long for local questions and for a master that lost some.
    pub acked_hours: u64,
    /// At most this many bytes of acknowledged events are kept.
    pub acked_bytes_max: u64,
    /// Without a master, events are kept this many days.
    pub alone_days: u64,
    /// Without a master, at most this many bytes of events are kept.
    pub alone_bytes_max: u64,
}

/// What gives way in a full spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// New events are refused. Nothing that was accepted is lost.
    #[default]
    Refuse,
    /// The oldest events are removed, also those that the master does not have: it is told which ones are missing.
    Evict,
}

const MIB: u64 = 1024 * 1024;
/// Of `bytes_max`: here new events are refused, so that acknowledgements, trims and the small tables still fit.
pub(super) const REFUSE_PERCENT: u64 = 95;
/// Of `bytes_max`: from here on the rest is for root, so that a flood of others leaves room for the jobs of the system.
pub(super) const RESERVE_PERCENT: u64 = 90;
/// Of `bytes_max`: eviction goes on down to this, so that it is not asked for again at once.
pub(super) const EVICT_TO_PERCENT: u64 = 90;
/// Of `bytes_max`: up to this, what the rules let go is kept for transfers that have not told it.
pub(super) const AWAIT_PERCENT: u64 = 75;
/// Holds the log of one small trim in the worst case, 200 events on pages of their own in each of four trees (3.2 MiB),
/// and some acknowledgements; before that the copy of the log, which is kept small enough when the disk is nearly full.
const BALLAST_BYTES: u64 = 4 * MIB;

impl Default for Config {
    fn default() -> Config {
        Config {
            dir: PathBuf::from("/var/lib/humed-agent"),
            bytes_max: 2048 * MIB,
            when_full: WhenFull::Refuse,
            ballast_bytes: BALLAST_BYTES,
            allow_network: false,
            acked_hours: 72,
            acked_bytes_max: 256 * MIB,
            alone_days: 30,
            alone_bytes_max: 512 * MIB,
        }
    }
}

/// What may be forgotten, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// True when only acknowledged events may be forgotten.
    pub acked_only: bool,
    /// Forget what is older.
    pub age_max: Duration,
    /// Forget the oldest beyond these bytes.
    pub bytes_max: u64,
}

impl Config {
    /// The rule for a host with or without a master.
    pub fn keeping(&self, has_master: bool) -> Keeping {
        if has_master {
            Keeping {
                acked_only: true,
                age_max: Duration::from_secs(self.acked_hours.saturating_mul(3600)),
                bytes_max: self.acked_bytes_max,
            }
        } else {
            Keeping {
                acked_only: false,
                age_max: Duration::from_secs(self.alone_days.saturating_mul(86_400)),
                bytes_max: self.alone_bytes_max,
            }
        }
    }
}
