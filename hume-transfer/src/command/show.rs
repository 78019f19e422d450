//! What the orders answer, as text and as JSON. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hume_core::Timestamp;
use hume_proto::rest::EventJson;
use serde_json::json;

use crate::notice::span;
use crate::options::{Common, Per, Transfers};
use crate::state::{DeadLetter, Figures, Known, Waiting};

/// One line of the status: what is configured, what is known, or both.
pub(super) struct Row<'a> {
    name: String,
    kind: String,
    is_configured: bool,
    known: Option<&'a Known>,
}

pub(super) fn rows<'a>(
    transfers: &Transfers,
    known: &'a BTreeMap<String, Known>,
    only: Option<&str>,
) -> Vec<Row<'a>> {
    let configured = transfers.0.iter().map(|(name, options)| Row {
        name: name.to_string(),
        kind: options.kind().to_owned(),
        is_configured: true,
        known: known.get(name.as_str()),
    });
    let is_gone = |row: &&Known| transfers.0.keys().all(|name| name.as_str() != row.name);
    let gone = known.values().filter(is_gone).map(|row| Row {
        name: row.name.clone(),
        kind: row.kind.clone(),
        is_configured: false,
        known: Some(row),
    });
    configured.chain(gone).filter(|row| only.is_none_or(|only| row.name == only)).collect()
}

impl Row<'_> {
    /// In one word: `new`, `gone`, `failing`, `behind` or `ok`.
    fn state(&self) -> &'static str {
        match self.known {
            _ if !self.is_configured => "gone",
            None => "new",
            Some(known) if known.record.figures.trouble.is_some() => "failing",
            Some(known) if known.record.figures.waiting.events > 0 => "behind",
            Some(_) => "ok",
        }
    }
}

/// A table, and a line for each trouble.
pub(super) fn status(rows: &[Row<'_>], now: Timestamp) -> String {
    if rows.is_empty() {
        return "no transfers are configured: see docs/TRANSFERS.md\n".to_owned();
    }
    let head = ["NAME", "KIND", "STATE", "DELIVERED", "WAITING", "OLDEST", "RETRIED", "DEAD", "LAST SUCCESS"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    let mut notes = String::new();
    for row in rows {
        let empty = Figures::default();
        let figures = row.known.map_or(&empty, |known| &known.record.figures);
        table.push(vec![
            row.name.clone(),
            row.kind.clone(),
            row.state().to_owned(),
            figures.delivered.to_string(),
            waiting(figures.waiting),
            figures.waiting.since.map_or_else(|| "-".to_owned(), |since| ago(since, now)),
            figures.retried.to_string(),
            row.known.map_or(0, |known| known.dead_kept).to_string(),
            figures.last_success.map_or_else(|| "never".to_owned(), |at| format!("{} ago", ago(at, now))),
        ]);
        if let Some(trouble) = &figures.trouble {
            let _ = writeln!(
                notes,
                "{}: failing for {}, next try at {}: {}",
                row.name,
                ago(trouble.since, now),
                trouble.next_try,
                trouble.reason
            );
        }
        if figures.missed > 0 {
            let name = &row.name;
            let _ = writeln!(
                notes,
                "{name}: {} events were let go by the log before they were told",
                figures.missed
            );
        }
    }
    let mut text = columns(&table);
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes);
    }
    text
}

fn waiting(waiting: Waiting) -> String {
    format!("{}{}", waiting.events, if waiting.and_more { "+" } else { "" })
}

fn ago(then: Timestamp, now: Timestamp) -> String {
    span(u64::try_from(now.micros_since(then)).unwrap_or(0) / 1_000_000)
}

fn columns(table: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..table.first().map_or(0, Vec::len))
        .map(|at| {
            table.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in table {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One object per transfer in a list.
pub(super) fn status_json(rows: &[Row<'_>]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let figures = row.known.map(|known| known.record.figures.clone()).unwrap_or_default();
            let text = |time: Timestamp| time.to_string();
            json!({
                "name": row.name,
                "kind": row.kind,
                "state": row.state(),
                "configured": row.is_configured,
                "delivered": figures.delivered,
                "folded": figures.folded,
                "retried": figures.retried,
                "dead": figures.dead,
                "dead_kept": row.known.map_or(0, |known| known.dead_kept),
                "skipped": figures.skipped,
                "missed": figures.missed,
                "waiting": figures.waiting.events,
                "waiting_more": figures.waiting.and_more,
                "waiting_since": figures.waiting.since.map(text),
                "last_success": figures.last_success.map(text),
                "trouble": figures.trouble.as_ref().map(|trouble| &trouble.reason),
                "trouble_since": figures.trouble.as_ref().map(|trouble| text(trouble.since)),
                "next_try": figures.trouble.as_ref().map(|trouble| text(trouble.next_try)),
                "seen_at": row.known.map(|known| text(known.seen_at)),
            })
        })
        .collect();
    format!("{}\n", json!(rows))
}

/// A table of the dead letters.
pub(super) fn dead(letters: &[DeadLetter]) -> String {
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let head = ["NUMBER", "GIVEN UP", "LEVEL", "TASK", "HOST", "MESSAGE", "REASON"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for DeadLetter { id, at, reason, event } in letters {
        let event = &event.event;
        table.push(vec![
            id.to_string(),
            at.to_string(),
            event.level.as_str().to_owned(),
            event.task.as_str().to_owned(),
            event.host.as_str().to_owned(),
            short(&event.message),
            short(reason),
        ]);
    }
    columns(&table)
}

/// One line, not too long.
fn short(text: &str) -> String {
    const CHARS: usize = 60;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= CHARS {
        return line;
    }
    let cut: String = line.chars().take(CHARS - 1).collect();
    format!("{cut}…")
}

/// One object per dead letter in a list.
pub(super) fn dead_json(letters: &[DeadLetter]) -> String {
    let letters: Vec<_> = letters
        .iter()
        .map(|DeadLetter { id, at, reason, event }| {
            json!({ "number": id, "given_up_at": at.to_string(), "reason": reason, "event": EventJson::from(event) })
        })
        .collect();
    format!("{}\n", json!(letters))
}

/// What is configured, and what each wants.
pub(super) fn list(transfers: &Transfers) -> String {
    if transfers.0.is_empty() {
        return "no transfers are configured: see docs/TRANSFERS.md\n".to_owned();
    }
    let mut table = vec![["NAME", "KIND", "WANTS"].map(str::to_owned).to_vec()];
    for (name, options) in &transfers.0 {
        table.push(vec![name.to_string(), options.kind().to_owned(), wants(&options.common())]);
    }
    columns(&table)
}

/// `tasks BACKUP*; not hosts web1; warning and worse; one notice per run`.
fn wants(common: &Common) -> String {
    let mut parts = Vec::new();
    let lists = [
        ("tasks", &common.tasks),
        ("not tasks", &common.not_tasks),
        ("hosts", &common.hosts),
        ("not hosts", &common.not_hosts),
        ("tags", &common.tags),
        ("not tags", &common.not_tags),
    ];
    for (word, patterns) in lists {
        if !patterns.is_empty() {
            let texts: Vec<String> = patterns.iter().map(|pattern| format!("\"{pattern}\"")).collect();
            parts.push(format!("{word} {}", texts.join(" ")));
        }
    }
    if common.level_min != hume_core::Level::Debug {
        parts.push(format!("{} and worse", common.level_min));
    }
    if !common.kinds.is_empty() {
        let kinds: Vec<&str> = common.kinds.iter().map(|kind| kind.as_str()).collect();
        parts.push(format!("kinds {}", kinds.join(" ")));
    }
    match common.per {
        Per::Event => {}
        Per::Run => parts.push("one notice per run".to_owned()),
    }
    if parts.is_empty() { "everything".to_owned() } else { parts.join("; ") }
}
