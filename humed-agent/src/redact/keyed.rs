//! Names that say that a secret follows, and what follows them: `password=x`, `"token": "x"`, `--api-key x`.

use std::ops::Range;

use super::value::{self, Stop, Value, is_quote, line_end, quoted};

/// Parts of names, each of which makes the whole worth a look.
macro_rules! words {
    () => {
        "(?:pass|pwd|secret|token|psk|kennwort|authorization|cookie|(?:api|access|private|encryption|signing|shared|auth|account|master)[_.-]?key)"
    };
}
/// Finds every name that may say so, whole; [`kind`] decides.
pub(super) const KEY: &str = concat!("(?i-u)[a-z0-9_.-]*", words!(), "[a-z0-9_.-]*");
/// Finds whether there is one.
pub(super) const GATE: &str = concat!("(?i-u)", words!());

/// What a name says of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is a secret.
    Secret,
    /// A scheme and a secret, as of the header `Authorization`.
    Scheme,
    /// The rest of the line is, as of the header `Cookie`.
    Line,
}

/// Wherever they stand in a name without its separators.
const ALWAYS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "passcode",
    "kennwort",
    "apikey",
    "accesskey",
    "privatekey",
    "secretkey",
    "encryptionkey",
    "signingkey",
];
/// As a word of a name, or at its end.
const WORDS: [&str; 7] = ["token", "secret", "pwd", "psk", "sharedkey", "authkey", "masterkey"];
/// The last word of names that speak about a secret and are none.
const ABOUT: [&str; 40] = [
    "age",
    "changed",
    "count",
    "dir",
    "enabled",
    "endpoint",
    "exp",
    "expired",
    "expires",
    "expiry",
    "file",
    "folder",
    "hint",
    "in",
    "length",
    "lifetime",
    "limit",
    "max",
    "min",
    "name",
    "passwordless",
    "path",
    "policy",
    "prompt",
    "required",
    "size",
    "status",
    "stdin",
    "ttl",
    "type",
    "uri",
    "url",
    "used",
    "valid",
    "version",
    "at",
    "days",
    "reset",
    "strength",
    "attempts",
];
/// The first word of such names.
const ABOUT_FIRST: [&str; 4] = ["no", "ask", "prompt", "without"];
/// The folders where a shell is and was, as `env` prints them.
const FOLDERS: [&str; 2] = ["PWD", "OLDPWD"];
/// Values that say that there is none.
const NOTHING: [&str; 6] = ["null", "none", "nil", "true", "false", "undefined"];
/// Schemes with one word behind them.
const SCHEMES: [&str; 9] =
    ["basic", "bearer", "token", "negotiate", "ntlm", "apikey", "key", "dpop", "sso-key"];
/// Schemes with more behind them.
const SCHEMES_LONG: [&str; 6] = ["digest", "aws4-hmac-sha256", "hawk", "oauth", "signature", "vapid"];

/// What this name says; none if nothing.
pub(super) fn kind(name: &str, is_option: bool) -> Option<Kind> {
    let words = words_of(name);
    let (first, last) = (words.first()?.as_str(), words.last()?.as_str());
    let joined = words.concat();
    if matches!(joined.as_str(), "cookie" | "setcookie") {
        return Some(Kind::Line);
    }
    if joined.ends_with("authorization") {
        return Some(Kind::Scheme);
    }
    if ABOUT.contains(&last) || ABOUT_FIRST.contains(&first) {
        return None;
    }
    let is_secret = ALWAYS.iter().any(|part| joined.contains(part))
        || WORDS.iter().any(|word| joined.ends_with(word) || words.iter().any(|one| one == word))
        // `pass` alone counts tests.
        || (last == "pass" && (words.len() > 1 || is_option));
    is_secret.then_some(Kind::Secret)
}

/// The words of a name in lower case, without digits at their ends: `apiToken2` has `api` and `token`.
fn words_of(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut within, mut was_lower) = (false, false);
    for byte in name.bytes() {
        if !byte.is_ascii_alphanumeric() {
            within = false;
            continue;
        }
        if !within || (was_lower && byte.is_ascii_uppercase()) {
            words.push(String::new());
        }
        (within, was_lower) = (true, !byte.is_ascii_uppercase());
        if let Some(word) = words.last_mut() {
            word.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    for word in &mut words {
        let kept = word.trim_end_matches(|last: char| last.is_ascii_digit()).len();
        word.truncate(kept);
    }
    words.retain(|word| !word.is_empty());
    words
}

/// True when the value of an extra of this name is a secret as a whole.
pub(super) fn hides(name: &str, value: &str) -> bool {
    kind(name, false).is_some() && !is_nothing(value) && !is_folder(name, value)
}

/// The secret that follows the name at `key`, if one does.
pub(super) fn secret(text: &str, key: Range<usize>) -> Option<Value> {
    let bytes = text.as_bytes();
    let name = &text[key.clone()];
    let is_option = name.starts_with('-');
    let before = key.start.checked_sub(1).map(|place| bytes[place]);
    let follows = follow(bytes, key.end, is_option, before)?;
    let kind = kind(name, is_option)?;
    let around = before.filter(|byte| is_quote(*byte) && !follows.key_is_quoted);
    let found = match kind {
        Kind::Secret => {
            let stop = match (before, around) {
                _ if follows.is_tag => Stop::Tag,
                (_, Some(quote)) => Stop::Quote(quote),
                (Some(b'?' | b'&'), None) => Stop::Query,
                (Some(b';'), None) => Stop::List,
                (_, None) => Stop::Space,
            };
            value::value(text, follows.value, stop)?
        }
        Kind::Scheme => header(text, follows.value, around)?,
        Kind::Line => {
            let end = line_end(text, follows.value, around);
            Value { hidden: follows.value..end, end }
        }
    };
    let told = &text[found.hidden.clone()];
    let is_switch = follows.is_next_word && looks_like_option(told);
    (!is_switch && !is_nothing(told) && !is_folder(name, told)).then_some(found)
}

/// What stands between a name and its value.
struct Follows {
    value: usize,
    key_is_quoted: bool,
    is_tag: bool,
    /// The value of an option, in the next word.
    is_next_word: bool,
}

fn follow(bytes: &[u8], key_end: usize, is_option: bool, before: Option<u8>) -> Option<Follows> {
    let blanks = |at: usize| bytes[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let slashes = bytes[key_end..].iter().take_while(|byte| **byte == b'\\').count();
    let key_is_quoted = bytes.get(key_end + slashes).is_some_and(|byte| is_quote(*byte));
    let mut place = if key_is_quoted { key_end + slashes + 1 } else { key_end };
    if bytes.get(place) == Some(&b']') {
        place += 1;
    }
    let is_tag = before == Some(b'<') && bytes.get(place) == Some(&b'>');
    let found = |value: usize, is_next_word| Some(Follows { value, key_is_quoted, is_tag, is_next_word });
    if is_tag {
        return found(place + 1, false);
    }
    let gap = blanks(place);
    let rest = &bytes[place + gap..];
    let signs: [&[u8]; 7] = [b"=>", b":=", b"==", b"=", b":", b"%3D", b"%3d"];
    if let Some(sign) = signs.iter().find(|sign| rest.starts_with(sign)) {
        let value = place + gap + sign.len();
        return found(value + blanks(value), false);
    }
    if is_option && gap > 0 {
        return found(place + gap, true);
    }
    // `PASSWORD 'x'`, `password("x")`.
    let is_call = rest.first() == Some(&b'(');
    let value = place + gap + usize::from(is_call);
    let is_literal =
        !key_is_quoted && (gap > 0 || is_call) && bytes.get(value).is_some_and(|byte| is_quote(*byte));
    if is_literal { found(value, false) } else { None }
}

/// What follows `Authorization:`, without the scheme.
fn header(text: &str, at: usize, around: Option<u8>) -> Option<Value> {
    let bytes = text.as_bytes();
    let (inner, end) = quoted(bytes, at).unwrap_or_else(|| {
        let end = line_end(text, at, around);
        (at..end, end)
    });
    let is_bounded = around.is_some() || inner.start > at;
    let scheme_bytes = bytes[inner.clone()].iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
    let scheme = text[inner.start..inner.start + scheme_bytes].to_ascii_lowercase();
    let behind = inner.start + scheme_bytes;
    let blanks = bytes[behind..inner.end].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let begin = behind + blanks;
    if begin < inner.end && SCHEMES.contains(&scheme.as_str()) {
        if is_bounded {
            return Some(Value { hidden: begin..inner.end, end });
        }
        return value::value(text, begin, Stop::Space);
    }
    if begin < inner.end && SCHEMES_LONG.contains(&scheme.as_str()) {
        return Some(Value { hidden: begin..inner.end, end });
    }
    (!inner.is_empty()).then_some(Value { hidden: inner, end })
}

/// The next option, since the one before takes no value.
fn looks_like_option(word: &str) -> bool {
    let letters = word.trim_start_matches('-');
    match word.len() - letters.len() {
        1 => letters.len() == 1,
        2 => letters.starts_with(|first: char| first.is_ascii_alphabetic()),
        _ => false,
    }
}

/// There is none, or it was hidden before.
fn is_nothing(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'*') || NOTHING.iter().any(|word| word.eq_ignore_ascii_case(value))
}

fn is_folder(name: &str, value: &str) -> bool {
    FOLDERS.contains(&name) && value.starts_with('/')
}
