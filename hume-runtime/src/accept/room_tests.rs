//! Rules of the room before the handshake, by cases and for any order of what can happen.

use super::*;
use proptest::prelude::*;

fn limits(waiting_max: usize, handshakes_max: usize) -> AcceptLimits {
    AcceptLimits { waiting_max, handshakes_max, handshakes_per_second: 1000, ..AcceptLimits::default() }
}

fn v4(last: u32) -> IpAddr {
    IpAddr::V4(last.into())
}

/// The guest of the next turn, which must be one.
fn next(room: &mut Room, now: Instant) -> GuestNo {
    match room.turn(now) {
        Turn::Of { guest, instead_of: None } => guest,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_silent_hold_no_place_among_the_handshakes() {
    let (now, mut room) = (Instant::now(), Room::new(limits(8, 1), Instant::now()));
    for _ in 0..7 {
        room.enter(v4(1));
    }
    let (agent, evicted) = room.enter(v4(1));
    room.greeted(agent);
    assert_eq!((evicted, next(&mut room, now)), (None, agent));
}

#[test]
fn a_full_room_sends_the_longest_silent_one_of_the_most_crowded_origin_away() {
    let mut room = Room::new(limits(5, 1), Instant::now());
    let (lonely, _) = room.enter(v4(1));
    let crowd: Vec<GuestNo> = (0..4).map(|_| room.enter(v4(2)).0).collect();
    assert_eq!(room.enter(v4(3)).1, Some(crowd[0]));
    assert_eq!(room.enter(v4(4)).1, Some(crowd[1]));
    assert_eq!(room.enter(v4(5)).1, Some(crowd[2]));
    // One each is left: now age alone counts.
    assert_eq!(room.enter(v4(6)).1, Some(lonely));
}

#[test]
fn who_has_spoken_is_not_sent_away_and_a_room_full_of_them_takes_nobody() {
    let (now, mut room) = (Instant::now(), Room::new(limits(2, 9), Instant::now()));
    let (first, _) = room.enter(v4(1));
    room.greeted(first);
    let (silent, _) = room.enter(v4(1));
    let (second, evicted) = room.enter(v4(1));
    assert_eq!(evicted, Some(silent));
    room.greeted(second);
    assert!(!room.has_room() && room.evict_silent().is_none());
    assert_eq!(next(&mut room, now), first);
    assert!(room.has_room());
}

#[test]
fn turns_go_round_the_origins_and_within_one_by_their_order() {
    let (now, mut room) = (Instant::now(), Room::new(limits(99, 99), Instant::now()));
    let crowd: Vec<GuestNo> = (0..4).map(|_| room.enter(v4(1)).0).collect();
    let (agent, _) = room.enter(v4(2));
    for guest in crowd.iter().chain([&agent]) {
        room.greeted(*guest);
    }
    let turns: Vec<GuestNo> = (0..5).map(|_| next(&mut room, now)).collect();
    assert_eq!(turns, [crowd[0], agent, crowd[1], crowd[2], crowd[3]]);
    assert_eq!(room.turn(now), Turn::Nobody);
}

#[test]
fn a_network_of_ipv6_is_one_origin_and_an_address_of_ipv4_is_the_same_in_both_spellings() {
    let of = |text: &str| Origin::of(text.parse().unwrap());
    assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
}

#[test]
fn a_handshake_that_stands_still_makes_room_but_not_at_once() {
    let (now, mut room) = (Instant::now(), Room::new(limits(9, 1), Instant::now()));
    let (stuck, _) = room.enter(v4(1));
    let (agent, _) = room.enter(v4(1));
    room.greeted(stuck);
    assert_eq!(next(&mut room, now), stuck);
    let later = now + SHAKE_TIME_MIN;
    assert_eq!(room.turn(later), Turn::Nobody, "nobody waits, so nobody goes");
    room.greeted(agent);
    assert_eq!(room.turn(now), Turn::NotBefore(later));
    assert_eq!(room.turn(later), Turn::Of { guest: agent, instead_of: Some(stuck) });
}

#[test]
fn turns_are_given_at_the_rate() {
    let start = Instant::now();
    let mut room = Room::new(AcceptLimits { handshakes_per_second: 10, ..limits(99, 99) }, start);
    for _ in 0..12 {
        let (guest, _) = room.enter(v4(1));
        room.greeted(guest);
    }
    for _ in 0..10 {
        next(&mut room, start);
    }
    let due = start + Duration::from_millis(100);
    assert_eq!(room.turn(start), Turn::NotBefore(due));
    next(&mut room, due);
    assert_eq!(room.turn(due), Turn::NotBefore(due + Duration::from_millis(100)));
}

/// What can happen, of the guest with this place among those who are here.
#[derive(Clone, Debug)]
enum Step {
    Enter(u32),
    Speak(usize),
    Leave(usize),
    Turn(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u32..4).prop_map(Step::Enter),
        2 => any::<usize>().prop_map(Step::Speak),
        1 => any::<usize>().prop_map(Step::Leave),
        2 => (0_u64..3000).prop_map(Step::Turn),
    ]
}

proptest! {
    /// Whatever happens: the bounds hold, who spoke stays until its turn, and in the end everybody has had one.
    #[test]
    fn bounds_hold_and_nobody_who_spoke_is_forgotten(steps in prop::collection::vec(step(), 1..300)) {
        let mut now = Instant::now();
        let mut room = Room::new(limits(6, 3), now);
        let mut waiting: Vec<(GuestNo, bool)> = Vec::new();
        let mut shaking: Vec<GuestNo> = Vec::new();
        for step in steps {
            match step {
                Step::Enter(address) if room.has_room() => {
                    let (guest, evicted) = room.enter(v4(address));
                    prop_assert!(evicted.is_none_or(|gone| waiting.contains(&(gone, false))));
                    waiting.retain(|(one, _)| Some(*one) != evicted);
                    waiting.push((guest, false));
                }
                Step::Enter(_) => prop_assert!(waiting.iter().all(|(_, spoke)| *spoke)),
                Step::Speak(place) => {
                    let count = waiting.len().max(1);
                    if let Some((guest, spoke)) = waiting.get_mut(place % count) {
                        room.greeted(*guest);
                        *spoke = true;
                    }
                }
                Step::Leave(place) => {
                    let all = waiting.len() + shaking.len();
                    if all > 0 {
                        let place = place % all;
                        let guest = if place < waiting.len() {
                            waiting.remove(place).0
                        } else {
                            shaking.remove(place - waiting.len())
                        };
                        room.leave(guest);
                    }
                }
                Step::Turn(millis) => {
                    now += Duration::from_millis(millis);
                    match room.turn(now) {
                        Turn::Nobody => prop_assert!(waiting.iter().all(|(_, spoke)| !spoke)),
                        Turn::NotBefore(at) => prop_assert!(at > now),
                        Turn::Of { guest, instead_of } => {
                            prop_assert!(waiting.contains(&(guest, true)));
                            waiting.retain(|(one, _)| *one != guest);
                            shaking.retain(|one| Some(*one) != instead_of);
                            shaking.push(guest);
                        }
                    }
                }
            }
            prop_assert!(waiting.len() <= 6 && shaking.len() <= 3);
        }
        let mut left = waiting.iter().filter(|(_, spoke)| *spoke).count();
        while left > 0 {
            now += SHAKE_TIME_MIN;
            let has_turn = matches!(room.turn(now), Turn::Of { .. });
            prop_assert!(has_turn);
            left -= 1;
        }
        prop_assert_eq!(room.turn(now), Turn::Nobody);
    }
}
