//! The door of this host: what is within bounds is handed on with the kernel's word on who said it; the rest is refused by name.
//!
//! Lines come over the socket, or as files in the drop folder when the agent was away. The folder goes first: what fell
//! into it earlier is recorded before the next line is answered. Limits: [`CONNECTIONS_MAX`], and those of `connection`.

mod config;
mod connection;
mod drop_folder;
mod peer;
mod users;

use std::sync::Arc;

use hume_core::event::BootClock;
use hume_core::name::BootId;
use hume_core::{Draft, HostName};
use hume_runtime::clock;
use hume_runtime::socket::{self, SocketError};
use hume_runtime::task_group::{Spawner, Stop};
use tokio::net::UnixListener;
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::runs::{Records, Submission};

pub use config::Config;
pub use drop_folder::DropError;
use drop_folder::DropFolder;
use users::Users;

/// Connections served at once; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 1024;
/// Any local user may report; who it was is the kernel's word.
const SOCKET_MODE: u32 = 0o666;

/// The intake could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The socket could not be bound.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The drop folder could not be used.
    #[error(transparent)]
    Drop(#[from] DropError),
}

/// What every connection and every dropped file needs.
#[derive(Debug)]
struct Desk {
    records: Records,
    host: HostName,
    users: Users,
    boot: Option<BootId>,
    metrics: Arc<Metrics>,
}

/// The open door.
#[derive(Debug)]
pub struct Intake {
    listener: UnixListener,
    desk: Arc<Desk>,
    drops: Arc<DropFolder>,
}

impl Desk {
    /// Completes what only the agent knows.
    fn submission(&self, mut draft: Draft, reporter: crate::runs::Reporter) -> Submission {
        // A caller that names no boot means this one.
        if let Some(clock) = &mut draft.caller.boot_clock
            && clock.boot == BootId::from_bytes([0; 16])
        {
            match self.boot {
                Some(boot) => clock.boot = boot,
                None => draft.caller.boot_clock = None,
            }
        }
        if draft.caller.boot_clock.is_none() && draft.time.is_none() {
            draft.caller.boot_clock = self.boot.map(|boot| BootClock { boot, micros: clock::boottime_us() });
        }
        let host = draft.host.clone().unwrap_or_else(|| self.host.clone());
        Submission { draft, reporter, received_at: clock::now(), host }
    }
}

impl Intake {
    /// Reads what is in the drop folder, then binds the socket: a start that fell into the folder comes before its stop.
    ///
    /// # Errors
    /// [`IntakeError`] naming the socket or the folder.
    pub async fn open(
        config: &Config,
        host: HostName,
        records: Records,
        metrics: Arc<Metrics>,
    ) -> Result<Intake, IntakeError> {
        socket::check_path(&config.socket)?;
        let boot = clock::boot_id().map(|id| BootId::from_bytes(*id.as_bytes()));
        let desk = Arc::new(Desk { records, host, users: Users::default(), boot, metrics });
        let drops = Arc::new(DropFolder::open(&config.drop_dir, Arc::clone(&desk))?);
        drops.settle().await;
        let listener = socket::bind_unix(&config.socket, SOCKET_MODE)?;
        info!(socket = %config.socket.display(), drop_dir = %config.drop_dir.display(), "intake open");
        Ok(Intake { listener, desk, drops })
    }

    /// Takes connections until the stop is set.
    ///
    /// # Errors
    /// None today; a connection's failure ends that connection.
    pub async fn run(self, stop: Stop, children: Spawner) -> anyhow::Result<()> {
        let Intake { listener, desk, drops } = self;
        loop {
            tokio::select! {
                () = stop.wait() => return Ok(()),
                () = drops.stirred() => drops.settle().await,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        desk.metrics.connections.inc();
                        let served = connection::serve(stream, Arc::clone(&desk), Arc::clone(&drops), stop.clone());
                        if children.spawn("intake connection", served).await.is_err() {
                            return Ok(());
                        }
                    }
                    Err(error) => {
                        // Out of descriptors: those that are open go on, and this loop does not spin.
                        warn!(%error, "could not take a connection");
                        tokio::select! {
                            () = stop.wait() => return Ok(()),
                            () = tokio::time::sleep(std::time::Duration::from_millis(100)) => {}
                        }
                    }
                }
            }
        }
    }
}
