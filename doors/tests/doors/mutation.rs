//! Small changes to kept inputs, as a fuzzer makes them, by chance that can be repeated.

use fastrand::Rng;

/// Longest input made, in bytes.
const BYTES_MAX: usize = 300_000;
/// What numbers and texts break at.
const EDGES: [&[u8]; 12] = [
    &[0],
    &[0xff],
    &[0x7f],
    &[0x80],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    b"\n",
    b"\"",
    b"\\u0000",
    b"-9223372036854775808",
    b"18446744073709551616",
    "\u{feff}é".as_bytes(),
];

/// One to four changes to one of the inputs.
pub(crate) fn of(kept: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = pick(kept, rng).clone();
    for _ in 0..rng.usize(1..=4) {
        change(&mut bytes, kept, rng);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn pick<'a>(kept: &'a [Vec<u8>], rng: &mut Rng) -> &'a Vec<u8> {
    &kept[rng.usize(..kept.len())]
}

fn change(bytes: &mut Vec<u8>, kept: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(..=bytes.len());
    let few = (at + rng.usize(..16)).min(bytes.len());
    match rng.u8(..7) {
        0 => drop(bytes.drain(at..few)),
        1 => bytes.truncate(at),
        2 => drop(bytes.splice(at..at, EDGES[rng.usize(..EDGES.len())].iter().copied())),
        3 => drop(bytes.splice(at..few, EDGES[rng.usize(..EDGES.len())].iter().copied())),
        4 => {
            let again = bytes[at..few].repeat(rng.usize(1..200));
            drop(bytes.splice(at..at, again));
        }
        5 => {
            let other = pick(kept, rng);
            let from = rng.usize(..=other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
    }
}
