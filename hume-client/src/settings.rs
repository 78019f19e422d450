//! How to report: socket, drop folder, time limit, strictness; from flags first, then from the environment.
//!
//! A value that cannot be used never stops the script: the default is taken and a remark says so.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use hume_core::fit;
use std::os::unix::ffi::OsStrExt as _;

use crate::args::Args;

/// The agent's socket when nothing else is said.
pub(crate) const SOCKET: &str = "/run/hume/hume.sock";
/// The drop folder when nothing else is said.
pub(crate) const DROP_DIR: &str = "/var/spool/hume/drop";
/// Time for connecting, sending and the answer together, in milliseconds, when nothing else is said.
pub(crate) const RECV_TIMEOUT_MS: u64 = 250;
/// Longest time that can be asked for, in milliseconds; more is cut to this.
pub(crate) const RECV_TIMEOUT_MS_MAX: u64 = 600_000;

/// The environment, as far as `hume` looks at it: by name, and empty counts as not set.
pub(crate) struct Environment<'a>(pub(crate) &'a dyn Fn(&str) -> Option<OsString>);

impl Environment<'_> {
    /// The value of `name`, unless it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }
}

/// How to report one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The agent's socket.
    pub(crate) socket: PathBuf,
    /// Where events go when the agent is away.
    pub(crate) drop_dir: PathBuf,
    /// For connecting, sending and the answer together.
    pub(crate) timeout: Duration,
    /// Failures have exit codes.
    pub(crate) is_strict: bool,
    /// Say what happened.
    pub(crate) is_verbose: bool,
    /// What of the environment was not used, and why.
    pub(crate) remarks: Vec<String>,
}

impl Settings {
    /// The settings of one call.
    pub(crate) fn new(args: &Args, environment: &Environment<'_>) -> Settings {
        let mut remarks = Vec::new();
        let timeout_ms = match &args.recv_timeout {
            Some(flag) => timeout_ms(flag),
            None => environment.get("HUME_RECVTIMEOUT").and_then(|value| {
                let parsed = timeout_ms(&value);
                if parsed.is_none() {
                    let word = fit::text(value.as_bytes()).value;
                    remarks.push(format!(
                        "HUME_RECVTIMEOUT={word} is not a number of milliseconds; {RECV_TIMEOUT_MS} is used"
                    ));
                }
                parsed
            }),
        };
        let strict_word = environment.get("HUME_STRICT");
        Settings {
            socket: path(args.socket.clone(), environment.get("HUME_SOCKET"), SOCKET),
            drop_dir: path(None, environment.get("HUME_DROP_DIR"), DROP_DIR),
            timeout: Duration::from_millis(timeout_ms.unwrap_or(RECV_TIMEOUT_MS)),
            is_strict: args.strict || strict_word.is_some_and(|word| word != OsStr::new("0")),
            is_verbose: args.verbose,
            remarks,
        }
    }
}

/// A time limit as given, cut to the longest that is allowed.
pub(crate) fn timeout_ms(word: &OsStr) -> Option<u64> {
    let millis: u64 = word.to_str()?.trim().parse().ok()?;
    Some(millis.min(RECV_TIMEOUT_MS_MAX))
}

fn path(flag: Option<OsString>, variable: Option<OsString>, default: &str) -> PathBuf {
    flag.filter(|path| !path.is_empty()).or(variable).map_or_else(|| PathBuf::from(default), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: &Args, variables: &[(&str, &str)]) -> Settings {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        Settings::new(args, &Environment(&lookup))
    }

    #[test]
    fn without_flags_and_variables_the_system_paths_are_used() {
        let settings = settings(&Args::default(), &[("HUME_SOCKET", ""), ("HUME_STRICT", "")]);
        assert_eq!(settings.socket, PathBuf::from(SOCKET));
        assert_eq!(settings.drop_dir, PathBuf::from(DROP_DIR));
        assert_eq!(settings.timeout, Duration::from_millis(250));
        assert!(!settings.is_strict && !settings.is_verbose && settings.remarks.is_empty());
    }

    #[test]
    fn a_flag_wins_over_its_variable() {
        let args = Args {
            socket: Some("/flag".into()),
            recv_timeout: Some("7".into()),
            strict: true,
            ..Args::default()
        };
        let settings = settings(
            &args,
            &[
                ("HUME_SOCKET", "/env"),
                ("HUME_RECVTIMEOUT", "9"),
                ("HUME_STRICT", "0"),
                ("HUME_DROP_DIR", "/d"),
            ],
        );
        assert_eq!(settings.socket, PathBuf::from("/flag"));
        assert_eq!(settings.drop_dir, PathBuf::from("/d"));
        assert_eq!(settings.timeout, Duration::from_millis(7));
        assert!(settings.is_strict);
    }

    #[test]
    fn a_variable_that_is_no_number_is_remarked_and_the_default_used() {
        let settings = settings(&Args::default(), &[("HUME_RECVTIMEOUT", "abc")]);
        assert_eq!(settings.timeout, Duration::from_millis(RECV_TIMEOUT_MS));
        assert_eq!(settings.remarks, ["HUME_RECVTIMEOUT=abc is not a number of milliseconds; 250 is used"]);
    }

    #[test]
    fn a_time_limit_has_a_limit() {
        assert_eq!(timeout_ms(OsStr::new("99999999999999")), Some(RECV_TIMEOUT_MS_MAX));
        assert_eq!(timeout_ms(OsStr::new("0")), Some(0));
        for word in ["", "-1", "1.5", "250ms", "99999999999999999999999999"] {
            assert_eq!(timeout_ms(OsStr::new(word)), None, "{word}");
        }
    }

    #[test]
    fn strictness_comes_from_the_environment_unless_it_says_zero() {
        for (word, strict) in [("1", true), ("yes", true), ("0", false), ("", false)] {
            assert_eq!(settings(&Args::default(), &[("HUME_STRICT", word)]).is_strict, strict, "{word}");
        }
    }
}
