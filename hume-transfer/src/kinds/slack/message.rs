//! A notice as Slack's blocks: a header, what was said, what else is known, what was told as extra, and where it came from.
//!
//! Whatever an event holds, the message stays within Slack's limits: it would be refused as a whole. Lengths are counted in UTF-16 after
//! escaping, which is never less than what Slack counts.

use serde_json::{Value, json};

use crate::notice::{About, Notice};
use crate::text::{emoji, first_line, one_line, slack_escape};

/// Characters of a header.
const HEADER_MAX: usize = 150;
/// Characters of a section's text, and of the text for notifications.
const TEXT_MAX: usize = 3000;
/// Characters of a field; Slack allows 2,000, which nobody reads in half a column.
const FIELD_MAX: usize = 500;
/// Fields of a section.
const FIELDS_MAX: usize = 10;
/// Extras that are shown.
const EXTRAS_MAX: usize = 20;
/// Characters of the line at the end.
const CONTEXT_MAX: usize = 1000;

/// What the administrator's template made: the text of the main section, or a whole payload if it is a JSON object.
pub(super) fn of_template(notice: &Notice, text: &str) -> Value {
    match serde_json::from_str::<Value>(text.trim()) {
        Ok(payload) if payload.is_object() => payload,
        _ => message(notice, text),
    }
}

/// The message with `main`, already escaped, as its main section.
pub(super) fn message(notice: &Notice, main: &str) -> Value {
    let sign = emoji(notice.level());
    let header = cut(&format!("{sign} {}", slack_escape(&one_line(&notice.title()))), HEADER_MAX);
    let said = slack_escape(&first_line(&notice.text(), TEXT_MAX));
    // What is said of a run or a digest begins with what it is about.
    let fallback = match said.as_str() {
        "" => header.clone(),
        said if matches!(notice.about, About::Run(_) | About::Digest(_)) => format!("{sign} {said}"),
        said => format!("{header} · {said}"),
    };
    let main = match main.trim() {
        "" => "(no text)",
        main => main,
    };
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": header, "emoji": false}}),
        json!({"type": "section", "text": mrkdwn(&cut(main, TEXT_MAX))}),
    ];
    let facts: Vec<Value> = notice.facts().iter().map(|fact| field(fact.name, &fact.value)).collect();
    blocks.extend(facts.chunks(FIELDS_MAX).map(section));
    let extra = &notice.event.event.extra;
    if !is_digest(notice) {
        let extras: Vec<Value> =
            extra.iter().take(EXTRAS_MAX).map(|(name, value)| field(name, value)).collect();
        blocks.extend(extras.chunks(FIELDS_MAX).map(section));
    }
    let context = slack_escape(&one_line(&source(notice)));
    blocks.push(json!({"type": "context", "elements": [mrkdwn(&cut(&context, CONTEXT_MAX))]}));
    json!({"text": cut(&fallback, TEXT_MAX), "blocks": blocks})
}

fn is_digest(notice: &Notice) -> bool {
    matches!(notice.about, About::Digest(_))
}

fn section(fields: &[Value]) -> Value {
    json!({"type": "section", "fields": fields})
}

/// Nothing in it becomes a link or calls people but what is written as such: texts of events are not.
fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

fn field(name: &str, value: &str) -> Value {
    let name = slack_escape(&first_line(name, 60)).replace('*', "∗");
    let value = if value.trim().is_empty() { "–".to_owned() } else { slack_escape(value.trim()) };
    mrkdwn(&cut(&format!("*{name}*\n{value}"), FIELD_MAX))
}

/// Where it came from: hume, the script and its line, the user, the event.
fn source(notice: &Notice) -> String {
    let event = &notice.event.event;
    let mut parts = vec!["hume".to_owned()];
    if !is_digest(notice) {
        if let Some(script) = &event.process.script {
            parts.push(event.line.map_or_else(|| script.clone(), |line| format!("{script}:{line}")));
        }
        parts.extend(event.process.user.as_ref().map(|user| format!("as {user}")));
        parts.push(format!("event {}", event.id));
        if event.extra.len() > EXTRAS_MAX {
            parts.push(format!("{} more extras", event.extra.len() - EXTRAS_MAX));
        }
    }
    parts.join(" · ")
}

/// At most so many UTF-16 units of an escaped text, no entity in halves.
fn cut(escaped: &str, units_max: usize) -> String {
    if escaped.encode_utf16().count() <= units_max {
        return escaped.to_owned();
    }
    let (mut units, mut end) = (0, 0);
    for (at, character) in escaped.char_indices() {
        units += character.len_utf16();
        // One is for the sign that something is missing.
        if units >= units_max {
            break;
        }
        end = at + character.len_utf8();
    }
    let mut kept = &escaped[..end];
    if let Some(at) = kept.rfind('&')
        && !kept[at..].contains(';')
    {
        kept = &kept[..at];
    }
    format!("{}…", kept.trim_end())
}
