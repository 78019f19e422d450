//! An SMTP server of the tests' own: answers as it is told, and remembers every line and every mail.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hume_runtime::clock;
use hume_runtime::pki::Authority;
use hume_runtime::tls::{Identity, web_server};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What it does in place of its usual answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Say(&'static str),
    Close,
    Silent,
}

/// Line of the client (`.` for a whole mail, the empty one before its first) and the number of its connection, from 1.
type Script = dyn Fn(&str, usize) -> Option<Act> + Send + Sync;

/// A mail as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Got {
    pub(super) to: Vec<String>,
    pub(super) text: String,
    pub(super) is_encrypted: bool,
}

#[derive(Default)]
struct Memory {
    lines: Vec<String>,
    mails: Vec<Got>,
}

pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// PEM of the authority that its certificate is from.
    pub(super) ca: String,
    memory: Arc<Mutex<Memory>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What it offers after EHLO.
#[derive(Clone, Copy)]
pub(super) struct Offer {
    pub(super) starttls: bool,
    pub(super) auth: bool,
    /// Encrypted from the first byte.
    pub(super) is_wrapped: bool,
}

pub(super) const NOTHING: Offer = Offer { starttls: false, auth: false, is_wrapped: false };

impl Peer {
    pub(super) fn start(
        offer: Offer,
        script: impl Fn(&str, usize) -> Option<Act> + Send + Sync + 'static,
    ) -> Peer {
        hume_runtime::tls::install_provider();
        let authority = Authority::create("mail.test", clock::now()).unwrap();
        let issued = authority.issue_server(&["127.0.0.1".to_owned()], &[], clock::now()).unwrap();
        let identity = Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap();
        let tls = web_server(&identity).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (memory, is_over) = (Arc::new(Mutex::new(Memory::default())), Arc::new(AtomicBool::new(false)));
        let (seen, over) = (Arc::clone(&memory), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let script: &Script = &script;
            for (at, stream) in listener.incoming().enumerate() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let session = Session { offer, script, memory: &seen, connection: at + 1, tls: &tls };
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
                // A client that goes away is none of our business.
                let _ = session.serve(stream);
            }
        });
        Peer { address, ca: authority.certificate_pem().to_owned(), memory, is_over, thread: Some(thread) }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.memory.lock().unwrap().lines.clone()
    }

    pub(super) fn mails(&self) -> Vec<Got> {
        self.memory.lock().unwrap().mails.clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

struct Session<'a> {
    offer: Offer,
    script: &'a Script,
    memory: &'a Mutex<Memory>,
    connection: usize,
    tls: &'a Arc<ServerConfig>,
}

impl Session<'_> {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let raw = stream.try_clone()?;
        let served = if self.offer.is_wrapped { self.encrypted(stream, true) } else { self.plain(stream) };
        let _ = raw.shutdown(Shutdown::Both);
        served
    }

    fn plain(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        if self.speak(&mut reader, true, false)? {
            self.encrypted(reader.into_inner(), false)
        } else {
            Ok(())
        }
    }

    fn encrypted(&self, stream: TcpStream, greets: bool) -> std::io::Result<()> {
        let connection = ServerConnection::new(Arc::clone(self.tls)).unwrap();
        let mut reader = BufReader::new(StreamOwned::new(connection, stream));
        self.speak(&mut reader, greets, true).map(|_| ())
    }

    /// Whether TLS begins.
    fn speak<S: Stream>(
        &self,
        peer: &mut BufReader<S>,
        greets: bool,
        is_encrypted: bool,
    ) -> std::io::Result<bool> {
        let mut got = Got { is_encrypted, ..Got::default() };
        if greets && !self.answer(peer, "", "220 peer")? {
            return Ok(false);
        }
        loop {
            let mut line = String::new();
            if peer.read_line(&mut line)? == 0 {
                return Ok(false);
            }
            let line = line.trim_end().to_owned();
            self.memory.lock().unwrap().lines.push(line.clone());
            let word = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            let usual = match word.as_str() {
                "EHLO" => self.ehlo(is_encrypted),
                "AUTH" => "235 2.7.0 in".to_owned(),
                "DATA" => "354 go on".to_owned(),
                "STARTTLS" => "220 now".to_owned(),
                "QUIT" => "221 bye".to_owned(),
                _ => "250 ok".to_owned(),
            };
            let is_taken = self.answer_is_taken(peer, &line, &usual)?;
            match (word.as_str(), is_taken) {
                (_, None) | ("QUIT", _) => return Ok(false),
                ("STARTTLS", Some(true)) => return Ok(true),
                ("RCPT", Some(true)) => {
                    got.to.push(line["RCPT TO:<".len()..].trim_end_matches('>').to_owned());
                }
                ("MAIL", _) => got.to.clear(),
                ("DATA", Some(true)) => {
                    got.text = body(peer)?;
                    match self.answer_is_taken(peer, ".", "250 2.0.0 queued as 1")? {
                        None => return Ok(false),
                        Some(true) => self.memory.lock().unwrap().mails.push(got.clone()),
                        Some(false) => {}
                    }
                }
                _ => {}
            }
        }
    }

    fn ehlo(&self, is_encrypted: bool) -> String {
        let mut lines = vec!["250-peer".to_owned(), "250-8BITMIME".to_owned()];
        if self.offer.starttls && !is_encrypted {
            lines.push("250-STARTTLS".to_owned());
        }
        if self.offer.auth {
            lines.push("250-AUTH PLAIN LOGIN".to_owned());
        }
        lines.push("250 HELP".to_owned());
        lines.join("\r\n")
    }

    fn answer<S: Stream>(&self, peer: &mut BufReader<S>, line: &str, usual: &str) -> std::io::Result<bool> {
        Ok(self.answer_is_taken(peer, line, usual)?.is_some())
    }

    /// Whether the answer was a good one; none when the connection ends.
    fn answer_is_taken<S: Stream>(
        &self,
        peer: &mut BufReader<S>,
        line: &str,
        usual: &str,
    ) -> std::io::Result<Option<bool>> {
        let text = match (self.script)(line, self.connection) {
            None => usual,
            Some(Act::Say(text)) => text,
            Some(Act::Close) => return Ok(None),
            Some(Act::Silent) => {
                let _ = peer.read_to_end(&mut Vec::new());
                return Ok(None);
            }
        };
        write!(peer.get_mut(), "{text}\r\n")?;
        peer.get_mut().flush()?;
        Ok(Some(text.starts_with(['2', '3'])))
    }
}

/// Reads a mail to its end, and takes the dots away that were put before others.
fn body<S: Stream>(peer: &mut BufReader<S>) -> std::io::Result<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if peer.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        assert!(line.ends_with("\r\n"), "a line without its end: {line:?}");
        if line == ".\r\n" {
            return Ok(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}
