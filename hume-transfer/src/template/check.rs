//! Whether a template can be used: it is read for names that no notice has, and tried on one of each kind.
//!
//! A name that a notice may have and this one has not is empty, so a misspelt one would never be noticed by rendering.

use hume_core::event::{Event, Exit, StoredEvent};
use hume_core::status::Status;
use hume_core::{Epoch, EventId, HostName, Level, Position, RunId, Seq, TaskName, Timestamp};
use minijinja::Value;
use minijinja::value::ValueKind;

use super::{Fault, Templates, fault, place};
use crate::notice::{About, Digest, Notice, RunNotice};

/// Tables whose keys are not ours.
const OPEN: [&str; 4] = ["extra", "by_level", "by_host", "by_task"];
/// Names that a kind may give beside the notice (`Templates::render_with`).
const OF_KINDS: [&str; 2] = ["token", "values"];

pub(super) fn check(templates: &Templates, name: &str) -> Result<(), Fault> {
    let template = templates.environment.get_template(name).map_err(|error| fault(name, &error))?;
    let mut undeclared: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    undeclared.sort();
    let samples = samples();
    let contexts: Vec<Value> = samples.iter().map(|sample| templates.context(sample, &[])).collect();
    for path in undeclared {
        let first = path.split('.').next().unwrap_or_default();
        let is_global = templates.environment.globals().any(|(global, _)| global == first);
        if is_global || OF_KINDS.contains(&first) || contexts.iter().any(|context| knows(context, &path)) {
            continue;
        }
        let line = line_of(template.source(), &path);
        let reason = format!("no notice has `{path}`");
        return Err(Fault::Text { place: place(name), line, reason });
    }
    contexts.iter().try_for_each(|context| templates.render_one(name, context).map(drop))
}

/// Whether the context has this path, `event.extra.database`, as far as its keys are ours.
fn knows(context: &Value, path: &str) -> bool {
    let mut here = context.clone();
    for segment in path.split('.') {
        if here.kind() != ValueKind::Map {
            // What is not there in this sample may be in another; a method of a text is found by rendering.
            return !here.is_none() && !here.is_undefined();
        }
        match here.get_attr(segment) {
            Ok(next) if !next.is_undefined() => here = next,
            _ => return false,
        }
        if OPEN.contains(&segment) {
            return true;
        }
    }
    true
}

/// The first line that has the path, or else its last name.
fn line_of(source: &str, path: &str) -> Option<usize> {
    let last = path.rsplit('.').next().unwrap_or(path);
    let find = |text: &str| source.lines().position(|line| line.contains(text)).map(|at| at + 1);
    find(path).or_else(|| find(last))
}

/// A notice of each kind, with everything there is, and an event with nothing at all.
fn samples() -> Vec<Notice> {
    let (bare, full) = (event(Level::Info, ""), full());
    let run = RunNotice {
        id: RunId::from_bytes([7; 16]),
        status: Status::Failed,
        started_at: full.event.time,
        ended_at: Some(full.event.time),
        duration_us: 1_000_000,
        by_level: [("error", 1)].into(),
        first_error: Some("it failed".to_owned()),
        exit_code: Some(1),
        reason: Some("process_gone".to_owned()),
    };
    let mut digest = Digest::default();
    digest.add(&Notice::of(full.clone()));
    let notice =
        |about| Notice { via: Some("bastion".to_owned()), about, missed: 1, ..Notice::of(full.clone()) };
    vec![
        notice(About::Event),
        notice(About::Run(run)),
        notice(About::Digest(digest)),
        notice(About::Test),
        Notice::of(bare),
    ]
}

fn full() -> StoredEvent {
    let mut stored = event(Level::Error, "BACKUP");
    stored.event.extra = vec![("database".to_owned(), "shop".to_owned())];
    stored.event.exit = Some(Exit::Code(1));
    stored
}

fn event(level: Level, task: &str) -> StoredEvent {
    let host = HostName::parse("web1").expect("a plain word is a host");
    let event = Event {
        task: TaskName::parse(task).expect("a plain word is a task"),
        level,
        message: "a message".to_owned(),
        ..Event::new(EventId::from_bytes([1; 16]), host, Timestamp::EPOCH)
    };
    let position = Position { agent: None, epoch: Epoch::from_bytes([1; 16]), seq: Seq::ZERO };
    StoredEvent { position, arrived_at: None, event }
}
