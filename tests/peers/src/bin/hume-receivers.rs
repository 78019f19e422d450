//! One receiver for each of the five transfers of the demo: Slack, syslog, remote syslog, Logstash and Fluentd, on the loopback and in a
//! folder. `hume-receivers FOLDER CERTIFICATE KEY`
//!
//! `FOLDER/ports` says where they listen, as soon as all do. `FOLDER/received` gets a line for each event: who took it, a tabulator, and
//! what it took, decoded. Slack's refuses what Slack would, Fluentd's acknowledges. Runs until it is ended.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use hume_peers::{forward, http, slack, syslog};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Where lines go.
#[derive(Clone)]
struct Received(Arc<Mutex<File>>);

impl Received {
    fn note(&self, receiver: &str, text: &str) -> Outcome {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Ok(file.write_all(format!("{receiver}\t{line}\n").as_bytes())?)
    }
}

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, certificate, key] = words.as_slice() else {
        return Err("usage: hume-receivers FOLDER CERTIFICATE KEY".into());
    };
    let folder = Path::new(folder);
    let tls = Arc::new(tls(certificate, key)?);
    let received = Received(Arc::new(Mutex::new(File::create(folder.join("received"))?)));
    let local = UnixDatagram::bind(folder.join("log.sock"))?;
    let mut ports = Vec::new();
    let mut serve = |name: &'static str, take: Take| -> Outcome {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        ports.push(format!("{name} {}\n", listener.local_addr()?.port()));
        let (received, tls) = (received.clone(), Arc::clone(&tls));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (received, tls) = (received.clone(), Arc::clone(&tls));
                thread::spawn(move || {
                    if let Err(error) = take(stream, &received, &tls) {
                        // What is wrong is seen by what is missing; the reason goes to the log.
                        let _ = writeln!(std::io::stderr(), "{name}: {error}");
                    }
                });
            }
        });
        Ok(())
    };
    serve("slack", take_slack)?;
    serve("rsyslog", take_rsyslog)?;
    serve("logstash", take_logstash)?;
    serve("fluentd", take_fluentd)?;
    fs::write(folder.join("ports.new"), ports.concat())?;
    fs::rename(folder.join("ports.new"), folder.join("ports"))?;
    let mut datagram = vec![0; 64 * 1024];
    loop {
        let length = local.recv(&mut datagram)?;
        received.note("syslog", &String::from_utf8_lossy(datagram.get(..length).unwrap_or_default()))?;
    }
}

type Take = fn(TcpStream, &Received, &Arc<ServerConfig>) -> Outcome;

fn tls(certificate: &str, key: &str) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_no_client_auth().with_single_cert(chain, key)?)
}

fn take_slack(stream: TcpStream, received: &Received, tls: &Arc<ServerConfig>) -> Outcome {
    let connection = ServerConnection::new(Arc::clone(tls))?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    while let Some(request) = http::read(&mut stream)? {
        let message: Value = serde_json::from_str(&request.body)?;
        if let Some(refusal) = slack::refusal(&message) {
            received.note("slack", &format!("refused: {refusal}"))?;
            http::answer(stream.get_mut(), 400, "", "invalid_blocks")?;
            continue;
        }
        let blocks = message["blocks"].as_array().map_or(0, Vec::len);
        let text = message["text"].as_str().unwrap_or_default();
        received.note("slack", &format!("{text} ({blocks} blocks)"))?;
        http::answer(stream.get_mut(), 200, "", "ok")?;
    }
    Ok(())
}

fn take_rsyslog(stream: TcpStream, received: &Received, _: &Arc<ServerConfig>) -> Outcome {
    let mut stream = BufReader::new(stream);
    while let Some(message) = syslog::read(&mut stream)? {
        syslog::text(&message).ok_or("no message of RFC 5424")?;
        received.note("rsyslog", &message)?;
    }
    Ok(())
}

fn take_logstash(stream: TcpStream, received: &Received, _: &Arc<ServerConfig>) -> Outcome {
    for line in BufReader::new(stream).lines() {
        let document: Value = serde_json::from_str(&line?)?;
        let [time, message] = ["@timestamp", "message"].map(|key| document[key].as_str().unwrap_or_default());
        let (level, host, task) =
            (&document["log"]["level"], &document["host"]["name"], &document["hume"]["task"]);
        let fields = format!("@timestamp={time} log.level={level} host.name={host} hume.task={task}");
        received.note("logstash", &format!("{fields} message=\"{message}\""))?;
    }
    Ok(())
}

fn take_fluentd(stream: TcpStream, received: &Received, _: &Arc<ServerConfig>) -> Outcome {
    let mut from = BufReader::new(stream.try_clone()?);
    let mut to = stream;
    while let Some(message) = forward::read(&mut from)? {
        for ((seconds, nanos), record) in &message.entries {
            let text = record["text"].as_str().unwrap_or_default();
            let (tag, chunk) = (&message.tag, &message.chunk);
            received.note("fluentd", &format!("{tag} {seconds}.{nanos:09} chunk={chunk} text=\"{text}\""))?;
        }
        forward::acknowledge(&mut to, &message.chunk)?;
    }
    Ok(())
}
