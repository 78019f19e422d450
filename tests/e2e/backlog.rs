//! A backlog of ten thousand events goes to four peers at once, each of which fails half of the time, while the agent is killed again
//! and again: what each kind promises holds to the letter.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hume_peers::{forward, http, syslog};
use hume_tests::events::json_lines;
use hume_tests::{Agent, SOON, Site, process, wait_until};
use serde_json::{Value, json};

const EVENTS: usize = 10_000;
/// The webhook, which gets one request per event, wants one of so many.
const STEP: usize = 5;
/// How many notices of a pipeline are under way at once.
const BATCH: usize = 256;
/// So often the agent is killed while the webhook does not answer.
const SILENCES: usize = 3;
/// A peer that ends connections fails more often than this; how many connections there are is a matter of the moments of the kills.
const FAILURES_MIN: usize = 2;
/// After so many events the syslog server resets no more, so that the last of them arrive.
const CALM_FROM: usize = 9000;

/// What a peer took, in its order.
#[derive(Debug, Default)]
struct Taken {
    numbers: Vec<usize>,
    /// So often it failed, whether it had taken something or not.
    failures: usize,
    /// So many numbers it took and never said so.
    unanswered: usize,
    /// Of each connection, where in `numbers` it ends, and whether it was reset.
    connections: Vec<(usize, bool)>,
    /// Chunks of Fluentd in their order.
    chunks: Vec<(String, usize)>,
}

impl Taken {
    fn furthest(&self) -> usize {
        self.numbers.iter().max().map_or(0, |furthest| furthest + 1)
    }
}

/// How a peer serves one connection to its end.
type Serve = fn(&TcpStream, &Shared) -> io::Result<()>;

struct Shared {
    taken: Mutex<Taken>,
    random: Mutex<fastrand::Rng>,
    /// The next request gets no answer.
    is_to_be_silent: AtomicBool,
    is_over: AtomicBool,
    /// Ports of the clients that were let in.
    seen: Mutex<BTreeSet<u16>>,
    open: AtomicUsize,
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn below(&self, bound: usize) -> usize {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).usize(..bound)
    }

    fn fails(&self) -> bool {
        let fails = self.below(2) == 0;
        self.taken().failures += usize::from(fails);
        fails
    }
}

/// A server on the loopback that is unkind half of the time.
struct Peer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Whether connections are served beside each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// A client may keep several: each has a thread of its own.
    Together,
    /// What one connection held is read to its end before the next one is.
    OneByOne,
}

impl Peer {
    fn start(order: Order, serve: Serve) -> Peer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            taken: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(6)),
            is_to_be_silent: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            seen: Mutex::default(),
            open: AtomicUsize::new(0),
        });
        let for_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&for_thread);
                let Ok(stream) = stream else { continue };
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                stream.set_read_timeout(Some(SOON)).unwrap();
                stream.set_nodelay(true).unwrap();
                shared.open.fetch_add(1, Ordering::SeqCst);
                let port = stream.peer_addr().map_or(0, |from| from.port());
                shared.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
                let one = move || {
                    // A client that was killed ends a connection as it likes.
                    let _ = serve(&stream, &shared);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                };
                match order {
                    Order::Together => drop(thread::spawn(one)),
                    Order::OneByOne => one(),
                }
            }
        });
        Peer { address, shared, thread: Some(thread) }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.shared.taken()
    }

    fn furthest(&self) -> usize {
        self.taken().furthest()
    }

    /// Waits until everything is read that a client has sent which is dead now.
    fn settle(&self) {
        let last = TcpStream::connect(self.address).unwrap();
        let port = last.local_addr().unwrap().port();
        drop(last);
        wait_until("a peer has read what there was", SOON, || {
            let seen = self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.contains(&port) && self.shared.open.load(Ordering::SeqCst) == 0
        });
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn reset(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

fn number(text: &Value) -> usize {
    text.as_str().and_then(|text| text.parse().ok()).expect("a message is a number")
}

/// One request per event: an answer, a refusal, a reset with or without having taken it, or silence.
fn webhook(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    let mut to = stream;
    while let Some(request) = http::read(&mut from)? {
        let body: Value = serde_json::from_str(&request.body).map_err(io::Error::other)?;
        let number = number(&body["event"]["message"]) / STEP;
        if shared.is_to_be_silent.load(Ordering::SeqCst) {
            shared.taken().numbers.push(number);
            shared.is_to_be_silent.store(false, Ordering::SeqCst);
            // Until the client goes.
            let _ = from.read(&mut [0]);
            return Ok(());
        }
        if !shared.fails() {
            shared.taken().numbers.push(number);
            http::answer(&mut to, 200, "", "ok")?;
            continue;
        }
        match shared.below(5) {
            0 => http::answer(&mut to, 500, "", "not now")?,
            1 => http::answer(&mut to, 429, "Retry-After: 0\r\n", "too many")?,
            2 => http::answer(&mut to, 408, "", "")?,
            3 => {
                reset(to);
                return Ok(());
            }
            _ => {
                {
                    let mut taken = shared.taken();
                    taken.numbers.push(number);
                    taken.unanswered += 1;
                }
                reset(to);
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Chunks: acknowledged, or taken and not acknowledged, or cut off before they are whole.
fn fluentd(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    let mut to = stream;
    loop {
        let fails = shared.fails();
        if fails && shared.below(3) == 0 {
            let _ = from.read(&mut vec![0; shared.below(4096) + 1]);
            reset(to);
            return Ok(());
        }
        let Some(message) = forward::read(&mut from)? else { return Ok(()) };
        {
            let mut taken = shared.taken();
            taken
                .numbers
                .extend(message.entries.iter().map(|(_, record)| number(&record["event"]["message"])));
            taken.chunks.push((message.chunk.clone(), message.entries.len()));
        }
        if fails {
            shared.taken().unanswered += message.entries.len();
            return Ok(());
        }
        forward::acknowledge(&mut to, &message.chunk)?;
    }
}

/// A server that ends connections in order: it says that it wants no more, and reads what is there.
fn logstash(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    let mut left = if shared.fails() { shared.below(2 * BATCH) } else { EVENTS };
    let mut line = String::new();
    loop {
        if left == 0 {
            stream.shutdown(Shutdown::Write)?;
        }
        left = left.wrapping_sub(1);
        line.clear();
        from.read_line(&mut line)?;
        let Some(whole) = line.strip_suffix('\n') else { return Ok(()) };
        let document: Value = serde_json::from_str(whole).map_err(io::Error::other)?;
        shared.taken().numbers.push(number(&document["message"]));
    }
}

/// A server that dies: what its kernel had and it had not read is gone.
fn rsyslog(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut from = BufReader::with_capacity(2048, stream.try_clone()?);
    let is_calm = shared.taken().furthest() >= CALM_FROM;
    let mut left = if !is_calm && shared.fails() { shared.below(2 * BATCH) } else { usize::MAX };
    let note = |is_reset: bool| {
        let mut taken = shared.taken();
        let end = taken.numbers.len();
        taken.connections.push((end, is_reset));
    };
    loop {
        if left == 0 {
            note(true);
            reset(stream);
            return Ok(());
        }
        let Ok(Some(message)) = syslog::read(&mut from) else {
            note(false);
            return Ok(());
        };
        left -= 1;
        let text = syslog::text(&message).and_then(|text| text.parse().ok());
        shared.taken().numbers.push(text.expect("a message is a number"));
    }
}

/// Each is at most one further than the furthest before it: nothing was left out, nothing came too early.
#[track_caller]
fn assert_in_order(numbers: &[usize], count: usize) {
    let mut furthest = 0;
    for number in numbers {
        assert!(*number <= furthest, "{number} came before {furthest}");
        furthest = furthest.max(number + 1);
    }
    assert_eq!(furthest, count);
}

fn report(agent: &Agent) {
    // Levels change, so that a batch has several tags.
    let level = |number: usize| if (number / 90).is_multiple_of(2) { "warning" } else { "error" };
    let tags = |number: usize| if number.is_multiple_of(STEP) { vec!["wanted"] } else { Vec::new() };
    let event = |number: usize| json!({"task": "JOB", "level": level(number), "tags": tags(number), "message": number.to_string()});
    let answers = agent.socket_lines(json_lines((0..EVENTS).map(event)).as_bytes());
    assert!(answers.len() == EVENTS && answers.iter().all(|answer| answer["ok"] == true));
}

#[test]
fn ten_thousand_reach_peers_that_fail_half_of_the_time_through_kills_as_each_protocol_promises() {
    let webhook = Peer::start(Order::Together, webhook);
    let fluentd = Peer::start(Order::OneByOne, fluentd);
    let logstash = Peer::start(Order::OneByOne, logstash);
    let rsyslog = Peer::start(Order::OneByOne, rsyslog);
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    agent.start();
    report(&agent);
    assert_eq!(agent.stop(), 0);
    agent.configure(|config| {
        let every = "from = \"beginning\"\nretry_min_ms = 1\nretry_max_ms = 4\n";
        let text = format!(
            "[a.http]\nurl = \"http://{}/\"\nrate = \"none\"\ntags = [\"wanted\"]\n{every}\
             [b.fluentd]\naddress = \"tcp://{}\"\n{every}\
             [c.logstash]\naddress = \"tcp://{}\"\n{every}\
             [d.rsyslog]\naddress = \"tcp://{}\"\n{every}",
            webhook.address, fluentd.address, logstash.address, rsyslog.address
        );
        config.insert("transfer".to_owned(), toml::Value::Table(text.parse().unwrap()));
    });
    agent.start();

    let peers = [&webhook, &fluentd, &logstash, &rsyslog];
    let kill = || {
        assert!(agent.kill9());
        peers.iter().copied().for_each(Peer::settle);
        agent.start();
    };
    let moments =
        [(&logstash, 1000), (&fluentd, 2500), (&rsyslog, 3500), (&logstash, 5000), (&fluentd, 6000)];
    for (peer, count) in moments {
        wait_until("a peer has some", SOON, || peer.furthest() >= count);
        kill();
    }
    // Killed while it waits for an answer that never comes.
    for silence in 0..SILENCES {
        wait_until("the webhook has some", SOON, || webhook.furthest() >= (silence + 1) * 500);
        webhook.shared.is_to_be_silent.store(true, Ordering::SeqCst);
        wait_until("it is silent", SOON, || !webhook.shared.is_to_be_silent.load(Ordering::SeqCst));
        kill();
    }
    let kills = moments.len() + SILENCES;

    let status = || {
        let mut command = process::command("humed-agent");
        let shown =
            process::run(command.args(["transfer", "status", "--json", "--config"]).arg(agent.config()));
        shown.ok().json()
    };
    wait_until("everything is told", SOON, || {
        let all = status();
        all.as_array().unwrap().iter().all(|one| one["state"] == "ok" && one["waiting"] == 0)
    });
    for one in status().as_array().unwrap() {
        assert_eq!((&one["dead"], &one["skipped"]), (&json!(0), &json!(0)), "{one}");
    }
    assert!(agent.kill9());
    peers.iter().copied().for_each(Peer::settle);

    // HTTP: what was answered never comes again, what was taken without an answer comes once more.
    let taken = webhook.taken();
    assert_in_order(&taken.numbers, EVENTS / STEP);
    assert!(taken.failures > EVENTS / STEP / 2, "{}", taken.failures);
    assert!(taken.numbers.is_sorted(), "one at a time never goes back by more than that one");
    let twice = taken.numbers.len() - EVENTS / STEP;
    let unanswered = taken.unanswered;
    assert!(
        (unanswered..=unanswered + kills).contains(&twice),
        "{twice} twice, {unanswered} without an answer"
    );

    // Fluentd: what is not acknowledged comes again as the same chunk. Beyond that, a kill costs at most a batch.
    let taken = fluentd.taken();
    assert_in_order(&taken.numbers, EVENTS);
    let mut known = BTreeSet::new();
    let once: usize = taken.chunks.iter().filter(|(id, _)| known.insert(id)).map(|(_, count)| count).sum();
    assert!(taken.unanswered > 0 && (EVENTS..=EVENTS + kills * BATCH).contains(&once), "{once} in chunks");
    assert!(taken.numbers.len() <= EVENTS + taken.unanswered + kills * BATCH, "{}", taken.numbers.len());

    // Logstash: a peer that closes in order and reads what is there loses nothing; each close and each kill costs at most a batch.
    let taken = logstash.taken();
    assert_in_order(&taken.numbers, EVENTS);
    let bound = EVENTS + (taken.failures + kills) * BATCH;
    assert!(
        taken.failures > FAILURES_MIN && taken.numbers.len() <= bound,
        "{} of {bound}",
        taken.numbers.len()
    );

    // Syslog: one that dies loses what it had not read, and nothing else: all that is missing lies behind the last word of a
    // connection that was reset.
    let taken = rsyslog.taken();
    let (mut begin, mut next, mut is_after_reset) = (0, 0, false);
    for (end, is_reset) in &taken.connections {
        for number in &taken.numbers[begin..*end] {
            assert!(*number <= next || is_after_reset, "{number} came before {next}, and nothing was reset");
            assert!(number + BATCH >= next, "{number} came after {next}");
            next = next.max(number + 1);
            is_after_reset = false;
        }
        begin = *end;
        is_after_reset |= is_reset;
    }
    assert_eq!(next, EVENTS);
    let bound = EVENTS + (taken.failures + kills) * BATCH;
    assert!(
        taken.failures > FAILURES_MIN && taken.numbers.len() <= bound,
        "{} of {bound}",
        taken.numbers.len()
    );
}
