//! The level that a line itself tells, by a word or number at its beginning or by a field of JSON. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hume_core::Level;
use hume_core::event::LINE_BYTES_MAX;
use serde_json::value::RawValue;

use crate::fitter::MESSAGE_READ_BYTES_MAX;

/// Fields that hold the text of a line of JSON when no other was named.
const MESSAGE_FIELDS: [&str; 3] = ["message", "msg", "MESSAGE"];

/// Where the level of a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LevelFrom {
    /// Nowhere: all lines have the same.
    Nowhere,
    /// At its beginning: `ERROR:`, `[warn]`, `WARN `, `<3>`.
    Prefix,
    /// In a field of the JSON object that the line is.
    Json {
        /// The field with the level.
        level: String,
        /// The field with the text; the usual ones when none is named.
        message: Option<String>,
    },
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said<'a> {
    /// Its level, when it tells one.
    pub(super) level: Option<Level>,
    /// Its text.
    pub(super) text: Cow<'a, [u8]>,
}

impl LevelFrom {
    /// Reads `prefix`, `json:FIELD` or `json:FIELD,message:FIELD`.
    pub(super) fn parse(spec: &str) -> Option<LevelFrom> {
        if spec == "prefix" {
            return Some(LevelFrom::Prefix);
        }
        let fields = spec.strip_prefix("json:")?;
        let (level, message) = match fields.split_once(',') {
            Some((level, rest)) => (level, Some(rest.strip_prefix("message:")?)),
            None => (fields, None),
        };
        if level.is_empty() || message.is_some_and(str::is_empty) {
            return None;
        }
        Some(LevelFrom::Json { level: level.to_owned(), message: message.map(str::to_owned) })
    }

    /// How much of a line must be kept: JSON says nothing unless it is whole.
    pub(super) fn line_bytes_max(&self) -> usize {
        match self {
            LevelFrom::Nowhere | LevelFrom::Prefix => MESSAGE_READ_BYTES_MAX,
            LevelFrom::Json { .. } => LINE_BYTES_MAX,
        }
    }

    /// What this line says; a line of another kind is its own text.
    pub(super) fn read<'a>(&self, line: &'a [u8]) -> Said<'a> {
        let as_it_is = |level| Said { level, text: Cow::Borrowed(line) };
        match self {
            LevelFrom::Nowhere => as_it_is(None),
            LevelFrom::Prefix => match priority_of(line) {
                Some((priority, text)) => Said {
                    level: Some(of_priority(priority)),
                    text: Cow::Borrowed(text.strip_prefix(b" ").unwrap_or(text)),
                },
                None => as_it_is(of_beginning(line)),
            },
            LevelFrom::Json { level, message } => match object_of(line) {
                Some(object) => {
                    let text = match message {
                        Some(field) => field_of(&object, field),
                        None => MESSAGE_FIELDS.iter().find_map(|field| object.get(*field).copied()),
                    };
                    Said {
                        level: field_of(&object, level).and_then(of_value),
                        text: text.map_or(Cow::Borrowed(line), |text| Cow::Owned(text_of(text))),
                    }
                }
                None => as_it_is(None),
            },
        }
    }
}

/// The priority of syslog between angle brackets at the beginning, without the facility that may be in it, and what follows.
fn priority_of(line: &[u8]) -> Option<(u8, &[u8])> {
    let rest = line.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|byte| *byte == b'>')?;
    let digits = std::str::from_utf8(rest.get(..end)?).ok()?;
    let number: u8 = digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
    // 24 facilities of 8 priorities.
    (number < 192).then(|| Some((number % 8, rest.get(end + 1..)?)))?
}

/// The fields of an object, each as it is written.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

fn object_of(json: &[u8]) -> Option<Fields<'_>> {
    serde_json::from_str(std::str::from_utf8(json).ok()?).ok()
}

/// A field by its name; where there is none of that name, dots lead into objects.
fn field_of<'a>(object: &Fields<'a>, path: &str) -> Option<&'a RawValue> {
    object.get(path).copied().or_else(|| {
        let (first, rest) = path.split_once('.')?;
        field_of(&object_of(object.get(first)?.get().as_bytes())?, rest)
    })
}

/// A text without its quotes, and anything else as it is written.
fn text_of(value: &RawValue) -> Vec<u8> {
    let text = serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned());
    text.into_bytes()
}

fn of_value(value: &RawValue) -> Option<Level> {
    let word = text_of(value);
    let word = word.trim_ascii();
    of_word(word).or_else(|| of_number(std::str::from_utf8(word).ok()?))
}

/// A priority of syslog up to 7; from 10 on, a level of pino and bunyan. What stands behind a point does not count.
fn of_number(digits: &str) -> Option<Level> {
    let whole = digits.split_once('.').map_or(digits, |(whole, _)| whole);
    match whole.parse::<u64>().ok()? {
        priority @ 0..=7 => Some(of_priority(priority as u8)),
        8 | 9 => None,
        10..=20 => Some(Level::Debug),
        21..=30 => Some(Level::Info),
        31..=40 => Some(Level::Warning),
        41..=50 => Some(Level::Error),
        51.. => Some(Level::Critical),
    }
}

/// A priority of syslog: 0 is an emergency, 7 is for debugging.
fn of_priority(priority: u8) -> Level {
    match priority {
        0..=2 => Level::Critical,
        3 => Level::Error,
        4 => Level::Warning,
        5 | 6 => Level::Info,
        7.. => Level::Debug,
    }
}

/// The word at the beginning, before a colon or white space, or in brackets.
fn of_beginning(line: &[u8]) -> Option<Level> {
    let line = line.trim_ascii_start();
    let (close, line) = match line {
        [b'[', rest @ ..] => (Some(b']'), rest.trim_ascii_start()),
        [b'(', rest @ ..] => (Some(b')'), rest.trim_ascii_start()),
        _ => (None, line),
    };
    let end = line.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let is_ended = match close {
        Some(close) => rest.trim_ascii_start().first() == Some(&close),
        None => rest.first().is_none_or(|byte| *byte == b':' || byte.is_ascii_whitespace()),
    };
    of_word(word).filter(|_| is_ended)
}

fn of_word(word: &[u8]) -> Option<Level> {
    let level = match word.to_ascii_lowercase().as_slice() {
        b"trace" | b"debug" => Level::Debug,
        b"info" | b"notice" => Level::Info,
        b"ok" => Level::Ok,
        b"warn" | b"warning" => Level::Warning,
        b"err" | b"error" | b"severe" => Level::Error,
        b"crit" | b"critical" | b"alert" | b"emerg" | b"emergency" | b"fatal" | b"panic" => Level::Critical,
        b"unknown" => Level::Unknown,
        _ => return None,
    };
    Some(level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(spec: &str, line: &str) -> (Option<Level>, String) {
        let said = LevelFrom::parse(spec).unwrap();
        let said = said.read(line.as_bytes());
        (said.level, String::from_utf8(said.text.into_owned()).unwrap())
    }

    #[test]
    fn a_word_at_the_beginning_tells_the_level_and_stays() {
        for (line, level) in [
            ("ERROR: no space left", Level::Error),
            ("error:", Level::Error),
            ("[warn] slow", Level::Warning),
            ("[ WARN ] slow", Level::Warning),
            ("(Info) x", Level::Info),
            ("WARN disk", Level::Warning),
            ("  warning\tdisk", Level::Warning),
            ("Fatal", Level::Critical),
            ("trace x", Level::Debug),
            ("OK: done", Level::Ok),
            ("unknown: x", Level::Unknown),
        ] {
            assert_eq!(read("prefix", line), (Some(level), line.to_owned()), "{line}");
        }
    }

    #[test]
    fn a_word_that_only_begins_so_or_stands_elsewhere_tells_nothing() {
        for line in [
            "errors: 3",
            "error(5)",
            "[error",
            "[error: x]",
            "error.log",
            "no error: x",
            "",
            ":",
            "[]",
            "<192>x",
        ] {
            assert_eq!(read("prefix", line), (None, line.to_owned()), "{line}");
        }
    }

    #[test]
    fn a_priority_of_syslog_tells_the_level_and_is_taken_off() {
        for (priority, level) in [
            (0, Level::Critical),
            (1, Level::Critical),
            (2, Level::Critical),
            (3, Level::Error),
            (4, Level::Warning),
            (5, Level::Info),
            (6, Level::Info),
            (7, Level::Debug),
        ] {
            assert_eq!(read("prefix", &format!("<{priority}>x y")), (Some(level), "x y".to_owned()));
        }
        assert_eq!(read("prefix", "<3> x").1, "x");
        assert_eq!(read("prefix", "<11>x"), (Some(Level::Error), "x".to_owned()), "with its facility");
        assert_eq!(read("prefix", "<192>x"), (None, "<192>x".to_owned()));
    }

    #[test]
    fn a_field_of_json_tells_the_level_and_another_the_text() {
        for (spec, line, level, text) in [
            ("json:level", r#"{"level":"warn","msg":"slow"}"#, Some(Level::Warning), "slow"),
            ("json:level", r#"{"level":50,"message":"a","msg":"b"}"#, Some(Level::Error), "a"),
            (
                "json:severity,message:text",
                r#"{"severity":"ERROR","text":"t","msg":"b"}"#,
                Some(Level::Error),
                "t",
            ),
            ("json:PRIORITY", r#"{"PRIORITY":"4","MESSAGE":"j"}"#, Some(Level::Warning), "j"),
            ("json:log.level", r#"{"log.level":"debug","msg":"flat"}"#, Some(Level::Debug), "flat"),
            ("json:log.level,message:a.b", r#"{"log":{"level":"ok"},"a":{"b":7}}"#, Some(Level::Ok), "7"),
            ("json:level", r#"{"level":"loud","msg":"x"}"#, None, "x"),
            ("json:level", r#"{"level":null,"msg":{"a":[1]}}"#, None, r#"{"a":[1]}"#),
            ("json:level", r#"{"level":"err"}"#, Some(Level::Error), r#"{"level":"err"}"#),
            ("json:level", "ERROR: no JSON", None, "ERROR: no JSON"),
            ("json:level", r#"["level"]"#, None, r#"["level"]"#),
        ] {
            assert_eq!(read(spec, line), (level, text.to_owned()), "{spec} {line}");
        }
    }

    #[test]
    fn numbers_are_those_of_syslog_or_of_pino_and_bunyan() {
        for (number, level) in [
            ("0", Some(Level::Critical)),
            ("3", Some(Level::Error)),
            ("7", Some(Level::Debug)),
            ("9", None),
            ("-1", None),
            ("10", Some(Level::Debug)),
            ("20", Some(Level::Debug)),
            ("30", Some(Level::Info)),
            ("35", Some(Level::Warning)),
            ("40", Some(Level::Warning)),
            ("50", Some(Level::Error)),
            ("60", Some(Level::Critical)),
            ("40.5", Some(Level::Warning)),
            ("1e300", None),
        ] {
            assert_eq!(read("json:l", &format!(r#"{{"l":{number}}}"#)).0, level, "{number}");
        }
    }

    #[test]
    fn where_the_level_is_to_be_found_must_be_said_in_full() {
        for spec in
            ["", "json", "json:", "json:,message:x", "json:l,message:", "json:l,text:x", "Prefix", "prefix:"]
        {
            assert_eq!(LevelFrom::parse(spec), None, "{spec}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_and_nothing_but_a_priority_is_taken_off(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let said = LevelFrom::Prefix.read(&line);
            prop_assert!(line.ends_with(&said.text));
            prop_assert!(line.len() - said.text.len() <= 4);
            let json = LevelFrom::parse("json:level").unwrap();
            let _ = json.read(&line);
        }

        #[test]
        fn every_word_is_understood_in_every_case_and_dress(
            word in proptest::sample::select(vec!["trace", "debug", "info", "notice", "ok", "warn", "warning", "err",
                "error", "severe", "crit", "critical", "alert", "emerg", "emergency", "fatal", "panic", "unknown"]),
            upper in any::<bool>(),
            rest in "[ -~]{0,20}",
        ) {
            let cased = if upper { word.to_uppercase() } else { word.to_owned() };
            let expected = of_word(word.as_bytes());
            prop_assert!(expected.is_some());
            for line in [format!("{cased}: {rest}"), format!("[{cased}] {rest}"), format!("{cased} {rest}")] {
                prop_assert_eq!(LevelFrom::Prefix.read(line.as_bytes()).level, expected);
            }
        }
    }
}
