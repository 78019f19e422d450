//! Every door is given what is kept in `fuzz/corpus/`, and a bounded number of mutations of that, which `HUME_TEST_SEED` repeats.

mod mutation;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use hume_doors::{DOORS, door, seeds};

/// Mutations of one door.
const MUTATIONS: usize = 4000;
/// Set to a number to mutate in another way than always.
const SEED_VARIABLE: &str = "HUME_TEST_SEED";
/// Set to write the seeds, as they are today, into the corpus, for libFuzzer.
const WRITE_VARIABLE: &str = "HUME_WRITE_SEEDS";

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("fuzz")
}

/// What is kept for a door, in the order of names, and its seeds as they are today.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut kept = kept(name);
    for seed in seeds::all().into_iter().filter(|seed| seed.door == name) {
        kept.push((PathBuf::from(seed.name), seed.bytes));
    }
    kept
}

fn kept(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = fs::read_dir(fuzz().join("corpus").join(name)).expect("every door has a corpus");
    let mut paths: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("what is kept can be read"))).collect()
}

fn replay(name: &str) {
    let door = door(name).expect("it is in the table");
    for (path, bytes) in corpus(name) {
        assert!(catch_unwind(|| door(&bytes)).is_ok(), "{} does not pass", path.display());
    }
}

fn mutate(name: &str) {
    let door = door(name).expect("it is in the table");
    let seed = std::env::var(SEED_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    let mut rng = Rng::with_seed(seed);
    let kept: Vec<Vec<u8>> = corpus(name).into_iter().map(|(_, bytes)| bytes).collect();
    for _ in 0..MUTATIONS {
        let bytes = mutation::of(&kept, &mut rng);
        let is_fine = catch_unwind(|| door(&bytes)).is_ok();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-does-not-pass"));
        if !is_fine {
            fs::write(&path, &bytes).expect("what was found can be kept");
        }
        assert!(is_fine, "{SEED_VARIABLE}={seed}: {}; keep it in fuzz/corpus/{name}", path.display());
    }
}

macro_rules! doors {
    ($($name:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(mod $name {
            #[test]
            fn what_is_kept_in_the_corpus_passes() {
                super::replay(stringify!($name));
            }

            #[test]
            fn what_is_like_it_passes() {
                super::mutate(stringify!($name));
            }
        })*
    };
}

doors!(agent_frame master_frame batch event lines drop_file agent_toml master_toml query cursor join_request recover_request join_token);

#[test]
fn every_door_is_tested_and_has_a_corpus_and_a_target_of_libfuzzer() {
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        for seed in seeds::all() {
            let folder = fuzz().join("corpus").join(seed.door);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(&seed.name), &seed.bytes).unwrap();
        }
    }
    let doors: BTreeSet<&str> = DOORS.iter().map(|(name, _)| *name).collect();
    assert_eq!(TESTED.iter().copied().collect::<BTreeSet<_>>(), doors);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let targets: BTreeSet<&str> =
        manifest.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert_eq!(targets.into_iter().filter(|name| *name != "hume-fuzz").collect::<BTreeSet<_>>(), doors);
    for name in doors {
        let target = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(target.contains(&format!("door(\"{name}\")")), "{name}");
        assert!(!kept(name).is_empty(), "{name}");
    }
}
