//! `humeconfig --from-url` against real servers: whom it believes, what it says, and what it takes of an answer.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use hume_peers::http::{self, Request};
use hume_tests::Folder;
use hume_tests::process::{self, Output};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData as _};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

const GOOD: &str = "host = \"web1\"\n\n[transfer.central.rsyslog]\naddress = \"udp://logs:514\"\n";

/// A server that answers every request alike, and what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Request>>>,
    /// PEM of its CA; empty without TLS.
    ca: String,
    /// Its own key, as `--pin` names it.
    pin: String,
}

impl Server {
    /// With TLS, and a certificate for `localhost` of a CA that nobody knows.
    fn encrypted(status: u16, headers: &'static str, body: impl Into<String>) -> Server {
        let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let own = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let pin = hume_runtime::tls::sha256_hex(&key.subject_public_key_info());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key)
            .unwrap();
        let server = Server::start(Some(Arc::new(config)), status, headers, body.into());
        Server { ca: ca_pem, pin: format!("sha256:{pin}"), ..server }
    }

    fn plain(body: impl Into<String>) -> Server {
        Server::start(None, 200, "", body.into())
    }

    fn start(tls: Option<Arc<ServerConfig>>, status: u16, headers: &'static str, body: String) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                // A client that does not believe the server hangs up in the middle.
                let _ = match &tls {
                    Some(config) => serve(encrypt(config, stream), &heard, status, headers, &body),
                    None => serve(stream, &heard, status, headers, &body),
                };
            }
        });
        Server { address, asked, ca: String::new(), pin: String::new() }
    }

    fn url(&self) -> String {
        let scheme = if self.ca.is_empty() { "http" } else { "https" };
        format!("{scheme}://localhost:{}/hume?token=hunter2", self.address.port())
    }

    fn last_asked(&self) -> Request {
        self.asked.lock().unwrap().last().cloned().unwrap()
    }
}

fn encrypt(config: &Arc<ServerConfig>, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)
}

fn serve(
    mut stream: impl Read + Write,
    heard: &Mutex<Vec<Request>>,
    status: u16,
    headers: &str,
    body: &str,
) -> std::io::Result<()> {
    let mut from = BufReader::new(&mut stream);
    from.fill_buf()?;
    let request = http::read(&mut from)?;
    heard.lock().unwrap().extend(request);
    http::answer(&mut stream, status, headers, body)
}

/// `--from-url` with a configuration and a CA file in this folder.
fn fetch(folder: &Folder, server: &Server, words: &[&str]) -> Output {
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, &server.ca).unwrap();
    let words = words.iter().map(|word| word.replace("CA", ca.to_str().unwrap()).replace("PIN", &server.pin));
    let mut command = process::command("humeconfig");
    command.args(["--from-url", &server.url(), "--config"]).arg(config(folder)).args(words);
    let output = process::run(&mut command);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(!said.contains("hunter2"), "{said}");
    output
}

fn config(folder: &Folder) -> std::path::PathBuf {
    folder.path().join("agent.toml")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_host_says_what_it_is_and_has_the_configuration_it_is_answered() {
    let (folder, server) = (Folder::new(), Server::encrypted(200, "", GOOD));
    let taken = fetch(&folder, &server, &["--url-ca", "CA"]);
    assert!(taken.ok().stdout.contains("+[transfer.central.rsyslog]"), "{taken:#?}");
    assert_eq!(text(&config(&folder)), GOOD);
    // It may hold secrets.
    assert_eq!(fs::metadata(config(&folder)).unwrap().permissions().mode() & 0o7777, 0o640);
    let request = server.last_asked();
    assert_eq!(request.first_line, "POST /hume?token=hunter2 HTTP/1.1");
    let said: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(said["daemon"].as_str(), Some("humed-agent"));
    assert!(said["host"].is_string() && said["os"]["kernel"].is_string() && said["addresses"].is_array());
    assert!(said.get("digitalocean").is_none());

    let again = fetch(&folder, &server, &["--url-ca", "CA"]);
    assert!(again.ok().stdout.contains("nothing was changed"), "{again:#?}");
}

#[test]
fn what_is_replaced_is_kept_and_a_dry_run_replaces_nothing() {
    let (folder, server) = (Folder::new(), Server::encrypted(200, "", GOOD));
    fs::write(config(&folder), "host = \"old\"\n").unwrap();
    let dry = fetch(&folder, &server, &["--url-ca", "CA", "--dry"]);
    assert!(dry.ok().stdout.contains("-host = \"old\"\n"), "{dry:#?}");
    assert_eq!(text(&config(&folder)), "host = \"old\"\n");
    let taken = fetch(&folder, &server, &["--url-ca", "CA"]);
    let (_, old) = taken.ok().stdout.split_once("the old one is ").unwrap();
    let (old, _) = old.split_once(')').unwrap();
    assert_eq!((text(Path::new(old)).as_str(), text(&config(&folder)).as_str()), ("host = \"old\"\n", GOOD));
}

#[test]
fn a_server_is_believed_by_its_pinned_key_and_by_no_other() {
    let (folder, server) = (Folder::new(), Server::encrypted(200, "", GOOD));
    let stranger = fetch(&folder, &server, &[]);
    assert!(stranger.with_code(69).stderr.contains("could not ask https://localhost:"), "{stranger:#?}");
    let other = format!("sha256:{}", "ab".repeat(32));
    let wrong = fetch(&folder, &server, &["--pin", &other]);
    let found = format!("the server has the key {}, which --pin does not name", server.pin);
    assert!(wrong.with_code(69).stderr.contains(&found), "{wrong:#?}");
    assert!(server.asked.lock().unwrap().is_empty() && !config(&folder).exists());
    fetch(&folder, &server, &["--pin", &other, "--pin", "PIN"]).ok();
    assert_eq!(text(&config(&folder)), GOOD);
}

#[test]
fn a_droplet_says_which_it_is_and_nothing_else_of_its_metadata() {
    let metadata = r#"{"droplet_id": 4711, "hostname": "web1", "region": "fra1", "user_data": "hunter2"}"#;
    let (folder, service) = (Folder::new(), Server::plain(metadata));
    let server = Server::encrypted(200, "", GOOD);
    let url = format!("http://{}/metadata/v1.json", service.address);
    fetch(&folder, &server, &["--url-ca", "CA", "--digitalocean", "--metadata-url", &url]).ok();
    assert_eq!(service.last_asked().first_line, "GET /metadata/v1.json HTTP/1.1");
    let body = server.last_asked().body;
    let said: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(said["digitalocean"]["droplet_id"].as_u64(), Some(4711));
    assert!(!body.contains("hunter2"), "{body}");

    let elsewhere = Server::plain("no droplet");
    let url = format!("http://{}/", elsewhere.address);
    let refused = fetch(&folder, &server, &["--url-ca", "CA", "--digitalocean", "--metadata-url", &url]);
    assert!(refused.with_code(69).stderr.contains("does not look like a droplet"), "{refused:#?}");
}

#[test]
fn over_http_it_wants_to_be_told_and_takes_no_programs() {
    let (folder, server) = (Folder::new(), Server::plain(GOOD));
    let refused = fetch(&folder, &server, &[]);
    assert!(refused.with_code(64).stderr.contains("--insecure-http"), "{refused:#?}");
    assert!(server.asked.lock().unwrap().is_empty());
    fetch(&folder, &server, &["--insecure-http"]).ok();
    let evil = Server::plain("[transfer.x.exec]\ncommand = [\"/bin/sh\"]\n");
    let refused = fetch(&folder, &evil, &["--insecure-http"]);
    assert!(refused.with_code(78).stderr.contains("names a program to run"), "{refused:#?}");
    assert_eq!(text(&config(&folder)), GOOD);
}

#[test]
fn what_is_no_configuration_replaces_none() {
    let folder = Folder::new();
    fs::write(config(&folder), "host = \"old\"\n").unwrap();
    for (status, headers, body, code, part) in [
        (200, "", String::new(), 78, "answered nothing"),
        (200, "", "<html>welcome</html>".to_owned(), 78, "answered no TOML"),
        (200, "", "hots = \"web1\"\n".to_owned(), 78, "unknown key `hots`, did you mean `host`?"),
        (200, "", format!("# {}\n", "x".repeat(1 << 20)), 78, "more than 1048576 bytes"),
        (302, "Location: https://elsewhere/\r\n", GOOD.to_owned(), 69, "redirects are not followed"),
        (403, "", GOOD.to_owned(), 69, "does not give this host"),
        (500, "", GOOD.to_owned(), 69, "answered 500"),
    ] {
        let server = Server::encrypted(status, headers, body);
        let refused = fetch(&folder, &server, &["--url-ca", "CA"]);
        assert!(refused.with_code(code).stderr.contains(part), "{refused:#?}");
        assert_eq!(text(&config(&folder)), "host = \"old\"\n");
    }
    let server = Server::encrypted(200, "", GOOD);
    let both = fetch(&folder, &server, &["--url-ca", "CA", "--syslog"]);
    assert!(both.with_code(64).stderr.contains("in a call of their own"), "{both:#?}");
}
