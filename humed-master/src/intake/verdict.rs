//! How an epoch goes on after Hello: whoever holds both ids of an event at one place decides.

use hume_proto::relay::{EpochState, Verdict};

use crate::store::Cursor;

/// The verdict on what an agent says of an epoch, given the cursor here. When the cursor is beyond what the agent knows as
/// acknowledged, the agent compares the id at the cursor with its own row. An epoch that another took over from has nothing
/// new: only what this store lost of it matters.
pub(super) fn verdict(state: &EpochState, is_closed: bool, cursor: Cursor) -> Verdict {
    if is_closed {
        return if cursor.seq < state.acked { Verdict::MasterBehind } else { Verdict::Continue };
    }
    if cursor.seq > state.last_assigned {
        // The agent never gave out this place: its disk was set back, or it is a copy.
        return Verdict::Forked;
    }
    if cursor.seq < state.acked {
        // This store was set back.
        return Verdict::MasterBehind;
    }
    match (cursor.event, state.acked_event) {
        (Some(here), Some(there)) if cursor.seq == state.acked && here != there => Verdict::Forked,
        _ => Verdict::Continue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hume_core::{Epoch, EventId, Seq};
    use hume_proto::relay::EpochReason;

    fn state(acked: (u64, Option<u8>), last_assigned: u64) -> EpochState {
        EpochState {
            epoch: Epoch::from_bytes([1; 16]),
            first_retained: None,
            acked: seq(acked.0),
            acked_event: id(acked.1),
            last_assigned: seq(last_assigned),
            predecessor: None,
            restamped_through: Seq::ZERO,
            reason: EpochReason::Created,
        }
    }

    fn seq(value: u64) -> Seq {
        Seq::new(value).unwrap()
    }

    fn id(byte: Option<u8>) -> Option<EventId> {
        byte.map(|byte| EventId::from_bytes([byte; 16]))
    }

    fn verdict_of(cursor: (u64, Option<u8>), acked: (u64, Option<u8>), last_assigned: u64) -> Verdict {
        let cursor = Cursor { seq: seq(cursor.0), event: id(cursor.1) };
        verdict(&state(acked, last_assigned), false, cursor)
    }

    #[test]
    fn of_an_epoch_with_a_successor_only_what_was_lost_here_matters() {
        let of = |cursor: (u64, Option<u8>)| {
            let cursor = Cursor { seq: seq(cursor.0), event: id(cursor.1) };
            verdict(&state((5, Some(1)), 5), true, cursor)
        };
        assert_eq!((of((5, Some(2))), of((80, Some(2)))), (Verdict::Continue, Verdict::Continue));
        assert_eq!(of((4, Some(1))), Verdict::MasterBehind);
    }

    #[test]
    fn equal_knowledge_goes_on() {
        assert_eq!(verdict_of((0, None), (0, None), 0), Verdict::Continue);
        assert_eq!(verdict_of((5, Some(1)), (5, Some(1)), 9), Verdict::Continue);
    }

    #[test]
    fn a_lost_ack_goes_on_and_the_agent_compares() {
        assert_eq!(verdict_of((7, Some(2)), (5, Some(1)), 9), Verdict::Continue);
    }

    #[test]
    fn an_unknown_id_is_no_difference() {
        assert_eq!(verdict_of((5, None), (5, Some(1)), 9), Verdict::Continue);
        assert_eq!(verdict_of((5, Some(1)), (5, None), 9), Verdict::Continue);
    }

    #[test]
    fn another_event_at_the_cursor_is_a_fork() {
        assert_eq!(verdict_of((5, Some(2)), (5, Some(1)), 9), Verdict::Forked);
    }

    #[test]
    fn a_cursor_beyond_what_the_agent_gave_out_is_a_fork() {
        assert_eq!(verdict_of((10, Some(1)), (5, Some(1)), 9), Verdict::Forked);
    }

    #[test]
    fn a_cursor_below_what_was_acknowledged_means_that_the_store_was_set_back() {
        assert_eq!(verdict_of((3, Some(1)), (5, Some(1)), 9), Verdict::MasterBehind);
        assert_eq!(verdict_of((0, None), (5, None), 9), Verdict::MasterBehind);
    }
}
