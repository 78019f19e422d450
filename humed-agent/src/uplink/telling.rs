//! What an agent says of itself: who it is and what it has when it comes, how it is from then on.

use hume_core::Timestamp;
use hume_core::name::{BootId, Epoch};
use hume_proto::relay::{
    ClockSample, EPOCHS_MAX, EpochState, FEATURE_ZSTD, Heartbeat, Hello, PROTOCOL_MAJOR, PROTOCOL_MINOR,
    SpoolStatus,
};
use hume_runtime::clock;

use super::connect::Dial;
use super::session::Session;
use super::{Uplink, zone};
use crate::drops::Lying;
use crate::spool::SpoolError;

impl<D: Dial> Uplink<D> {
    /// Who it is, and what it has.
    pub(super) async fn hello(&self, certificate_expires_at: Timestamp) -> Result<Hello, SpoolError> {
        let rows = self.reader.epochs().await?;
        // The newest grows; and where the events of a successor came from, the master must know until it has them.
        let is_needed = |epoch: Epoch| {
            rows.last().is_some_and(|newest| newest.epoch == epoch)
                || rows.iter().any(|next| next.predecessor == Some(epoch) && next.acked < next.restamped)
        };
        let mut epochs = Vec::with_capacity(rows.len());
        for row in &rows {
            let first_retained = self.reader.first_retained(row.epoch).await?;
            // Of an old epoch that is at the master and forgotten here there is nothing to say.
            if first_retained.is_none() && row.acked == row.last() && !is_needed(row.epoch) {
                continue;
            }
            epochs.push(EpochState {
                epoch: row.epoch,
                first_retained,
                acked: row.acked,
                acked_event: row.acked_event,
                last_assigned: row.last(),
                predecessor: row.predecessor,
                restamped_through: row.restamped,
                reason: row.reason,
            });
        }
        if epochs.len() > EPOCHS_MAX {
            // What waits comes first, oldest first; the newest epoch is where the spool grows.
            let grows = epochs.pop();
            epochs.sort_by_key(|state| state.acked == state.last_assigned);
            epochs.truncate(EPOCHS_MAX - 1);
            epochs.extend(grows);
        }
        Ok(Hello {
            protocol_major: PROTOCOL_MAJOR,
            protocol_minor: PROTOCOL_MINOR,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            features: vec![FEATURE_ZSTD.to_owned()],
            instance: Some(self.instance),
            boot: clock::boot_id().map(|id| BootId::from_bytes(*id.as_bytes())),
            host: self.host.as_str().to_owned(),
            zone: zone::zone(),
            tags: self.tags.clone(),
            epochs,
            clock: clocks(),
            spool: self.spool_status().await?,
            certificate_expires_at,
        })
    }

    async fn spool_status(&self) -> Result<SpoolStatus, SpoolError> {
        let figures = self.writer.figures().get();
        Ok(SpoolStatus {
            unacked_events: figures.unacked_events,
            unacked_bytes: figures.unacked_bytes,
            oldest_unacked: if figures.unacked_events == 0 {
                None
            } else {
                self.reader.oldest_unacked().await?
            },
            last_error: self.metrics.uplink().last_error,
            refused_events: figures.refused,
            lost_events: figures.evicted + figures.unreadable,
        })
    }

    /// That it lives, and up to which moment all that happened here is at the master.
    pub(super) async fn heartbeat(
        &self,
        session: &Session,
        certificate_expires_at: Timestamp,
    ) -> Result<Heartbeat, SpoolError> {
        // Before anything is read: what is in the spool by now is found there, and what lies in the folder by now as well.
        let settled = self.writer.pending().settled();
        // A file goes only when its event is in the spool, which is therefore read after the folder.
        let lying = match &self.drops {
            Some(drops) => drops.lying().await,
            None => Lying::Nothing,
        };
        let watermark = if self.writer.figures().get().unacked_events == 0 && session.is_drained() {
            // All that is on disk is at the master: the file need not be asked.
            settled.plus_micros(-1)
        } else {
            self.reader.watermark(settled, session.cursors()).await?
        };
        let watermark = lying.bound(watermark);
        self.metrics.update_uplink(|uplink| uplink.watermark = Some(watermark));
        let spool = self.spool_status().await?;
        Ok(Heartbeat { clock: clocks(), tails: session.tails(), watermark, spool, certificate_expires_at })
    }
}

fn clocks() -> ClockSample {
    ClockSample { wall: clock::now(), boottime_us: clock::boottime_us() }
}
