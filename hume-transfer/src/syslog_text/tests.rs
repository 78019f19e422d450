//! What is written is read back by a parser of the RFC's own grammar, whatever the event says.

use std::collections::BTreeMap;

use hume_core::status::Status;
use hume_core::{RunId, TaskName};
use proptest::prelude::*;

use super::*;
use crate::notice::{About, RunNotice};
use crate::testing::{documented, stored};

/// A message of RFC 5424, read by its grammar.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) priority: u8,
    pub(crate) time: String,
    pub(crate) host: String,
    pub(crate) app: String,
    pub(crate) process: String,
    pub(crate) id: String,
    pub(crate) data: Vec<(String, Vec<(String, String)>)>,
    pub(crate) message: String,
}

impl Parsed {
    /// The values of a parameter.
    pub(crate) fn values(&self, element: &str, name: &str) -> Vec<&str> {
        let of_element = self.data.iter().filter(|(id, _)| id == element).flat_map(|(_, pairs)| pairs);
        of_element.filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// Reads by RFC 5424, section 6; anything that its grammar does not allow is an error.
pub(crate) fn parse(text: &str) -> Result<Parsed, String> {
    let rest = text.strip_prefix('<').ok_or("no priority")?;
    let (priority, rest) = rest.split_once('>').ok_or("no end of the priority")?;
    let priority: u8 = priority.parse().map_err(|_| "the priority is no number")?;
    if priority > 191 {
        return Err("the priority is too large".to_owned());
    }
    let rest = rest.strip_prefix("1 ").ok_or("not version 1")?;
    let mut parts = rest.splitn(6, ' ');
    let mut header = |most: usize| -> Result<String, String> {
        let word = parts.next().ok_or("the header ends early")?;
        let is_visible = word.bytes().all(|byte| (33..=126).contains(&byte));
        if word.is_empty() || word.len() > most || !is_visible {
            return Err(format!("`{word}` is no word of the header"));
        }
        Ok(word.to_owned())
    };
    let (time, host, app) = (header(32)?, header(255)?, header(48)?);
    let (process, id) = (header(128)?, header(32)?);
    if time != "-" && (time.parse::<Timestamp>().is_err() || !time.is_ascii() || time.len() > 27) {
        return Err(format!("`{time}` is no time"));
    }
    let (data, rest) = structured(parts.next().ok_or("no structured data")?)?;
    let message = match rest.strip_prefix(' ') {
        None if rest.is_empty() => "",
        None => return Err(format!("`{rest}` follows the structured data")),
        Some(message) => match message.strip_prefix(BOM) {
            Some(message) => message,
            None if message.is_ascii() => message,
            None => return Err("UTF-8 without its mark".to_owned()),
        },
    };
    Ok(Parsed { priority, time, host, app, process, id, data, message: message.to_owned() })
}

type Elements = Vec<(String, Vec<(String, String)>)>;

fn structured(text: &str) -> Result<(Elements, &str), String> {
    if let Some(rest) = text.strip_prefix('-') {
        return Ok((Vec::new(), rest));
    }
    let (mut elements, mut rest) = (Elements::new(), text);
    while let Some(inner) = rest.strip_prefix('[') {
        let end = inner.find([' ', ']']).ok_or("an element has no end")?;
        let id = sd_name(&inner[..end])?;
        if elements.iter().any(|(other, _)| *other == id) {
            return Err(format!("`{id}` stands twice"));
        }
        let (mut pairs, mut tail) = (Vec::new(), &inner[end..]);
        while let Some(parameter) = tail.strip_prefix(' ') {
            let (key, value) = parameter.split_once("=\"").ok_or("a parameter has no value")?;
            let (value, after) = sd_value(value)?;
            pairs.push((sd_name(key)?, value));
            tail = after;
        }
        rest = tail.strip_prefix(']').ok_or("an element is not closed")?;
        elements.push((id, pairs));
    }
    if elements.is_empty() { Err("no structured data".to_owned()) } else { Ok((elements, rest)) }
}

fn sd_name(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| (33..=126).contains(&byte) && !b"= ]\"".contains(&byte);
    if text.is_empty() || text.len() > 32 || !text.bytes().all(is_allowed) {
        return Err(format!("`{text}` is no name"));
    }
    Ok(text.to_owned())
}

fn sd_value(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            ']' => return Err("a bracket without its escape".to_owned()),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\' | ']'))) => value.push(escaped),
                _ => return Err("a lone backslash".to_owned()),
            },
            character => value.push(character),
        }
    }
    Err("a value is not closed".to_owned())
}

fn manners() -> Manners {
    Manners {
        facility: Facility::DAEMON,
        ident: Ident::hume(),
        enterprise: ENTERPRISE,
        bytes_max: BYTES_MAX,
        zone: TimeZone::UTC,
    }
}

/// A run that failed, as a notice.
pub(crate) fn run_notice() -> Notice {
    let event = stored(Level::Error, "BACKUP", "db1", "disk full");
    let run = RunNotice {
        id: RunId::from_bytes([3; 16]),
        status: Status::Failed,
        started_at: event.event.time,
        ended_at: Some(event.event.time.plus_micros(185_000_000)),
        duration_us: 185_000_000,
        by_level: BTreeMap::from([("error", 2), ("info", 36)]),
        first_error: Some("disk full".to_owned()),
        exit_code: Some(2),
        reason: None,
    };
    Notice { via: Some("relay1".to_owned()), about: About::Run(run), ..Notice::of(event) }
}

/// Forty events in one notice.
pub(crate) fn digest_notice() -> Notice {
    let mut digest = crate::notice::Digest::default();
    for at in 0..40 {
        digest.add(&Notice::of(stored(Level::Error, "BACKUP", "db1", &format!("event {at}"))));
    }
    let event = stored(Level::Error, "BACKUP", "db1", "event 0");
    Notice { about: About::Digest(digest), ..Notice::of(event) }
}

#[test]
fn every_level_has_its_severity() {
    let told = Level::ALL.map(|level| {
        let text = rfc5424(&Notice::of(stored(level, "BACKUP", "web1", "x")), &manners());
        (level.as_str(), parse(&text).unwrap().priority)
    });
    assert_eq!(
        told,
        [
            ("debug", 31),
            ("info", 30),
            ("ok", 30),
            ("warning", 28),
            ("error", 27),
            ("critical", 26),
            ("unknown", 28)
        ]
    );
}

#[test]
fn every_facility_has_the_number_of_the_rfc() {
    #[derive(Debug, Deserialize)]
    struct Whole {
        facility: Facility,
    }
    let read = |word: &str| {
        let text = format!("facility = \"{word}\"");
        toml::from_str::<Whole>(&text).map(|whole| whole.facility.number())
    };
    for (word, number) in [("kern", 0), ("daemon", 3), ("authpriv", 10), ("local0", 16), ("local7", 23)] {
        assert_eq!(read(word).unwrap(), number);
    }
    let error = read("local8").unwrap_err().to_string();
    assert!(error.contains("unknown facility `local8`, there are `kern`, `user`,"), "{error}");
}

#[test]
fn a_message_has_every_field_in_its_place() {
    let parsed = parse(&rfc5424(&Notice::of(documented()), &manners())).unwrap();
    let header = (parsed.time.as_str(), parsed.host.as_str(), parsed.app.as_str());
    assert_eq!(header, ("2025-11-24T16:00:00.000000Z", "db1", "hume"));
    assert_eq!((parsed.process.as_str(), parsed.id.as_str()), ("4711", "BACKUP_DB"));
    assert_eq!(parsed.message, "pg_dump: connection to server failed");
    let own = "hume@32473";
    assert_eq!(parsed.values(own, "tag"), ["backup", "nightly"]);
    for (name, value) in
        [("level", "error"), ("task", "BACKUP_DB"), ("user", "postgres"), ("line", "41"), ("about", "event")]
    {
        assert_eq!(parsed.values(own, name), [value], "{name}");
    }
    assert_eq!(parsed.values("extra@32473", "database"), ["shop"]);
    assert!(parsed.values(own, "omitted").is_empty());
}

#[test]
fn a_run_and_a_digest_are_told_in_a_sentence_and_in_numbers() {
    let run = parse(&rfc5424(&run_notice(), &manners())).unwrap();
    assert_eq!(run.message, "BACKUP on db1: failed, ended after 3m 5s: disk full");
    let own = "hume@32473";
    for (name, value) in [
        ("about", "run"),
        ("via", "relay1"),
        ("run_status", "failed"),
        ("run_duration_us", "185000000"),
        ("run_levels", "error=2 info=36"),
        ("run_exit_code", "2"),
    ] {
        assert_eq!(run.values(own, name), [value], "{name}");
    }
    let digest = parse(&rfc5424(&digest_notice(), &manners())).unwrap();
    assert_eq!(digest.message, "+40 more from db1");
    assert_eq!(digest.values(own, "digest_count"), ["40"]);
    assert_eq!(digest.values(own, "digest_hosts"), ["db1=40"]);
    assert_eq!(digest.values(own, "digest_sample").len(), 5);
}

#[test]
fn the_older_form_has_local_time_and_the_task_in_its_text() {
    let notice = Notice::of(documented());
    let berlin = TimeZone::fixed(jiff::tz::offset(1));
    let manners = Manners { zone: berlin, facility: Facility(23), ..manners() };
    assert_eq!(
        rfc3164(&notice, &manners, Reader::Remote),
        "<187>Nov 24 17:00:00 db1 hume[4711]: BACKUP_DB error: pg_dump: connection to server failed"
    );
    assert_eq!(
        rfc3164(&Notice::of(stored(Level::Ok, "", "db1", "fine")), &manners, Reader::Local),
        "<190>Nov 24 17:00:00 hume: ok: fine"
    );
    let early = Timestamp::from_micros(1_764_547_200_000_000);
    assert_eq!(time_3164(early, &TimeZone::UTC), "Dec  1 00:00:00");
}

#[test]
fn what_is_too_long_is_cut_at_the_border_of_a_character_and_says_so() {
    let long = "ä".repeat(5000);
    let text = rfc5424(&Notice::of(stored(Level::Info, "BACKUP", "web1", &long)), &manners());
    assert!(text.len() <= BYTES_MAX && text.len() > BYTES_MAX - 4, "{}", text.len());
    let parsed = parse(&text).unwrap();
    assert!(parsed.message.ends_with("ä [cut, 10000 bytes in all]"), "{}", parsed.message);
    let old = rfc3164(&Notice::of(stored(Level::Info, "BACKUP", "web1", &long)), &manners(), Reader::Remote);
    assert!(old.len() <= BYTES_MAX && old.ends_with("ä [cut, 10013 bytes in all]"), "{old}");
    assert_eq!(cut("äöü", 3), "ä");
}

#[test]
fn structured_data_leaves_half_of_the_room_to_the_text_and_counts_what_had_none() {
    let mut event = stored(Level::Info, "BACKUP", "web1", &"x".repeat(16_000));
    event.event.extra = (0..64).map(|at| (format!("key{at}"), "v".repeat(400))).collect();
    let text = rfc5424(&Notice::of(event), &manners());
    let parsed = parse(&text).unwrap();
    assert!(parsed.message.len() >= BYTES_MAX / 2, "{}", parsed.message.len());
    let shown = parsed.data[1].1.len() - 1;
    assert!(shown > 5);
    assert_eq!(parsed.values("extra@32473", "omitted"), [(64 - shown).to_string()]);
}

#[test]
fn years_without_four_digits_are_no_time_of_the_rfc() {
    for (micros, expected) in
        [(i64::MIN, "-"), (i64::MAX, "9999-12-30T22:00:00.000000Z"), (0, "1970-01-01T00:00:00.000000Z")]
    {
        assert_eq!(time_5424(Timestamp::from_micros(micros)), expected);
    }
}

fn any_notice() -> impl Strategy<Value = Notice> {
    let task =
        any::<String>().prop_map(|text| if TaskName::parse(&text).is_ok() { text } else { "T".into() });
    let extra = prop::collection::vec((any::<String>(), any::<String>()), 0..6);
    (task, any::<String>(), extra, 0..Level::ALL.len(), any::<i64>(), any::<Option<u32>>()).prop_map(
        |(task, message, extra, level, time, pid)| {
            let mut event = stored(Level::ALL[level], &task, "hôst]1", &message);
            event.event.time = Timestamp::from_micros(time);
            event.event.process.pid = pid;
            event.event.process.user = Some(message);
            event.event.extra = extra;
            Notice::of(event)
        },
    )
}

proptest! {
    #[test]
    fn any_event_is_a_message_of_the_grammar_and_reads_back(notice in any_notice(), bytes_max in 480_usize..20_000) {
        let manners = Manners { bytes_max, ..manners() };
        let text = rfc5424(&notice, &manners);
        prop_assert!(text.len() <= bytes_max, "{} of {bytes_max}: {text}", text.len());
        prop_assert!(!text.contains(char::is_control));
        let parsed = parse(&text).map_err(TestCaseError::fail)?;
        if bytes_max > 10_000 {
            let event = &notice.event.event;
            prop_assert_eq!(&parsed.message, &plain(&event.message));
            prop_assert_eq!(parsed.values("hume@32473", "user"), [plain(&event.message)]);
            let told: Vec<&String> =
                parsed.data.iter().filter(|(id, _)| id == "extra@32473").flat_map(|(_, pairs)| pairs).map(|(_, value)| value).collect();
            let expected: Vec<String> = event.extra.iter().map(|(_, value)| plain(value)).collect();
            prop_assert_eq!(told, expected.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn any_event_is_one_line_of_the_older_form(notice in any_notice(), bytes_max in 480_usize..2000) {
        let manners = Manners { bytes_max, ..manners() };
        for reader in [Reader::Local, Reader::Remote] {
            let text = rfc3164(&notice, &manners, reader);
            prop_assert!(text.len() <= bytes_max);
            prop_assert!(!text.contains(char::is_control));
            prop_assert!(text.contains(" hume"));
        }
    }
}
