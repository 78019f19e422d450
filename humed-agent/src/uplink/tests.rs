//! When the uplink tries, and where.

use std::net::SocketAddr;
use std::sync::Mutex;

use hume_runtime::pki::{Authority, write_secret};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What nothing takes on one machine.
const TIME_MAX: Duration = Duration::from_mins(1);

#[test]
fn a_host_that_has_just_booted_waits_a_part_of_the_delay_and_no_other_waits() {
    let max = Duration::from_secs(10);
    for (chance, expected) in [(0.0, 0), (0.5, 5), (1.0, 10)] {
        assert_eq!(first_delay(JUST_BOOTED_US - 1, max, chance), Duration::from_secs(expected));
        assert_eq!(first_delay(JUST_BOOTED_US, max, chance), Duration::ZERO);
    }
    assert_eq!(first_delay(0, Duration::ZERO, 1.0), Duration::ZERO);
}

/// Fault 27.
#[test]
fn pauses_start_anew_only_after_a_minute_with_an_ack() {
    let minute = Duration::from_mins(1);
    assert!(is_healthy(true, minute) && is_healthy(true, 2 * minute));
    assert!(!is_healthy(true, Duration::from_millis(59_999)), "it was acknowledged and flapped");
    assert!(!is_healthy(false, 2 * minute), "nothing was acknowledged");
}

/// A directory of names that somebody changes.
#[derive(Default)]
struct Names {
    master: Mutex<Option<SocketAddr>>,
    asked: Mutex<Vec<String>>,
}

impl Dial for Names {
    type Stream = TcpStream;

    async fn dial(&self, address: &str) -> std::io::Result<TcpStream> {
        self.asked.lock().unwrap().push(address.to_owned());
        let master = *self.master.lock().unwrap();
        TcpStream::connect(master.ok_or(std::io::ErrorKind::NotFound)?).await
    }
}

/// Fault 33.
#[tokio::test]
async fn a_name_is_looked_up_at_every_try_and_a_master_that_moved_is_found() {
    hume_runtime::tls::install_provider();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let ca = Authority::create("hume", clock::now()).unwrap();
    let issued = ca.issue_agent(uuid::Uuid::nil(), "web1", clock::now()).unwrap();
    std::fs::write(path("ca.pem"), ca.certificate_pem()).unwrap();
    std::fs::write(path("agent.pem"), &issued.certificate_pem).unwrap();
    write_secret(&path("agent.key"), issued.key_pem.expose().as_bytes()).unwrap();
    let text = "address = \"master.example.net:4863\"";
    let config: Config = hume_runtime::config::parse(Path::new("agent.toml"), text).unwrap();
    let (ca, certificate, key) = (path("ca.pem"), path("agent.pem"), path("agent.key"));
    let config = Config { ca, certificate, key, ..config };
    let names = Arc::new(Names::default());
    let (own, _) = identity(&config).unwrap();
    let unknown = connect::channel(&config, &own, None, &names).await;
    assert!(matches!(unknown, Err(ConnectError::Connect { .. })), "nobody knows the name");
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *names.master.lock().unwrap() = Some(listener.local_addr().unwrap());
        let found = async {
            tokio::select! {
                came = listener.accept() => drop(came.unwrap()),
                _ = connect::channel(&config, &own, None, &names) => panic!("nobody shook hands"),
            }
        };
        tokio::time::timeout(TIME_MAX, found).await.expect("the new place is tried");
    }
    assert_eq!(*names.asked.lock().unwrap(), ["master.example.net:4863"; 3]);
}
