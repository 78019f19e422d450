//! The one who has the store forget: a look once a minute, in small steps with rests between them, so that events come in as ever.
//!
//! He rests several times as long as a step took, so a slow disk is not kept busy with it. A clock that jumped forward by more
//! than [`CLOCK_JUMP_MAX`] is not believed, and said: the time then goes on from the last one that was believed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hume_core::Timestamp;
use hume_core::policy::Policies;
use hume_runtime::clock;
use hume_runtime::task_group::Stop;

use super::error::StoreError;
use super::retention::{RetentionConfig, RetentionNow, Round, retention_now};
use super::traits::Retention;
use crate::metrics::Metrics;

/// Between two looks for what has become too old or too much.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// After this time everything that stayed is looked at again.
const ROUND_EVERY: Duration = Duration::from_hours(1);
/// The time by which he goes is on disk at least this often.
const NOTE_EVERY_US: i64 = 3_600_000_000;
/// He rests so many times as long as a step took, and at least so long.
const REST_FACTOR: u32 = 9;
const REST_MIN: Duration = Duration::from_millis(5);
/// In the folder of the store: an administrator's word that the clock is right. Removed once it is heard.
const CONFIRMATION: &str = "clock-is-right";

/// Has the store forget by its configuration.
pub struct Keeper {
    store: Arc<dyn Retention>,
    config: RetentionConfig,
    policies: Arc<Policies>,
    metrics: Metrics,
    confirmation: PathBuf,
    /// The last time that was believed, and by the clock that does not jump when that was.
    believed: Timestamp,
    believed_boottime_us: u64,
    is_doubted: bool,
    noted: Option<Timestamp>,
    round: Round,
    round_since: Instant,
}

impl Keeper {
    /// The keeper of the store at `path`.
    pub fn new(
        store: Arc<dyn Retention>,
        path: &Path,
        config: RetentionConfig,
        policies: Policies,
        metrics: Metrics,
    ) -> Keeper {
        Keeper {
            believed: store.last_look().unwrap_or_else(clock::now),
            believed_boottime_us: clock::boottime_us(),
            store,
            config,
            policies: Arc::new(policies),
            metrics,
            confirmation: path.with_file_name(CONFIRMATION),
            is_doubted: false,
            noted: None,
            round: Round::default(),
            round_since: Instant::now(),
        }
    }

    /// Looks once a minute until `stop`; at once for good when the configuration lets nothing go.
    pub async fn run(mut self, stop: Stop) -> anyhow::Result<()> {
        if self.config.bounds(Timestamp::EPOCH, None, &self.policies).is_none() {
            stop.wait().await;
            return Ok(());
        }
        while !stop.is_set() {
            if let Err(error) = self.look(clock::now(), clock::boottime_us(), &stop).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the retention stops until its next look"
                );
            }
            rest(LOOK_EVERY, &stop).await;
        }
        Ok(())
    }

    /// Has everything forgotten that may go now.
    async fn look(&mut self, wall: Timestamp, boottime_us: u64, stop: &Stop) -> Result<(), StoreError> {
        let now = self.believe(wall, boottime_us);
        let untold = self.metrics.transfers().floor();
        let Some(bounds) = self.config.bounds(now, untold, &self.policies) else { return Ok(()) };
        if self.round_since.elapsed() >= ROUND_EVERY {
            self.begin_round();
        }
        let is_due = |noted: Timestamp| self.believed.micros_since(noted) >= NOTE_EVERY_US;
        let mut looked_at = self.noted.is_none_or(is_due).then_some(self.believed);
        let mut is_whole = self.round == Round::default();
        let (mut events, mut runs) = (0, 0);
        let excess_bytes = loop {
            let began = Instant::now();
            let round = std::mem::take(&mut self.round);
            let step = self.store.forget(bounds.clone(), round, looked_at).await?;
            self.noted = looked_at.take().or(self.noted);
            self.metrics.forgotten(step.events);
            self.metrics.transfers().let_go(&step.untold);
            (events, runs) = (events + step.events, runs + step.runs);
            self.round = step.round;
            if stop.is_set() {
                return Ok(());
            }
            if !step.more && (step.excess_bytes == 0 || is_whole) {
                break step.excess_bytes;
            }
            if !step.more {
                // There is still too much: what stayed before may go by now.
                is_whole = true;
                self.begin_round();
            }
            rest((began.elapsed() * REST_FACTOR).max(REST_MIN), stop).await;
        };
        if events > 0 {
            tracing::info!(events, runs, "the retention let events go");
        }
        self.tell(now, wall, excess_bytes);
        Ok(())
    }

    fn begin_round(&mut self) {
        self.round = Round::default();
        self.round_since = Instant::now();
    }

    /// The time to go by.
    fn believe(&mut self, wall: Timestamp, boottime_us: u64) -> Timestamp {
        let passed = Duration::from_micros(boottime_us.saturating_sub(self.believed_boottime_us));
        self.believed_boottime_us = boottime_us;
        let (now, is_doubted) = match retention_now(wall, self.believed, passed) {
            RetentionNow::Believed(now) => {
                // A clock that was set back may be set forward again.
                let passed_us = i64::try_from(passed.as_micros()).unwrap_or(i64::MAX);
                self.believed = self.believed.plus_micros(passed_us).max(now);
                (now, false)
            }
            RetentionNow::Doubted { .. } if std::fs::remove_file(&self.confirmation).is_ok() => {
                tracing::warn!(time = %wall, "the retention believes the clock, as it was told to");
                self.believed = wall;
                self.noted = None;
                (wall, false)
            }
            RetentionNow::Doubted { now, ahead } => {
                if !self.is_doubted {
                    let (ahead_s, file) = (ahead.as_secs(), self.confirmation.display());
                    tracing::warn!(ahead_s, %now, %file, "the clock has jumped: the retention does not believe it");
                }
                self.believed = now;
                (now, true)
            }
        };
        if self.is_doubted && !is_doubted {
            tracing::info!(%now, "the retention believes the clock again");
        }
        self.is_doubted = is_doubted;
        now
    }

    /// Says in `/status` what keeps the store from what its configuration says.
    fn tell(&self, now: Timestamp, wall: Timestamp, excess_bytes: u64) {
        let doubt = self.is_doubted.then(|| {
            let hours = wall.micros_since(now) / 3_600_000_000;
            format!(
                "the clock is {hours} h ahead of the time that surely passed, and the retention does not believe it: \
                 correct the clock, or make the file {} if it is right",
                self.confirmation.display()
            )
        });
        let excess = (excess_bytes > 0).then(|| {
            format!("what the retention must keep is {excess_bytes} bytes too much for retention.bytes_max")
        });
        let all: Vec<String> = doubt.into_iter().chain(excess).collect();
        self.metrics.retention_says((!all.is_empty()).then(|| all.join("; ")));
    }
}

async fn rest(time: Duration, stop: &Stop) {
    tokio::select! {
        () = stop.wait() => {}
        () = tokio::time::sleep(time) => {}
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
