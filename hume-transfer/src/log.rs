//! The log of a daemon, as a transfer reads it: the agent's spool or the master's store.

use hume_core::event::StoredEvent;
use hume_core::filter::EventFilter;
use hume_core::page::{After, EventCursor, Stretch};
use tokio::sync::watch;

use crate::transfer::BoxFuture;

/// The log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The border is none of this log: it was put back to an earlier state.
    #[error("the log ends before the place that was reached")]
    Beyond,
    /// Anything else; later it may be better.
    #[error("{0}")]
    Read(String),
}

/// What every transfer of a daemon reads.
pub trait Log: Send + Sync {
    /// Events in the order of the log, at most `limit`, and where to go on. A short piece that is not at the end is legal.
    fn read(
        &self,
        filter: EventFilter,
        after: After,
        limit: usize,
    ) -> BoxFuture<'_, Result<Stretch<StoredEvent>, LogError>>;

    /// Tells when there is more.
    fn growth(&self) -> Box<dyn Growth>;

    /// The host whose agent sent the event, if it is known.
    fn via<'a>(&'a self, stored: &'a StoredEvent) -> BoxFuture<'a, Option<String>>;
}

/// Tells when a log has grown.
pub trait Growth: Send {
    /// What comes from now on is news.
    fn mark(&mut self);

    /// Waits for news; false when there will be none any more.
    fn wait(&mut self) -> BoxFuture<'_, bool>;
}

impl<T: Send + Sync> Growth for watch::Receiver<T> {
    fn mark(&mut self) {
        self.mark_unchanged();
    }

    fn wait(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async { self.changed().await.is_ok() })
    }
}

/// The border above everything that is in the log now.
pub(crate) async fn end(log: &dyn Log) -> Result<EventCursor, LogError> {
    Ok(log.read(EventFilter::default(), After::Now, 1).await?.next)
}
