//! Connections against peers that take, refuse, keep silent, go away and do not trust.

use std::net::{Ipv6Addr, UdpSocket};
use std::sync::{Arc, mpsc};

use hume_core::HostName;
use hume_runtime::tls;
use rustls::ServerConfig;

use super::peer::{
    SOON, Site, accept, gather, listen, listen_at, nowhere, over_tls, read_all, read_exactly, reset, run,
};
use super::*;
use crate::options::TransferName;
use crate::testing::skip;

fn open(address: &str, keys: TlsKeys<'_>) -> Result<Target, OpenError> {
    let (name, host) = (TransferName::parse("logs").unwrap(), HostName::parse("web1").unwrap());
    let setting = Setting {
        name: &name,
        config_file: Path::new("/etc/hume/agent.toml"),
        host: &host,
        program: "humed-agent",
    };
    Target::open(&Address::parse(address).unwrap(), keys, &setting)
}

fn pipe(address: &str, keys: TlsKeys<'_>) -> Pipe {
    Pipe::new(open(address, keys).unwrap())
}

fn soon() -> Instant {
    Instant::now() + SOON
}

async fn send(pipe: &mut Pipe, text: &str) -> Result<(), NetError> {
    pipe.send(text.as_bytes(), soon(), &mut Trail::silent()).await
}

/// Sends until the peer is known to be gone.
async fn until_broken(pipe: &mut Pipe) -> NetError {
    loop {
        if let Err(error) = send(pipe, "more").await {
            return error;
        }
    }
}

#[tokio::test]
async fn what_is_sent_arrives_over_one_connection_that_is_kept() {
    let (listener, place) = listen();
    let peer = gather(listener, 1);
    let mut pipe = pipe(&format!("tcp://{place}"), TlsKeys::default());
    for text in ["one\n", "two\n", "three\n"] {
        send(&mut pipe, text).await.unwrap();
    }
    drop(pipe);
    assert_eq!(peer.join().unwrap(), ["one\ntwo\nthree\n"]);
}

#[tokio::test]
async fn a_peer_that_closed_between_two_messages_is_noticed_before_the_second_is_written() {
    let (listener, place) = listen();
    let (close, may_close) = mpsc::channel();
    let (closed, is_closed) = mpsc::channel();
    let peer = run(move || {
        let mut stream = accept(&listener);
        let first = read_exactly(&mut stream, 3);
        may_close.recv_timeout(SOON).unwrap();
        drop(stream);
        closed.send(()).unwrap();
        (first, read_all(&mut accept(&listener)))
    });
    let mut pipe = pipe(&format!("tcp://{place}"), TlsKeys::default());
    send(&mut pipe, "one").await.unwrap();
    close.send(()).unwrap();
    is_closed.recv_timeout(SOON).unwrap();
    send(&mut pipe, "two").await.unwrap();
    drop(pipe);
    assert_eq!(peer.join().unwrap(), ("one".to_owned(), "two".to_owned()));
}

#[tokio::test]
async fn a_peer_that_turns_a_new_connection_away_has_not_got_what_was_sent() {
    let (listener, place) = listen();
    let peer = run(move || read_exactly(&mut accept(&listener), 3));
    let error = send(&mut pipe(&format!("tcp://{place}"), TlsKeys::default()), "one").await.unwrap_err();
    assert_eq!(error.to_string(), format!("tcp://{place} closed the connection"));
    assert_eq!(peer.join().unwrap(), "one");
}

#[tokio::test]
async fn a_peer_that_resets_the_connection_instead_of_reading_has_not_got_it() {
    let (listener, place) = listen();
    let peer = run(move || reset(accept(&listener)));
    let mut pipe = pipe(&format!("tcp://{place}"), TlsKeys::default());
    let error = until_broken(&mut pipe).await;
    let text = error.to_string();
    assert!(text.contains(&place.to_string()), "{text}");
    assert!(matches!(Trouble::from(error), Trouble::Later { after: None, .. }));
    peer.join().unwrap();
}

#[tokio::test]
async fn a_refused_connection_names_the_address_and_the_reason() {
    let place = nowhere();
    let error = send(&mut pipe(&format!("tcp://{place}"), TlsKeys::default()), "x").await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("tcp://{place}: no connection: 127.0.0.1: ")), "{text}");
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_name_that_has_no_address_is_named() {
    let error = send(&mut pipe("tcp://nobody.invalid:514", TlsKeys::default()), "x").await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, NetError::Lookup { .. }), "{text}");
    assert!(text.starts_with("tcp://nobody.invalid:514: no address for `nobody.invalid`: "), "{text}");
}

#[tokio::test]
async fn addresses_are_tried_in_turn_and_a_silent_one_leaves_time_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path(), "ca");
    let config = site.tls();
    let (silent, silent_place) = listen();
    let (listener, place) = listen();
    let keys = TlsKeys { ca: Some(&site.ca), ..TlsKeys::default() };
    let mut target = open("tls://localhost:6514", keys).unwrap();
    target.connect_time_max = SOON;
    let peer = run(move || read_all(&mut over_tls(&config, accept(&listener))));
    let deadline = Instant::now() + Duration::from_secs(6);
    // The first refuses, the second takes the connection and says nothing.
    let places = [nowhere(), silent_place, place];
    let mut connection = target.connect_in_turn(&places, deadline, &mut Trail::silent()).await.unwrap();
    connection.send(b"hello", soon()).await.unwrap();
    drop(connection);
    assert_eq!(peer.join().unwrap(), "hello");
    let deadline = Instant::now() + Duration::from_millis(200);
    let result = target.connect_in_turn(&[silent_place], deadline, &mut Trail::silent()).await;
    let error = result.err().unwrap().to_string();
    assert!(error.ends_with("no connection: 127.0.0.1: it did not answer in time"), "{error}");
    drop(silent);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up_at_the_deadline() {
    let (listener, place) = listen();
    let mut pipe = pipe(&format!("tcp://{place}"), TlsKeys::default());
    let large = vec![b'x'; 64 * 1024 * 1024];
    let deadline = Instant::now() + Duration::from_millis(300);
    let error = pipe.send(&large, deadline, &mut Trail::silent()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("tcp://{place} did not take the data in time"));
    // What follows does not follow a part of it.
    let peer = run(move || {
        let _cut = accept(&listener);
        read_all(&mut accept(&listener))
    });
    send(&mut pipe, "whole").await.unwrap();
    drop(pipe);
    assert_eq!(peer.join().unwrap(), "whole");
}

#[tokio::test]
async fn what_a_peer_says_that_nobody_asked_is_thrown_away() {
    use std::io::Write;
    let (listener, place) = listen();
    let peer = run(move || {
        let mut stream = accept(&listener);
        stream.write_all(b"220 welcome\r\n").unwrap();
        read_all(&mut stream)
    });
    let mut pipe = pipe(&format!("tcp://{place}"), TlsKeys::default());
    for text in ["one", "two"] {
        send(&mut pipe, text).await.unwrap();
    }
    drop(pipe);
    assert_eq!(peer.join().unwrap(), "onetwo");
}

#[tokio::test]
async fn an_answer_is_read_and_waited_for_until_the_deadline() {
    use std::io::Write;
    let (listener, place) = listen();
    let peer = run(move || {
        let mut stream = accept(&listener);
        let asked = read_exactly(&mut stream, 3);
        stream.write_all(b"yes").unwrap();
        (asked, read_all(&mut stream))
    });
    let target = open(&format!("tcp://{place}"), TlsKeys::default()).unwrap();
    let mut connection = target.connect(soon(), &mut Trail::silent()).await.unwrap();
    connection.send(b"ok?", soon()).await.unwrap();
    let mut answer = [0; 16];
    assert_eq!(connection.receive(&mut answer, soon()).await.unwrap(), 3);
    let soon_over = Instant::now() + Duration::from_millis(20);
    let error = connection.receive(&mut answer, soon_over).await.unwrap_err().to_string();
    assert_eq!(error, format!("tcp://{place} did not answer in time"));
    drop(connection);
    assert_eq!(peer.join().unwrap(), ("ok?".to_owned(), String::new()));
}

#[tokio::test]
async fn an_address_of_version_6_is_connected_to() {
    let Ok((listener, place)) = listen_at(Ipv6Addr::LOCALHOST.into()) else {
        return skip("this machine has no IPv6");
    };
    let peer = gather(listener, 1);
    let mut pipe = pipe(&format!("tcp://{place}"), TlsKeys::default());
    send(&mut pipe, "six").await.unwrap();
    drop(pipe);
    assert_eq!(peer.join().unwrap(), ["six"]);
}

/// Wants a certificate of `clients`.
fn strict_server(site: &Site, clients: &Site) -> Arc<ServerConfig> {
    let issued = site.server();
    let identity = Identity::from_pem(&issued.certificate_pem, issued.key_pem.expose()).unwrap();
    tls::relay_server(&identity, &Roots::load(&clients.ca).unwrap()).unwrap()
}

/// A peer over TLS that returns what it heard, or why it heard nothing.
fn tls_peer(config: Arc<ServerConfig>) -> (std::thread::JoinHandle<std::io::Result<String>>, String) {
    use std::io::Read;
    let (listener, place) = listen();
    let peer = run(move || {
        let mut stream = over_tls(&config, accept(&listener));
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok(char::from(first[0]).to_string() + &read_all(&mut stream))
    });
    (peer, format!("tls://localhost:{}", place.port()))
}

#[tokio::test]
async fn tls_needs_a_certificate_for_the_name_by_the_ca_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (site, other) = (Site::make(dir.path(), "ca"), Site::make(dir.path(), "other"));
    let keys = TlsKeys { ca: Some(&site.ca), ..TlsKeys::default() };
    // `localhost` may be ::1 first, where nobody listens: then 127.0.0.1 is next.
    let (peer, address) = tls_peer(site.tls());
    let mut good = pipe(&address, keys);
    for text in ["one ", "two"] {
        send(&mut good, text).await.unwrap();
    }
    drop(good);
    assert_eq!(peer.join().unwrap().unwrap(), "one two");

    let (peer, address) = tls_peer(site.tls());
    let error = send(&mut pipe(&address, TlsKeys { ca: Some(&other.ca), ..keys }), "x").await.unwrap_err();
    assert!(error.to_string().contains("its certificate is not issued by `ca`"), "{error}");
    assert!(peer.join().unwrap().is_err());

    let (peer, address) = tls_peer(site.tls());
    let address = address.replace("localhost", "127.0.0.1");
    let wrong_name = TlsKeys { server_name: Some("logs.example.org"), ..keys };
    let error = send(&mut pipe(&address, wrong_name), "x").await.unwrap_err();
    assert!(matches!(&error, NetError::Untrusted { .. }));
    assert!(error.to_string().contains("its certificate is not for `logs.example.org`"), "{error}");
    assert!(peer.join().unwrap().is_err());
}

#[tokio::test]
async fn a_certificate_that_the_system_does_not_trust_is_refused_for_five_minutes() {
    let dir = tempfile::tempdir().unwrap();
    let (peer, address) = tls_peer(Site::make(dir.path(), "ca").tls());
    let address = address.replace("localhost", "127.0.0.1");
    let target = match open(&address, TlsKeys::default()) {
        Ok(target) => target,
        // A machine without root certificates says so when it starts.
        Err(error) => return assert!(error.to_string().contains("system"), "{error}"),
    };
    let error = send(&mut Pipe::new(target), "x").await.unwrap_err();
    assert_eq!(
        Trouble::from(error),
        Trouble::after(
            format!(
                "{address}: its certificate is issued by nobody whom the system trusts: name the issuer with `ca`"
            ),
            UNTRUSTED_PAUSE
        )
    );
    assert!(peer.join().unwrap().is_err());
}

#[tokio::test]
async fn a_peer_that_wants_a_certificate_gets_ours_and_says_when_it_is_not_good() {
    let dir = tempfile::tempdir().unwrap();
    let (site, other) = (Site::make(dir.path(), "ca"), Site::make(dir.path(), "other"));
    let (certificate, key) = site.client(dir.path(), "good");
    let (bad_certificate, bad_key) = other.client(dir.path(), "bad");
    let none = TlsKeys { ca: Some(&site.ca), ..TlsKeys::default() };
    let good = TlsKeys { certificate: Some(&certificate), key: Some(&key), ..none };
    let bad = TlsKeys { certificate: Some(&bad_certificate), key: Some(&bad_key), ..none };

    let (peer, address) = tls_peer(strict_server(&site, &site));
    let mut pipe_with = pipe(&address, good);
    send(&mut pipe_with, "hello").await.unwrap();
    drop(pipe_with);
    assert_eq!(peer.join().unwrap().unwrap(), "hello");

    for (keys, told) in [(none, "it wants a certificate"), (bad, "it refuses our certificate")] {
        let (peer, address) = tls_peer(strict_server(&site, &site));
        let address = address.replace("localhost", "127.0.0.1");
        let error = send(&mut pipe(&address, keys), "x").await.unwrap_err();
        assert!(matches!(&error, NetError::Untrusted { .. }), "{error}");
        assert!(error.to_string().contains(told), "{error}");
        assert!(peer.join().unwrap().is_err(), "nothing was sent before the verdict");
    }
}

#[tokio::test]
async fn a_peer_without_tls_is_told_as_such() {
    use std::io::Write;
    let (listener, place) = listen();
    let peer = run(move || {
        let mut stream = accept(&listener);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // Until it hangs up.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path(), "ca");
    let keys = TlsKeys { ca: Some(&site.ca), ..TlsKeys::default() };
    let error = send(&mut pipe(&format!("tls://{place}"), keys), "x").await.unwrap_err().to_string();
    assert_eq!(error, format!("tls://{place}: it does not speak TLS there"));
    peer.join().unwrap();
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path(), "ca");
    let (certificate, key) = site.client(dir.path(), "mine");
    let (_, other_key) = site.client(dir.path(), "other");
    let tls = "tls://logs:6514";
    let all = TlsKeys {
        ca: Some(&site.ca),
        certificate: Some(&certificate),
        key: Some(&key),
        server_name: Some("logs.example.org"),
    };
    assert!(open(tls, all).is_ok());
    let missing = Some(Path::new("missing.pem"));
    for (address, keys, told) in [
        ("udp://logs:514", TlsKeys::default(), "`address`: this kind speaks no UDP"),
        (
            "tcp://logs:514",
            TlsKeys { server_name: Some("x"), ..TlsKeys::default() },
            "`server_name`: is for an",
        ),
        ("tcp://logs:514", all, "`ca`: is for an `address` that begins with `tls://`"),
        (tls, TlsKeys { key: None, ..all }, "`key`: `certificate` needs its `key`"),
        (tls, TlsKeys { certificate: None, ..all }, "`certificate`: `key` needs its `certificate`"),
        (tls, TlsKeys { ca: missing, ..all }, "`ca`: could not read /etc/hume/missing.pem: No such file"),
        (tls, TlsKeys { certificate: missing, ..all }, "`certificate`: could not read /etc/hume/missing.pem"),
        (
            tls,
            TlsKeys { key: Some(&other_key), ..all },
            "`certificate`: the certificate and key cannot be used",
        ),
        (tls, TlsKeys { server_name: Some("not a name"), ..all }, "`server_name`: `not a name` cannot be"),
    ] {
        let error = open(address, keys).err().unwrap().to_string();
        assert!(error.starts_with(told), "{error}");
        assert!(!error.contains("PRIVATE"), "{error}");
    }
}

#[tokio::test]
async fn datagrams_arrive_one_by_one() {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    let address = Address::parse(&format!("udp://{}", peer.local_addr().unwrap())).unwrap();
    let mut datagrams = Datagrams::open(&address).unwrap();
    let mut heard = [0; 64];
    for text in ["one", "two"] {
        datagrams.send(text.as_bytes(), soon(), &mut Trail::silent()).await.unwrap();
        let bytes = peer.recv(&mut heard).unwrap();
        assert_eq!(&heard[..bytes], text.as_bytes());
    }
    assert!(Datagrams::open(&Address::parse("tcp://logs:514").unwrap()).is_err());
}

#[tokio::test]
async fn a_datagram_to_a_port_where_nobody_listens_is_known_to_be_lost() {
    let place = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut datagrams = Datagrams::open(&Address::parse(&format!("udp://{place}")).unwrap()).unwrap();
    let error = datagrams.send(b"x", soon(), &mut Trail::silent()).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("the connection to udp://{place} broke: ")), "{error}");
    assert!(error.contains("refused"), "{error}");
}
