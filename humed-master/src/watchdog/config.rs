//! The section `[watchdog]`: what silence means.

use std::time::Duration;

use hume_core::duration;
use hume_core::reach::{AGENT_DOWN_AFTER, RECONNECT_GRACE};
use serde::{Deserialize, Deserializer, de};

/// Three heartbeats of an agent: less says nothing.
const AGENT_DOWN_AFTER_MIN: Duration = Duration::from_secs(30);

/// The section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchdogConfig {
    /// A host whose agent is silent for so long cannot be reached.
    #[serde(deserialize_with = "down_after")]
    pub agent_down_after: Duration,
    /// After its own start the master waits so long for its agents before it concludes anything from silence.
    #[serde(deserialize_with = "length")]
    pub reconnect_grace: Duration,
    /// Hosts say themselves when their tasks are expected.
    pub from_hosts: bool,
}

impl Default for WatchdogConfig {
    fn default() -> WatchdogConfig {
        WatchdogConfig {
            agent_down_after: AGENT_DOWN_AFTER,
            reconnect_grace: RECONNECT_GRACE,
            from_hosts: true,
        }
    }
}

fn length<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    duration::parse(&text).ok_or_else(|| de::Error::custom("this is not a duration: write 90s, 2m or 1h30m"))
}

fn down_after<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let after = length(from)?;
    (after >= AGENT_DOWN_AFTER_MIN).then_some(after).ok_or_else(|| {
        de::Error::custom(
            "`agent_down_after` must be 30s or more: an agent is heard every 10 seconds, such as \"2m\"",
        )
    })
}
