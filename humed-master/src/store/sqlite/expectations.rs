//! When hosts expect their tasks: written with the event that says it, the last word counts.

use hume_core::{Event, HostName, TaskName, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::readers::{Question, read_failed};
use crate::store::error::StoreError;
use crate::store::types::Expected;

/// Tasks of one host; what is said of more is kept as the event that it is, and expected of nobody.
pub(super) const EXPECTED_PER_HOST_MAX: i64 = if cfg!(test) { 3 } else { 1000 };

/// Notes what an event says; true when that is news.
pub(super) fn note(connection: &Connection, event: &Event, text: &str) -> rusqlite::Result<bool> {
    let (host, task) = (event.host.as_str(), event.task.as_str());
    let before: Option<String> = connection
        .prepare_cached("SELECT text FROM expectation WHERE host = ?1 AND task = ?2")?
        .query_row(params![host, task], |row| row.get(0))
        .optional()?;
    let changed = connection
        .prepare_cached(
            "INSERT INTO expectation(host, task, text, said_us) SELECT ?1, ?2, ?3, ?4 \
             WHERE EXISTS(SELECT 1 FROM expectation WHERE host = ?1 AND task = ?2) \
             OR (SELECT count(*) FROM expectation WHERE host = ?1) < ?5 \
             ON CONFLICT DO UPDATE SET text = excluded.text, said_us = excluded.said_us \
             WHERE excluded.said_us >= said_us",
        )?
        .execute(params![host, task, text, event.time.as_micros(), EXPECTED_PER_HOST_MAX])?;
    // The same word again is no news, but makes what was said in between old.
    Ok(changed > 0 && before.as_deref() != Some(text))
}

/// All of it, by host and task.
pub(super) fn all(question: &Question<'_>) -> Result<Vec<Expected>, StoreError> {
    let sql = "SELECT host, task, text, said_us FROM expectation ORDER BY host, task";
    let mut statement = question.connection.prepare_cached(sql).map_err(read_failed)?;
    let mut rows = statement.query([]).map_err(read_failed)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(read_failed)? {
        question.check()?;
        let text = |column| row.get::<_, String>(column).map_err(read_failed);
        let unreadable = |_| StoreError::Unreadable { what: "what a host expects".to_owned() };
        all.push(Expected {
            host: HostName::parse(&text(0)?).map_err(unreadable)?,
            task: TaskName::parse(&text(1)?).map_err(unreadable)?,
            text: text(2)?,
            said_at: Timestamp::from_micros(row.get(3).map_err(read_failed)?),
        });
    }
    Ok(all)
}
