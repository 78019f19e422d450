//! An hour without Slack, in virtual time: the pump, the kind and its requests are those of the daemons, Slack is a server of the test.

use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use hume_peers::{http, slack};
use rustls::ServerConfig;
use serde_json::Value;

use super::*;
use crate::net::peer;

/// Time stands still while the kind talks to its peer, so that no deadline of virtual time meets a real connection.
struct Still(Box<dyn Transfer>);

impl Transfer for Still {
    fn deliver<'a>(&'a mut self, notices: &'a [Notice], trail: &'a mut Trail) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            // The clock does not run ahead while something blocks.
            let (release, held) = std::sync::mpsc::channel::<()>();
            let hold = tokio::task::spawn_blocking(move || held.recv().is_err());
            let delivery = self.0.deliver(notices, trail).await;
            drop(release);
            hold.await.unwrap();
            delivery
        })
    }
}

#[derive(Default)]
struct Channel {
    is_alive: AtomicBool,
    is_over: AtomicBool,
    tries: AtomicUsize,
    messages: Mutex<Vec<Value>>,
}

struct Slack {
    address: SocketAddr,
    channel: Arc<Channel>,
    thread: Option<JoinHandle<()>>,
}

impl Slack {
    fn start(tls: Arc<ServerConfig>) -> Slack {
        let (listener, address) = peer::listen();
        let channel = Arc::new(Channel::default());
        let shared = Arc::clone(&channel);
        let thread = peer::run(move || serve(&listener, &tls, &shared));
        Slack { address, channel, thread: Some(thread) }
    }

    fn texts(&self) -> Vec<String> {
        let messages = self.channel.messages.lock().unwrap();
        messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
    }

    /// How many events its messages tell of.
    fn counted(&self) -> usize {
        self.texts().iter().map(|text| folded(text).unwrap_or(1)).sum()
    }
}

impl Drop for Slack {
    fn drop(&mut self) {
        self.channel.is_over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The count in `🚨 +38 more from db1`.
fn folded(text: &str) -> Option<usize> {
    text.split_once('+')?.1.split_once(" more from ")?.0.parse().ok()
}

/// One request a connection. While it is dead: no handshake, no answer, and answers of all kinds but the good one.
fn serve(listener: &TcpListener, tls: &Arc<ServerConfig>, channel: &Channel) {
    loop {
        let stream = peer::accept(listener);
        if channel.is_over.load(Ordering::SeqCst) {
            return;
        }
        let is_alive = channel.is_alive.load(Ordering::SeqCst);
        let at = channel.tries.fetch_add(1, Ordering::SeqCst);
        if !is_alive && at.is_multiple_of(5) {
            peer::reset(stream);
            continue;
        }
        let mut stream = BufReader::new(peer::over_tls(tls, stream));
        let Ok(Some(request)) = http::read(&mut stream) else { continue };
        let close = "Connection: close\r\n";
        let answered = match (is_alive, at % 5) {
            (true, _) => {
                channel.messages.lock().unwrap().push(serde_json::from_str(&request.body).unwrap());
                http::answer(stream.get_mut(), 200, close, "ok")
            }
            (false, 1) => http::answer(stream.get_mut(), 503, close, "upstream request timeout"),
            (false, 2) => http::answer(stream.get_mut(), 429, &format!("Retry-After: 120\r\n{close}"), ""),
            (false, 3) => http::answer(stream.get_mut(), 404, close, "no_service"),
            (false, _) => {
                peer::reset(stream.into_inner().sock);
                continue;
            }
        };
        // What comes of it is seen by what arrives.
        drop(answered);
    }
}

#[tokio::test(start_paused = true)]
async fn slack_that_is_dead_for_an_hour_delays_nothing_else_and_is_told_all_of_it_in_digests() {
    const MINUTES: usize = 60;
    const EACH_MINUTE: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let tls = peer::Site::make(dir.path(), "ca");
    let mut config = (*tls.tls()).clone();
    config.alpn_protocols.clear();
    let slack = Slack::start(Arc::new(config));
    let keys = format!(
        "[transfer.ops.slack]\nwebhook = \"https://localhost:{}/services/T024/hunter2\"\nca = \"ca.pem\"",
        slack.address.port()
    );
    let folder = dir.path().to_owned();
    let site = Site::new("from = \"beginning\"", Manner::PEOPLE);
    let mut other = Site::new("from = \"beginning\"", EACH);
    other.log = site.log.clone();
    let (beside, begun) = (Peer::default(), Instant::now());
    let running = site.start_with(move || Ok(Box::new(Still(crate::testing::open(&folder, &keys).unwrap()))));
    let running_beside = other.start(&beside);

    for minute in 1..=MINUTES {
        site.log.push(EACH_MINUTE);
        beside.has_taken(minute * EACH_MINUTE).await;
        let end = begun + Duration::from_mins(1) * u32::try_from(minute).unwrap();
        assert!(Instant::now() < end, "the other was held up in minute {minute}");
        until(async || Instant::now() >= end).await;
    }
    assert_eq!(slack.texts(), Vec::<String>::new());
    assert!(begun.elapsed() >= Duration::from_hours(1));
    let tries = slack.channel.tries.load(Ordering::SeqCst);
    assert!(tries > 10, "all ways to be dead were seen: {tries}");
    let entries = running.board.entries();
    let figures = &entries[0].1.figures;
    assert!(figures.trouble.is_some(), "it is shown");
    let waiting = figures.waiting.events as usize;
    assert!(waiting > (MINUTES - 2) * EACH_MINUTE, "counted less than a minute ago: {waiting}");

    slack.channel.is_alive.store(true, Ordering::SeqCst);
    let all = MINUTES * EACH_MINUTE;
    until(async || slack.counted() >= all).await;
    let texts = slack.texts();
    assert_eq!((texts.len(), slack.counted()), (20, all), "{texts:?}");
    for (at, text) in texts[..19].iter().enumerate() {
        assert!(text.ends_with(&format!(" · {at}")), "{text}");
    }
    assert_eq!(folded(&texts[19]), Some(all - 19), "{texts:?}");

    // What comes next waits for its turn and is told in one as well.
    site.log.push(EACH_MINUTE);
    until(async || slack.counted() >= all + EACH_MINUTE).await;
    assert_eq!((slack.texts().len(), slack.counted()), (21, all + EACH_MINUTE));
    for message in slack.channel.messages.lock().unwrap().iter() {
        assert_eq!(slack::refusal(message), None);
    }
    running.stop().await;
    running_beside.stop().await;
    assert_eq!(beside.texts(), numbers(0..all + EACH_MINUTE));
}
