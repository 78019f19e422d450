//! Who failed too often waits: so many failures in a minute from one address, and so many in all. Pure: the time is passed in.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failures in a minute from one address.
const FAILURES_MAX: usize = 5;
/// Failures in a minute from all addresses.
const ALL_FAILURES_MAX: usize = 50;
const WINDOW: Duration = Duration::from_mins(1);

/// Failures of the last minute.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    all: VecDeque<(Instant, IpAddr)>,
    /// Who was told to wait, and when that was last noted.
    noted: HashMap<IpAddr, Instant>,
}

/// Whether somebody may try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Now.
    Now,
    /// Not yet. `is_news` once a minute for each address.
    Later { is_news: bool },
}

impl Throttle {
    /// Whether this address may try now.
    pub(super) fn turn(&mut self, address: IpAddr, now: Instant) -> Turn {
        let address = origin(address);
        self.forget(now);
        let own = self.all.iter().filter(|(_, failed)| *failed == address).count();
        if own < FAILURES_MAX && self.all.len() < ALL_FAILURES_MAX {
            return Turn::Now;
        }
        let is_news = self.noted.len() < ALL_FAILURES_MAX && !self.noted.contains_key(&address);
        if is_news {
            self.noted.insert(address, now);
        }
        Turn::Later { is_news }
    }

    /// This address has failed.
    pub(super) fn failed(&mut self, address: IpAddr, now: Instant) {
        self.forget(now);
        // Those that were let try at the same moment may be a few more.
        if self.all.len() < 2 * ALL_FAILURES_MAX {
            self.all.push_back((now, origin(address)));
        }
    }

    fn forget(&mut self, now: Instant) {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= WINDOW;
        while self.all.front().is_some_and(|(at, _)| is_old(*at)) {
            self.all.pop_front();
        }
        self.noted.retain(|_, at| !is_old(*at));
    }
}

/// What one subscriber of a network has: an IPv4 address, or 64 bits of IPv6.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_minute_are_enough_and_others_are_not_held_up() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let (guesser, other) = ("2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        for second in 0..5 {
            let now = start + Duration::from_secs(second);
            assert_eq!(throttle.turn(guesser, now), Turn::Now);
            throttle.failed(guesser, now);
        }
        let now = start + Duration::from_secs(5);
        let neighbour = "2001:db8::2".parse().unwrap();
        assert_eq!(throttle.turn(guesser, now), Turn::Later { is_news: true });
        assert_eq!(throttle.turn(neighbour, now), Turn::Later { is_news: false }, "of the same network");
        assert_eq!(throttle.turn(other, now), Turn::Now);
        assert_eq!(throttle.turn(guesser, start + WINDOW), Turn::Now, "the first is forgotten");
    }

    #[test]
    fn many_addresses_together_are_held_up_as_well() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..50_u8 {
            throttle.failed([192, 0, 2, number].into(), now);
        }
        assert!(matches!(throttle.turn([198, 51, 100, 1].into(), now), Turn::Later { .. }));
        assert_eq!(throttle.turn([198, 51, 100, 1].into(), now + WINDOW), Turn::Now);
    }
}
