//! Places for open connections: so many in all, and so many for one origin, so that nobody takes those of all others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::AcceptLimits;
use super::room::Origin;

/// All places. Clones are the same ones.
#[derive(Clone, Debug)]
pub(super) struct Places {
    max: usize,
    of_origin_max: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_origin: HashMap<Origin, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    origin: Origin,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    pub(super) fn new(limits: &AcceptLimits) -> Places {
        let AcceptLimits { connections_max, connections_of_address_max, .. } = *limits;
        Places {
            max: connections_max.max(1),
            of_origin_max: connections_of_address_max.max(1),
            taken: Arc::default(),
        }
    }

    /// A place for a connection from this address; why there is none, if so.
    pub(super) fn take(&self, address: IpAddr) -> Result<Place, String> {
        let origin = Origin::of(address);
        // Every statement leaves it whole, so a poisoned lock is still right.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.max {
            return Err(format!("{} connections are open", self.max));
        }
        let own = taken.by_origin.entry(origin).or_default();
        if *own >= self.of_origin_max {
            return Err(format!("{} connections of its address are open", self.of_origin_max));
        }
        *own += 1;
        taken.all += 1;
        Ok(Place { origin, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.by_origin.get_mut(&self.origin) {
            *own -= 1;
            if *own == 0 {
                taken.by_origin.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_its_part_and_the_others_have_the_rest() {
        let limits =
            AcceptLimits { connections_max: 3, connections_of_address_max: 2, ..AcceptLimits::default() };
        let places = Places::new(&limits);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = places.take(address("2001:db8::1")).unwrap();
        let _second = places.take(address("2001:db8::2")).unwrap();
        let why = places.take(address("2001:db8::3")).unwrap_err();
        assert_eq!(why, "2 connections of its address are open", "of the same network");
        let _other = places.take(address("192.0.2.1")).unwrap();
        assert_eq!(places.take(address("192.0.2.2")).unwrap_err(), "3 connections are open");
        drop(first);
        assert!(places.take(address("2001:db8::3")).is_ok());
        assert_eq!(places.taken.lock().unwrap().all, 2);
    }
}
