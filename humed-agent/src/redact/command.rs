//! Commands that take a password by an option that does not say so: `mysql -px`, `curl -u user:x`.

use std::ops::Range;

use super::value::{self, Stop, line_end, word_end};

/// How an option of a command carries a secret.
#[derive(Clone, Copy, Debug)]
pub(super) enum Carries {
    /// `-px`.
    Glued(&'static str),
    /// `-a x`.
    Next(&'static str),
    /// `-u user:x` or `-uuser:x`, with this byte before the secret.
    User(&'static str, u8),
}
use Carries::{Glued, Next, User};

/// Names of commands, as a regular expression, and what carries their secrets.
pub(super) const COMMANDS: [(&str, &[Carries]); 7] = [
    (r"(?-u)\b(?:mysql|mariadb)[a-z-]*\b", &[Glued("-p")]),
    (r"(?-u)\bsshpass\b", &[Glued("-p"), Next("-p")]),
    (
        r"(?-u)\bcurl\b",
        &[User("-u", b':'), User("--user", b':'), User("-U", b':'), User("--proxy-user", b':')],
    ),
    (r"(?-u)\b(?:redis|valkey)-cli\b", &[Next("-a"), Next("--pass")]),
    (r"(?-u)\bldap(?:search|modify|add|delete|whoami|passwd|compare)\b", &[Glued("-w"), Next("-w")]),
    (r"(?-u)\b(?:smbclient|rpcclient|smbmap)\b", &[User("-U", b'%'), User("--user", b'%')]),
    (r"(?-u)\b(?:7z[ar]?|zip|unzip)\b", &[Glued("-p"), Next("-P")]),
];

/// The secrets in the words of a command behind its name, up to the end of the line, which is returned.
pub(super) fn secrets(text: &str, at: usize, options: &[Carries], found: &mut Vec<Range<usize>>) -> usize {
    let end = line_end(text, at, None);
    // Quotes that are not closed end with their line: a line is gone through once.
    let text = &text[..end];
    let bytes = text.as_bytes();
    let mut place = at;
    while place < end {
        if bytes[place].is_ascii_whitespace() {
            place += 1;
            continue;
        }
        let word = place..word_end(text, place);
        let next = bytes[word.end..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let next = word.end + next;
        found.extend(options.iter().find_map(|option| carried(text, word.clone(), next, *option)));
        place = word.end.max(place + 1);
    }
    end
}

fn carried(text: &str, word: Range<usize>, next: usize, option: Carries) -> Option<Range<usize>> {
    let said = &text[word.clone()];
    let hide = |at: usize| value::value(text, at, Stop::Space).map(|value| value.hidden);
    match option {
        Glued(name) => {
            let rest = said.strip_prefix(name).filter(|rest| !rest.is_empty())?;
            hide(word.end - rest.len())
        }
        Next(name) => (said == name).then(|| hide(next)).flatten(),
        User(name, before) => {
            let rest = said.strip_prefix(name)?;
            let is_long = name.starts_with("--");
            let user = match rest.strip_prefix('=') {
                _ if rest.is_empty() => next..word_end(text, next),
                Some(rest) if is_long => word.end - rest.len()..word.end,
                Some(_) | None if !is_long => word.end - rest.len()..word.end,
                Some(_) | None => return None,
            };
            let offset = text.as_bytes()[user.clone()].iter().position(|byte| *byte == before)?;
            let secret = user.start + offset + 1..user.end;
            (!secret.is_empty()).then_some(secret)
        }
    }
}
