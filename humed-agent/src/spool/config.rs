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
    /// The spool's file may have this many bytes; then new events are refused as `full`.
    pub bytes_max: u64,
    /// Acknowledged events are kept this long for local questions and for a master that lost some.
    pub acked_hours: u64,
    /// At most this many bytes of acknowledged events are kept.
    pub acked_bytes_max: u64,
    /// Without a master, events are kept this many days.
    pub alone_days: u64,
    /// Without a master, at most this many bytes of events are kept.
    pub alone_bytes_max: u64,
}

const MIB: u64 = 1024 * 1024;

impl Default for Config {
    fn default() -> Config {
        Config {
            dir: PathBuf::from("/var/lib/humed-agent"),
            bytes_max: 2048 * MIB,
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
