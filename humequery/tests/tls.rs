//! Real TLS: which certificates are believed, and what is said about those that are not.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is test code, also what stands outside of a test function"
)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A CA of this name; two of the same name have different keys.
fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), Issuer::new(params, key))
}

/// Asks a server once that shows a certificate of `issuer` for `server_name`.
fn ask(issuer: &Issuer<'static, KeyPair>, server_name: &str, ca_pem: Option<&str>) -> Output {
    ask_for(&["--count"], issuer, server_name, ca_pem, Manners::Answers)
}

/// What a server does once it was asked.
#[derive(Clone, Copy)]
enum Manners {
    Answers,
    BreaksOff,
}

/// The same with these words.
fn ask_for(
    words: &[&str],
    issuer: &Issuer<'static, KeyPair>,
    server_name: &str,
    ca_pem: Option<&str>,
    manners: Manners,
) -> Output {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([server_name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let server = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), socket);
        let mut request = [0; 4096];
        // A client that does not believe the certificate hangs up here.
        if stream.read(&mut request).is_ok_and(|bytes| bytes > 0) {
            let body = r#"{"source":{"kind":"master","name":"m"},"count":7}"#;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
            match manners {
                Manners::Answers => {
                    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
                    stream.conn.send_close_notify();
                }
                Manners::BreaksOff => write!(stream, "{head}Content-Length: 5000\r\n\r\n{body}").unwrap(),
            }
            stream.flush().unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let output = humequery(words, folder.path(), &url, ca_pem);
    server.join().unwrap();
    output
}

fn humequery(words: &[&str], folder: &Path, url: &str, ca_pem: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_humequery"));
    command.env_clear().env("HOME", folder).args(words).args(["--url", url]);
    // Nobody listens there: what is on this machine is not behind a proxy.
    command.envs(["HTTPS_PROXY", "ALL_PROXY", "https_proxy"].map(|name| (name, "http://127.0.0.1:9")));
    if let Some(pem) = ca_pem {
        let ca = folder.join("ca.pem");
        std::fs::write(&ca, pem).unwrap();
        command.arg("--ca").arg(ca);
    }
    command.output().unwrap()
}

#[track_caller]
fn assert_refused(output: &Output, advice: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("invalid peer certificate"), "{text}");
    assert!(text.contains(advice), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_certificate_of_the_named_ca_is_believed_and_no_proxy_is_asked() {
    let (pem, issuer) = authority("hume CA");
    let output = ask(&issuer, "localhost", Some(&pem));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.stdout, b"7\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_certificate_of_another_ca_is_not_even_if_that_has_the_same_name() {
    let (_, issuer) = authority("hume CA");
    let (same_name, _) = authority("hume CA");
    let (other_name, _) = authority("another CA");
    assert_refused(
        &ask(&issuer, "localhost", Some(&same_name)),
        "its certificate is of another CA: check --ca",
    );
    assert_refused(
        &ask(&issuer, "localhost", Some(&other_name)),
        "its certificate is of another CA: check --ca",
    );
}

#[test]
fn a_check_of_a_master_of_another_ca_is_unknown_in_one_line() {
    let ((_, issuer), (other, _)) = (authority("hume CA"), authority("another CA"));
    let output = ask_for(&["check", "-t", "X"], &issuer, "localhost", Some(&other), Manners::Answers);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(3), &b""[..]), "{text}");
    assert!(text.starts_with("HUME UNKNOWN - could not ask https://localhost:"), "{text}");
    assert!(text.contains("its certificate is of another CA: check --ca"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_connection_that_breaks_off_is_said_in_words_of_ours() {
    let (pem, issuer) = authority("hume CA");
    let output = ask_for(&["--limit", "1"], &issuer, "localhost", Some(&pem), Manners::BreaksOff);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.ends_with("/api/v1/events: the connection broke off\n"), "{text}");
    assert!(!text.contains("docs.rs") && text.lines().count() == 1, "{text}");
}

#[test]
fn a_certificate_for_another_name_is_not() {
    let (pem, issuer) = authority("hume CA");
    assert_refused(&ask(&issuer, "elsewhere", Some(&pem)), "ask it by a name that its certificate has");
}

#[test]
fn without_a_ca_the_advice_is_to_name_it() {
    // A machine may have CAs of its own or none at all; both end with the same advice.
    let (_, issuer) = authority("hume CA");
    let output = ask(&issuer, "localhost", None);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("--ca FILE"), "{text}");
}
