//! The spool as transfers read it: every event of this host, in the order in which it was accepted.

use hume_core::HostName;
use hume_core::event::StoredEvent;
use hume_core::filter::EventFilter;
use hume_core::page::{After, Stretch};
use hume_transfer::transfer::BoxFuture;
use hume_transfer::{Growth, Log, LogError};

use crate::spool::{SpoolError, SpoolReader, SpoolWriter, Viewer};

/// The spool, for transfers.
#[derive(Clone, Debug)]
pub struct SpoolLog {
    host: HostName,
    reader: SpoolReader,
    writer: SpoolWriter,
}

impl SpoolLog {
    /// Of the agent on `host`.
    pub fn new(host: HostName, reader: SpoolReader, writer: SpoolWriter) -> SpoolLog {
        SpoolLog { host, reader, writer }
    }
}

impl Log for SpoolLog {
    fn read(
        &self,
        filter: EventFilter,
        after: After,
        limit: usize,
    ) -> BoxFuture<'_, Result<Stretch<StoredEvent>, LogError>> {
        Box::pin(async move {
            let read = self.reader.events_after(filter, Viewer::Administrator, after, limit).await;
            read.map_err(|error| match error {
                SpoolError::Beyond => LogError::Beyond,
                error => LogError::Read(error.to_string()),
            })
        })
    }

    fn growth(&self) -> Box<dyn Growth> {
        Box::new(self.writer.tail())
    }

    fn via<'a>(&'a self, stored: &'a StoredEvent) -> BoxFuture<'a, Option<String>> {
        let is_other = stored.event.host != self.host;
        Box::pin(async move { is_other.then(|| self.host.as_str().to_owned()) })
    }
}
