//! A network that misbehaves between an agent and its master: a TCP proxy on the loopback that cuts, stalls, slows and forgets.
//!
//! It does not look into what it carries. A connection that is stalled stays open and moves nothing; one that is forgotten does so
//! for ever, as behind a box that has lost its memory; new ones are another matter.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes that are carried at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// Between two looks of a thread that waits for bytes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the agent to the master.
    Up,
    /// From the master to the agent.
    Down,
}

/// What the network does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    /// It carries everything.
    #[default]
    Clear,
    /// Nothing moves in this direction.
    Stalled(Direction),
    /// Nothing moves.
    StalledBoth,
    /// At most so many bytes a second, each way.
    Slow(u64),
    /// New connections are closed at once.
    Refusing,
}

impl Weather {
    fn stalls(self, direction: Direction) -> bool {
        match self {
            Weather::Stalled(stalled) => stalled == direction,
            Weather::StalledBoth => true,
            Weather::Clear | Weather::Slow(_) | Weather::Refusing => false,
        }
    }
}

/// One connection: both ends, and what has become of it.
#[derive(Debug)]
struct Carried {
    agent: TcpStream,
    master: TcpStream,
    is_over: AtomicBool,
    is_forgotten: AtomicBool,
}

impl Carried {
    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }
}

#[derive(Debug, Default)]
struct State {
    weather: Weather,
    carried: Vec<Arc<Carried>>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
    is_over: AtomicBool,
    /// The next bytes are carried with a bit flipped.
    corrupts: AtomicBool,
    opened: AtomicU64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every statement leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The proxy. Dropping it ends every connection and its threads.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy to `target`, in clear weather.
    pub fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            target,
            state: Mutex::default(),
            changed: Condvar::new(),
            is_over: AtomicBool::new(false),
            corrupts: AtomicBool::new(false),
            opened: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &accepting));
        Proxy { address, shared, acceptor: Some(acceptor) }
    }

    /// Where agents connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were carried so far.
    pub fn opened(&self) -> u64 {
        self.shared.opened.load(Ordering::Relaxed)
    }

    /// From now on.
    pub fn set(&self, weather: Weather) {
        self.shared.state().weather = weather;
        self.shared.changed.notify_all();
    }

    /// Ends all connections as a process does that closes them. How many there were.
    pub fn cut(&self) -> usize {
        self.each(|carried| {
            for end in [&carried.agent, &carried.master] {
                // It may have ended by itself.
                let _ = end.shutdown(Shutdown::Both);
            }
            carried.end();
        })
    }

    /// Ends all connections by a reset. How many there were.
    pub fn reset(&self) -> usize {
        self.each(|carried| {
            for end in [&carried.agent, &carried.master] {
                // What closes a socket that does not linger is a reset.
                let _ = rustix::net::sockopt::set_socket_linger(end, Some(Duration::ZERO));
            }
            carried.end();
        })
    }

    /// Carries nothing any more on the connections that are open. How many there were.
    pub fn forget(&self) -> usize {
        self.each(|carried| carried.is_forgotten.store(true, Ordering::Release))
    }

    /// Flips a bit of what comes next.
    pub fn corrupt(&self) {
        self.shared.corrupts.store(true, Ordering::Release);
    }

    fn each(&self, act: impl Fn(&Carried)) -> usize {
        let mut state = self.shared.state();
        state.carried.retain(|carried| !carried.is_over.load(Ordering::Acquire));
        state.carried.iter().for_each(|carried| act(carried));
        let count = state.carried.len();
        state.carried.retain(|carried| !carried.is_over.load(Ordering::Acquire));
        self.shared.changed.notify_all();
        count
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        self.cut();
        // The acceptor waits for one more.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            // A thread that failed has said so.
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut pumps: Vec<JoinHandle<()>> = Vec::new();
    for agent in listener.incoming() {
        if shared.is_over.load(Ordering::Acquire) {
            break;
        }
        pumps.retain(|pump| !pump.is_finished());
        let Ok(agent) = agent else { continue };
        if shared.state().weather == Weather::Refusing {
            continue;
        }
        // A master that is away is a connection that ends at once.
        let Ok(master) = TcpStream::connect(shared.target) else { continue };
        if let Ok(both) = carry(agent, master, shared) {
            pumps.extend(both);
        }
    }
    shared.state().carried.iter().for_each(|carried| carried.end());
    for pump in pumps {
        // A thread that failed has said so.
        let _ = pump.join();
    }
}

fn carry(agent: TcpStream, master: TcpStream, shared: &Arc<Shared>) -> io::Result<[JoinHandle<()>; 2]> {
    for end in [&agent, &master] {
        end.set_nodelay(true)?;
        end.set_read_timeout(Some(LOOK_EVERY))?;
        end.set_write_timeout(Some(LOOK_EVERY))?;
    }
    let (is_over, is_forgotten) = (AtomicBool::new(false), AtomicBool::new(false));
    let carried = Arc::new(Carried { agent, master, is_over, is_forgotten });
    shared.state().carried.push(Arc::clone(&carried));
    shared.opened.fetch_add(1, Ordering::Relaxed);
    Ok([Direction::Up, Direction::Down].map(|direction| {
        let (carried, shared) = (Arc::clone(&carried), Arc::clone(shared));
        thread::spawn(move || {
            pump(&carried, &shared, direction);
            carried.end();
            let mut state = shared.state();
            state.carried.retain(|one| !Arc::ptr_eq(one, &carried));
        })
    }))
}

/// Carries until an end closes, or the connection is over.
fn pump(carried: &Carried, shared: &Shared, direction: Direction) {
    let (mut from, mut to) = match direction {
        Direction::Up => (&carried.agent, &carried.master),
        Direction::Down => (&carried.master, &carried.agent),
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    while may_move(carried, shared, direction) {
        let length = match from.read(&mut chunk) {
            Ok(0) => {
                // The other direction may go on.
                let _ = to.shutdown(Shutdown::Write);
                return wait_for_end(carried, shared);
            }
            Ok(length) => length,
            Err(error) if is_a_wait(&error) => continue,
            Err(_) => return,
        };
        let bytes = &mut chunk[..length];
        if shared.corrupts.swap(false, Ordering::AcqRel) {
            bytes[length / 2] ^= 1;
        }
        let mut rest: &[u8] = bytes;
        while !rest.is_empty() {
            if !may_move(carried, shared, direction) {
                return;
            }
            let weather = shared.state().weather;
            let part = match weather {
                Weather::Slow(bytes) => rest.len().min((bytes / 20).max(1) as usize),
                _ => rest.len(),
            };
            match to.write(&rest[..part]) {
                Ok(written) => rest = &rest[written..],
                Err(error) if is_a_wait(&error) => {}
                Err(_) => return,
            }
            if matches!(weather, Weather::Slow(_)) {
                crate::let_pass(Duration::from_millis(50), || carried.is_over.load(Ordering::Acquire));
            }
        }
    }
}

fn is_a_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Waits while nothing may move; false when the connection is over.
fn may_move(carried: &Carried, shared: &Shared, direction: Direction) -> bool {
    let mut state = shared.state();
    loop {
        if carried.is_over.load(Ordering::Acquire) || shared.is_over.load(Ordering::Acquire) {
            return false;
        }
        if !state.weather.stalls(direction) && !carried.is_forgotten.load(Ordering::Acquire) {
            return true;
        }
        state = shared.changed.wait_timeout(state, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// One direction has ended: the other has as long as it likes, within reason.
fn wait_for_end(carried: &Carried, shared: &Shared) {
    let until = Instant::now() + crate::SOON;
    let mut state = shared.state();
    while Instant::now() < until
        && !carried.is_over.load(Ordering::Acquire)
        && !shared.is_over.load(Ordering::Acquire)
    {
        state = shared.changed.wait_timeout(state, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SOON, wait_until};

    /// A server that sends back what it gets, and a client of it through a proxy.
    struct Echo {
        proxy: Proxy,
    }

    impl Echo {
        fn new() -> Echo {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let proxy = Proxy::to(listener.local_addr().unwrap());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    thread::spawn(move || {
                        let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                        // Until either end has gone.
                        let _ = io::copy(&mut from, &mut to);
                    });
                }
            });
            Echo { proxy }
        }

        fn client(&self) -> TcpStream {
            let client = TcpStream::connect(self.proxy.address()).unwrap();
            client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            client
        }
    }

    fn echo(client: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
        client.write_all(text)?;
        read(client, text.len())
    }

    fn read(client: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        client.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn bytes_are_carried_slowly_too_and_a_stall_only_holds_them_up() {
        let site = Echo::new();
        let mut client = site.client();
        client.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(echo(&mut client, b"one").unwrap(), b"one");
        site.proxy.set(Weather::Slow(40));
        assert_eq!(echo(&mut client, b"three").unwrap(), b"three");
        for weather in
            [Weather::Stalled(Direction::Up), Weather::Stalled(Direction::Down), Weather::StalledBoth]
        {
            site.proxy.set(weather);
            client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            client.write_all(b"late").unwrap();
            assert!(is_a_wait(&read(&mut client, 4).unwrap_err()), "{weather:?}");
            site.proxy.set(Weather::Clear);
            client.set_read_timeout(Some(SOON)).unwrap();
            assert_eq!(read(&mut client, 4).unwrap(), b"late", "{weather:?}");
        }
        assert_eq!(site.proxy.opened(), 1);
    }

    #[test]
    fn a_bit_is_flipped_once() {
        let site = Echo::new();
        let mut client = site.client();
        client.set_read_timeout(Some(SOON)).unwrap();
        site.proxy.corrupt();
        assert_ne!(echo(&mut client, b"one").unwrap(), b"one");
        assert_eq!(echo(&mut client, b"two").unwrap(), b"two");
    }

    #[test]
    fn a_connection_is_cut_reset_or_forgotten_and_the_next_one_is_carried() {
        let site = Echo::new();
        for act in [Proxy::cut, Proxy::reset] {
            let mut client = site.client();
            client.set_read_timeout(Some(SOON)).unwrap();
            echo(&mut client, b"one").unwrap();
            assert_eq!(act(&site.proxy), 1);
            wait_until("it has ended", SOON, || client.write_all(b"x").is_err());
        }
        let mut client = site.client();
        client.set_read_timeout(Some(SOON)).unwrap();
        echo(&mut client, b"one").unwrap();
        assert_eq!(site.proxy.forget(), 1);
        client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        client.write_all(b"x").unwrap();
        assert!(is_a_wait(&read(&mut client, 1).unwrap_err()));
        let mut next = site.client();
        next.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(echo(&mut next, b"two").unwrap(), b"two");
        site.proxy.set(Weather::Refusing);
        let mut refused = site.client();
        refused.set_read_timeout(Some(SOON)).unwrap();
        assert!(echo(&mut refused, b"three").is_err());
    }
}
