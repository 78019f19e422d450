//! The door of this host: what is within bounds is handed on with the kernel's word on who said it; the rest is refused by name.
//!
//! Secrets that are known as such are hidden before anything is kept. Lines come over the socket, or as files in the drop folder when the agent was away. The folder goes first: what fell
//! into it earlier is recorded before the next line is answered. Limits: [`CONNECTIONS_MAX`], and those of `connection` and `allowance`.

mod allowance;
mod config;
mod connection;
mod crowd;
mod drop_folder;
mod entrance;
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

use allowance::{Allowances, Over};
use hume_core::event::{BootClock, Process};
use hume_core::name::BootId;
use hume_core::watch::Expectation;
use hume_core::{BoundError, Draft, ErrorClass, HostName, TaskName};
use hume_proto::intake::AnswerLine;
use hume_runtime::clock;
use hume_runtime::socket::{self, SocketError};
use hume_runtime::task_group::{Spawner, Stop};
use tokio::net::{UnixListener, UnixStream};
use tracing::{error, info, warn};

use crate::hosts::Hosts;
use crate::metrics::Metrics;
use crate::redact::Redactor;
use crate::runs::{self, Records, Reporter, Submission};

pub use config::{Config, SocketMode};
use connection::Accepted;
use drop_folder::DropFolder;
pub use drop_folder::{DropError, dropped};
use entrance::Entrance;
pub use entrance::EntranceError;
pub use lines::{Line, Lines};
use places::Places;
pub use rights::{Account, Allow, UnknownAccount};
use rights::{ROOT, Rights, ThisHost};
use users::Users;

/// Connections served at once; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 1024;
/// After a connection could not be taken.
const ACCEPT_REST: Duration = Duration::from_secs(1);

/// The intake could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The socket could not be bound.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The drop folder could not be used.
    #[error(transparent)]
    Drop(#[from] DropError),
    /// It cannot be said who may report.
    #[error(transparent)]
    Entrance(#[from] EntranceError),
}

/// There is no room for what a user reports, and there will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NoRoom {
    /// For all but root.
    #[error("the spool is nearly full: what is left is for root")]
    Reserved,
    /// For this user.
    #[error(transparent)]
    Over(#[from] Over),
}

impl NoRoom {
    /// What the caller can do, and the word for the metrics.
    fn class(self) -> (ErrorClass, &'static str) {
        match self {
            NoRoom::Reserved => (ErrorClass::Full, "reserve"),
            NoRoom::Over(Over::Bytes(_)) => (ErrorClass::Full, "quota"),
            NoRoom::Over(Over::Events(_)) => (ErrorClass::Busy, "rate"),
        }
    }
}

/// What every connection and every dropped file needs.
#[derive(Debug)]
struct Desk {
    records: Records,
    host: HostName,
    hosts: Hosts,
    users: Users,
    boot: Option<BootId>,
    redactor: Redactor,
    rights: Rights,
    entrance: Entrance,
    /// The agent's user.
    own: u32,
    allowances: Allowances,
    metrics: Arc<Metrics>,
}

/// The open door.
#[derive(Debug)]
pub struct Intake {
    listener: UnixListener,
    desk: Arc<Desk>,
    drops: Arc<DropFolder>,
}

/// Looks up everybody whom the configuration in `file` names, and reads the token.
///
/// # Errors
/// The first name that this host does not know, or why there is no token.
pub fn check(config: &Config, file: &Path) -> Result<(), EntranceError> {
    let (_, unknown) = Rights::resolve(&config.allow, &ThisHost);
    if let Some(unknown) = unknown.into_iter().next() {
        return Err(unknown.into());
    }
    Entrance::read(config, file, &ThisHost).map(drop)
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

    /// Whether events of this host are taken, if one is named; if not, the words to say so.
    fn may_report_for(&self, host: Option<&HostName>) -> Result<(), String> {
        host.map_or(Ok(()), |host| self.hosts.check(host))
    }

    /// Whether that can be what the draft says of when its task is expected, if it does.
    fn check_expectation(&self, draft: &Draft) -> Result<(), BoundError> {
        let Some(text) = Expectation::text(&draft.extra) else { return Ok(()) };
        let host = draft.host.as_ref().unwrap_or(&self.host);
        Expectation::parse(text)?.watch(&draft.task, host, jiff::tz::db()).map(drop)
    }

    /// Whether there is room for so many bytes of the user, who has used it then. Root and the agent's own user are not bounded.
    fn has_room(&self, process: &Process, bytes: usize) -> Result<(), NoRoom> {
        let Some(uid) = process.uid.filter(|uid| *uid != ROOT && *uid != self.own) else { return Ok(()) };
        if self.records.is_reserved() {
            return Err(NoRoom::Reserved);
        }
        Ok(self.allowances.take(uid, bytes as u64, clock::boottime_us())?)
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
    /// Reads what is in the drop folder, then binds the socket, as `config` of this file says: a start that fell into the folder comes before its stop. Those
    /// who came to an open `door` meanwhile have waited; it is used instead of the socket, and stays when the agent goes.
    ///
    /// # Errors
    /// [`IntakeError`] naming the socket or the folder.
    pub async fn open(
        (config, file): (&Config, &Path),
        door: Option<Door>,
        (host, hosts): (HostName, Hosts),
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
        let entrance = Entrance::read(config, file, &ThisHost)?;
        let allowances = Allowances::new(config.user_events_per_minute, config.user_bytes_per_day);
        let own = rustix::process::geteuid().as_raw();
        let users = Users::default();
        let desk =
            Desk { records, host, hosts, users, boot, redactor, rights, entrance, own, allowances, metrics };
        let desk = Arc::new(desk);
        let drops = Arc::new(DropFolder::open(&config.drop_dir, Arc::clone(&desk))?);
        desk.entrance.narrow(&config.drop_dir)?;
        drops.settle_all().await;
        let listener = match door {
            Some(door) => desk.entrance.inherit(door, &config.socket)?,
            None => desk.entrance.bind(&config.socket)?,
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
    let text = "this user, or all users but root, have too many connections already";
    let answer = AnswerLine::refused(ErrorClass::Busy, text, None);
    if let Ok(mut line) = serde_json::to_vec(&answer) {
        line.push(b'\n');
        // A caller that cannot be told finds its connection closed.
        let _ = stream.try_write(&line);
    }
}
