//! What a frame costs before it is refused: measured of this process, so there is one test in it.

use std::fs;

use hume_doors::door;
use hume_proto::relay::FRAME_BYTES_MAX;

/// Far below what the elements took before they were counted, which was 58 MiB, and far above the frame and its copy.
const GROWTH_KIB_MAX: u64 = 16 * 1024;

/// The most memory this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a process may read its own status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a process has a peak");
    line.trim().strip_suffix(" kB").and_then(|number| number.parse().ok()).expect("it is in KiB")
}

/// A frame of `kind` as long as one may be, which is a list of empty elements.
fn frame(kind: u8, list: u8) -> Vec<u8> {
    let message = [list << 3 | 2, 0].repeat(FRAME_BYTES_MAX / 2 - 4);
    let mut bytes = vec![kind << 3 | 2];
    hume_core::varint::put(&mut bytes, message.len() as u64);
    bytes.extend(message);
    assert!(bytes.len() <= FRAME_BYTES_MAX);
    bytes
}

#[test]
fn a_frame_of_empty_elements_and_a_bomb_cost_no_more_memory_than_their_bytes() {
    // Fault 52.
    let frames =
        [("agent_frame", 1, 7), ("agent_frame", 3, 2), ("master_frame", 1, 3), ("master_frame", 2, 1)]
            .map(|(name, kind, list)| (door(name).unwrap(), frame(kind, list)));
    let before = peak_kib();
    for (door, bytes) in &frames {
        door(bytes);
    }
    let bomb = hume_doors::seeds::all().into_iter().find(|seed| seed.name == "bomb").unwrap();
    door("batch").unwrap()(&bomb.bytes);
    let grown = peak_kib() - before;
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
}
