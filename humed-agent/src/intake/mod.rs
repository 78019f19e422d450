//! The door of this host: what is within bounds is handed on with the kernel's word on who said it; the rest is refused by name.
//!
//! Secrets that are known as such are hidden before anything is kept. Lines come over the socket, or as files in the drop folder when the agent was away. The folder goes first: what fell
//! into it earlier is recorded before the next line is answered. Limits: [`CONNECTIONS_MAX`], and those of `connection`.

mod config;
mod connection;
mod drop_folder;
mod lines;
mod peer;
mod places;
mod rights;
mod stir;
mod users;

use std::os::unix::net::UnixListener as Door;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hume_core::event::{BootClock, Process};
use hume_core::name::BootId;
use hume_core::{Draft, ErrorClass, HostName, TaskName};
use hume_proto::intake::AnswerLine;
use hume_runtime::clock;
use hume_runtime::socket::{self, SocketError};
use hume_runtime::task_group::{Spawner, Stop};
use tokio::net::{UnixListener, UnixStream};
use tracing::{error, info, warn};

use crate::metrics::Metrics;
use crate::redact::Redactor;
use crate::runs::{self, Records, Reporter, Submission};

pub use config::Config;
use connection::Accepted;
use drop_folder::DropFolder;
pub use drop_folder::{DropError, dropped};
pub use lines::{Line, Lines};
use places::{CONNECTIONS_PER_USER_MAX, Places};
pub use rights::{Allow, UnknownAccount};
use rights::{Rights, ThisHost};
use users::Users;

/// Connections served at once; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 1024;
/// After a connection could not be taken.
const ACCEPT_REST: Duration = Duration::from_secs(1);
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
    redactor: Redactor,
    rights: Rights,
    metrics: Arc<Metrics>,
}

/// The open door.
#[derive(Debug)]
pub struct Intake {
    listener: UnixListener,
    desk: Arc<Desk>,
    drops: Arc<DropFolder>,
}

/// Looks up everybody whom the configuration names.
///
/// # Errors
/// The first name that this host does not know.
pub fn check(config: &Config) -> Result<(), UnknownAccount> {
    let (_, unknown) = Rights::resolve(&config.allow, &ThisHost);
    unknown.into_iter().next().map_or(Ok(()), Err)
}

impl Desk {
    /// Whether the user may report for the task; if not, the words to say so.
    fn allows(&self, task: &TaskName, process: &Process, gid: Option<u32>) -> Result<(), String> {
        let Some(uid) = process.uid else { return Ok(()) };
        if self.rights.may_report(task, uid, gid) {
            return Ok(());
        }
        let user = process.user.as_deref().map_or_else(String::new, |name| format!(" \"{name}\""));
        Err(format!(
            "task \"{task}\" is reserved, and user{user} (uid {uid}) is not among those whom [[intake.allow]] names"
        ))
    }

    /// Completes what only the agent knows, and hides what nobody shall know.
    fn submission(&self, mut draft: Draft, mut reporter: Reporter) -> Submission {
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
        let redacted = self.redactor.draft(&mut draft, &mut reporter.process);
        if redacted {
            self.metrics.redacted.inc();
        }
        Submission { draft, reporter, received: runs::now(), host, redacted }
    }
}

impl Intake {
    /// Reads what is in the drop folder, then binds the socket: a start that fell into the folder comes before its stop. Those
    /// who came to an open `door` meanwhile have waited; it is used instead of the socket, and stays when the agent goes.
    ///
    /// # Errors
    /// [`IntakeError`] naming the socket or the folder.
    pub async fn open(
        config: &Config,
        door: Option<Door>,
        host: HostName,
        redactor: Redactor,
        records: Records,
        metrics: Arc<Metrics>,
    ) -> Result<Intake, IntakeError> {
        socket::check_path(&config.socket)?;
        let boot = clock::boot_id().map(|id| BootId::from_bytes(*id.as_bytes()));
        let (rights, unknown) = Rights::resolve(&config.allow, &ThisHost);
        for name in unknown {
            error!("{name}: nobody may report by this name until the agent is started again");
        }
        let users = Users::default();
        let desk = Arc::new(Desk { records, host, users, boot, redactor, rights, metrics });
        let drops = Arc::new(DropFolder::open(&config.drop_dir, Arc::clone(&desk))?);
        drops.settle_all().await;
        let listener = match door {
            Some(door) => inherited(door, &config.socket)?,
            None => socket::bind_unix(&config.socket, SOCKET_MODE)?,
        };
        info!(socket = %config.socket.display(), drop_dir = %config.drop_dir.display(), "intake open");
        Ok(Intake { listener, desk, drops })
    }

    /// Takes connections, and what falls into the drop folder, until the stop is set.
    ///
    /// # Errors
    /// None today; a connection's failure ends that connection.
    pub async fn run(self, stop: Stop, children: Spawner) -> anyhow::Result<()> {
        let Intake { listener, desk, drops } = self;
        let ((), ()) =
            tokio::join!(drops.run(stop.clone()), accept(&listener, &desk, &drops, &stop, &children));
        Ok(())
    }
}

/// The socket that somebody else has bound, and whether scripts look for it there.
fn inherited(door: Door, expected: &Path) -> Result<UnixListener, SocketError> {
    let bound = door.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
    if bound.as_deref() == Some(expected) {
        info!("the socket was open before the agent, and stays when it goes");
    } else {
        warn!(?bound, ?expected, "intake.socket is not the socket that this agent was started with");
    }
    let failed = |source| SocketError::Step { step: "use", path: expected.to_owned(), source };
    UnixListener::from_std(door).map_err(failed)
}

async fn accept(
    listener: &UnixListener,
    desk: &Arc<Desk>,
    drops: &Arc<DropFolder>,
    stop: &Stop,
    children: &Spawner,
) {
    let places = Places::default();
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => return,
            accepted = listener.accept() => accepted,
        };
        let at_us = clock::boottime_us();
        match accepted {
            Ok((stream, _)) => {
                desk.metrics.connections.inc();
                // Whoever is gone already cannot be counted, and asks for nothing.
                let Ok(peer) = stream.peer_cred() else { continue };
                let Some(place) = places.take(peer.uid()) else {
                    desk.metrics.refuse("busy");
                    refuse(&stream);
                    continue;
                };
                let accepted = Accepted { stream, at_us, _place: place };
                let served = connection::serve(accepted, Arc::clone(desk), Arc::clone(drops), stop.clone());
                tokio::select! {
                    () = stop.wait() => return,
                    spawned = children.spawn("intake connection", served) => if spawned.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                // Out of descriptors: those that are open go on, and this loop does not spin.
                warn!(%error, "could not take a connection");
                tokio::select! {
                    () = stop.wait() => return,
                    () = tokio::time::sleep(ACCEPT_REST) => {}
                }
            }
        }
    }
}

/// One line, if it can be written at once.
fn refuse(stream: &UnixStream) {
    let text = format!("this user has {CONNECTIONS_PER_USER_MAX} connections already");
    let answer = AnswerLine::refused(ErrorClass::Busy, text, None);
    if let Ok(mut line) = serde_json::to_vec(&answer) {
        line.push(b'\n');
        // A caller that cannot be told finds its connection closed.
        let _ = stream.try_write(&line);
    }
}
