//! Section `[intake]` of agent.toml: where scripts report, and who may, how much.

use std::path::PathBuf;

use hume_runtime::secret::Secret;
use serde::{Deserialize, Deserializer, de};

use super::rights::{Account, Allow};

/// Of one user a minute, as much at once: a thousand a second all the time.
const USER_EVENTS_PER_MINUTE: u64 = 60_000;
/// Of one user a day: a quarter of the spool as it is by default, about a million events.
const USER_BYTES_PER_DAY: u64 = 512 * 1024 * 1024;

/// Section `[intake]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Unix socket that `hume` writes to.
    pub socket: PathBuf,
    /// Who may open it, and leave files in the folder.
    pub socket_mode: SocketMode,
    /// The group of both; that of the agent when missing.
    pub socket_group: Option<Account>,
    /// Folder that `hume` writes to when the agent is away.
    pub drop_dir: PathBuf,
    /// Lines without it are refused.
    pub auth_token: Option<Secret>,
    /// Events of one user in a minute; 0 for no bound.
    pub user_events_per_minute: u64,
    /// Bytes of one user in a day; 0 for no bound.
    pub user_bytes_per_day: u64,
    /// Tasks that are reserved, and for whom.
    pub allow: Vec<Allow>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            socket: PathBuf::from("/run/hume/hume.sock"),
            socket_mode: SocketMode::default(),
            socket_group: None,
            drop_dir: PathBuf::from("/var/spool/hume/drop"),
            auth_token: None,
            user_events_per_minute: USER_EVENTS_PER_MINUTE,
            user_bytes_per_day: USER_BYTES_PER_DAY,
            allow: Vec::new(),
        }
    }
}

/// Permission bits of the socket: whoever may write to it may report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(u32);

impl SocketMode {
    /// The bits.
    pub(super) fn bits(self) -> u32 {
        self.0
    }

    /// Octal digits, as chmod takes them.
    fn parse(text: &str) -> Option<SocketMode> {
        let bits = u32::from_str_radix(text, 8).ok()?;
        ((3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) && bits <= 0o777)
            .then_some(SocketMode(bits))
    }
}

impl Default for SocketMode {
    /// Any local user may report; who it was is the kernel's word.
    fn default() -> SocketMode {
        SocketMode(0o666)
    }
}

impl<'de> Deserialize<'de> for SocketMode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<SocketMode, D::Error> {
        let text = String::deserialize(from)?;
        SocketMode::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "the mode \"{text}\" must be octal digits up to \"0777\", such as \"0660\""
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal_digits_in_quotes() {
        let parse = |text| SocketMode::parse(text).map(SocketMode::bits);
        assert_eq!((parse("0660"), parse("600")), (Some(0o660), Some(0o600)));
        for wrong in ["", "6", "0o660", "0968", "1777", "00660", "+660", "rw-rw----"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
        // A number would be read as a decimal one.
        assert!(toml::from_str::<Config>("socket_mode = 660").is_err());
    }
}
