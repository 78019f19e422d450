//! The agent as a whole: everything that can fail to start is started first; then it runs until it is told to stop.

use std::future::Future;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hume_core::{AgentId, HostName, TaskName};
use hume_runtime::signal::Hangups;
use hume_runtime::task_group::{Stop, TaskError, TaskGroup};
use hume_runtime::tls::Roots;
use hume_runtime::{exit, notify};
use hume_transfer::command::{OrderError, Place};
use hume_transfer::options::TRANSFERS_MAX;
use hume_transfer::{Room, Transfers};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::drops::Drops;
use crate::hosts::Hosts;
use crate::intake::{self, EntranceError, Intake, IntakeError};
use crate::metrics::{Metrics, Uplink as UplinkNow, UplinkState};
use crate::pump::SpoolLog;
use crate::redact::{RedactError, Redactor};
use crate::runs::{self, OpenError, Pulse};
use crate::spool::{self, FigureValues, Spool, SpoolError, Trouble, Unsent};
use crate::uplink::{self, ConnectError, Uplink};
use crate::web::{self, Web};

/// Time to finish what is going on after a stop was asked for.
const GRACE: Duration = Duration::from_secs(8);
/// What the socket of the intake is called among those that a service manager hands over (`FileDescriptorName`).
pub const DOOR: &str = "hume";
/// What the transfers call this daemon.
const PROGRAM: &str = "humed-agent";

/// The agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its certificate or key cannot be used.
    #[error(transparent)]
    Identity(#[from] ConnectError),
    /// The rules of `[redact]` cannot be used.
    #[error(transparent)]
    Redact(#[from] RedactError),
    /// Of the configuration.
    #[error(transparent)]
    Entrance(#[from] EntranceError),
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Processes cannot be watched.
    #[error("cannot watch processes")]
    Watch(#[source] std::io::Error),
    /// The intake cannot be opened.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// Events are to be given up, and nothing waits to be sent.
    #[error("no [master] in the configuration: nothing here waits to be sent")]
    Alone,
    /// The query socket cannot be bound.
    #[error(transparent)]
    Web(#[from] hume_runtime::socket::SocketError),
    /// A transfer cannot be opened.
    #[error(transparent)]
    Transfer(#[from] OrderError),
}

impl StartError {
    /// The exit code that tells an administrator or a supervisor what to do.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Identity(_)
            | StartError::Redact(_)
            | StartError::Entrance(_)
            | StartError::Spool(SpoolError::OtherAgent { .. })
            | StartError::Transfer(_)
            | StartError::Alone => exit::CONFIG,
            StartError::Spool(SpoolError::Lock(_)) | StartError::Watch(_) => exit::TEMPORARY,
            StartError::Web(_) | StartError::Intake(_) => exit::UNAVAILABLE,
            StartError::Spool(_) => exit::IO,
        }
    }
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> StartError {
        match error {
            OpenError::Spool(error) => StartError::Spool(error),
            OpenError::Watch(error) => StartError::Watch(error),
        }
    }
}

/// Reads the certificates and the key that the configuration names, makes its rules, and opens its transfers.
///
/// # Errors
/// [`StartError`], naming what cannot be used.
pub fn check(config: &Config, file: &Path) -> Result<(), StartError> {
    Redactor::new(&config.redact)?;
    intake::check(&config.intake, file)?;
    if let Some(master) = &config.master {
        uplink::identity(master)?;
        Roots::load(&master.ca).map_err(ConnectError::from)?;
    }
    Ok(hume_transfer::command::check(place(config, file, &config.host()))?)
}

/// What an order about transfers is about.
pub fn place<'a>(config: &'a Config, file: &'a Path, host: &'a HostName) -> Place<'a> {
    Place { transfers: &config.transfer, config_file: file, dir: &config.spool.dir, host, program: PROGRAM }
}

/// Whether something is done that cannot be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sure {
    /// Do it.
    Yes,
    /// Only say what would be done.
    NotYet,
}

/// Gives up what the master does not have, of one task or of all; a text that says what was done.
///
/// # Errors
/// [`StartError`]: an agent has the spool, the spool is another agent's or cannot be used, or there is no master.
pub fn discard(config: &Config, task: Option<&TaskName>, sure: Sure) -> Result<String, StartError> {
    let master = config.master.as_ref().ok_or(StartError::Alone)?;
    let (_, peer) = uplink::identity(master)?;
    let (dir, agent) = (&config.spool.dir, AgentId::from(peer.id));
    let Unsent { events, bytes, others } = match sure {
        Sure::Yes => spool::discard(dir, &config.spool, agent, task)?,
        Sure::NotYet => spool::unsent(dir, &config.spool, agent, task)?,
    };
    let what = match task {
        Some(task) => format!(
            "{events} events, {bytes} bytes of task \"{task}\"; {others} of other tasks wait as before"
        ),
        None => format!("{events} events, {bytes} bytes that the master does not have"),
    };
    Ok(match sure {
        Sure::Yes => format!("given up: {what}\n"),
        Sure::NotYet => format!("would be given up: {what}\nNothing was changed. Say --yes to do it.\n"),
    })
}

/// A started agent.
#[derive(Debug)]
pub struct Agent {
    tasks: TaskGroup,
    spool: Spool,
    transfers: watch::Sender<Transfers>,
    metrics: Arc<Metrics>,
}

impl Agent {
    /// Opens spool, intake, uplink and web, in the order of an event's journey backwards: nothing is taken before it can be kept.
    /// The intake takes connections at `door`, if whoever started this process has opened one.
    ///
    /// # Errors
    /// [`StartError`], naming what is in the way.
    pub async fn start(config: Config, file: &Path, door: Option<UnixListener>) -> Result<Agent, StartError> {
        notify::status("starting: opens the spool");
        let host = config.host();
        let redactor = Redactor::new(&config.redact)?;
        let agent = match &config.master {
            Some(master) => {
                let (_, peer) = uplink::identity(master)?;
                Some(AgentId::from(peer.id))
            }
            None => None,
        };
        let metrics = Arc::new(Metrics::default());
        let mut tasks = TaskGroup::new();
        metrics.transfers.expect(&config.transfer);
        let spool =
            Spool::open(&config.spool.dir, &config.spool, agent, metrics.transfers.clone(), &mut tasks)?;
        let (writer, reader) = (spool.writer.clone(), spool.reader.clone());

        let policies = Arc::new(config.runs);
        let pulse = Pulse::open(&config.spool.dir);
        let room = Room {
            log: Arc::new(SpoolLog::new(host.clone(), spool.questions.clone(), writer.clone())),
            dir: config.spool.dir.clone(),
            config_file: file.to_owned(),
            host: host.clone(),
            program: PROGRAM,
            policies: Arc::clone(&policies),
            board: metrics.transfers.clone(),
        };
        let (records, recorder) =
            runs::open(writer.clone(), reader.clone(), Arc::clone(&policies), pulse).await?;
        tasks.spawn("runs", |stop| recorder.run(stop));

        let questions = spool.questions.clone();
        let web = Web::bind(
            &config.web,
            host.clone(),
            questions,
            writer.clone(),
            Arc::clone(&metrics),
            Arc::clone(&policies),
            tasks.stop(),
        )?;
        let connections = tasks.spawner(web::CONNECTIONS_MAX);
        tasks.spawn("web", |stop| web.run(connections, stop));

        let (transfers, wanted) = watch::channel(config.transfer);
        let pumps = tasks.spawner(TRANSFERS_MAX);
        tasks.spawn("transfers", |stop| room.run(wanted, pumps, stop));

        let hosts = match agent {
            Some(_) => Hosts::open(host.clone(), &config.spool.dir),
            None => Hosts::alone(host.clone()),
        };
        if let (Some(master), Some(agent)) = (config.master, agent) {
            let (state, metrics) = (&config.spool.dir, Arc::clone(&metrics));
            let drops = Drops::at(config.intake.drop_dir.clone());
            let uplink = Uplink::new(master, host.clone(), agent, writer, reader, state, metrics)
                .teaching(hosts.clone())
                .tagged(config.tags.into())
                .minding(drops);
            tasks.spawn("uplink", |stop| uplink.run(stop));
        } else {
            info!("no [master] in the configuration: this host keeps its events to itself");
        }

        notify::status("starting: takes in what waits in the drop folder");
        let intake = Intake::open(
            (&config.intake, file),
            door,
            (host.clone(), hosts),
            redactor,
            records,
            Arc::clone(&metrics),
        )
        .await?;
        let children = tasks.spawner(intake::CONNECTIONS_MAX);
        tasks.spawn("intake", |stop| intake.run(stop, children));
        info!(%host, version = env!("CARGO_PKG_VERSION"), "humed-agent ready");
        Ok(Agent { tasks, spool, transfers, metrics })
    }

    /// Runs until `until` completes or a task fails. A hangup has `file` read and says what that changes.
    ///
    /// # Errors
    /// [`TaskError`] naming the task that failed or did not stop in time.
    pub async fn run(
        mut self,
        until: impl Future<Output = ()>,
        hangups: Hangups,
        file: PathBuf,
    ) -> Result<(), TaskError> {
        let transfers = self.transfers;
        self.tasks.spawn("reload", |stop| reload(hangups, file, transfers, stop));
        let (metrics, figures) = (self.metrics, self.spool.figures());
        self.tasks.keep_watch(notify::watchdog(move || status(&metrics.uplink(), &figures.get())));
        notify::ready();
        let until = async {
            until.await;
            notify::stopping();
            info!("stopping");
        };
        let ended = self.tasks.run(until, GRACE).await;
        if let Err(error) = &ended {
            warn!(%error, "humed-agent did not stop cleanly");
        }
        // The lock goes last: nobody may open the spool while a task still writes.
        drop(self.spool);
        ended
    }
}

/// One line for `systemctl status`.
fn status(uplink: &UplinkNow, figures: &FigureValues) -> String {
    let FigureValues { unacked_events, events, .. } = figures;
    let address = uplink.address.as_deref().unwrap_or("the master");
    let mut text = match uplink.state {
        UplinkState::Alone => format!("no master, {events} events kept"),
        UplinkState::Connected => format!("connected to {address}, {unacked_events} events wait"),
        UplinkState::Disconnected => {
            let why = uplink.last_error.as_ref().map(|(error, _)| format!(" ({error})")).unwrap_or_default();
            format!("not connected to {address}{why}, {unacked_events} events wait")
        }
    };
    if let Some(Trouble { cause, .. }) = figures.trouble {
        text = format!("refuses events ({cause}); {text}");
    } else if figures.full || figures.disk_full {
        text = format!("refuses events (no room); {text}");
    }
    text
}

/// Certificates and key are read at every connection to the master; transfers begin anew; everything else takes a restart.
async fn reload(
    mut hangups: Hangups,
    file: PathBuf,
    transfers: watch::Sender<Transfers>,
    stop: Stop,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = hangups.next() => {}
        }
        notify::reloading();
        match Config::load(&file) {
            Ok(config) => {
                info!(
                    "transfers begin anew, and the next connection to the master reads its certificates anew; other changes need a restart"
                );
                transfers.send_replace(config.transfer);
            }
            Err(error) => error!(%error, "nothing was reloaded"),
        }
        notify::ready();
    }
}
