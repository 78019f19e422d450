//! An HTTPS server for tests: it answers as told, one request a connection, and returns what it was asked.
//!
//! Written by hand on threads, so that it shares nothing with the client that it judges.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use hume_runtime::tls::{self, Identity};

use crate::net::peer::{self, Site};

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Status, more header lines, body.
    Say(u16, &'static str, &'static str),
    /// Nothing until the client goes.
    Silence,
    /// The head of an answer, then a reset.
    ResetWithin,
    /// A reset as soon as the request is there.
    Reset,
    /// No HTTP at all.
    Garbage,
}

pub(crate) const OK: Answer = Answer::Say(200, "", "ok");

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) first_line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    thread: JoinHandle<Vec<Asked>>,
}

impl Server {
    /// Answers as many requests as there are answers, then ends. Its CA is in `ca.pem` of `dir`.
    pub(crate) fn start(dir: &Path, answers: &[Answer]) -> Server {
        let site = Site::make(dir, "ca");
        let issued = site.server();
        let identity = Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap();
        let mut config = (*tls::web_server(&identity).unwrap()).clone();
        config.alpn_protocols.clear();
        let config = Arc::new(config);
        let (listener, address) = peer::listen();
        let mut answers = VecDeque::from(answers.to_vec());
        let thread = peer::run(move || {
            let mut asked = Vec::new();
            while let Some(answer) = answers.pop_front() {
                let mut stream = peer::over_tls(&config, peer::accept(&listener));
                asked.push(hear(&mut stream));
                act(&answer, stream);
            }
            asked
        });
        Server { address, thread }
    }

    /// `https://localhost:PORT` and the path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// What it was asked; it has answered all.
    pub(crate) fn asked(self) -> Vec<Asked> {
        self.thread.join().unwrap()
    }
}

type Stream = rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>;

fn hear(stream: &mut Stream) -> Asked {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let first_line = lines.next().unwrap().to_owned();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut asked = Asked { first_line, headers, body: String::new() };
    let bytes = asked.header("content-length").map_or(0, |text| text.parse().unwrap());
    asked.body = peer::read_exactly(stream, bytes);
    asked
}

fn act(answer: &Answer, mut stream: Stream) {
    match answer {
        Answer::Say(status, headers, body) => {
            let head =
                format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
            stream.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).unwrap();
            stream.conn.send_close_notify();
            let _ = stream.flush();
            let _ = stream.read(&mut [0; 16]);
        }
        Answer::Silence => {
            let _ = stream.read(&mut [0; 16]);
        }
        Answer::ResetWithin => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap();
            peer::reset(stream.sock);
        }
        Answer::Reset => peer::reset(stream.sock),
        Answer::Garbage => stream.write_all(b"\x00\xff this is no answer\r\n\r\n").unwrap(),
    }
}
