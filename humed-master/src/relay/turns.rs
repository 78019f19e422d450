//! Whose commit goes to the store next: backlogs take turns, and what is live goes past them.
//!
//! After an outage thousands of agents bring what they have gathered. Of that at most [`TURNS_BYTES`] are at the store at
//! one time; the rest waits in its session, as it came, which reads nothing more meanwhile. Turns are given in the order
//! of asking, and a session asks for one at a time, so everybody has one before anybody has two. A commit of at most
//! [`LIVE_BYTES`] waits for no backlog, but has one of [`LIVE_COMMITS`] turns of its own: decoded, events take many times
//! their room.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of backlogs that are at the store at one time.
const TURNS_BYTES: usize = 8 * 1024 * 1024;
/// A commit that is not longer waits for no backlog.
const LIVE_BYTES: usize = 16 * 1024;
/// So many of these are at the store at one time.
const LIVE_COMMITS: usize = 256;
/// Turns are counted in pieces of so many bytes.
const PIECE_BYTES: usize = 1024;

/// The turns of one relay.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    pieces: Arc<Semaphore>,
    live: Arc<Semaphore>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _held: OwnedSemaphorePermit,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns {
            pieces: Arc::new(Semaphore::new(TURNS_BYTES / PIECE_BYTES)),
            live: Arc::new(Semaphore::new(LIVE_COMMITS)),
        }
    }
}

impl Turns {
    /// Waits for the turn of a commit with so many bytes.
    pub(super) async fn take(&self, bytes: usize) -> Turn {
        let (lane, places) = match pieces(bytes) {
            Some(pieces) => (&self.pieces, pieces),
            None => (&self.live, 1),
        };
        let held = Arc::clone(lane).acquire_many_owned(places).await;
        Turn { _held: held.expect("this semaphore is never closed") }
    }
}

/// Pieces that a commit of so many bytes takes, none if it is live. One that is too long takes all there are.
fn pieces(bytes: usize) -> Option<u32> {
    let taken = bytes.min(TURNS_BYTES).div_ceil(PIECE_BYTES);
    (bytes > LIVE_BYTES).then(|| u32::try_from(taken).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};

    use super::*;

    const BACKLOG_BYTES: usize = 64 * 1024;

    /// The turn, if it comes at once.
    async fn now(turn: Pin<&mut impl Future<Output = Turn>>) -> Option<Turn> {
        tokio::select! {
            biased;
            turn = turn => Some(turn),
            () = std::future::ready(()) => None,
        }
    }

    /// The turn of a commit with so many bytes, if it comes at once.
    async fn goes(turns: &Turns, bytes: usize) -> Option<Turn> {
        now(pin!(turns.take(bytes))).await
    }

    /// Fault 46.
    #[tokio::test]
    async fn what_is_live_goes_past_any_number_of_backlogs() {
        let turns = Turns::default();
        let mut at_the_store = Vec::new();
        while let Some(turn) = goes(&turns, BACKLOG_BYTES).await {
            at_the_store.push(turn);
        }
        assert_eq!(at_the_store.len(), TURNS_BYTES / BACKLOG_BYTES, "the rest waits");
        let live = goes(&turns, LIVE_BYTES).await;
        assert!(live.is_some());
        assert!(goes(&turns, LIVE_BYTES + 1).await.is_none());
        at_the_store.pop();
        assert!(goes(&turns, BACKLOG_BYTES).await.is_some());
    }

    #[tokio::test]
    async fn of_what_is_live_so_much_is_decoded_at_one_time_and_the_rest_follows() {
        let turns = Turns::default();
        let mut at_the_store = Vec::new();
        while let Some(turn) = goes(&turns, 1).await {
            at_the_store.push(turn);
        }
        assert_eq!(at_the_store.len(), LIVE_COMMITS);
        let backlog = goes(&turns, BACKLOG_BYTES).await;
        assert!(backlog.is_some(), "the two do not wait for each other");
        at_the_store.pop();
        assert!(goes(&turns, 1).await.is_some());
    }

    /// Fault 46.
    #[tokio::test]
    async fn backlogs_take_turns_in_the_order_of_asking() {
        let turns = Turns::default();
        let whole = turns.take(TURNS_BYTES).await;
        let mut first = pin!(turns.take(2 * BACKLOG_BYTES));
        let mut second = pin!(turns.take(BACKLOG_BYTES));
        assert!(now(first.as_mut()).await.is_none() && now(second.as_mut()).await.is_none());
        drop(whole);
        assert!(goes(&turns, TURNS_BYTES).await.is_none(), "those who asked before go first");
        assert!(now(first).await.is_some() && now(second).await.is_some());
    }

    #[tokio::test]
    async fn a_commit_longer_than_all_turns_goes_alone_and_not_never() {
        let turns = Turns::default();
        let long = turns.take(2 * TURNS_BYTES).await;
        assert!(goes(&turns, BACKLOG_BYTES).await.is_none());
        drop(long);
        assert!(goes(&turns, BACKLOG_BYTES).await.is_some());
    }
}
