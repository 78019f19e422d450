//! The words of Fluentd's forward protocol, version 1: messages in `MessagePack`, the handshake's digests, and what a server says.
//!
//! Pure. (Forward Protocol Specification v1 of the Fluent project.)

use std::fmt::{self, Write as _};
use std::io::ErrorKind;

use aws_lc_rs::digest::{SHA512, digest};
use hume_core::Timestamp;
use hume_runtime::tls::{hex, sha256_hex};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, Visitor};

use crate::notice::{About, Notice};

/// Longest answer of a server.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Longest part of a tag that comes from an event, in characters.
const TAG_PART_CHARACTERS_MAX: usize = 64;

/// The digests and salts of a login.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ping<'a> {
    pub(super) host: &'a str,
    pub(super) salt: &'a str,
    pub(super) nonce: &'a [u8],
    pub(super) shared_key: &'a str,
    /// User, password, and the server's salt for them.
    pub(super) login: Option<(&'a str, &'a str, &'a [u8])>,
}

/// What a server asks for before it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Helo {
    pub(super) nonce: Vec<u8>,
    /// Salt for user and password; empty when it wants none.
    pub(super) auth: Vec<u8>,
}

/// What a server thinks of our digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pong {
    pub(super) is_welcome: bool,
    pub(super) reason: String,
    pub(super) host: String,
    pub(super) digest: String,
}

/// A text, or bytes: servers differ.
struct Raw(Vec<u8>);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Raw, D::Error> {
        struct Both;
        impl Visitor<'_> for Both {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or bytes")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
                Ok(Raw(text.as_bytes().to_vec()))
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Raw, E> {
                Ok(Raw(bytes.to_vec()))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
                Ok(Raw(Vec::new()))
            }
        }
        from.deserialize_any(Both)
    }
}

impl Raw {
    fn text(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[derive(serde::Deserialize)]
struct HeloOptions {
    nonce: Raw,
    #[serde(default = "Raw::none")]
    auth: Raw,
}

impl Raw {
    fn none() -> Raw {
        Raw(Vec::new())
    }
}

#[derive(serde::Deserialize)]
struct Ack {
    ack: Raw,
}

/// One answer from the beginning of `bytes`, and how many bytes it has; none when more must come.
///
/// # Errors
/// Those bytes begin no answer, whatever follows.
fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<Option<(T, usize)>, String> {
    let mut cursor = std::io::Cursor::new(bytes);
    let mut reader = rmp_serde::Deserializer::new(&mut cursor);
    reader.set_max_depth(8);
    // A first look that keeps nothing tells a cut answer from a wrong one.
    match IgnoredAny::deserialize(&mut reader) {
        Err(error) if is_cut(&error) => return Ok(None),
        Err(error) => return Err(error.to_string()),
        Ok(IgnoredAny) => {}
    }
    drop(reader);
    let length = usize::try_from(cursor.position()).unwrap_or(bytes.len());
    match rmp_serde::from_slice(&bytes[..length]) {
        Ok(value) => Ok(Some((value, length))),
        Err(error) => Err(error.to_string()),
    }
}

fn is_cut(error: &rmp_serde::decode::Error) -> bool {
    use rmp_serde::decode::Error;
    match error {
        Error::InvalidMarkerRead(error) | Error::InvalidDataRead(error) => {
            error.kind() == ErrorKind::UnexpectedEof
        }
        _ => false,
    }
}

/// Reads `["HELO", {…}]`.
///
/// # Errors
/// It is something else.
pub(super) fn helo(bytes: &[u8]) -> Result<Option<(Helo, usize)>, String> {
    let Some(((word, options), length)) = read::<(Raw, HeloOptions)>(bytes)? else { return Ok(None) };
    if word.0 != b"HELO" {
        return Err("it is no HELO".to_owned());
    }
    Ok(Some((Helo { nonce: options.nonce.0, auth: options.auth.0 }, length)))
}

/// Reads `["PONG", welcome, reason, host, digest]`.
///
/// # Errors
/// It is something else.
pub(super) fn pong(bytes: &[u8]) -> Result<Option<(Pong, usize)>, String> {
    type Fields = (Raw, bool, Raw, Raw, Raw);
    let Some(((word, is_welcome, reason, host, digest), length)) = read::<Fields>(bytes)? else {
        return Ok(None);
    };
    if word.0 != b"PONG" {
        return Err("it is no PONG".to_owned());
    }
    Ok(Some((Pong { is_welcome, reason: reason.text(), host: host.text(), digest: digest.text() }, length)))
}

/// Reads `{"ack": chunk}`.
///
/// # Errors
/// It is something else.
pub(super) fn ack(bytes: &[u8]) -> Result<Option<(String, usize)>, String> {
    Ok(read::<Ack>(bytes)?.map(|(ack, length)| (ack.ack.text(), length)))
}

fn sha512_hex(parts: &[&[u8]]) -> String {
    hex(digest(&SHA512, &parts.concat()).as_ref())
}

/// `["PING", host, salt, digest, user, digest of the password]`.
///
/// # Errors
/// None is known: it is written to memory.
pub(super) fn ping(ping: &Ping<'_>) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let Ping { host, salt, nonce, shared_key, login } = ping;
    let key = sha512_hex(&[salt.as_bytes(), host.as_bytes(), nonce, shared_key.as_bytes()]);
    let (user, password) = match login {
        Some((user, password, salt)) => (*user, sha512_hex(&[salt, user.as_bytes(), password.as_bytes()])),
        None => ("", String::new()),
    };
    rmp_serde::to_vec(&("PING", host, salt, key, user, password))
}

/// The digest by which a server proves that it knows the shared key too.
pub(super) fn proof(salt: &str, server: &str, nonce: &[u8], shared_key: &str) -> String {
    sha512_hex(&[salt.as_bytes(), server.as_bytes(), nonce, shared_key.as_bytes()])
}

/// `[time, record]`, the time to the nanosecond (ext type 0).
///
/// # Errors
/// None is known: it is written to memory.
pub(super) fn entry(notice: &Notice) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut entry = vec![0x92, 0xd7, 0x00];
    entry.extend(event_time(notice.event.event.time));
    rmp_serde::encode::write_named(&mut entry, &notice.view())?;
    Ok(entry)
}

/// Seconds since 1970 and nanoseconds, four bytes each; what does not fit is the nearest that does.
fn event_time(time: Timestamp) -> [u8; 8] {
    let micros = time.as_micros().clamp(0, i64::from(u32::MAX) * 1_000_000 + 999_999);
    let seconds = u32::try_from(micros / 1_000_000).unwrap_or(u32::MAX);
    let nanos = u32::try_from(micros % 1_000_000).unwrap_or_default() * 1000;
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&seconds.to_be_bytes());
    bytes[4..].copy_from_slice(&nanos.to_be_bytes());
    bytes
}

/// `[tag, [entry, …], {"size": …, "chunk": …}]`: mode Forward.
///
/// # Errors
/// None is known: it is written to memory.
pub(super) fn message(
    tag: &str,
    entries: &[Vec<u8>],
    chunk: &str,
) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    #[derive(serde::Serialize)]
    struct Options<'a> {
        size: usize,
        chunk: &'a str,
    }
    let mut message = vec![0x93];
    rmp_serde::encode::write(&mut message, tag)?;
    // array 32: as long as it takes.
    message.push(0xdd);
    message.extend(u32::try_from(entries.len()).unwrap_or(u32::MAX).to_be_bytes());
    message.extend(entries.concat());
    rmp_serde::encode::write_named(&mut message, &Options { size: entries.len(), chunk })?;
    Ok(message)
}

/// The same for the same notices, so that what is sent again is known as such.
pub(super) fn chunk_id(notices: &[Notice]) -> String {
    let mut names = String::new();
    for notice in notices {
        let count = match &notice.about {
            About::Event | About::Run(_) | About::Test => 0,
            About::Digest(digest) => digest.count,
        };
        let _ = writeln!(names, "{} {} {count}", notice.event.event.id, notice.view().about);
    }
    sha256_hex(names.as_bytes())[..32].to_owned()
}

/// The tag with its `{level}`, `{task}`, `{host}` and `{about}` filled in. What comes from an event has no dot, so the tag has as many
/// parts as it is written with.
pub(super) fn tag(template: &str, notice: &Notice) -> String {
    let event = &notice.event.event;
    let values = [
        ("{level}", notice.level().as_str()),
        ("{task}", event.task.as_str()),
        ("{host}", event.host.as_str()),
        ("{about}", notice.view().about),
    ];
    values.iter().fold(template.to_owned(), |tag, (name, value)| {
        if tag.contains(name) { tag.replace(name, &tag_part(value)) } else { tag }
    })
}

fn tag_part(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let part: String = text.chars().take(TAG_PART_CHARACTERS_MAX).map(plain).collect();
    if part.is_empty() { "none".to_owned() } else { part }
}

/// Why the text is no tag; none when it is one.
pub(super) fn wrong_tag(template: &str) -> Option<&'static str> {
    let filled = ["{level}", "{task}", "{host}", "{about}"]
        .iter()
        .fold(template.to_owned(), |tag, name| tag.replace(name, "x"));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_part = |part: &str| !part.is_empty() && part.chars().all(is_plain);
    if filled.len() <= 200 && filled.split('.').all(is_part) {
        return None;
    }
    Some(
        "is parts of letters, digits, `-` and `_` with dots between them; `{level}`, `{task}`, `{host}` and `{about}` are filled in",
    )
}

#[cfg(test)]
mod tests {
    use hume_core::Level;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::stored;

    #[test]
    fn a_digest_is_that_of_the_specification() {
        // python3 -c 'import hashlib; print(hashlib.sha512(b"salt" b"web1" b"nonce" b"key").hexdigest()[:32])'
        let known = proof("salt", "web1", b"nonce", "key");
        assert_eq!((&known[..32], known.len()), ("ea1a9b1d411b0d678cd91280d1704cff", 128));
    }

    #[test]
    fn the_tag_has_as_many_parts_as_it_is_written_with() {
        let of = |task: &str| {
            tag("hume.{level}.{task}", &Notice::of(stored(Level::Error, task, "db1.example.org", "x")))
        };
        assert_eq!(of("BACKUP"), "hume.error.BACKUP");
        assert_eq!(of("nightly.dump of {host}"), "hume.error.nightly_dump_of__host_");
        assert_eq!(of(""), "hume.error.none");
        assert_eq!(
            tag("{host}", &Notice::of(stored(Level::Ok, "", "db1.example.org", "x"))),
            "db1_example_org"
        );
        for wrong in ["", "hume.", ".hume", "hume {level}", "hume.{lvl}", "hü"] {
            assert!(wrong_tag(wrong).is_some(), "{wrong}");
        }
        assert_eq!(wrong_tag("hume.{level}.{task}"), None);
    }

    #[test]
    fn a_time_that_does_not_fit_is_the_nearest() {
        let of = |micros| event_time(Timestamp::from_micros(micros));
        assert_eq!(of(1_764_000_000_000_001), [0x69, 0x24, 0x81, 0x00, 0, 0, 3, 0xe8]);
        assert_eq!(of(-1), [0; 8]);
        assert_eq!(of(i64::MAX), [0xff, 0xff, 0xff, 0xff, 0x3b, 0x9a, 0xc6, 0x18]);
    }

    #[test]
    fn the_same_notices_are_the_same_chunk() {
        let of = |texts: &[&str]| {
            chunk_id(
                &texts.iter().map(|text| Notice::of(stored(Level::Ok, "A", "h", text))).collect::<Vec<_>>(),
            )
        };
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["a"]));
        assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
    }

    proptest! {
        #[test]
        fn an_answer_is_read_whole_or_waited_for(name in "[a-z]{0,40}", tail in proptest::collection::vec(any::<u8>(), 0..8)) {
            let whole = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([("ack", &name)])).unwrap();
            for cut in 0..whole.len() {
                prop_assert_eq!(ack(&whole[..cut]), Ok(None));
            }
            let length = whole.len();
            prop_assert_eq!(ack(&[whole, tail].concat()), Ok(Some((name, length))));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (helo(&bytes), pong(&bytes), ack(&bytes));
        }
    }
}
