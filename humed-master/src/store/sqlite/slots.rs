//! Watches and slots for people: what is expected, and what became of it.

use hume_core::TaskName;
use hume_core::name::WatchName;
use hume_core::scope::Scope;
use hume_core::{HostName, Timestamp};
use rusqlite::params;

use super::readers::{Question, read_failed};
use super::watches::{SLOT_COLUMNS, slot};
use crate::store::LIST_ITEMS_MAX;
use crate::store::error::StoreError;
use crate::store::types::Roll;
use crate::store::watches::{SlotFilter, SlotRecord, WatchRecord};

/// How many columns [`slot`] reads.
const SLOT_WIDTH: usize = 17;

/// See [`Slots::watch_list`](crate::store::Slots::watch_list).
pub(super) fn watches(question: &Question<'_>, scope: &Scope) -> Result<Roll<WatchRecord>, StoreError> {
    let sql = "SELECT watch.name, watch.task, watch.schedule, host.name, course.next_at_us FROM watch \
               LEFT JOIN course ON course.watch_no = watch.no LEFT JOIN host ON host.no = course.host_no \
               ORDER BY watch.name";
    let mut statement = question.connection.prepare_cached(sql).map_err(read_failed)?;
    let mut rows = statement.query([]).map_err(read_failed)?;
    let mut items: Vec<WatchRecord> = Vec::new();
    while let Some(row) = rows.next().map_err(read_failed)? {
        question.check()?;
        let text = |column| row.get::<_, Option<String>>(column).map_err(read_failed);
        let (name, task) = (text(0)?.unwrap_or_default(), text(1)?.unwrap_or_default());
        let host = text(3)?;
        // Of hosts that he may not see nobody is told that they exist.
        let is_seen = host.as_deref().is_some_and(|host| scope.has_host(host));
        if !has_task(scope, &task) || !(is_seen || scope.is_all()) {
            continue;
        }
        if items.last().is_none_or(|last| last.name != name) {
            if items.len() == LIST_ITEMS_MAX {
                return Ok(Roll { items, truncated: true });
            }
            let schedule = text(2)?.unwrap_or_default();
            items.push(WatchRecord { name, task, schedule, hosts: 0, next_at: None });
        }
        let next_us: Option<i64> = row.get(4).map_err(read_failed)?;
        if let Some(last) = items.last_mut().filter(|_| is_seen) {
            last.hosts += 1;
            last.next_at = last.next_at.into_iter().chain(next_us.map(Timestamp::from_micros)).min();
        }
    }
    Ok(Roll { items, truncated: false })
}

/// See [`Slots::slots`](crate::store::Slots::slots).
pub(super) fn newest(
    question: &Question<'_>,
    filter: &SlotFilter,
    limit: usize,
) -> Result<Roll<SlotRecord>, StoreError> {
    let SlotFilter { watch, host, scope } = filter;
    let sql = format!(
        "SELECT {SLOT_COLUMNS}, watch.name, watch.task, host.name FROM slot \
         JOIN watch ON watch.no = slot.watch_no JOIN host ON host.no = slot.host_no \
         WHERE (?1 IS NULL OR watch.name = ?1) AND (?2 IS NULL OR host.name = ?2) ORDER BY at_us DESC, host.name"
    );
    let mut statement = question.connection.prepare_cached(&sql).map_err(read_failed)?;
    let names = params![watch.as_ref().map(WatchName::as_str), host.as_ref().map(HostName::as_str)];
    let mut rows = statement.query(names).map_err(read_failed)?;
    let mut items = Vec::new();
    while let Some(row) = rows.next().map_err(read_failed)? {
        question.check()?;
        let text = |column| row.get::<_, String>(SLOT_WIDTH + column).map_err(read_failed);
        let (watch, task, host) = (text(0)?, text(1)?, text(2)?);
        if !has_task(scope, &task) || !scope.has_host(&host) {
            continue;
        }
        if items.len() == limit {
            return Ok(Roll { items, truncated: true });
        }
        items.push(SlotRecord { watch, host, slot: slot(row)? });
    }
    Ok(Roll { items, truncated: false })
}

fn has_task(scope: &Scope, task: &str) -> bool {
    TaskName::parse(task).is_ok_and(|task| scope.has_task(&task))
}
