//! The accept loop with real TLS on loopback.

use super::*;
use crate::clock;
use crate::pki::Authority;
use crate::task_group::Stop;
use crate::tls::{self, Identity, Roots};
use hume_core::Timestamp;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

const PATIENCE: Duration = Duration::from_secs(20);
const DAY_US: i64 = 86_400_000_000;

struct Site {
    authority: Authority,
    roots: Roots,
}

impl Site {
    fn new() -> Site {
        Site::at(clock::now())
    }

    fn at(now: Timestamp) -> Site {
        let authority = Authority::create("hume", now).unwrap();
        let roots = Roots::from_pem(authority.certificate_pem()).unwrap();
        Site { authority, roots }
    }

    fn agent(&self, issued_at: Timestamp) -> Identity {
        let issued = self.authority.issue_agent(crate::random::uuid(), "web1", issued_at).unwrap();
        Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap()
    }

    fn server(&self) -> Arc<ServerConfig> {
        let issued = self.authority.issue_server(&["localhost".to_owned()], &[], clock::now()).unwrap();
        let identity = Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap();
        tls::relay_server(&identity, &self.roots).unwrap()
    }

    fn client(&self, identity: &Identity) -> Arc<ClientConfig> {
        tls::relay_client(identity, &self.roots, None).unwrap()
    }
}

struct Running {
    address: SocketAddr,
    config: watch::Sender<Arc<ServerConfig>>,
    accepted: mpsc::Receiver<Accepted>,
    refusals: mpsc::UnboundedReceiver<Refusal>,
    stop: Stop,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Running {
    async fn start(site: &Site, limits: AcceptLimits) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (config, configs) = watch::channel(site.server());
        let (refused, refusals) = mpsc::unbounded_channel();
        let on_refusal: OnRefusal = Arc::new(move |refusal| drop(refused.send(refusal)));
        let (acceptor, accepted) = tls(listener, configs, limits, on_refusal);
        let stop = Stop::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(acceptor.run(stop.clone()));
        Running { address, config, accepted, refusals, stop, tasks }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn connect(
        &self,
        config: Arc<ClientConfig>,
    ) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(config).connect(name, self.tcp().await).await
    }

    /// A peer that says these words of a handshake and no more.
    async fn say(&self, words: &[u8]) -> TcpStream {
        let mut stream = self.tcp().await;
        stream.write_all(words).await.unwrap();
        stream
    }

    async fn accepted(&mut self) -> Accepted {
        tokio::time::timeout(PATIENCE, self.accepted.recv()).await.unwrap().unwrap()
    }

    async fn refusal(&mut self) -> Refusal {
        tokio::time::timeout(PATIENCE, self.refusals.recv()).await.unwrap().unwrap()
    }

    /// Stops the loop and sees it end well.
    async fn end(mut self) {
        self.stop.set();
        tokio::time::timeout(PATIENCE, self.tasks.join_next()).await.unwrap().unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_agent_of_this_site_is_let_in_and_bytes_travel() {
    let site = Site::new();
    let mut running = Running::start(&site, AcceptLimits::default()).await;
    let agent = site.agent(clock::now());
    let mut client = running.connect(site.client(&agent)).await.unwrap();
    let mut accepted = running.accepted().await;
    assert_eq!(accepted.certificates.first(), agent.certificate());
    assert_eq!(tls::agent_of(&accepted.certificates[0]).unwrap().trust_domain, "hume");
    assert_eq!(accepted.stream.alpn(), Some(&b"h2"[..]));
    client.write_all(b"hello").await.unwrap();
    let mut read = [0; 5];
    accepted.stream.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");
    assert!(accepted.stream.get_ref().get_ref().0.nodelay().unwrap());
    running.end().await;
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_as_such() {
    let (site, other) = (Site::new(), Site::new());
    let mut running = Running::start(&site, AcceptLimits::default()).await;
    let stranger = other.agent(clock::now());
    let _client = running.connect(site.client(&stranger)).await;
    let refusal = running.refusal().await;
    assert_eq!(refusal.kind, RefusalKind::UnknownIssuer, "{refusal:?}");
    assert!(refusal.reason.contains("UnknownIssuer"), "{refusal:?}");
    running.end().await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused_as_such() {
    let long_ago = clock::now().plus_micros(-400 * DAY_US);
    let site = Site::at(long_ago);
    let mut running = Running::start(&site, AcceptLimits::default()).await;
    let expired = site.agent(long_ago);
    let _client = running.connect(site.client(&expired)).await;
    let refusal = running.refusal().await;
    assert_eq!(refusal.kind, RefusalKind::Expired, "{refusal:?}");
    running.end().await;
}

#[tokio::test]
async fn a_host_whose_clock_is_behind_trusts_a_master_of_its_own_time_or_of_what_it_heard() {
    let later = clock::now().plus_micros(30 * DAY_US);
    let site = Site::at(later);
    let running = Running::start(&site, AcceptLimits::default()).await;
    let issued = site.authority.issue_server(&["localhost".to_owned()], &[], later).unwrap();
    let identity = Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap();
    running.config.send(tls::relay_server(&identity, &site.roots).unwrap()).unwrap();
    let connects = async |issued_at: Timestamp, heard: Option<Timestamp>| {
        let client = tls::relay_client(&site.agent(issued_at), &site.roots, heard).unwrap();
        // The handshake is over for the client before the master has judged its certificate.
        running.connect(client).await.map(drop)
    };
    let refused = connects(clock::now(), None).await.unwrap_err();
    assert!(refused.to_string().contains("not valid yet"), "{refused}");
    connects(clock::now(), Some(later)).await.unwrap();
    connects(later, None).await.unwrap();
    // A clock that is behind what is known is not believed: the master's certificate may have been made anew since.
    let between = clock::now().plus_micros(DAY_US);
    connects(between, None).await.unwrap();
    connects(clock::now(), Some(between)).await.unwrap();
    let ended = connects(later, Some(later.plus_micros(900 * DAY_US))).await.unwrap_err();
    assert!(ended.to_string().contains("expired"), "{ended}");
    running.end().await;
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_as_such() {
    let site = Site::new();
    let mut running = Running::start(&site, AcceptLimits::default()).await;
    let mut store = rustls::RootCertStore::empty();
    store.add(ca_der(&site)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    let _client = running.connect(Arc::new(config)).await;
    let refusal = running.refusal().await;
    assert_eq!(refusal.kind, RefusalKind::NoCertificate, "{refusal:?}");
    running.end().await;
}

#[tokio::test]
async fn a_server_certificate_does_not_open_the_relay() {
    let site = Site::new();
    let mut running = Running::start(&site, AcceptLimits::default()).await;
    let issued = site.authority.issue_server(&["localhost".to_owned()], &[], clock::now()).unwrap();
    let server = Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap();
    let _client = running.connect(site.client(&server)).await;
    let refusal = running.refusal().await;
    assert_eq!(refusal.kind, RefusalKind::BadCertificate, "{refusal:?}");
    running.end().await;
}

#[tokio::test]
async fn plain_text_is_refused_as_such() {
    let site = Site::new();
    let mut running = Running::start(&site, AcceptLimits::default()).await;
    let mut client = running.tcp().await;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let refusal = running.refusal().await;
    assert_eq!(refusal.kind, RefusalKind::NotTls, "{refusal:?}");
    assert_eq!(refusal.peer, client.local_addr().unwrap());
    running.end().await;
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_refused_with_a_reason() {
    let site = Site::new();
    let mut running = Running::start(&site, AcceptLimits::default()).await;
    drop(running.tcp().await);
    let refusal = running.refusal().await;
    assert_eq!(refusal.kind, RefusalKind::Other);
    assert!(!refusal.reason.is_empty());
    running.end().await;
}

/// Fault 34, the first half: who opens a connection and says nothing.
#[tokio::test]
async fn a_crowd_of_silent_peers_does_not_keep_an_agent_out() {
    let site = Site::new();
    let limits = AcceptLimits { waiting_max: 8, handshakes_max: 1, ..AcceptLimits::default() };
    let mut running = Running::start(&site, limits).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(running.tcp().await);
    }
    let agent = site.agent(clock::now());
    let client = running.connect(site.client(&agent)).await.unwrap();
    assert_eq!(running.accepted().await.peer, client.get_ref().0.local_addr().unwrap());
    // Of those before the agent all but eight have gone, the first ones first, and none by the deadline.
    for silent in &silent[..42] {
        let refusal = running.refusal().await;
        assert_eq!((refusal.kind, refusal.peer), (RefusalKind::Crowded, silent.local_addr().unwrap()));
    }
    running.end().await;
}

/// Fault 34, the second half: who begins and does not go on.
#[tokio::test]
async fn peers_that_stop_in_the_middle_of_a_handshake_make_room_for_an_agent() {
    let site = Site::new();
    let limits = AcceptLimits { handshakes_max: 3, ..AcceptLimits::default() };
    let mut running = Running::start(&site, limits).await;
    let agent = site.agent(clock::now());
    let words = first_words(&site.client(&agent));
    let stuck = [running.say(&words).await, running.say(&words).await, running.say(&words).await];
    let _client = running.connect(site.client(&agent)).await.unwrap();
    running.accepted().await;
    let refusal = running.refusal().await;
    assert_eq!(refusal.kind, RefusalKind::Crowded, "{refusal:?}");
    assert!(stuck.iter().any(|stuck| stuck.local_addr().unwrap() == refusal.peer));
    running.end().await;
}

#[tokio::test]
async fn the_deadline_ends_who_is_silent_who_dribbles_and_who_stops_half_way() {
    let site = Site::new();
    let limits = AcceptLimits { handshake_deadline: Duration::from_millis(500), ..AcceptLimits::default() };
    let mut running = Running::start(&site, limits).await;
    let words = first_words(&site.client(&site.agent(clock::now())));
    let _silent = running.tcp().await;
    let _dribbling = running.say(&words[..100]).await;
    let _half_way = running.say(&words).await;
    for _ in 0..3 {
        let refusal = running.refusal().await;
        assert_eq!(refusal.kind, RefusalKind::Deadline, "{refusal:?}");
    }
    running.end().await;
}

#[tokio::test]
async fn first_words_may_come_in_pieces() {
    let site = Site::new();
    let mut running = Running::start(&site, AcceptLimits::default()).await;
    let words = first_words(&site.client(&site.agent(clock::now())));
    let mut stream = running.say(&words[..700]).await;
    // Until the first piece is in the hands of the loop: another peer is let in after it.
    let agent = site.agent(clock::now());
    let _other = running.connect(site.client(&agent)).await.unwrap();
    running.accepted().await;
    stream.write_all(&words[700..]).await.unwrap();
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [22], "a record of the handshake");
    running.end().await;
}

#[tokio::test]
async fn open_connections_are_bounded_and_a_closed_one_makes_room() {
    let site = Site::new();
    let mut running =
        Running::start(&site, AcceptLimits { connections_max: 1, ..AcceptLimits::default() }).await;
    let agent = site.agent(clock::now());
    let first = running.connect(site.client(&agent)).await.unwrap();
    let accepted = running.accepted().await;
    assert!(running.connect(site.client(&agent)).await.is_err());
    let refusal = running.refusal().await;
    assert_eq!((refusal.kind, refusal.reason.as_str()), (RefusalKind::TooMany, "1 connections are open"));
    drop((first, accepted));
    let _again = running.connect(site.client(&agent)).await.unwrap();
    running.accepted().await;
    running.end().await;
}

#[tokio::test]
async fn a_new_certificate_counts_from_the_next_handshake() {
    let (site, other) = (Site::new(), Site::new());
    let mut running = Running::start(&site, AcceptLimits::default()).await;
    let agent = other.agent(clock::now());
    assert!(running.connect(other.client(&agent)).await.is_err());
    assert_eq!(running.refusal().await.kind, RefusalKind::Other);
    running.config.send(other.server()).unwrap();
    let _client = running.connect(other.client(&agent)).await.unwrap();
    running.accepted().await;
    running.end().await;
}

#[tokio::test]
async fn the_loop_ends_with_an_error_when_nobody_takes_connections() {
    let mut running = Running::start(&Site::new(), AcceptLimits::default()).await;
    running.accepted.close();
    let ended = tokio::time::timeout(PATIENCE, running.tasks.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(ended.unwrap_err().to_string(), "nobody takes accepted connections any more");
}

/// What a client says first.
fn first_words(config: &Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut words = Vec::new();
    ClientConnection::new(Arc::clone(config), name).unwrap().write_tls(&mut words).unwrap();
    words
}

fn ca_der(site: &Site) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(site.authority.certificate_pem().as_bytes()).unwrap()
}
