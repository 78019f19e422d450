//! All transfers of a daemon: starts a pump for each that is configured, and all anew when the configuration is read again.
//!
//! A transfer that cannot be opened, for want of a secret say, is tried again every minute and holds up nobody. Without a
//! transfer nothing is opened and nothing wakes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hume_core::HostName;
use hume_core::policy::Policies;
use hume_runtime::task_group::{Spawner, Stop};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::board::Board;
use crate::kinds::Options;
use crate::log::Log;
use crate::options::{TransferName, Transfers};
use crate::pump::Pump;
use crate::state::State;
use crate::template::Templates;
use crate::transfer::{Setting, Transfer};

/// When their state cannot be opened, it is tried again so often.
const OPEN_EVERY: Duration = Duration::from_mins(1);
/// What administrators ask for with `transfer retry` and `skip` is looked for so often.
pub const WISHES_EVERY: Duration = Duration::from_secs(5);

/// What the transfers of a daemon have in common.
#[derive(Clone)]
pub struct Room {
    /// What they read.
    pub log: Arc<dyn Log>,
    /// The daemon's folder, where their state is kept.
    pub dir: PathBuf,
    /// The configuration file.
    pub config_file: PathBuf,
    /// The host the daemon runs on.
    pub host: HostName,
    /// `humed-agent` or `humed-master`.
    pub program: &'static str,
    /// What is expected of runs.
    pub policies: Arc<Policies>,
    /// Where it is told how they are.
    pub board: Board,
}

/// A transfer that is to run.
#[derive(Clone)]
struct Wanted {
    name: TransferName,
    options: Options,
}

impl Room {
    /// Runs what `wanted` says, and anew whenever that is sent again, until `stop`.
    ///
    /// # Errors
    /// None at the moment: what fails is told and tried again.
    pub async fn run(
        self,
        mut wanted: watch::Receiver<Transfers>,
        children: Spawner,
        stop: Stop,
    ) -> anyhow::Result<()> {
        while !stop.is_set() {
            let transfers = wanted.borrow_and_update().clone();
            self.board.expect(&transfers);
            let generation = Stop::new();
            let running = self.serve(transfers, &children, &generation);
            let over = async {
                tokio::select! {
                    () = stop.wait() => {}
                    changed = wanted.changed() => if changed.is_err() { stop.wait().await },
                }
                generation.set();
            };
            tokio::join!(running, over);
        }
        Ok(())
    }

    /// Runs these until `generation` stops and all have ended.
    async fn serve(&self, transfers: Transfers, children: &Spawner, generation: &Stop) {
        if transfers.0.is_empty() {
            return;
        }
        let state = loop {
            match State::open(&self.dir) {
                Ok(state) => break state,
                Err(error) => error!(error = &error as &dyn std::error::Error, "the transfers cannot begin"),
            }
            tokio::select! {
                () = generation.wait() => return,
                () = tokio::time::sleep(OPEN_EVERY) => {}
            }
        };
        let (ended, mut ends) = mpsc::channel::<TransferName>(transfers.0.len().max(1));
        let (asked, _) = watch::channel(0);
        for (name, options) in transfers.0.clone() {
            self.start(Wanted { name, options }, &state, &asked, &ended, children, generation);
        }
        let mut version = state.version().await.unwrap_or(0);
        let mut running = transfers.0.len();
        while running > 0 {
            tokio::select! {
                name = ends.recv() => {
                    running -= 1;
                    if let (Some(name), false) = (name, generation.is_set()) {
                        error!(transfer = %name, "a transfer ended by itself; a reload starts it anew");
                    }
                }
                () = tokio::time::sleep(WISHES_EVERY), if !generation.is_set() => {
                    match state.version().await {
                        Ok(now) if now == version => {}
                        Ok(now) => {
                            version = now;
                            asked.send_modify(|count| *count += 1);
                        }
                        Err(error) => {
                            let error = &error as &dyn std::error::Error;
                            warn!(error, "what administrators ask for cannot be read");
                        }
                    }
                }
            }
        }
    }

    fn start(
        &self,
        wanted: Wanted,
        state: &State,
        asked: &watch::Sender<u64>,
        ended: &mpsc::Sender<TransferName>,
        children: &Spawner,
        generation: &Stop,
    ) {
        let (room, state, asked, stop) = (self.clone(), state.clone(), asked.subscribe(), generation.clone());
        let end = End { name: wanted.name.clone(), ended: ended.clone() };
        let child = async move {
            let _end = end;
            let Wanted { name, options } = wanted;
            let pump = Pump {
                name: name.clone(),
                kind: options.kind(),
                common: options.common(),
                manner: options.manner(),
                log: Arc::clone(&room.log),
                state,
                board: room.board.clone(),
                policies: Arc::clone(&room.policies),
                asked,
            };
            pump.run(|| room.open(&name, &options), stop).await;
        };
        // The children of a daemon are at least as many as it may have transfers.
        if let Err(error) = children.try_spawn("transfer", child) {
            warn!(%error, "a transfer was not started");
        }
    }

    /// Opens a transfer, and tells which of its templates cannot be used.
    fn open(&self, name: &TransferName, options: &Options) -> Result<Box<dyn Transfer>, String> {
        let setting =
            Setting { name, config_file: &self.config_file, host: &self.host, program: self.program };
        let transfer = options.open(&setting).map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
        for fault in transfer.templates().map(Templates::faults).unwrap_or_default() {
            error!(transfer = %name, "a template cannot be used, the built-in takes its place: {fault}");
        }
        info!(transfer = %name, kind = options.kind(), "a transfer begins");
        Ok(transfer)
    }
}

/// Says that a pump is over, however it ended.
struct End {
    name: TransferName,
    ended: mpsc::Sender<TransferName>,
}

impl Drop for End {
    fn drop(&mut self) {
        // There is room for one word of each.
        let _ = self.ended.try_send(self.name.clone());
    }
}
