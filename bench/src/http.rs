//! As much HTTP as a measurement needs: GET over one connection that stays, HTTPS or a Unix socket.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::wait::SOON;

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection that questions are asked on, one after the other.
pub(crate) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    head: String,
}

/// One answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Its body as JSON.
    /// # Errors
    /// If it is a refusal, or no JSON.
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        ensure!(self.status == 200, "answered {}: {}", self.status, String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).context("the answer is no JSON")
    }
}

impl Connection {
    /// To a Unix socket.
    pub(crate) fn unix(socket: &Path) -> anyhow::Result<Connection> {
        let named = || format!("could not connect to {}", socket.display());
        let stream = UnixStream::connect(socket).with_context(named)?;
        stream.set_read_timeout(Some(SOON)).with_context(named)?;
        Ok(Connection::new(Box::new(stream), None))
    }

    /// To a port with TLS, trusting the CA in this file, with the token in that file.
    pub(crate) fn tls(address: SocketAddr, ca: &Path, token: &Path) -> anyhow::Result<Connection> {
        let token =
            fs::read_to_string(token).with_context(|| format!("could not read {}", token.display()))?;
        let mut roots = RootCertStore::empty();
        roots.add(
            CertificateDer::from_pem_file(ca).with_context(|| format!("could not read {}", ca.display()))?,
        )?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream =
            TcpStream::connect(address).with_context(|| format!("could not connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SOON))?;
        let client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
        Ok(Connection::new(Box::new(StreamOwned::new(client, stream)), Some(token.trim_end())))
    }

    fn new(stream: Box<dyn Stream>, token: Option<&str>) -> Connection {
        let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let head = format!("HTTP/1.1\r\nHost: localhost\r\n{}\r\n", authorization.unwrap_or_default());
        Connection { stream: BufReader::with_capacity(64 * 1024, stream), head }
    }

    /// Asks, and reads the whole answer.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.exchange(path).with_context(|| format!("could not ask for {path}"))
    }

    fn exchange(&mut self, path: &str) -> anyhow::Result<Answer> {
        let request = format!("GET {path} {}", self.head);
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.stream.get_mut().flush()?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no HTTP answer: {line:?}"))?;
        let mut length = None;
        loop {
            line.clear();
            ensure!(self.stream.read_line(&mut line)? > 0, "the answer ended within its head");
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<usize>().ok();
            }
        }
        let mut body = vec![0; length.context("the answer does not say how long it is")?];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, body })
    }

    /// The figures of `/metrics`, by name and labels as written.
    pub(crate) fn metrics(&mut self) -> anyhow::Result<BTreeMap<String, f64>> {
        let answer = self.get("/metrics")?;
        ensure!(answer.status == 200, "/metrics answered {}", answer.status);
        Ok(figures(&String::from_utf8_lossy(&answer.body)))
    }
}

fn figures(text: &str) -> BTreeMap<String, f64> {
    let pair = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_answers_are_read_from_one_connection() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs
            .write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            )
            .unwrap();
        let mut connection = Connection::new(Box::new(ours), Some("t"));
        assert_eq!(connection.get("/a").unwrap().json().unwrap(), serde_json::json!({}));
        let refused = connection.get("/b").unwrap();
        assert_eq!(refused.status, 404);
        assert!(refused.json().is_err());
        let mut asked = vec![0; 30];
        theirs.read_exact(&mut asked).unwrap();
        assert!(
            asked.starts_with(b"GET /a HTTP/1.1\r\nHost: localho"),
            "{}",
            String::from_utf8_lossy(&asked)
        );
    }

    #[test]
    fn figures_have_names_and_labels() {
        let found = figures("# TYPE a counter\na_total{reason=\"x\"} 2\nb 7.5\n# EOF\n");
        assert!((found["a_total{reason=\"x\"}"] - 2.0).abs() < 1e-9 && (found["b"] - 7.5).abs() < 1e-9);
    }
}
