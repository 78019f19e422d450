//! A master in a folder of its own, with real TLS on loopback, and hand-made clients of both ports.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hume_core::event::{Command, Correlation, EventKind, Process, RunRef};
use hume_core::{AgentId, Epoch, Event, EventId, HostName, Level, RunId, Seq, TaskName, Timestamp};
use hume_proto::event::EventBytes;
use hume_proto::relay::{
    self, Ack, AgentFrame, Batch, ClockSample, Codec, EpochReason, EpochState, FrameError, Hello,
    MasterFrame, MasterFrames, PROTOCOL_MAJOR, SpoolStatus, Welcome,
};
use hume_runtime::pki::{Authority, Issued};
use hume_runtime::task_group::Stop;
use hume_runtime::tls::{self, Identity, Roots};
use hume_runtime::{clock, pki, signal};
use humed_master::config;
use humed_master::master::{Master, MasterError};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;
use uuid::Uuid;

/// Nothing on loopback takes longer.
const TIME_MAX: Duration = Duration::from_secs(20);
pub(crate) const TOKEN: &str = "hume_integration";
pub(crate) const EPOCH: [u8; 16] = [0xe1; 16];

/// A folder with a CA and a configuration.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) ca: Authority,
}

/// A master that runs.
pub(crate) struct Running {
    pub(crate) relay: SocketAddr,
    pub(crate) web: SocketAddr,
    pub(crate) socket: PathBuf,
    stop: Stop,
    ended: JoinSet<Result<(), MasterError>>,
}

/// Waits, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIME_MAX, future).await.unwrap_or_else(|_| panic!("{what}: nothing came"))
}

impl Site {
    pub(crate) fn new() -> Site {
        tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let ca = Authority::create("hume", clock::now()).unwrap();
        let addresses = ["127.0.0.1".parse().unwrap()];
        let server = ca.issue_server(&["localhost".to_owned()], &addresses, clock::now()).unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("ca.pem"), ca.certificate_pem()).unwrap();
        std::fs::write(at("master.pem"), &server.certificate_pem).unwrap();
        pki::write_secret(&at("master.key"), server.key_pem.expose().as_bytes()).unwrap();
        let digest = tls::sha256_hex(TOKEN.as_bytes());
        let text = format!(
            "[relay]\nlisten = \"127.0.0.1:0\"\n[web]\nlisten = \"127.0.0.1:0\"\nsocket = \"run/api.sock\"\n\
             [[web.token]]\nname = \"admin\"\nsha256 = \"{digest}\"\n\
             [tls]\nca = \"ca.pem\"\ncertificate = \"master.pem\"\nkey = \"master.key\"\n\
             [store]\npath = \"state/store.db\"\n"
        );
        std::fs::write(at("master.toml"), text).unwrap();
        Site { folder, ca }
    }

    pub(crate) async fn start(&self) -> Running {
        let file = self.folder.path().join("master.toml");
        let config = config::load(&file).unwrap();
        let socket = config.web.socket.clone();
        let master = Master::bind(&file, config).await.unwrap();
        let (relay, web) = (master.relay_address(), master.web_address());
        let stop = Stop::new();
        let until = stop.clone();
        let mut ended = JoinSet::new();
        ended.spawn(master.run(async move { until.wait().await }, signal::hangups()));
        Running { relay, web, socket, stop, ended }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::from_pem(self.ca.certificate_pem()).unwrap()
    }

    pub(crate) fn agent(&self, id: Uuid) -> Identity {
        identity(&self.ca.issue_agent(id, "web1", clock::now()).unwrap())
    }
}

pub(crate) fn identity(issued: &Issued) -> Identity {
    Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap()
}

impl Running {
    /// SIGTERM, as it were.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.set();
    }

    pub(crate) async fn ended(mut self) -> Result<(), MasterError> {
        self.stop.set();
        within("the end", self.ended.join_next()).await.unwrap().unwrap()
    }

    /// Opens a session with this client configuration, and says Hello.
    pub(crate) async fn say_hello(
        &self,
        config: Arc<rustls::ClientConfig>,
        hello: Hello,
    ) -> Result<Agent, FrameError> {
        let address = self.relay;
        let connect = tower::service_fn(move |_| {
            let connector = TlsConnector::from(Arc::clone(&config));
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from("localhost").unwrap();
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        let channel =
            within("the connection", endpoint.connect_with_connector(connect)).await.map_err(|error| {
                FrameError::Broken { class: hume_core::ErrorClass::Unavailable, detail: format!("{error:?}") }
            })?;
        let (say, outgoing) = mpsc::channel(64);
        say.send(AgentFrame::Hello(hello)).await.unwrap();
        let frames = within("the session", relay::open(channel, outgoing)).await?;
        Ok(Agent { say, frames })
    }

    /// A session of the agent with this id whose spool has given out `last_assigned` places.
    pub(crate) async fn enter(&self, site: &Site, id: Uuid, last_assigned: u64) -> (Agent, Welcome) {
        let config = tls::relay_client(&site.agent(id), &site.roots(), None).unwrap();
        let mut agent = self.say_hello(config, hello(last_assigned)).await.unwrap();
        match agent.hear().await {
            Some(MasterFrame::Welcome(welcome)) => (agent, welcome),
            other => panic!("{other:?} instead of a Welcome"),
        }
    }

    /// A question over HTTPS: status and body.
    pub(crate) async fn ask(&self, site: &Site, path: &str) -> (u16, String) {
        let roots = site.ca.certificate_pem();
        let mut store = rustls::RootCertStore::empty();
        let certificates = rustls::pki_types::pem::PemObject::pem_slice_iter(roots.as_bytes());
        for certificate in certificates {
            store.add(certificate.unwrap()).unwrap();
        }
        let config = rustls::ClientConfig::builder().with_root_certificates(store).with_no_client_auth();
        let stream = TcpStream::connect(self.web).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        question(stream, path, &format!("Authorization: Bearer {TOKEN}\r\n")).await
    }

    /// The same over the socket, without a token.
    pub(crate) async fn ask_socket(&self, path: &str) -> (u16, String) {
        question(UnixStream::connect(&self.socket).await.unwrap(), path, "").await
    }

    /// Waits until a question is answered as it should be.
    pub(crate) async fn wait_for(&self, path: &str, what: &str, good: impl Fn(&str) -> bool) -> String {
        within(what, async {
            let mut pause = tokio::time::interval(Duration::from_millis(20));
            loop {
                pause.tick().await;
                let (_, body) = self.ask_socket(path).await;
                if good(&body) {
                    return body;
                }
            }
        })
        .await
    }
}

async fn question(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    header: &str,
) -> (u16, String) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within("the answer", stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The content of a good answer.
pub(crate) fn parse<T: serde::de::DeserializeOwned>((status, body): (u16, String)) -> T {
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// The agent's end of a session.
pub(crate) struct Agent {
    say: mpsc::Sender<AgentFrame>,
    frames: MasterFrames,
}

impl Agent {
    pub(crate) async fn say(&self, frame: AgentFrame) {
        self.say.send(frame).await.unwrap();
    }

    /// The next frame; none at the end of the stream.
    pub(crate) async fn hear(&mut self) -> Option<MasterFrame> {
        within("a frame", self.frames.next()).await.unwrap()
    }

    pub(crate) async fn send(&self, first: u64, events: &[Event]) {
        let events = events.iter().map(EventBytes::encode).collect();
        self.say(AgentFrame::Batch(Batch {
            epoch: Epoch::from_bytes(EPOCH),
            first: seq(first),
            events,
            codec: Codec::Zstd,
        }))
        .await;
    }

    /// Hears until everything through `last` is acknowledged.
    pub(crate) async fn acked(&mut self, last: u64) {
        loop {
            match self.hear().await {
                Some(MasterFrame::Ack(Ack { cursors, .. })) if cursors[0].seq == seq(last) => return,
                Some(MasterFrame::Ack(Ack { cursors, .. })) => {
                    assert!(cursors[0].seq < seq(last), "{cursors:?}");
                }
                other => panic!("{other:?} instead of an ack"),
            }
        }
    }
}

pub(crate) fn seq(value: u64) -> Seq {
    Seq::new(value).unwrap()
}

pub(crate) fn clock_sample() -> ClockSample {
    ClockSample { wall: clock::now(), boottime_us: 42 }
}

pub(crate) fn hello(last_assigned: u64) -> Hello {
    let state = EpochState {
        epoch: Epoch::from_bytes(EPOCH),
        first_retained: Seq::new(1),
        acked: Seq::ZERO,
        acked_event: None,
        last_assigned: seq(last_assigned),
        predecessor: None,
        restamped_through: Seq::ZERO,
        reason: EpochReason::Created,
    };
    Hello {
        protocol_major: PROTOCOL_MAJOR,
        protocol_minor: 0,
        features: Vec::new(),
        instance: None,
        agent_version: "0.1.0".to_owned(),
        boot: None,
        host: "web1".to_owned(),
        zone: None,
        tags: Vec::new(),
        epochs: vec![state],
        clock: clock_sample(),
        spool: SpoolStatus { unacked_events: last_assigned, ..SpoolStatus::default() },
        certificate_expires_at: Timestamp::EPOCH,
    }
}

/// An event of a run of the task BACKUP.
pub(crate) fn event(number: u64, command: Option<Command>) -> Event {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let run = RunRef { id: RunId::from_bytes([7; 16]), correlation: Correlation::Ancestry };
    Event {
        id: EventId::from_bytes(id),
        kind: EventKind::Reported,
        time: clock::now(),
        received_at: clock::now(),
        boot_clock: None,
        host: HostName::parse("web1").unwrap(),
        task: TaskName::parse("BACKUP").unwrap(),
        tags: Vec::new(),
        level: Level::Info,
        command,
        flag: None,
        message: format!("message {number}"),
        truncated_from: None,
        extra: Vec::new(),
        exit: None,
        line: None,
        process: Process::default(),
        run: Some(run),
        finding: None,
        not_before: None,
        flags: Vec::new(),
    }
}

pub(crate) fn agent_id(id: Uuid) -> AgentId {
    AgentId::from(id)
}
