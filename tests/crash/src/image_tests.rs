//! The rules of a power loss, each against a model that is plain enough to be believed.

use proptest::prelude::*;

use super::*;
use crate::record::Record;

const NAME: &str = "file";
const FILE: FileNo = FileNo(0);

fn found(content: &[u8]) -> Op {
    Op::Found { file: FILE, name: NAME.to_owned(), content: content.into() }
}

fn written(offset: usize, bytes: &[u8]) -> Op {
    Op::Write { file: FILE, offset, bytes: bytes.into() }
}

fn image(ops: &[Op], way: Way, seed: u64) -> Image {
    let mut replay = Replay::new(way, seed);
    for op in ops {
        replay.apply(op);
    }
    replay.image(seed)
}

fn content(ops: &[Op], way: Way, seed: u64) -> Vec<u8> {
    image(ops, way, seed).files.remove(NAME).unwrap()
}

/// What the file holds when nothing is lost.
fn without_loss(ops: &[Op]) -> Vec<u8> {
    let mut content = Vec::new();
    for op in ops {
        match op {
            Op::Found { content: found, .. } => content = found.to_vec(),
            Op::Write { offset, bytes, .. } => put(&mut content, *offset, bytes),
            Op::Truncate { length, .. } => content.resize(*length, 0),
            Op::Created { .. }
            | Op::Sync { .. }
            | Op::SyncFailed { .. }
            | Op::SyncNames
            | Op::Deleted { .. } => {}
        }
    }
    content
}

fn any_change() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_usize..20_000, 1_u8..=255, 1_usize..9_000).prop_map(|(offset, byte, length)| written(offset, &vec![byte; length])),
        1 => (0_usize..30_000).prop_map(|length| Op::Truncate { file: FILE, length }),
    ]
}

fn any_changes() -> impl Strategy<Value = Vec<Op>> {
    proptest::collection::vec(any_change(), 0..12)
}

fn any_way() -> impl Strategy<Value = Way> {
    proptest::sample::select(Way::ALL.to_vec())
}

proptest! {
    #[test]
    fn what_was_synced_is_there_whatever_way_the_power_is_lost(before in any_changes(), between in any_changes(),
            way in any_way(), seed: u64) {
        let mut ops = vec![found(&[7; 5_000])];
        ops.extend(before);
        ops.push(Op::Sync { file: FILE });
        ops.extend(between);
        ops.push(Op::Sync { file: FILE });
        prop_assert_eq!(content(&ops, way, seed), without_loss(&ops));
    }

    #[test]
    fn what_is_dropped_leaves_the_moment_of_the_last_sync(before in any_changes(), after in any_changes(), seed: u64) {
        let mut ops = vec![found(b"old")];
        ops.extend(before);
        ops.push(Op::Sync { file: FILE });
        let expected = without_loss(&ops);
        ops.extend(after);
        prop_assert_eq!(content(&ops, Way::Dropped, seed), expected);
    }

    #[test]
    fn every_byte_is_one_that_stood_there_once_or_a_zero(synced in any_changes(), after in any_changes(), way in any_way(),
            seed: u64) {
        let mut ops = vec![found(b"old")];
        ops.extend(synced);
        ops.push(Op::Sync { file: FILE });
        let mut moments = vec![without_loss(&ops)];
        for op in after {
            ops.push(op);
            moments.push(without_loss(&ops));
        }
        for (at, byte) in content(&ops, way, seed).into_iter().enumerate() {
            let stood = moments.iter().any(|moment| moment.get(at) == Some(&byte));
            prop_assert!(byte == 0 || stood, "byte {} is {} and never was", at, byte);
        }
    }

    #[test]
    fn one_seed_is_one_image(changes in any_changes(), way in any_way(), seed: u64) {
        let mut ops = vec![found(b"old")];
        ops.extend(changes);
        ops.push(Op::SyncFailed { file: FILE });
        ops.push(written(3, b"more"));
        prop_assert_eq!(image(&ops, way, seed), image(&ops, way, seed));
    }
}

#[test]
fn a_kept_write_is_torn_only_where_sectors_or_pages_meet() {
    let ops = [found(&[1; 12_000]), written(300, &[2; 9_000])];
    for (way, grain) in [(Way::TornPages, PAGE_BYTES), (Way::TornSectors, SECTOR_BYTES)] {
        let mut torn = 0;
        for seed in 0..200 {
            let content = content(&ops, way, seed);
            let cuts: Vec<usize> = (1..content.len()).filter(|at| content[*at] != content[at - 1]).collect();
            assert!(cuts.iter().all(|at| at % grain == 0 || [300, 9_300].contains(at)), "{way:?}: {cuts:?}");
            torn += usize::from(cuts.iter().any(|at| at % grain == 0));
        }
        assert!(torn > 20, "{way:?}: torn {torn} times in 200");
    }
}

#[test]
fn a_later_write_may_get_there_without_an_earlier_one() {
    let ops = [found(&[0; 8_192]), written(0, &[1; 4_096]), written(4_096, &[2; 4_096])];
    let seen: BTreeSet<(u8, u8)> = (0..100)
        .map(|seed| content(&ops, Way::Subset, seed))
        .map(|content| (content[0], content[4_096]))
        .collect();
    assert_eq!(seen, BTreeSet::from([(0, 0), (0, 2), (1, 0), (1, 2)]));
}

#[test]
fn after_a_failed_sync_only_a_page_that_is_written_again_gets_another_chance() {
    let page = |byte| vec![byte; PAGE_BYTES];
    let mut ops = vec![found(&[0; 2 * PAGE_BYTES]), written(0, &page(1)), written(PAGE_BYTES, &page(2))];
    ops.push(Op::SyncFailed { file: FILE });
    ops.push(written(PAGE_BYTES + 7, &[3]));
    ops.push(Op::Sync { file: FILE });
    let content = content(&ops, Way::Dropped, 0);
    assert_eq!(content[0], 0, "the sync that came later says nothing of a page that was clean by then");
    assert_eq!(&content[PAGE_BYTES + 6..PAGE_BYTES + 9], &[2, 3, 2], "the whole page is written again");
}

#[test]
fn names_get_on_disk_in_their_order_and_for_sure_only_when_they_are_synced() {
    let created = |file, name: &str| Op::Created { file: FileNo(file), name: name.to_owned() };
    let mut ops = vec![created(0, "old"), Op::SyncNames, Op::Deleted { name: "old".to_owned() }];
    ops.push(created(1, "new"));
    let names = |ops: &[Op], way, seed| image(ops, way, seed).files.into_keys().collect::<Vec<_>>();
    assert_eq!(names(&ops, Way::Dropped, 0), ["old"]);
    let seen: BTreeSet<Vec<String>> = (0..100).map(|seed| names(&ops, Way::Subset, seed)).collect();
    let expected = [vec![], vec!["new".to_owned()], vec!["old".to_owned()]];
    assert_eq!(seen, BTreeSet::from(expected), "never both");
    ops.push(Op::SyncNames);
    assert_eq!(names(&ops, Way::Dropped, 0), ["new"]);
}

#[test]
fn a_boundary_lies_before_every_sync_and_at_the_end() {
    let mut record = Record::default();
    for op in [found(b""), written(0, b"x"), Op::Sync { file: FILE }, written(1, b"y"), Op::SyncNames] {
        record.push(op);
    }
    assert_eq!(record.boundaries(), [2, 4, 5]);
}
