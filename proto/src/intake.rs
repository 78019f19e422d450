//! What `hume` and the agent say to each other: JSON Lines over a Unix socket, one object in, one answer line out.
//!
//! The same line, without an answer, is the content of a file in the drop folder. A line is at most
//! [`LINE_BYTES_MAX`] bytes. Reading is strict: an unknown key or a value out of bounds is an error that names the field.

use std::fmt;

use hume_core::event::{
    BootClock, Caller, Command, Draft, DraftKey, Exit, KeySource, LINE_BYTES_MAX, OverlapWish,
};
use hume_core::name::{BootId, FlagName, RunKey};
use hume_core::policy::Overlap;
use hume_core::process::{Chain, Link, ProcessRef};
use hume_core::{BoundError, ErrorClass, EventId, HostName, Level, RunId, Seq, Tag, TaskName, Timestamp};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A draft as one line of JSON. Only `task` or `message` is needed; everything else has a default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DraftLine {
    /// UUID (version 7) minted by the caller; the agent mints one when it is missing, and a retry is then another event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Only to report for another host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Task name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub task: String,
    /// Labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// One of the seven levels; `info` when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// `counter-start`, `counter-pause`, `counter-stop`, `counter-reset` or `flag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Name of the mark for the command `flag`; on its own it implies that command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
    /// Text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The text's true length in bytes when the caller cut it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated_from: Option<u64>,
    /// More facts, in order; values may be texts, numbers or booleans.
    #[serde(skip_serializing_if = "Pairs::is_empty")]
    pub extra: Pairs,
    /// Exit code of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// Signal that ended the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Line of the script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Process tree as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// Key of the run to join or open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_key: Option<String>,
    /// True when the key came from the environment: it is then ignored for another task instead of refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub run_key_inherited: bool,
    /// Task the key was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_key_task: Option<String>,
    /// With counter-start: the end of the process that starts the run says nothing about the run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub detach: bool,
    /// With counter-start, from whoever can still decide not to start the job: `allow`, `warn`, `forbid`, or `policy` for
    /// what the agent's configuration says. Without it a start is never refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// True when the caller cut or escaped something.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mangled: bool,
    /// The caller's surroundings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<CallerLine>,
    /// Shared token of the local socket, where one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<SocketToken>,
}

/// The shared token of a local socket. Debug does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocketToken(pub String);

impl fmt::Debug for SocketToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What the caller says of its surroundings; believed only where the kernel's word is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallerLine {
    /// Own pid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Parent's pid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppid: Option<u32>,
    /// Session id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u32>,
    /// `INVOCATION_ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Working folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// `CLOCK_BOOTTIME` in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boottime_us: Option<u64>,
    /// Boot id, in drop files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Ancestors, itself first, in drop files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<Vec<LinkLine>>,
    /// The script, in drop files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
}

/// One process of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkLine {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start: u64,
    /// Command name.
    pub comm: String,
    /// See [`Link::terminal_leader`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminal_leader: bool,
    /// See [`Link::subshell`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub subshell: bool,
    /// See [`Link::shell_text`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shell_text: bool,
}

/// The agent's answer to one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerLine {
    /// True when the event is on disk.
    pub ok: bool,
    /// The event's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    /// Its place in the spool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The run it was placed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// `invalid`, `denied`, `full`, `busy` or `internal`; `conflict` when a start was refused because of its `overlap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Which field was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl AnswerLine {
    /// The event is on disk.
    pub fn stored(id: EventId, seq: Seq, run: Option<RunId>) -> AnswerLine {
        AnswerLine { ok: true, id: Some(id), seq: Some(seq.get()), run, code: None, error: None, field: None }
    }

    /// The event was not taken.
    pub fn refused(class: ErrorClass, error: impl Into<String>, field: Option<&str>) -> AnswerLine {
        AnswerLine {
            ok: false,
            id: None,
            seq: None,
            run: None,
            code: Some(class.as_str().to_owned()),
            error: Some(error.into()),
            field: field.map(str::to_owned),
        }
    }

    /// The class of the refusal; `internal` when the word is not known.
    pub fn class(&self) -> Option<ErrorClass> {
        let code = self.code.as_deref()?;
        Some(ErrorClass::from_word(code).unwrap_or(ErrorClass::Internal))
    }
}

/// Texts by text, in order, doubles kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(pub Vec<(String, String)>);

impl Pairs {
    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pairs, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts, numbers or booleans")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Plain>()? {
                    pairs.push((key, value.0));
                }
                Ok(Pairs(pairs))
            }
        }

        from.deserialize_map(InOrder)
    }
}

/// A text, number or boolean, as text.
struct Plain(String);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Plain, D::Error> {
        struct AsText;

        impl Visitor<'_> for AsText {
            type Value = Plain;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a boolean")
            }

            fn visit_str<E>(self, value: &str) -> Result<Plain, E> {
                Ok(Plain(value.to_owned()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Plain, E> {
                Ok(Plain(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Plain, E> {
                Ok(Plain(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Plain, E> {
                Ok(Plain(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Plain, E> {
                Ok(Plain(value.to_string()))
            }
        }

        from.deserialize_any(AsText)
    }
}

/// A line was not a draft.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It was not JSON of the right shape.
    #[error("not a JSON object of a draft: {0}")]
    Shape(String),
    /// It was longer than [`LINE_BYTES_MAX`].
    #[error("the line has more than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// A value was out of bounds.
    #[error(transparent)]
    Bound(#[from] BoundError),
}

impl LineError {
    /// The field that was wrong, if it was a field.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            LineError::Bound(bound) => Some(bound.field),
            LineError::Shape(_) | LineError::TooLong => None,
        }
    }
}

/// One parsed line: the draft, and the token that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Within bounds.
    pub draft: Draft,
    /// As sent.
    pub token: Option<SocketToken>,
}

/// Reads one line, without its newline. `mint` makes an id for drafts that bring none.
///
/// # Errors
/// [`LineError`]: nothing of the line may be used then.
pub fn parse(line: &[u8], mint: impl FnOnce() -> EventId) -> Result<Parsed, LineError> {
    if line.len() >= LINE_BYTES_MAX {
        return Err(LineError::TooLong);
    }
    // A list would be taken for the fields in their order.
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err(LineError::Shape("it does not begin with `{`".to_owned()));
    }
    let raw: DraftLine = serde_json::from_slice(line).map_err(|error| LineError::Shape(error.to_string()))?;
    let token = raw.token.clone();
    Ok(Parsed { draft: raw.into_draft(mint)?, token })
}

impl DraftLine {
    /// Checks every value.
    ///
    /// # Errors
    /// The first [`BoundError`], naming field and bound.
    pub fn into_draft(self, mint: impl FnOnce() -> EventId) -> Result<Draft, BoundError> {
        let DraftLine {
            id,
            time,
            host,
            task,
            tags,
            level,
            command,
            flag,
            message,
            truncated_from,
            extra,
            exit,
            signal,
            line,
            tree,
            run_key,
            run_key_inherited,
            run_key_task,
            detach,
            overlap,
            mangled,
            caller,
            token: _,
        } = self;
        let id = match id {
            Some(text) => EventId::parse(&text)?,
            None => mint(),
        };
        let mut draft = Draft::new(id, TaskName::parse(&task)?);
        draft.time = time
            .map(|text| text.parse::<Timestamp>())
            .transpose()
            .map_err(|_| BoundError::new("time", "must be an RFC 3339 time such as 2026-11-22T10:00:00Z"))?;
        draft.host = host.as_deref().map(HostName::parse).transpose()?;
        draft.tags = tags.iter().map(|tag| Tag::parse(tag)).collect::<Result<_, _>>()?;
        if let Some(word) = level {
            draft.level = word.parse::<Level>().map_err(|_| {
                BoundError::new("level", "must be debug, info, ok, warning, error, critical or unknown")
            })?;
        }
        draft.flag = flag.as_deref().map(FlagName::parse).transpose()?;
        draft.command = match command {
            Some(word) => Some(Command::from_word(&word).ok_or(BoundError::new(
                "command",
                "must be counter-start, counter-pause, counter-stop, counter-reset or flag",
            ))?),
            None => draft.flag.is_some().then_some(Command::Flag),
        };
        draft.message = message;
        draft.truncated_from = truncated_from;
        draft.extra = extra.0;
        draft.exit = match (exit, signal) {
            (Some(_), Some(_)) => {
                return Err(BoundError::new("signal", "cannot be given beside an exit code"));
            }
            (Some(code), None) => Some(Exit::Code(code)),
            (None, Some(signal)) => Some(Exit::Signal(signal)),
            (None, None) => None,
        };
        draft.line = line;
        draft.tree = tree;
        draft.key = match run_key {
            Some(key) => Some(DraftKey {
                key: RunKey::parse(&key)?,
                source: if run_key_inherited { KeySource::Environment } else { KeySource::Flag },
                task: run_key_task.as_deref().map(TaskName::parse).transpose()?,
            }),
            None => None,
        };
        draft.detach = detach;
        draft.overlap = match overlap.as_deref() {
            None => None,
            Some("policy") => Some(OverlapWish::Policy),
            Some("begun") => Some(OverlapWish::Begun),
            Some(word) => Some(OverlapWish::Only(
                Overlap::from_word(word)
                    .ok_or(BoundError::new("overlap", "must be allow, warn, forbid, policy or begun"))?,
            )),
        };
        draft.mangled = mangled;
        if let Some(caller) = caller {
            draft.caller = caller.into_caller()?;
        }
        draft.check()
    }
}

impl CallerLine {
    fn into_caller(self) -> Result<Caller, BoundError> {
        let CallerLine { pid, ppid, session, unit, cwd, boottime_us, boot_id, chain, script } = self;
        let boot = boot_id.as_deref().map(BootId::parse).transpose()?;
        let boot_clock = match (boot, boottime_us) {
            (Some(boot), Some(micros)) => Some(BootClock { boot, micros }),
            // The agent knows its own boot and fills it in.
            (None, Some(micros)) => Some(BootClock { boot: BootId::from_bytes([0; 16]), micros }),
            (_, None) => None,
        };
        let chain = chain.map(|links| Chain::new(links.into_iter().map(Link::from).collect()));
        Ok(Caller { pid, ppid, session, unit, cwd, boot_clock, chain, script })
    }
}

impl From<LinkLine> for Link {
    fn from(line: LinkLine) -> Link {
        let LinkLine { pid, start, comm, terminal_leader, subshell, shell_text } = line;
        Link { process: ProcessRef { pid, start_ticks: start }, comm, terminal_leader, subshell, shell_text }
    }
}

impl From<&Link> for LinkLine {
    fn from(link: &Link) -> LinkLine {
        let Link { process, comm, terminal_leader, subshell, shell_text } = link;
        LinkLine {
            pid: process.pid,
            start: process.start_ticks,
            comm: comm.clone(),
            terminal_leader: *terminal_leader,
            subshell: *subshell,
            shell_text: *shell_text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mint() -> EventId {
        EventId::from_bytes([5; 16])
    }

    fn draft(line: &str) -> Result<Draft, LineError> {
        parse(line.as_bytes(), mint).map(|parsed| parsed.draft)
    }

    #[test]
    fn the_shortest_useful_line_is_a_task_and_a_message() {
        let draft = draft(r#"{"task":"X","message":"hi"}"#).unwrap();
        assert_eq!((draft.task.as_str(), draft.message.as_str(), draft.level), ("X", "hi", Level::Info));
        assert_eq!(draft.id, mint());
    }

    #[test]
    fn extras_keep_their_order_and_take_numbers_and_booleans() {
        let draft = draft(r#"{"extra":{"b":1,"a":true,"c":"x","b2":1.5}}"#).unwrap();
        let pairs: Vec<_> = draft.extra.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(pairs, ["b=1", "a=true", "c=x", "b2=1.5"]);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_field() {
        for (line, field) in [
            (r#"{"level":"loud"}"#, "level"),
            (r#"{"command":"counter-stopp","task":"x"}"#, "command"),
            (r#"{"command":"counter-stop"}"#, "task"),
            (r#"{"time":"noon"}"#, "time"),
            (r#"{"id":"7"}"#, "id"),
            (r#"{"tags":["a,b"]}"#, "tags"),
            (r#"{"task":" x"}"#, "task"),
            (r#"{"exit":1,"signal":9}"#, "signal"),
            (r#"{"extra":{"":"x"}}"#, "extra"),
            (r#"{"task":"x\u0000y"}"#, "task"),
        ] {
            let error = draft(line).unwrap_err();
            assert_eq!(error.field(), Some(field), "{line}: {error}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = draft(r#"{"tsk":"x"}"#).unwrap_err();
        assert!(error.to_string().contains("`tsk`"), "{error}");
    }

    #[test]
    fn a_list_is_not_taken_for_the_fields_in_their_order() {
        for line in ["[]", "[\"id\"]", "null", "7", "\"text\"", " ["] {
            assert!(matches!(draft(line), Err(LineError::Shape(_))), "{line}");
        }
        assert!(draft(" {\"task\":\"x\"}").is_ok());
    }

    #[test]
    fn ten_thousand_tags_are_refused_and_a_long_line_is_not_even_read() {
        let tags: Vec<String> = (0..10_000).map(|n| format!("\"t{n}\"")).collect();
        let error = draft(&format!("{{\"tags\":[{}]}}", tags.join(","))).unwrap_err();
        assert_eq!(error.field(), Some("tags"));
        assert_eq!(parse(&vec![b' '; LINE_BYTES_MAX], mint), Err(LineError::TooLong));
    }

    #[test]
    fn a_line_of_every_field_reads_back() {
        let line = DraftLine {
            id: Some(mint().to_string()),
            time: Some("2026-11-22T10:00:00.000001Z".into()),
            host: Some("web1".into()),
            task: "BACKUP".into(),
            tags: vec!["a".into()],
            level: Some("error".into()),
            command: Some("flag".into()),
            flag: Some("half".into()),
            message: "m".into(),
            truncated_from: Some(20_000),
            extra: Pairs(vec![("k".into(), "v".into())]),
            exit: None,
            signal: Some(9),
            line: Some(12),
            tree: Some("a\nb".into()),
            run_key: Some("k".into()),
            run_key_inherited: true,
            run_key_task: Some("BACKUP".into()),
            detach: false,
            overlap: None,
            mangled: true,
            caller: Some(CallerLine { pid: Some(1), chain: Some(vec![]), ..CallerLine::default() }),
            token: Some(SocketToken("t".into())),
        };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<DraftLine>(&text).unwrap(), line);
        assert_eq!(parse(text.as_bytes(), mint).unwrap().draft.exit, Some(Exit::Signal(9)));
    }

    #[test]
    fn what_belongs_to_a_start_is_refused_elsewhere() {
        let start =
            draft("{\"task\":\"X\",\"command\":\"counter-start\",\"detach\":true,\"overlap\":\"policy\"}");
        let start = start.unwrap();
        assert_eq!((start.detach, start.overlap), (true, Some(OverlapWish::Policy)));
        for (line, field) in [
            ("{\"task\":\"X\",\"detach\":true}", "detach"),
            ("{\"task\":\"X\",\"command\":\"counter-stop\",\"overlap\":\"warn\"}", "overlap"),
            ("{\"task\":\"X\",\"command\":\"counter-start\",\"overlap\":\"perhaps\"}", "overlap"),
        ] {
            assert_eq!(draft(line).unwrap_err().field(), Some(field), "{line}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes, mint);
        }
    }
}
