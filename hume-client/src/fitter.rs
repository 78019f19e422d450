//! Makes the values of an event fit its bounds, one after the other, and remembers which did not.
//!
//! What cannot be used at all is set aside as the extra `hume.<field>`, so that nothing anybody wrote is lost silently.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use hume_core::event::{Command, MESSAGE_BYTES_MAX};
use hume_core::{Level, fit};
use hume_proto::intake::DraftLine;

use crate::args::Args;
use crate::settings::{Environment, timeout_ms};

/// Most bytes kept of a word that could not be used.
const KEPT_WORD_BYTES_MAX: usize = 256;
/// Most bytes that message, extras and tree may take as JSON, together. All else on a line is less than the other
/// half of [`hume_core::event::LINE_BYTES_MAX`]. Only texts of control characters, which JSON makes six times as long,
/// ever reach it.
const TEXTS_JSON_BYTES_MAX: usize = 128 * 1024;

/// Most bytes kept of a text that is read: a message, and enough to tell that there was more without splitting a
/// character of the part that stays.
pub(crate) const MESSAGE_READ_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 4;

/// The message as it came, and how long it was there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// Its bytes, or as many of them as can be kept.
    pub(crate) bytes: Vec<u8>,
    /// How many there were.
    pub(crate) bytes_total: u64,
    /// It could not be read, and why.
    pub(crate) fault: Option<&'static str>,
}

impl From<OsString> for Message {
    fn from(text: OsString) -> Message {
        let bytes = text.into_vec();
        Message { bytes_total: bytes.len() as u64, bytes, fault: None }
    }
}

/// Makes values fit and remembers which did not.
#[derive(Default)]
pub(crate) struct Fitter {
    /// Fields that were changed.
    pub(crate) changed: Vec<&'static str>,
    set_aside: Vec<(String, String)>,
    /// What of the environment was not used, and why.
    pub(crate) remarks: Vec<String>,
}

impl Fitter {
    /// One that goes on where these fields had been changed already.
    pub(crate) fn after(changed: &[&'static str]) -> Fitter {
        Fitter { changed: changed.to_vec(), ..Fitter::default() }
    }

    pub(crate) fn changed(&mut self, field: &'static str) {
        if !self.changed.contains(&field) {
            self.changed.push(field);
        }
    }

    /// Keeps a word that cannot be used as what it was meant for, as the extra `hume.<field>`.
    fn set_aside(&mut self, field: &'static str, word: &str) {
        self.changed(field);
        self.set_aside.push((format!("hume.{field}"), fit::cut(word, KEPT_WORD_BYTES_MAX).to_owned()));
    }

    fn text(&mut self, field: &'static str, raw: &OsStr) -> String {
        let fitted = fit::text(raw.as_bytes());
        if fitted.changed {
            self.changed(field);
        }
        fitted.value
    }

    pub(crate) fn task(&mut self, args: &Args, environment: &Environment<'_>) -> String {
        let raw = args
            .task
            .clone()
            .or_else(|| environment.get("HUME_TASKNAME"))
            .or_else(|| environment.get("HTASK"))
            .unwrap_or_default();
        let text = self.text("task", &raw);
        let fitted = fit::task(&text);
        if fitted.changed {
            self.changed("task");
        }
        fitted.value.as_str().to_owned()
    }

    pub(crate) fn tags(&mut self, args: &Args, environment: &Environment<'_>) -> Vec<String> {
        let variables = [environment.get("HUME_TAGS"), environment.get("HTAGS")];
        let lists: Vec<String> =
            args.tags.iter().chain(variables.iter().flatten()).map(|list| self.text("tags", list)).collect();
        let fitted = fit::tags(lists.iter().map(String::as_str));
        if fitted.changed {
            self.changed("tags");
        }
        fitted.value.iter().map(|tag| tag.as_str().to_owned()).collect()
    }

    pub(crate) fn level(&mut self, raw: Option<&OsStr>) -> Option<String> {
        let word = self.text("level", raw?);
        let level = word.trim().parse().unwrap_or_else(|_| {
            self.set_aside("level", &word);
            Level::Unknown
        });
        Some(level.as_str().to_owned())
    }

    pub(crate) fn command(&mut self, raw: Option<&OsStr>, line: &DraftLine) -> Option<String> {
        let word = self.text("command", raw?);
        let command = Command::from_word(&word.trim().to_ascii_lowercase()).filter(|command| match command {
            Command::Flag => line.flag.is_some(),
            Command::CounterStart | Command::CounterPause | Command::CounterStop | Command::CounterReset => {
                !line.task.is_empty()
            }
        });
        if command.is_none() {
            self.set_aside("command", &word);
        }
        command.map(|command| command.as_str().to_owned())
    }

    pub(crate) fn host(&mut self, raw: Option<&OsStr>) -> Option<String> {
        let word = self.text("host", raw?);
        let fitted = fit::host(&word);
        match fitted.value {
            None => self.set_aside("host", &word),
            Some(_) if fitted.changed => self.changed("host"),
            Some(_) => {}
        }
        fitted.value.map(|host| host.as_str().to_owned())
    }

    pub(crate) fn flag(&mut self, raw: Option<&OsStr>) -> Option<String> {
        let word = self.text("flag", raw?);
        let fitted = fit::flag(&word);
        match fitted.value {
            None => self.set_aside("flag", &word),
            Some(_) if fitted.changed => self.changed("flag"),
            Some(_) => {}
        }
        fitted.value.map(|flag| flag.as_str().to_owned())
    }

    pub(crate) fn exit(&mut self, raw: Option<&OsStr>) -> Option<i32> {
        let word = self.text("exit", raw?);
        let code = word.trim().parse().ok();
        if code.is_none() {
            self.set_aside("exit", &word);
        }
        code
    }

    /// The limit itself is used in [`crate::settings`]; here a word that was none is kept.
    pub(crate) fn time_limit(&mut self, raw: Option<&OsStr>) {
        if let Some(raw) = raw
            && timeout_ms(raw).is_none()
        {
            let word = self.text("recv_timeout", raw);
            self.set_aside("recv_timeout", &word);
        }
    }

    /// Only a start can be detached; where the command was no usable one, the wish goes with it.
    pub(crate) fn detach(&mut self, is_asked: bool, command: Option<&str>) -> bool {
        let is_start = command == Some(Command::CounterStart.as_str());
        if is_asked && !is_start {
            self.changed("detach");
        }
        is_asked && is_start
    }

    /// The key of the run. What `hume exec` exported with a key goes with it, also when `--run-id` hands the same key on:
    /// the task, so that the agent notices a key of another one, and the host that the run is on.
    pub(crate) fn run_key(&mut self, args: &Args, environment: &Environment<'_>, line: &mut DraftLine) {
        let is_inherited = args.run_id.is_none();
        let exported = environment.get("HUME_RUN_ID");
        let is_exported = is_inherited || args.run_id == exported;
        let Some(raw) = args.run_id.clone().or(exported) else { return };
        let word = self.text("run_key", &raw);
        let fitted = fit::run_key(&word);
        match fitted.value {
            None => return self.set_aside("run_key", &word),
            Some(_) if fitted.changed => self.changed("run_key"),
            Some(_) => {}
        }
        line.run_key = fitted.value.map(|key| key.as_str().to_owned());
        line.run_key_inherited = is_inherited;
        if !is_exported {
            return;
        }
        if let Some(task) = environment.get("HUME_RUN_TASK") {
            line.run_key_task = Some(fit::task(&fit::text(task.as_bytes()).value).value.as_str().to_owned());
        }
        let is_of_this_task = line.run_key_task.as_ref().is_none_or(|task| *task == line.task);
        if is_of_this_task && args.hostname.is_none() {
            line.host = self.host(environment.get("HUME_RUN_HOST").as_deref());
        }
    }

    pub(crate) fn script_line(&mut self, environment: &Environment<'_>) -> Option<u32> {
        let raw = environment.get("LINENO")?;
        let line = raw.to_str().and_then(|word| word.trim().parse().ok());
        if line.is_none() {
            let word = fit::text(raw.as_bytes()).value;
            self.remarks.push(format!("LINENO={word} is not the number of a line; it is left out"));
        }
        line
    }

    pub(crate) fn message(&mut self, message: Message) -> (String, Option<u64>) {
        let Message { bytes, bytes_total, fault } = message;
        if let Some(fault) = fault {
            self.set_aside("message", fault);
        }
        let bytes_unread = bytes_total.saturating_sub(bytes.len() as u64);
        let fitted = fit::text(&bytes);
        if fitted.changed {
            self.changed("message");
        }
        let bytes_full = fitted.value.len() as u64 + bytes_unread;
        let (kept, mut truncated_from) = fit::message(fitted.value);
        if bytes_unread > 0 || truncated_from.is_some() {
            self.changed("message");
            truncated_from = Some(bytes_full);
        }
        (kept, truncated_from)
    }

    /// What was set aside comes first, so that many extras cannot push it out.
    pub(crate) fn extra(&mut self, words: &[OsString]) -> Vec<(String, String)> {
        let mut given = Vec::with_capacity(words.len());
        for raw in words {
            let word = self.text("extra", raw);
            match word.split_once(['=', ':']) {
                Some((key, value)) if !key.is_empty() => given.push((key.to_owned(), value.to_owned())),
                Some(_) => self.set_aside("extra", &word),
                None if word.is_empty() => self.changed("extra"),
                None => {
                    self.changed("extra");
                    given.push((word, String::new()));
                }
            }
        }
        let mut pairs = std::mem::take(&mut self.set_aside);
        pairs.extend(given);
        let fitted = fit::extra(pairs);
        if fitted.changed {
            self.changed("extra");
        }
        fitted.value
    }

    /// Holds the line below its limit. The message stays: at its worst, of control characters alone, it has 96 KiB of
    /// JSON. Extras stay from the first one on while they fit, and the tree if there is room for it then.
    pub(crate) fn shorten(&mut self, line: &mut DraftLine) {
        let json = |text: &str| serde_json::to_string(text).map_or(0, |json| json.len());
        let raw_bytes = |line: &DraftLine| {
            let extra: usize = line.extra.0.iter().map(|(key, value)| key.len() + value.len() + 6).sum();
            line.message.len() + extra + line.tree.as_ref().map_or(0, String::len)
        };
        if raw_bytes(line) * 6 <= TEXTS_JSON_BYTES_MAX {
            return;
        }
        let mut left = TEXTS_JSON_BYTES_MAX.saturating_sub(json(&line.message));
        let mut kept = 0;
        for (key, value) in &line.extra.0 {
            let bytes = json(key) + json(value) + 2;
            if bytes > left {
                break;
            }
            left -= bytes;
            kept += 1;
        }
        if kept < line.extra.0.len() {
            line.extra.0.truncate(kept);
            self.changed("extra");
        }
        if line.tree.as_deref().is_some_and(|tree| json(tree) > left) {
            line.tree = None;
            self.changed("tree");
        }
    }
}
