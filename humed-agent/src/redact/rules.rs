//! The rules, each of which finds its secrets in a text by itself: names with values, addresses, commands, and what is known by
//! its shape.
//!
//! Every look goes forward only and ends where it found something, so the time of a text grows with its length. Of a pattern that
//! looks further than it finds, at most [`LOOKS_MAX`] are taken; what is behind the last is hidden as a whole.

use std::ops::Range;

use regex::{CaptureLocations, Regex};

use super::command::{self, COMMANDS, Carries};
use super::config::{Pattern, compile};
use super::keyed;

/// Looks of one rule into one text.
pub(super) const LOOKS_MAX: usize = 1000;
/// A password in an address may hold a slash within so many bytes.
const SLASHED_BYTES_MAX: usize = 256;

/// `://user:` of an address; what follows may be a password or a port.
const ADDRESS: &str = r#"://[^\s/?#@:"'<>]*:"#;

/// Secrets known by their shape. What the groups hold is hidden; what stands before them says what it was.
const SHAPES: [&str; 18] = [
    // Private keys, also one that was cut at either end.
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----((?s:.*?))(?:-----END|\z)",
    r"\A((?:[A-Za-z0-9+/=]+(?:\r?\n|\\n))+)-----END [A-Z0-9 ]*PRIVATE KEY",
    // JSON Web Tokens and other bearers.
    r"(?-u)\beyJ([A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*)",
    r"(?i-u)\bbearer[ \t]+([a-z0-9._~+/-]{16,}=*)",
    // AWS, Google, Azure.
    r"(?-u)\b(?:AKIA|ASIA|ABIA|ACCA)([A-Z2-7]{16})\b",
    r"(?-u)\bAIza([A-Za-z0-9_-]{35})",
    r"(?-u)\bya29\.([A-Za-z0-9_-]{16,})",
    r"(?-u)\bAccountKey=([A-Za-z0-9+/=]{16,})",
    // GitHub, GitLab, npm, PyPI.
    r"(?-u)\bgh[opusr]_([A-Za-z0-9]{16,})",
    r"(?-u)\bgithub_pat_([A-Za-z0-9_]{16,})",
    r"(?-u)\bgl(?:pat|dt|rt|cbt|ptt|agent|soat)-([A-Za-z0-9_.-]{16,})",
    r"(?-u)\b(?:npm_|pypi-|hf_|dop_v1_|hv[sbr]\.|SG\.)([A-Za-z0-9_.-]{16,})",
    // Slack: tokens, and addresses that anybody may post to.
    r"(?-u)\bxox[a-z]-([A-Za-z0-9-]{8,})",
    r"(?-u)\bxapp-([A-Za-z0-9-]{16,})",
    r"(?-u)\bhooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/_-]+)",
    // Stripe and what has copied it; OpenAI and others.
    r"(?-u)\b(?:[spr]k_(?:live|test)_|whsec_|sk-)([A-Za-z0-9_-]{16,})",
    // SQL, and openssl.
    r"(?i)\bidentified\s+(?:with\s+\S+\s+)?(?:by|as)\s+(?:password\s+)?'([^']*)",
    r"(?-u)-(?:pass|passin|passout|k)[ \t]+pass:([!-~]+)",
];

/// One rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    regex: Regex,
    how: How,
}

/// What a match means.
#[derive(Clone, Copy, Debug)]
enum How {
    /// A name that may say that a secret follows.
    Key,
    /// An address with a user.
    Address,
    /// A command whose options carry secrets.
    Command(&'static [Carries]),
    /// What the groups hold is secret, or the whole where there is no group.
    Groups,
}

/// hume's own rules, each with the pattern that tells quickly whether it is worth to be asked.
pub(super) fn defaults() -> Vec<(&'static str, Rule)> {
    let rule = |gate: &'static str, pattern: &'static str, how: How| {
        let regex = compile(pattern).expect("the patterns of this file compile, which a test shows");
        (gate, Rule { regex, how })
    };
    let keys = rule(keyed::GATE, keyed::KEY, How::Key);
    let addresses = rule(ADDRESS, ADDRESS, How::Address);
    let commands = COMMANDS.iter().map(|(name, options)| rule(name, name, How::Command(options)));
    let shapes = SHAPES.iter().map(|pattern| rule(pattern, pattern, How::Groups));
    [keys, addresses].into_iter().chain(commands).chain(shapes).collect()
}

impl Rule {
    /// The rule of a pattern of the configuration.
    pub(super) fn of(pattern: &Pattern) -> Rule {
        let regex = compile(pattern.as_str()).expect("it compiled when the configuration was read");
        Rule { regex, how: How::Groups }
    }

    /// The secrets in a text, in any order and perhaps overlapping; how many looks it took.
    pub(super) fn secrets(&self, text: &str, found: &mut Vec<Range<usize>>) -> usize {
        match self.how {
            How::Groups => self.groups(text, found),
            How::Key => self.each(text, |name| {
                let secret = keyed::secret(text, name.clone());
                found.extend(secret.iter().map(|secret| secret.hidden.clone()));
                // Quotes that reach into other lines may belong to others: those lines are looked at by themselves.
                let next_line =
                    |secret: &Range<usize>| text[secret.clone()].find('\n').map(|line| secret.start + line);
                secret.map_or(name.end, |secret| next_line(&secret.hidden).unwrap_or(secret.end))
            }),
            How::Address => {
                let mut without = 0..0;
                self.each(text, |user| {
                    let password = password(text, user.end, &mut without);
                    found.extend(password.clone());
                    password.map_or(user.end, |password| password.end)
                })
            }
            How::Command(options) => self.each(text, |name| command::secrets(text, name.end, options, found)),
        }
    }

    /// Goes from match to match; `look` says where to go on.
    fn each(&self, text: &str, mut look: impl FnMut(Range<usize>) -> usize) -> usize {
        let (mut place, mut looks) = (0, 1);
        while let Some(found) = self.regex.find_at(text, place) {
            place = look(found.range()).max(found.end());
            looks += 1;
        }
        looks
    }

    fn groups(&self, text: &str, found: &mut Vec<Range<usize>>) -> usize {
        let mut groups = self.regex.capture_locations();
        let mut place = 0;
        for look in 1..=LOOKS_MAX {
            let Some(whole) = self.regex.captures_read_at(&mut groups, text, place) else { return look };
            if groups.len() == 1 {
                found.push(whole.range());
            }
            found.extend(held(&groups));
            place = whole.end();
        }
        found.push(place..text.len());
        LOOKS_MAX
    }
}

fn held(groups: &CaptureLocations) -> impl Iterator<Item = Range<usize>> {
    (1..groups.len()).filter_map(|group| groups.get(group)).map(|(start, end)| start..end)
}

/// The password of an address whose user ends at `at`. `without` is where there was found to be none.
fn password(text: &str, at: usize, without: &mut Range<usize>) -> Option<Range<usize>> {
    let bytes = &text.as_bytes()[at..];
    let is_over = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'<' | b'>');
    if without.contains(&at) {
        return None;
    }
    let authority = bytes.iter().position(|byte| is_over(byte) || matches!(byte, b'/' | b'?' | b'#'));
    let authority = authority.unwrap_or(bytes.len());
    let password = |last: usize| (last > 0).then_some(at..at + last);
    if let Some(last) = bytes[..authority].iter().rposition(|byte| *byte == b'@') {
        return password(last);
    }
    *without = at..at + authority;
    // A slash that nobody has encoded. Behind a number it is a path, and the number a port.
    if bytes[..authority].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let near = &bytes[..bytes.len().min(authority + SLASHED_BYTES_MAX)];
    let word = near.iter().position(is_over).unwrap_or(near.len());
    password(near[..word].iter().rposition(|byte| *byte == b'@')?)
}

#[cfg(test)]
pub(super) const RULES: usize = 2 + COMMANDS.len() + SHAPES.len();
