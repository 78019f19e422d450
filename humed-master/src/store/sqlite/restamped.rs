//! Events that an agent moved from one epoch into its successor: which of them stand in the store already.
//!
//! The agent moves what it does not know as acknowledged, so the event at a place of the new epoch stood at a known place of the old
//! one. If the same event is there it was stored before the move, and is not stored again. Happens once for each event, after a fork;
//! so a search through all blocks of the old epoch may be slow, and an index for it would cost every event something.

use std::collections::HashMap;

use hume_core::{EventId, Seq};
use hume_proto::event::EventBytes;
use rusqlite::{Connection, params};

use super::admit::{seq_of, sql_seq};
use crate::store::block;
use crate::store::error::StoreError;

/// Where an epoch's first events came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// The number of the predecessor.
    pub(super) epoch_no: i64,
    /// The place there after which they stood.
    pub(super) after: Seq,
    /// So many there are.
    pub(super) restamped: Seq,
}

/// Ids of the events that stand where those at `first..=last` came from, by the place they have now.
/// # Errors
/// [`StoreError`], if the store cannot be read.
pub(super) fn known(
    connection: &Connection,
    origin: Option<Origin>,
    first: Seq,
    last: Seq,
) -> Result<HashMap<Seq, EventId>, StoreError> {
    let mut known = HashMap::new();
    let Some(Origin { epoch_no, after, restamped }) = origin.filter(|origin| first <= origin.restamped)
    else {
        return Ok(known);
    };
    let failed = |source| StoreError::sqlite("read", source);
    let (from, through) = (after.plus(first.get()), after.plus(last.min(restamped).get()));
    let mut select = connection
        .prepare_cached(
            "SELECT seq, events, bodies FROM block JOIN content ON block_id = id \
             WHERE epoch_no = ?1 AND seq <= ?3 AND seq + events > ?2",
        )
        .map_err(failed)?;
    let mut rows = select.query(params![epoch_no, sql_seq(from), sql_seq(through)]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let begin = seq_of(row.get(0).map_err(failed)?);
        let events = row.get::<_, i64>(1).map_err(failed)?.unsigned_abs();
        let bytes = row.get_ref(2).map_err(failed)?.as_blob().unwrap_or_default();
        let bodies = block::bodies(bytes, events as usize);
        let bodies =
            bodies.ok_or_else(|| StoreError::Unreadable { what: format!("the block at place {begin}") })?;
        for (offset, body) in (0..).zip(bodies) {
            let place = begin.plus(offset);
            // What cannot be decoded any more is no event that could be sent again.
            if (from..=through).contains(&place)
                && let Ok(event) = EventBytes::from_raw(bytes[body].to_vec()).decode()
                && let Some(now) = Seq::new(place.get() - after.get())
            {
                known.insert(now, event.id);
            }
        }
    }
    Ok(known)
}
