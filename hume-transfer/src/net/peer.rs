//! Peers for the tests of transfers: plain threads that accept, read and end as they are told, over TCP and TLS.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hume_runtime::pki::{Authority, Issued};
use hume_runtime::tls::{self, Identity};
use hume_runtime::{clock, files};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Nothing in a test takes longer, on any machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);
/// Between two looks at what a daemon has written.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A listener of this host, and where it is.
pub(crate) fn listen() -> (TcpListener, SocketAddr) {
    listen_at(Ipv4Addr::LOCALHOST.into()).unwrap()
}

pub(crate) fn listen_at(ip: IpAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((ip, 0))?;
    let place = listener.local_addr()?;
    Ok((listener, place))
}

/// A place where nobody listens.
pub(crate) fn nowhere() -> SocketAddr {
    listen().1
}

/// The next connection; reading from it has a deadline.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Runs a peer; its end is what `join` returns.
pub(crate) fn run<T: Send + 'static>(peer: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(peer)
}

/// A peer that takes so many connections, one after the other, and returns what each said until its end.
pub(crate) fn gather(listener: TcpListener, connections: usize) -> JoinHandle<Vec<String>> {
    run(move || (0..connections).map(|_| read_all(&mut accept(&listener))).collect())
}

/// Everything until the end; over TLS an end without a farewell is one too.
pub(crate) fn read_all(stream: &mut impl Read) -> String {
    let mut heard = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(bytes) => heard.extend_from_slice(&part[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => panic!("the peer could not read: {error}"),
        }
    }
    String::from_utf8(heard).unwrap()
}

/// So many bytes.
pub(crate) fn read_exactly(stream: &mut impl Read, bytes: usize) -> String {
    let mut heard = vec![0; bytes];
    stream.read_exact(&mut heard).unwrap();
    String::from_utf8(heard).unwrap()
}

/// Ends the connection with a reset.
pub(crate) fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// The peer's end of TLS; the handshake is made with the first read.
pub(crate) fn over_tls(
    config: &Arc<ServerConfig>,
    stream: TcpStream,
) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)
}

/// A CA with its certificate in a file, for `ca`.
pub(crate) struct Site {
    pub(crate) authority: Authority,
    pub(crate) ca: PathBuf,
}

impl Site {
    pub(crate) fn make(dir: &Path, name: &str) -> Site {
        let authority = Authority::create("hume", clock::now()).unwrap();
        let ca = dir.join(format!("{name}.pem"));
        files::write(&ca, authority.certificate_pem().as_bytes(), 0o644).unwrap();
        Site { authority, ca }
    }

    /// A certificate for `localhost` and 127.0.0.1.
    pub(crate) fn server(&self) -> Issued {
        let addresses = [Ipv4Addr::LOCALHOST.into()];
        self.authority.issue_server(&["localhost".to_owned()], &addresses, clock::now()).unwrap()
    }

    /// A peer with that certificate.
    pub(crate) fn tls(&self) -> Arc<ServerConfig> {
        let issued = self.server();
        let identity = Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap();
        tls::web_server(&identity).unwrap()
    }

    /// A client's certificate and its key, in files.
    pub(crate) fn client(&self, dir: &Path, name: &str) -> (PathBuf, PathBuf) {
        let issued = self.authority.issue_agent(hume_runtime::random::uuid(), "web1", clock::now()).unwrap();
        written(dir, name, &issued)
    }
}

/// Certificate and key in files.
pub(crate) fn written(dir: &Path, name: &str, issued: &Issued) -> (PathBuf, PathBuf) {
    let (certificate, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    files::write(&certificate, issued.certificate_pem.as_bytes(), 0o644).unwrap();
    files::write(&key, issued.key_pem.expose().as_bytes(), 0o600).unwrap();
    (certificate, key)
}
