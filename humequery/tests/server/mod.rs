//! A server for one test: answers each request by a function, remembers what it was asked, ends when it is dropped.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tempfile::TempDir;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) target: String,
    pub(crate) path: String,
    parameters: HashMap<String, String>,
    headers: HashMap<String, String>,
}

impl Request {
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        self.parameters.get(name).cloned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// These bytes, then the end.
    Raw(Vec<u8>),
    /// JSON without an end.
    Endless,
    /// Nothing, until the other side gives up.
    Never,
}

impl Reply {
    pub(crate) fn new(status: u16, kind: &str, body: &[u8]) -> Reply {
        let head = format!(
            "HTTP/1.1 {status} Status\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        Reply::Raw([head.as_bytes(), body].concat())
    }

    pub(crate) fn json(value: &serde_json::Value) -> Reply {
        Reply::new(200, "application/json", value.to_string().as_bytes())
    }

    pub(crate) fn moved(to: &str) -> Reply {
        let head =
            format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        Reply::Raw(head.into_bytes())
    }
}

type Answer = Box<dyn Fn(&Request) -> Reply + Send>;

enum Address {
    Socket(PathBuf),
    Tcp(SocketAddr),
}

/// The server, its folder and its thread.
pub(crate) struct Server {
    folder: TempDir,
    address: Address,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// On a Unix socket.
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + 'static) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let accept = move || listener.accept().map(|(stream, _)| stream);
        Server::serve(folder, Address::Socket(path), accept, Box::new(answer))
    }

    /// On a port of this machine.
    pub(crate) fn start_tcp(answer: impl Fn(&Request) -> Reply + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let accept = move || listener.accept().map(|(stream, _)| stream);
        Server::serve(tempfile::tempdir().unwrap(), address, accept, Box::new(answer))
    }

    fn serve<S: Read + Write>(
        folder: TempDir,
        address: Address,
        accept: impl Fn() -> io::Result<S> + Send + 'static,
        answer: Answer,
    ) -> Server {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while let Ok(stream) = accept() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // A reader that hangs up is part of some tests.
                let _ = one(stream, &answer, &seen);
            }
        });
        Server { folder, address, requests, stop, thread: Some(thread) }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// For `--url`.
    pub(crate) fn url(&self) -> String {
        match &self.address {
            Address::Socket(path) => format!("unix:{}", path.display()),
            Address::Tcp(address) => format!("http://{address}"),
        }
    }

    /// What was asked until now.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread, which then sees that it shall stop.
        let woken = match &self.address {
            Address::Socket(path) => UnixStream::connect(path).is_ok(),
            Address::Tcp(address) => TcpStream::connect(address).is_ok(),
        };
        let ended = self.thread.take().filter(|_| woken).map(JoinHandle::join);
        // An assertion that failed inside the server fails the test.
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the server failed");
        }
    }
}

fn one(mut stream: impl Read + Write, answer: &Answer, seen: &Mutex<Vec<Request>>) -> io::Result<()> {
    let mut reader = BufReader::new(&mut stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let Some(request) = parse(&lines) else { return Ok(()) };
    seen.lock().unwrap().push(request.clone());
    match answer(&request) {
        Reply::Raw(bytes) => stream.write_all(&bytes),
        Reply::Never => io::copy(&mut stream, &mut io::sink()).map(drop),
        Reply::Endless => {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n[",
            )?;
            let chunk = vec![b' '; 1 << 20];
            loop {
                stream.write_all(&chunk)?;
            }
        }
    }
}

fn parse(lines: &[String]) -> Option<Request> {
    let target = lines.first()?.split(' ').nth(1)?.to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let parameters = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.replace('+', " ")))
        .collect();
    let headers = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Some(Request { path: path.to_owned(), parameters, headers, target })
}
