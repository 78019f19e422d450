//! Wrong tokens by address: after [`FAILURES_PER_MINUTE_MAX`] of them nothing that could be guessed is compared for the rest of the minute.
//!
//! At most [`ADDRESSES_MAX`] addresses are told apart; those beyond are counted as one. The audit log has the first of an address and
//! the one that was too many, [`AUDITED_PER_MINUTE_MAX`] lines in all. Pure but for the lock: time is an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong tokens of one address in a minute.
const FAILURES_PER_MINUTE_MAX: u32 = 10;
/// Addresses with a wrong token in the last minute.
const ADDRESSES_MAX: usize = 4096;
/// Lines of the audit log in a minute.
const AUDITED_PER_MINUTE_MAX: u32 = 50;
const MINUTE: Duration = Duration::from_mins(1);

/// Since when, and how many.
#[derive(Clone, Copy, Debug)]
struct Count {
    since: Instant,
    failures: u32,
}

/// What a failure was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The first of its address in this minute.
    First,
    /// One more.
    Another,
    /// From now on nothing is compared.
    Last,
}

/// The addresses with a wrong token in the last minute.
#[derive(Debug, Default)]
pub(super) struct Failures {
    addresses: Mutex<HashMap<IpAddr, Count>>,
    audited: Mutex<Option<Count>>,
}

impl Failures {
    /// Whether this address has shown too many.
    pub(super) fn is_over(&self, address: IpAddr, now: Instant) -> bool {
        let all = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(address);
        let count = all.get(&key).or_else(|| all.get(&OTHERS).filter(|_| all.len() >= ADDRESSES_MAX));
        count.is_some_and(|count| is_running(count, now) && count.failures >= FAILURES_PER_MINUTE_MAX)
    }

    /// One more wrong token of this address.
    pub(super) fn count(&self, address: IpAddr, now: Instant) -> Failure {
        let mut all = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = key(address);
        if all.len() >= ADDRESSES_MAX && !all.contains_key(&key) {
            all.retain(|_, count| is_running(count, now));
            if all.len() >= ADDRESSES_MAX {
                key = OTHERS;
            }
        }
        let count = all.entry(key).or_insert(Count { since: now, failures: 0 });
        if !is_running(count, now) {
            *count = Count { since: now, failures: 0 };
        }
        count.failures = count.failures.saturating_add(1);
        match count.failures {
            1 => Failure::First,
            FAILURES_PER_MINUTE_MAX => Failure::Last,
            _ => Failure::Another,
        }
    }

    /// Whether the audit log may have one more line.
    pub(super) fn may_audit(&self, now: Instant) -> bool {
        let mut audited = self.audited.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match *audited {
            Some(count) if is_running(&count, now) => count,
            Some(_) | None => Count { since: now, failures: 0 },
        };
        *audited = Some(Count { failures: count.failures.saturating_add(1), ..count });
        count.failures < AUDITED_PER_MINUTE_MAX
    }
}

fn is_running(count: &Count, now: Instant) -> bool {
    now.saturating_duration_since(count.since) < MINUTE
}

/// Stands for the addresses that are too many.
const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// A host of IPv6 has a whole network of 64 bits to itself.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        canonical @ IpAddr::V4(_) => canonical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_with_too_many_is_locked_out_until_the_minute_is_over_and_no_other() {
        let (failures, now, guesser) = (Failures::default(), Instant::now(), address("192.0.2.1"));
        assert_eq!(failures.count(guesser, now), Failure::First);
        for _ in 2..FAILURES_PER_MINUTE_MAX {
            assert_eq!(failures.count(guesser, now), Failure::Another);
        }
        assert!(!failures.is_over(guesser, now));
        assert_eq!(failures.count(guesser, now + Duration::from_secs(30)), Failure::Last);
        assert!(failures.is_over(guesser, now + Duration::from_secs(59)));
        // The same one, as a socket of both families says it.
        assert!(failures.is_over(address("::ffff:192.0.2.1"), now));
        assert!(!failures.is_over(address("192.0.2.2"), now));
        assert!(!failures.is_over(guesser, now + MINUTE));
        assert_eq!(failures.count(guesser, now + MINUTE), Failure::First);
    }

    #[test]
    fn a_network_of_one_host_is_one_address_and_too_many_addresses_are_one() {
        let (failures, now) = (Failures::default(), Instant::now());
        for number in 0..FAILURES_PER_MINUTE_MAX {
            failures.count(address(&format!("2001:db8:0:1::{number}")), now);
        }
        assert!(failures.is_over(address("2001:db8:0:1:ffff::"), now));
        assert!(!failures.is_over(address("2001:db8:0:2::1"), now));
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() + FAILURES_PER_MINUTE_MAX {
            failures.count(IpAddr::V4((0x0a00_0000 + number).into()), now);
        }
        assert!(failures.addresses.lock().unwrap().len() <= ADDRESSES_MAX + 1);
        assert!(failures.is_over(address("198.51.100.1"), now), "one of those who are too many");
        assert!(!failures.is_over(address("10.0.0.7"), now), "one that is counted apart");
        failures.count(address("198.51.100.1"), now + MINUTE);
        assert!(!failures.is_over(address("198.51.100.1"), now + MINUTE));
    }

    #[test]
    fn however_many_addresses_guess_the_audit_log_grows_by_so_many_lines_a_minute() {
        let (failures, now) = (Failures::default(), Instant::now());
        let lines = |at| (0..1000).filter(|_| failures.may_audit(at)).count();
        assert_eq!((lines(now), lines(now + Duration::from_secs(59)), lines(now + MINUTE)), (50, 0, 50));
    }
}
