//! The composition root: binds everything that can fail, then wires the rooms in the order of an event's journey.
//!
//! On SIGTERM: no new connections, sessions commit what they have read, ack it and say goodbye, questions at hand are
//! answered, the store is emptied into its file. All of it within `STOP_GRACE` and `STORE_GRACE`.

mod certificates;
mod copies;
mod enclosures;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hume_core::HostName;
use hume_core::watch::{Watch, WatchError};
use hume_runtime::accept::{self, AcceptLimits, Acceptor, OnRefusal, RefusalLog};
use hume_runtime::pki::CaFolderError;
use hume_runtime::signal::Hangups;
use hume_runtime::socket::{self, SocketError};
use hume_runtime::sqlite::{self, DirLock, LockError, SqliteError};
use hume_runtime::task_group::{Stop, TaskError, TaskGroup};
use hume_runtime::{clock, exit, notify, serve};
use hume_transfer::command::{OrderError, Place};
use hume_transfer::options::TRANSFERS_MAX;
use hume_transfer::{Room, Transfers};
use rustls::ServerConfig;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

pub use self::copies::{CopiesError, backup, restore};
pub use self::enclosures::{Extent, Keys};
use crate::admin::{self, Admin, Doorway, People};
use crate::ca::{self, Ca, Custodian, OwnPorts, Ports};
use crate::config::{self, Config};
use crate::enroll::{self, Enroll};
use crate::intake::{Findings, Intake};
use crate::metrics::Metrics;
use crate::pump::StoreLog;
use crate::registry::{self, Issuer, Registry, RegistryThread, Strangers};
use crate::relay::{self, Issuing, Relay};
pub use crate::store::Taken;
use crate::store::{Keeper, SqliteStore, StoreError, Writer};
use crate::watchdog::{Declared, Watchdog};
use crate::web::{self, Guard, WebState};

/// After the stop the rooms get this long to finish.
const STOP_GRACE: Duration = Duration::from_secs(7);
/// After them the store gets this long to finish.
const STORE_GRACE: Duration = Duration::from_secs(2);
/// What the transfers call this daemon.
const PROGRAM: &str = "humed-master";
/// Mode of the socket: owner and group may ask.
const SOCKET_MODE: u32 = 0o660;

/// The master did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// Certificates or keys are wrong.
    #[error("the certificates cannot be used")]
    Tls(#[from] CaFolderError),
    /// Another daemon has the store.
    #[error("the store cannot be taken")]
    Lock(#[from] LockError),
    /// The store cannot be opened.
    #[error("the store {} cannot be used", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The registry cannot be opened.
    #[error("the registry {} cannot be used", path.display())]
    Registry {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SqliteError,
    },
    /// A port cannot be listened on.
    #[error("cannot listen on {address} (`{key}`)")]
    Listen {
        /// The key that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen on the socket of `web.socket`")]
    Socket(#[from] SocketError),
    /// The thread of the store could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// A watch contradicts itself.
    #[error("{}", path.display())]
    Watch {
        /// The configuration.
        path: PathBuf,
        /// Which watch, and why.
        #[source]
        source: WatchError,
    },
    /// A transfer cannot be opened.
    #[error(transparent)]
    Transfer(#[from] OrderError),
    /// A room failed.
    #[error(transparent)]
    Task(#[from] TaskError),
}

impl MasterError {
    /// After sysexits(3).
    pub fn exit_code(&self) -> u8 {
        match self {
            MasterError::Tls(_) | MasterError::Watch { .. } | MasterError::Transfer(_) => exit::CONFIG,
            MasterError::Lock(LockError::Held { .. }) => exit::TEMPORARY,
            MasterError::Lock(_) | MasterError::Store { .. } | MasterError::Registry { .. } => exit::IO,
            MasterError::Listen { .. } => exit::UNAVAILABLE,
            MasterError::Socket(_) => exit::CANNOT_CREATE,
            MasterError::Thread(_) | MasterError::Task(_) => exit::SOFTWARE,
        }
    }
}

/// A master that has everything it needs and does not yet serve.
pub struct Master {
    config_file: PathBuf,
    config: Config,
    watches: Arc<[Watch]>,
    metrics: Metrics,
    trust_domain: Option<String>,
    certificates: ca::Opened,
    enroll: Option<Enrolment>,
    relay_port: Port,
    web_port: Port,
    socket: UnixListener,
    store: SqliteStore,
    writer: Writer,
    registry: Registry,
    registry_thread: RegistryThread,
    _lock: DirLock,
}

/// One TLS port: its accept loop, and what comes out of it.
struct Port {
    address: SocketAddr,
    acceptor: Acceptor,
    accepted: mpsc::Receiver<accept::Accepted>,
    on_refusal: OnRefusal,
}

/// The port where hosts join, and what a token says of it.
struct Enrolment {
    port: Port,
    room: Enroll,
    doorway: Doorway,
    issuer: Issuer,
}

impl Enrolment {
    async fn open(
        config: &Config,
        own: OwnPorts,
        registry: &Registry,
        relay: SocketAddr,
        metrics: &Metrics,
    ) -> Result<Enrolment, MasterError> {
        let OwnPorts { enroll, signing } = own;
        let ca = Arc::clone(&signing.borrow());
        certificates::publish_root(config, &ca)?;
        let port =
            Port::open("enroll.listen", config.enroll.listen, enroll, enroll::limits(), metrics).await?;
        let doorway = certificates::doorway(config, &ca, port.address.port());
        let doorway = doorway.unwrap_or_else(|| unreachable!("the CA that was loaded has a root"));
        let issuer = Issuer::new(signing, config.ca.certificate_life);
        let (registry, grace) = (registry.clone(), config.enroll.grace);
        let room = Enroll::new(registry, issuer.clone(), relay.port(), grace, metrics.clone());
        Ok(Enrolment { port, room, doorway, issuer })
    }
}

/// Reads the certificates and the watches, as the start does, and opens the transfers.
/// # Errors
/// [`MasterError::Tls`], [`MasterError::Watch`], [`MasterError::Transfer`].
pub fn check(config: &Config, file: &Path) -> Result<(), MasterError> {
    ca::check(&certificates::settings(config))?;
    watches(config, file)?;
    socket::check_path(&config.web.socket)?;
    let host = host_name();
    Ok(hume_transfer::command::check(place(config, file, &host))?)
}

/// What an order about transfers is about.
pub fn place<'a>(config: &'a Config, file: &'a Path, host: &'a HostName) -> Place<'a> {
    let dir = folder_of(&config.store.path);
    Place { transfers: &config.transfer, config_file: file, dir, host, program: PROGRAM }
}

/// What the watches mean, in the zones that this machine knows.
fn watches(config: &Config, file: &Path) -> Result<Arc<[Watch]>, MasterError> {
    let checked = config.watch.clone().check(jiff::tz::db());
    checked.map(Into::into).map_err(|source| MasterError::Watch { path: file.to_owned(), source })
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// The host the master runs on.
pub fn host_name() -> HostName {
    HostName::parse(&machine_name())
        .or_else(|_| HostName::parse("localhost"))
        .unwrap_or_else(|_| unreachable!("`localhost` is a host name"))
}

impl Master {
    /// Takes the store, reads the certificates and opens ports and socket.
    /// # Errors
    /// [`MasterError`]; nothing is left open.
    pub async fn bind(config_file: &Path, config: Config) -> Result<Master, MasterError> {
        let metrics = Metrics::new(clock::now());
        let watches = watches(&config, config_file)?;
        let path = &config.store.path;
        let lock = sqlite::lock(folder_of(path))?;
        let (certificates, ports) = ca::open(certificates::settings(&config), clock::now())?;
        let Ports { relay: relay_config, web: web_config, trust_domain, own } = ports;
        let (store, writer) = SqliteStore::open(path, metrics.clone())
            .map_err(|source| MasterError::Store { path: path.clone(), source })?;
        let writer = writer.with_ballast(config.store.ballast_bytes);
        let strangers = if own.is_some() { Strangers::Refused } else { Strangers::Welcome };
        let registry_file = folder_of(path).join(registry::FILE);
        let (registry, registry_thread) = Registry::open(&registry_file, strangers)
            .map_err(|source| MasterError::Registry { path: registry_file, source })?;
        let limits = AcceptLimits { connections_max: relay::SESSIONS_MAX, ..AcceptLimits::default() };
        let relay_port =
            Port::open("relay.listen", config.relay.listen, relay_config, limits, &metrics).await?;
        let web_port =
            Port::open("web.listen", config.web.listen, web_config, web::limits(), &metrics).await?;
        let enroll = match own {
            Some(own) => Some(Enrolment::open(&config, own, &registry, relay_port.address, &metrics).await?),
            None => None,
        };
        let socket = socket::bind_unix(&config.web.socket, SOCKET_MODE)?;
        Ok(Master {
            config_file: config_file.to_owned(),
            config,
            watches,
            metrics,
            trust_domain,
            certificates,
            enroll,
            relay_port,
            web_port,
            socket,
            store,
            writer,
            registry,
            registry_thread,
            _lock: lock,
        })
    }

    /// Where agents connect.
    pub fn relay_address(&self) -> SocketAddr {
        self.relay_port.address
    }

    /// Where questions are asked.
    pub fn web_address(&self) -> SocketAddr {
        self.web_port.address
    }

    /// Serves until `until` completes; `hangups` reload the certificates.
    /// # Errors
    /// [`MasterError::Task`], naming the room that failed.
    pub async fn run(self, until: impl Future<Output = ()>, hangups: Hangups) -> Result<(), MasterError> {
        let Master {
            config_file,
            config,
            watches,
            metrics,
            trust_domain,
            certificates,
            enroll,
            relay_port,
            web_port,
            socket,
            store,
            writer,
            registry,
            registry_thread,
            _lock: lock,
        } = self;
        let mut storage = TaskGroup::new();
        storage
            .spawn_thread("store", |_| writer.run().map_err(anyhow::Error::from))
            .map_err(MasterError::Thread)?;
        let runtime = tokio::runtime::Handle::current();
        storage
            .spawn_thread("registry", move |stop| registry_thread.run(&runtime, &stop))
            .map_err(MasterError::Thread)?;

        metrics.transfers().expect(&config.transfer);
        let mut rooms = TaskGroup::new();
        let handle = Arc::new(store.clone());
        let (path, keeping, policies) = (&config.store.path, config.retention.clone(), config.runs.clone());
        let keeper = Keeper::new(handle.clone(), path, keeping, policies, metrics.clone());
        rooms.spawn("retention", |stop| keeper.run(stop));
        let (sessions, numbers) = (rooms.spawner(relay::SESSIONS_MAX), metrics.clone());
        let issuing = enroll
            .as_ref()
            .map(|enroll| Issuing { registry: registry.clone(), issuer: enroll.issuer.clone() });
        let relay = Relay {
            intake: Intake::new(handle.clone(), handle.clone()),
            accepted: relay_port.accepted,
            trust_domain,
            on_refusal: relay_port.on_refusal,
            agents: registry.view().clone(),
            issuing,
            sessions: sessions.clone(),
            metrics: metrics.clone(),
        };
        tracing::info!(address = %relay_port.address, "relay listening on {}", relay_port.address);
        rooms.spawn("relay accept", |stop| relay_port.acceptor.run(stop));
        rooms.spawn("relay", |stop| relay.run(stop));

        let door = Findings::new(handle.clone());
        let (silence, policies) = (config.watchdog.clone(), Arc::new(config.runs.clone()));
        let watchdog = Watchdog::new(handle.clone(), door, silence, policies, host_name());
        let (watches, configured) = watch::channel(watches);
        let declared = Declared::new(handle.clone(), configured, config.watchdog.from_hosts);
        rooms.spawn("watchdog", |stop| declared.watch(watchdog, stop));

        let room = Room {
            log: Arc::new(StoreLog::new(handle.clone())),
            dir: folder_of(path).to_owned(),
            config_file: config_file.clone(),
            host: host_name(),
            program: PROGRAM,
            policies: Arc::new(config.runs.clone()),
            board: metrics.transfers().clone(),
        };
        let (transfers, wanted) = watch::channel(config.transfer.clone());
        let pumps = rooms.spawner(TRANSFERS_MAX);
        rooms.spawn("transfers", |stop| room.run(wanted, pumps, stop));

        let doorway = enroll.as_ref().map(|enroll| enroll.doorway.clone());
        let passes = registry.good_passes().clone();
        let people = enroll.as_ref().map(|enroll| People {
            issuer: enroll.issuer.clone(),
            url: certificates::url(&config, web_port.address),
        });
        let (custodian, ca) = Custodian::new(certificates, registry.clone(), metrics.clone());
        rooms.spawn("certificates", |stop| custodian.run(stop));
        let admin =
            Admin { registry: registry.clone(), store: handle.clone(), doorway, people, ca: ca.clone() };
        let state = WebState::new(
            handle,
            registry,
            metrics.clone(),
            config.runs.clone(),
            &machine_name(),
            rooms.stop(),
        );
        let over_tls = web::router(state.clone(), &Guard::of_network(&config.web, passes, metrics.clone()));
        let over_socket = web::router(state, &Guard::of_socket(metrics));
        let (tls_connections, socket_connections) =
            (rooms.spawner(web::CONNECTIONS_MAX), rooms.spawner(web::CONNECTIONS_MAX));
        tracing::info!(address = %web_port.address, "web listening on {}", web_port.address);
        tracing::info!(path = %config.web.socket.display(), "web listening on a socket");
        let Port { acceptor, accepted, on_refusal, .. } = web_port;
        rooms.spawn("web accept", |stop| acceptor.run(stop));
        let for_peer = move |accepted: &accept::Accepted| web::for_peer(&over_tls, accepted);
        rooms.spawn("web", |stop| serve::serve_tls(for_peer, accepted, tls_connections, on_refusal, stop));
        if let Some(Enrolment { port, room, .. }) = enroll {
            tracing::info!(address = %port.address, "hosts join on {}", port.address);
            let connections = rooms.spawner(enroll::CONNECTIONS_MAX);
            rooms.spawn("enroll accept", |stop| port.acceptor.run(stop));
            rooms.spawn("enroll", |stop| {
                let router = move |accepted: &accept::Accepted| enroll::router(&room, accepted);
                serve::serve_tls(router, port.accepted, connections, port.on_refusal, stop)
            });
        }
        rooms.spawn("web socket", |stop| {
            let router =
                move |stream: &UnixStream| over_socket.clone().merge(admin::router(admin.clone(), stream));
            serve::serve_unix(router, socket, socket_connections, stop)
        });

        let live = Live { ca, watches, transfers };
        rooms.spawn("reload", |stop| reload(config_file, config, live, hangups, stop));
        rooms.keep_watch(notify::watchdog(move || status(relay::SESSIONS_MAX - sessions.room(), &numbers)));
        notify::ready();

        let until = async {
            until.await;
            notify::stopping();
        };
        let mut ended = Ok(());
        let rooms = async {
            ended = rooms.run(until, STOP_GRACE).await;
            store.close().await;
        };
        storage.run(rooms, STORE_GRACE).await?;
        drop(lock);
        Ok(ended?)
    }
}

/// One line for `systemctl status`.
fn status(sessions: usize, metrics: &Metrics) -> String {
    let mut text =
        format!("{sessions} agents are connected, {} events came since the start", metrics.events());
    for trouble in metrics.troubles() {
        text = format!("{trouble}; {text}");
    }
    text
}

impl Port {
    async fn open(
        key: &'static str,
        address: SocketAddr,
        config: watch::Receiver<Arc<ServerConfig>>,
        limits: AcceptLimits,
        metrics: &Metrics,
    ) -> Result<Port, MasterError> {
        let failed = |source| MasterError::Listen { key, address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let on_refusal = on_refusal(bound, metrics.clone());
        let (acceptor, accepted) = accept::tls(listener, config, limits, on_refusal.clone());
        Ok(Port { address: bound, acceptor, accepted, on_refusal })
    }
}

/// Counts every refusal, and logs what is not a repetition.
fn on_refusal(port: SocketAddr, metrics: Metrics) -> OnRefusal {
    let log = Mutex::new(RefusalLog::default());
    Arc::new(move |refusal| {
        metrics.refused_tls(refusal.kind);
        let key = (refusal.peer.ip(), refusal.kind);
        let admitted = log.lock().unwrap_or_else(PoisonError::into_inner).admit(key, Instant::now());
        if let Some(left_out) = admitted {
            let (peer, kind) = (refusal.peer, refusal.kind.as_str());
            tracing::warn!(%port, %peer, reason = kind, left_out, "refused a connection: {}", refusal.reason);
        }
    })
}

/// What changes without a restart.
struct Live {
    ca: Ca,
    watches: watch::Sender<Arc<[Watch]>>,
    transfers: watch::Sender<Transfers>,
}

/// Reads the configuration again at every SIGHUP.
async fn reload(
    config_file: PathBuf,
    running: Config,
    live: Live,
    mut hangups: Hangups,
    stop: Stop,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = hangups.next() => {}
        }
        notify::reloading();
        reload_once(&config_file, &running, &live).await;
        notify::ready();
    }
}

/// Certificates and watches change, transfers begin anew, the rest is said to need a restart.
async fn reload_once(config_file: &Path, running: &Config, live: &Live) {
    let Live { ca, watches: watched, transfers } = live;
    let new = match config::load(config_file) {
        Ok(new) => new,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "nothing was reloaded");
            return;
        }
    };
    match ca.reload(certificates::settings(&new)).await {
        Ok(()) => tracing::info!("reloaded the certificates; open connections keep theirs"),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the certificates stay as they were");
        }
    }
    match watches(&new, config_file) {
        Ok(new) => {
            tracing::info!(count = new.len(), "the watches are those of the file");
            watched.send_replace(new);
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the watches stay as they were");
        }
    }
    tracing::info!(count = new.transfer.0.len(), "the transfers begin anew");
    transfers.send_replace(new.transfer.clone());
    for section in config::needs_restart(running, &new) {
        tracing::warn!(section, "[{section}] has changed and takes effect only after a restart");
    }
}

fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
