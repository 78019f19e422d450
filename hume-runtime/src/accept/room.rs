//! Who waits before the handshake, whose turn is next, and who goes when there are too many. Pure: the time is passed in.
//!
//! A guest who has said nothing yet costs a descriptor and holds no place among the handshakes. When the room is full, the
//! one who has been silent longest goes, of the address that has the most of them. Those who have said their first words
//! get their turns address by address, in the order they spoke; none of them is sent away, so when they alone fill the
//! room, newcomers wait in the kernel's queue. Of the handshakes none goes for another one before it had
//! [`SHAKE_TIME_MIN`].

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::AcceptLimits;
use super::bucket::TokenBucket;

/// When all handshake places are taken, a peer that has not finished within this time makes room for the next.
pub(super) const SHAKE_TIME_MIN: Duration = Duration::from_secs(2);

/// Names a guest; grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GuestNo(u64);

/// What one subscriber of a network has: an IPv4 address, or 64 bits of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Origin(IpAddr);

impl Origin {
    pub(super) fn of(address: IpAddr) -> Origin {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                Origin(IpAddr::V6(network.into()))
            }
            v4 @ IpAddr::V4(_) => Origin(v4),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Has not said its first words.
    Silent,
    /// Has said them, and waits for its turn.
    Ready,
    /// Has a handshake place, since then.
    Shaking(Instant),
}

#[derive(Debug)]
struct Guest {
    origin: Origin,
    stage: Stage,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nobody waits for one.
    Nobody,
    /// Nobody's before this moment, unless a place becomes free.
    NotBefore(Instant),
    /// This one's; another one may have to go for it.
    Of {
        /// Begins its handshake.
        guest: GuestNo,
        /// Had a place, and did not use it.
        instead_of: Option<GuestNo>,
    },
}

/// All who are on their way to a connection.
#[derive(Debug)]
pub(super) struct Room {
    waiting_max: usize,
    handshakes_max: usize,
    bucket: TokenBucket,
    next: u64,
    guests: HashMap<GuestNo, Guest>,
    silent: HashMap<Origin, BTreeSet<GuestNo>>,
    silent_count: usize,
    ready: HashMap<Origin, VecDeque<GuestNo>>,
    ready_count: usize,
    /// Origins with somebody ready, the next one first.
    turns: VecDeque<Origin>,
    /// By the moment they began.
    shaking: BTreeSet<(Instant, GuestNo)>,
}

impl Room {
    /// Nobody is here.
    pub(super) fn new(limits: AcceptLimits, now: Instant) -> Room {
        Room {
            waiting_max: limits.waiting_max.max(1),
            handshakes_max: limits.handshakes_max.max(1),
            bucket: TokenBucket::new(limits.handshakes_per_second, now),
            next: 0,
            guests: HashMap::new(),
            silent: HashMap::new(),
            silent_count: 0,
            ready: HashMap::new(),
            ready_count: 0,
            turns: VecDeque::new(),
            shaking: BTreeSet::new(),
        }
    }

    /// Whether a newcomer finds a place: a free one, or that of a silent guest.
    pub(super) fn has_room(&self) -> bool {
        self.ready_count < self.waiting_max
    }

    /// Lets a newcomer in, who has said nothing yet, and sends somebody away if it must.
    pub(super) fn enter(&mut self, address: IpAddr) -> (GuestNo, Option<GuestNo>) {
        let is_full = self.silent_count + self.ready_count >= self.waiting_max;
        let evicted = if is_full { self.evict_silent() } else { None };
        let (guest, origin) = (GuestNo(self.next), Origin::of(address));
        self.next += 1;
        self.guests.insert(guest, Guest { origin, stage: Stage::Silent });
        self.silent.entry(origin).or_default().insert(guest);
        self.silent_count += 1;
        (guest, evicted)
    }

    /// A guest has said its first words; of one that is not here any more it means nothing.
    pub(super) fn greeted(&mut self, guest: GuestNo) {
        let Some(Guest { origin, stage: stage @ Stage::Silent }) = self.guests.get_mut(&guest) else {
            return;
        };
        *stage = Stage::Ready;
        let origin = *origin;
        self.forget_silent(origin, guest);
        let queue = self.ready.entry(origin).or_default();
        if queue.is_empty() {
            self.turns.push_back(origin);
        }
        queue.push_back(guest);
        self.ready_count += 1;
    }

    /// Gives the next turn.
    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        if self.turns.is_empty() {
            return Turn::Nobody;
        }
        if let Some(due) = self.bucket.due(now) {
            return Turn::NotBefore(due);
        }
        let mut instead_of = None;
        if self.shaking.len() >= self.handshakes_max
            && let Some(&(began, oldest)) = self.shaking.first()
        {
            if now < began + SHAKE_TIME_MIN {
                return Turn::NotBefore(began + SHAKE_TIME_MIN);
            }
            self.leave(oldest);
            instead_of = Some(oldest);
        }
        let Some(guest) = self.take_ready() else { return Turn::Nobody };
        self.bucket.take(now);
        if let Some(Guest { stage, .. }) = self.guests.get_mut(&guest) {
            *stage = Stage::Shaking(now);
        }
        self.shaking.insert((now, guest));
        Turn::Of { guest, instead_of }
    }

    /// A guest is gone, however that came.
    pub(super) fn leave(&mut self, guest: GuestNo) {
        let Some(Guest { origin, stage }) = self.guests.remove(&guest) else { return };
        match stage {
            Stage::Silent => self.forget_silent(origin, guest),
            Stage::Shaking(since) => {
                self.shaking.remove(&(since, guest));
            }
            Stage::Ready => {
                if let Some(queue) = self.ready.get_mut(&origin) {
                    queue.retain(|waiting| *waiting != guest);
                    self.ready_count -= 1;
                    if queue.is_empty() {
                        self.ready.remove(&origin);
                        self.turns.retain(|waiting| *waiting != origin);
                    }
                }
            }
        }
    }

    /// Sends away who has been silent longest, of the origin that has the most of them.
    pub(super) fn evict_silent(&mut self) -> Option<GuestNo> {
        let crowd =
            self.silent.values().max_by_key(|guests| (guests.len(), std::cmp::Reverse(guests.first())))?;
        let guest = *crowd.first()?;
        self.leave(guest);
        Some(guest)
    }

    fn take_ready(&mut self) -> Option<GuestNo> {
        let origin = self.turns.pop_front()?;
        let queue = self.ready.get_mut(&origin)?;
        let guest = queue.pop_front();
        if queue.is_empty() {
            self.ready.remove(&origin);
        } else {
            self.turns.push_back(origin);
        }
        self.ready_count -= usize::from(guest.is_some());
        guest
    }

    fn forget_silent(&mut self, origin: Origin, guest: GuestNo) {
        if let Some(guests) = self.silent.get_mut(&origin) {
            self.silent_count -= usize::from(guests.remove(&guest));
            if guests.is_empty() {
                self.silent.remove(&origin);
            }
        }
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
