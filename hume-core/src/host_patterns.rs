//! For which hosts an agent may report: names with `*` for any text and `?` for any character.

use std::fmt;
use std::str::FromStr;

use wildmatch::WildMatch;

use crate::HostName;

/// Most patterns of one agent.
pub const HOST_PATTERNS_MAX: usize = 64;

/// No host can have such a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` matches no name of a host: names have up to 253 bytes and no white space, only * and ? are for other text"
)]
pub struct NoHost(String);

/// One pattern.
#[derive(Clone, PartialEq)]
pub struct HostPattern(WildMatch);

impl Eq for HostPattern {}

impl FromStr for HostPattern {
    type Err = NoHost;

    fn from_str(text: &str) -> Result<HostPattern, NoHost> {
        // The shortest name that it could match, with something for what must not be empty.
        let shortest = text.replace('*', "").replace('?', "x");
        let shortest = if shortest.is_empty() && !text.is_empty() { "x" } else { &shortest };
        let fits = !text.contains(['[', ']', '{', '}', ',']) && HostName::parse(shortest).is_ok();
        let refused = || NoHost(text.chars().take(80).collect());
        fits.then(|| HostPattern(WildMatch::new(text))).ok_or_else(refused)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.to_string())
    }
}

/// All hosts that an agent may report for: at most [`HOST_PATTERNS_MAX`] patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPatterns(Vec<HostPattern>);

impl HostPatterns {
    /// Every host.
    pub fn any() -> HostPatterns {
        HostPatterns(vec![HostPattern(WildMatch::new("*"))])
    }

    /// This host alone.
    pub fn only(host: &HostName) -> HostPatterns {
        HostPatterns(vec![HostPattern(WildMatch::new(host.as_str()))])
    }

    /// The patterns among these texts, as many as there may be. What is no pattern lets nobody in.
    pub fn from_texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> HostPatterns {
        let patterns = texts.into_iter().filter_map(|text| text.as_ref().parse().ok());
        HostPatterns(patterns.take(HOST_PATTERNS_MAX).collect())
    }

    /// Whether one of them is for this host.
    pub fn allow(&self, host: &HostName) -> bool {
        self.0.iter().any(|pattern| pattern.0.matches(host.as_str()))
    }

    /// Their texts, in order.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(HostPattern::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostName {
        HostName::parse(name).unwrap()
    }

    #[test]
    fn a_pattern_is_for_whole_names() {
        let patterns = HostPatterns::from_texts(["web1", "printer-*", "db?.example.org"]);
        for name in ["web1", "printer-", "printer-3", "db7.example.org"] {
            assert!(patterns.allow(&host(name)), "{name}");
        }
        for name in ["web", "web12", "xprinter-3", "db77.example.org", "WEB1"] {
            assert!(!patterns.allow(&host(name)), "{name}");
        }
        assert!(HostPatterns::any().allow(&host("x")));
        assert!(!HostPatterns::default().allow(&host("x")));
        assert!(HostPatterns::only(&host("web1")).allow(&host("web1")));
    }

    #[test]
    fn what_no_host_can_be_called_is_no_pattern_and_lets_nobody_in() {
        for text in ["", "a b", "web[12]", "{a}", "a,b", &"a".repeat(254)] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
        assert!(HostPatterns::from_texts(["", "a b"]).texts().is_empty());
        for text in ["*", "?", "a*", "*.example.org"] {
            assert_eq!(text.parse::<HostPattern>().unwrap().to_string(), text);
        }
    }
}
