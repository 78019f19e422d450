//! A notice as syslog writes it, by RFC 5424 or by the older RFC 3164: one line, never longer than asked for.
//!
//! Control characters are written as rsyslog writes them, `#012` for a line break, so a message is one line in every file and
//! no text ends a frame. What is too long is cut at the border of a character, and says so.

use std::fmt::Write;

use hume_core::{Level, Timestamp};
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer};

use crate::facts::facts;
use crate::notice::Notice;
use crate::transfer::OpenError;

/// Longest text of one message: what rsyslogd takes unless it is told otherwise.
pub(crate) const BYTES_MAX: usize = 8192;
/// Bounds of what a configuration may ask for: every receiver takes the one, every datagram holds the other.
pub(crate) const BYTES_MAX_RANGE: std::ops::RangeInclusive<usize> = 480..=60_000;
/// The number that IANA keeps for examples; a site may have its own.
pub(crate) const ENTERPRISE: u32 = 32_473;

/// A name of structured data and of a message id has so many bytes; that of a host and of a program as the RFC says.
const NAME_BYTES_MAX: usize = 32;
const HOST_BYTES_MAX: usize = 255;
/// A value of structured data has so many bytes before its escapes.
const VALUE_BYTES_MAX: usize = 1024;
/// Before text of UTF-8, as RFC 5424 wants it.
const BOM: char = '\u{feff}';

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// With structured data.
    Rfc5424,
    /// Text alone.
    Rfc3164,
}

/// What all messages of a transfer have in common.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    pub(crate) facility: Facility,
    pub(crate) ident: Ident,
    pub(crate) enterprise: u32,
    pub(crate) bytes_max: usize,
    /// Of the times of RFC 3164, which name none.
    pub(crate) zone: TimeZone,
}

/// Whom a message of RFC 3164 goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The daemon of this host, which adds the host's name itself.
    Local,
    /// Another host.
    Remote,
}

/// What the message is about, in the words of old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

impl Facility {
    /// What hume is.
    pub(crate) const DAEMON: Facility = Facility(3);

    /// Its number.
    pub(crate) fn number(self) -> u8 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Facility {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Facility, D::Error> {
        let text = String::deserialize(from)?;
        let found = FACILITIES.iter().find(|(word, _)| *word == text);
        found.map(|(_, number)| Facility(*number)).ok_or_else(|| {
            let words = FACILITIES.map(|(word, _)| word).join("`, `");
            serde::de::Error::custom(format!("unknown facility `{text}`, there are `{words}`"))
        })
    }
}

/// What the program is called: 1 to 32 letters, digits, `-`, `_`, `.` and `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident(String);

impl Ident {
    /// `hume`
    pub(crate) fn hume() -> Ident {
        Ident("hume".to_owned())
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Ident {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Ident, D::Error> {
        let text = String::deserialize(from)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(is_plain) {
            let bound = format!(
                "`{text}` is no name of a program: it has 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_`, `.` and `/`"
            );
            return Err(serde::de::Error::custom(bound));
        }
        Ok(Ident(text))
    }
}

/// How bad a level is to syslog, from 0, the worst, to 7.
pub(crate) fn severity(level: Level) -> u8 {
    match level {
        Level::Critical => 2,
        Level::Error => 3,
        Level::Warning | Level::Unknown => 4,
        Level::Info | Level::Ok => 6,
        Level::Debug => 7,
    }
}

/// `bytes_max` of a configuration.
/// # Errors
/// [`OpenError`] beyond the bounds.
pub(crate) fn bytes_max(wish: Option<usize>, default: usize) -> Result<usize, OpenError> {
    let bytes = wish.unwrap_or(default);
    if BYTES_MAX_RANGE.contains(&bytes) {
        return Ok(bytes);
    }
    let (least, most) = (BYTES_MAX_RANGE.start(), BYTES_MAX_RANGE.end());
    Err(OpenError::value("bytes_max", format!("{bytes} is not from {least} to {most}")))
}

/// By RFC 5424, with at most [`Manners::bytes_max`] bytes. The task is the message's id and stands, as all else, in the structured
/// data `hume@NUMBER`; the extras of the event are `extra@NUMBER`. At most half of the room is theirs; what had none is counted in
/// `omitted`.
pub(crate) fn rfc5424(notice: &Notice, manners: &Manners) -> String {
    let event = &notice.event.event;
    let Manners { facility, ident, enterprise, bytes_max, zone: _ } = manners;
    let priority = facility.number() * 8 + severity(notice.level());
    let pid = event.process.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let mut text = format!(
        "<{priority}>1 {} {} {} {pid} {} ",
        time_5424(event.time),
        name(event.host.as_str(), HOST_BYTES_MAX),
        ident.as_str(),
        name(event.task.as_str(), NAME_BYTES_MAX),
    );
    let mut data = Data::new(*enterprise, (bytes_max / 2).saturating_sub(text.len()));
    for (key, value) in facts(notice) {
        data.add("hume", key, &value);
    }
    for (key, value) in &event.extra {
        data.add("extra", &parameter(key), value);
    }
    text.push_str(&data.end());
    let message = plain(&notice.text());
    if !message.is_empty() {
        text.push(' ');
        if !message.is_ascii() {
            text.push(BOM);
        }
        let room = bytes_max.saturating_sub(text.len());
        text.push_str(&cut(&message, room));
    }
    text
}

/// By RFC 3164, with at most [`Manners::bytes_max`] bytes: `TASK level: text`, since there is no other place for the two.
pub(crate) fn rfc3164(notice: &Notice, manners: &Manners, reader: Reader) -> String {
    let event = &notice.event.event;
    let Manners { facility, ident, enterprise: _, bytes_max, zone } = manners;
    let priority = facility.number() * 8 + severity(notice.level());
    let mut text = format!("<{priority}>{} ", time_3164(event.time, zone));
    if reader == Reader::Remote {
        text.push_str(&name(event.host.as_str(), HOST_BYTES_MAX));
        text.push(' ');
    }
    text.push_str(ident.as_str());
    if let Some(pid) = event.process.pid {
        let _ = write!(text, "[{pid}]");
    }
    text.push_str(": ");
    let level = notice.level().as_str();
    let told = match event.task.as_str() {
        "" => format!("{level}: {}", notice.text()),
        task => format!("{task} {level}: {}", notice.text()),
    };
    let room = bytes_max.saturating_sub(text.len());
    text.push_str(&cut(&plain(&told), room));
    text
}

/// RFC 3339 as it is, or none for years that have not four digits.
fn time_5424(time: Timestamp) -> String {
    let text = time.to_string();
    if text.as_bytes().get(4) == Some(&b'-') && text.starts_with(|c: char| c.is_ascii_digit()) {
        text
    } else {
        "-".to_owned()
    }
}

/// `Nov 24 16:00:00`, the day with a blank for a missing digit.
fn time_3164(time: Timestamp, zone: &TimeZone) -> String {
    let moment = jiff::Timestamp::from_microsecond(time.as_micros()).unwrap_or_default();
    moment.to_zoned(zone.clone()).strftime("%b %e %H:%M:%S").to_string()
}

/// Structured data, as far as there is room.
struct Data {
    text: String,
    enterprise: u32,
    element: &'static str,
    room: usize,
    omitted: u32,
}

/// Room for ` omitted="12345"]`.
const TAIL_BYTES: usize = 20;

impl Data {
    fn new(enterprise: u32, room: usize) -> Data {
        let text = format!("[hume@{enterprise}");
        Data { text, enterprise, element: "hume", room: room.saturating_sub(TAIL_BYTES), omitted: 0 }
    }

    fn add(&mut self, element: &'static str, key: &str, value: &str) {
        let mut parameter = String::new();
        if element != self.element {
            let _ = write!(parameter, "][{element}@{}", self.enterprise);
        }
        let _ = write!(parameter, " {key}=\"{}\"", escaped(&plain(&cut(value, VALUE_BYTES_MAX))));
        if self.text.len() + parameter.len() > self.room {
            self.omitted += 1;
            return;
        }
        self.element = element;
        self.text.push_str(&parameter);
    }

    fn end(mut self) -> String {
        if self.omitted > 0 {
            let _ = write!(self.text, " omitted=\"{}\"", self.omitted);
        }
        self.text.push(']');
        self.text
    }
}

/// A value of structured data.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '"' | '\\' | ']') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// A name of visible ASCII, others than that as `_`; `-` for none.
fn name(text: &str, bytes_max: usize) -> String {
    let visible = text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' });
    let name: String = visible.take(bytes_max).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

/// A name of a parameter has no `=`, `]` and `"` either.
fn parameter(key: &str) -> String {
    name(key, NAME_BYTES_MAX).replace(['=', ']', '"'], "_")
}

/// Without control characters: each is `#` and its number, in three octal digits.
fn plain(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if character.is_control() {
            let _ = write!(plain, "#{:03o}", u32::from(character));
        } else {
            plain.push(character);
        }
    }
    plain
}

/// The text with at most so many bytes; what was cut says how long it was.
fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mark = format!(" [cut, {} bytes in all]", text.len());
    let Some(room) = bytes_max.checked_sub(mark.len()) else {
        return text[..text.floor_char_boundary(bytes_max)].to_owned();
    };
    format!("{}{mark}", &text[..text.floor_char_boundary(room)])
}

#[cfg(test)]
pub(crate) mod tests;
