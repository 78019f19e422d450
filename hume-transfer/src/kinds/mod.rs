//! The list of kinds. A new one is a file here, its `mod` line and its line in `kinds!`; nothing else changes but
//! `transfers.example.toml`.

mod email;
mod exec;
mod file;
mod fluentd;
mod http;
mod logstash;
mod rsyslog;
mod slack;
mod syslog;

use serde::Deserialize;

use crate::options::Common;
use crate::transfer::{Manner, OpenError, Setting, Transfer};

macro_rules! kinds {
    ($( $(#[$about:meta])* $variant:ident = $module:ident, )*) => {
        /// The keys of one transfer, by its kind.
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Options {
            $( $(#[$about])* $variant($module::Options), )*
        }

        /// The words of all kinds.
        pub const KINDS: &[&str] = &[$( stringify!($module), )*];

        impl Options {
            /// The word of its kind.
            pub fn kind(&self) -> &'static str {
                match self {
                    $( Options::$variant(_) => stringify!($module), )*
                }
            }

            /// What every kind understands.
            pub fn common(&self) -> Common {
                match self {
                    $( Options::$variant(options) => options.common(), )*
                }
            }

            /// What its kind is like.
            pub fn manner(&self) -> Manner {
                match self {
                    $( Options::$variant(_) => $module::MANNER, )*
                }
            }

            /// Reads secrets and checks values; what needs the peer is done at the first delivery.
            ///
            /// # Errors
            /// [`OpenError`], naming the key.
            pub fn open(&self, setting: &Setting<'_>) -> Result<Box<dyn Transfer>, OpenError> {
                match self {
                    $( Options::$variant(options) => $module::open(options, setting), )*
                }
            }
        }
    };
}

kinds! {
    /// Mails to people.
    Email = email,
    /// A command.
    Exec = exec,
    /// JSON lines in a file.
    File = file,
    /// Fluentd and Fluent Bit.
    Fluentd = fluentd,
    /// Any webhook.
    Http = http,
    /// Logstash, or whatever reads JSON lines.
    Logstash = logstash,
    /// Syslog of another host.
    Rsyslog = rsyslog,
    /// Slack's incoming webhooks.
    Slack = slack,
    /// Syslog of this host.
    Syslog = syslog,
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use toml::{Table, Value};

    use super::*;
    use crate::options::Transfers;

    const EXAMPLE: &str = include_str!("../../transfers.example.toml");
    /// The section that shows the keys of all kinds.
    const COMMON_SHOWN_BY: &str = "file";

    /// A key of the example, and whether its value there is no default.
    struct Shown {
        value: Value,
        is_sample: bool,
    }

    /// The keys of each kind that the example shows, `# ` taken away. What stands above a key tells of its default.
    fn shown() -> BTreeMap<String, BTreeMap<String, Shown>> {
        let mut kinds: BTreeMap<String, BTreeMap<String, Shown>> = BTreeMap::new();
        let (mut kind, mut above) = (String::new(), String::new());
        for line in EXAMPLE.lines() {
            let Some(text) = line.strip_prefix('#').map(str::trim_start) else {
                assert!(line.is_empty(), "not a comment: {line}");
                continue;
            };
            if let Some(section) = text.strip_prefix("[transfer.").and_then(|rest| rest.strip_suffix(']')) {
                kind = section.split_once('.').unwrap().1.to_owned();
                assert!(kinds.insert(kind.clone(), BTreeMap::new()).is_none(), "two sections of {kind}");
            } else if let Ok(mut pair) = text.parse::<Table>().map(Table::into_iter)
                && let Some((key, value)) = pair.next_back()
            {
                let is_sample = above.contains("Default: ") || above.contains("Must be there.");
                kinds.get_mut(&kind).unwrap().insert(key, Shown { value, is_sample });
                above.clear();
            } else {
                above = if above.ends_with('.') { text.to_owned() } else { format!("{above} {text}") };
            }
        }
        kinds
    }

    fn read(kind: &str, keys: &Table) -> Result<Options, toml::de::Error> {
        let section = Table::from_iter([(kind.to_owned(), Value::Table(keys.clone()))]);
        Transfers::deserialize(Table::from_iter([("x".to_owned(), Value::Table(section))]))
            .map(|transfers| transfers.0.into_values().next().unwrap())
    }

    /// All keys of a kind, in serde's own words.
    fn known(kind: &str) -> BTreeSet<String> {
        let keys = Table::from_iter([("none_of_them".to_owned(), Value::from(1))]);
        let message = read(kind, &keys).unwrap_err().message().to_owned();
        let words = message.split('`').skip(1).step_by(2);
        words.skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn the_example_shows_every_key_of_every_kind() {
        let shown = shown();
        let all: BTreeSet<&str> = KINDS.iter().copied().collect();
        assert_eq!(shown.keys().map(String::as_str).collect::<BTreeSet<_>>(), all);
        let common = known(KINDS[0]);
        let common = KINDS.iter().map(|kind| known(kind)).fold(common, |common, keys| &common & &keys);
        for (kind, keys) in shown {
            let here: BTreeSet<String> = keys.into_keys().collect();
            let expected = if kind == COMMON_SHOWN_BY { known(&kind) } else { &known(&kind) - &common };
            assert_eq!(here, expected, "[transfer.NAME.{kind}]");
        }
    }

    #[test]
    fn the_example_shows_each_key_with_its_default() {
        for (kind, keys) in shown() {
            let sample = |of: bool| -> Table {
                let those = keys.iter().filter(|(_, shown)| !of || shown.is_sample);
                those.map(|(key, shown)| (key.clone(), shown.value.clone())).collect()
            };
            let (samples, all) = (sample(true), sample(false));
            assert_eq!(read(&kind, &all).unwrap(), read(&kind, &samples).unwrap(), "[transfer.NAME.{kind}]");
        }
    }
}
