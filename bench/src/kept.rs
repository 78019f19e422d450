//! Large stores that are kept between two runs: filled once, used again while schema and fleet are the same.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hume_core::Timestamp;
use hume_runtime::clock;
use hume_runtime::sqlite::{self, SqliteOptions};
use humed_master::metrics::Metrics;
use humed_master::store::SqliteStore;

use crate::fill::{Filling, fill};
use crate::programs::Programs;
use crate::scratch::Scratch;
use crate::talk::tell;

/// Grows when the fleet changes, so that stores of another one are made anew.
const FLEET_VERSION: u32 = 1;
/// All events lie within so many days before the store was filled.
const DAYS: i64 = 30;
const DAY_US: i64 = 86_400_000_000;
const FILE: &str = "store.db";

/// A store with this many events.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The database.
    pub(crate) path: PathBuf,
    pub(crate) events: u64,
    /// Times of the first and the last event.
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

impl Kept {
    /// The one that was filled before, or a new one.
    pub(crate) fn get(programs: &Programs, events: u64) -> anyhow::Result<Kept> {
        let folder = programs.bench_folder().join(format!("store-{events}-fleet{FLEET_VERSION}"));
        let scratch = Scratch::new(&programs.bench_folder())?;
        let (schema, path) = (schema_now(&scratch)?, folder.join(FILE));
        if path.exists() && schema_of(&path)? == schema {
            return Kept::open(path);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("could not remove {}", folder.display()))?;
        }
        tell(format_args!("filling a store with {events} events: it is kept as {}", folder.display()));
        // Under another name until it is whole.
        let growing = scratch.path().join("growing");
        let to = clock::now();
        let filling = Filling { events, from: to.plus_micros(-DAYS * DAY_US), to, seed: 1 };
        fill(&growing.join(FILE), filling)?;
        fs::rename(&growing, &folder).with_context(|| format!("could not make {}", folder.display()))?;
        Kept::open(path)
    }

    fn open(path: PathBuf) -> anyhow::Result<Kept> {
        let connection = sqlite::open_reader(&path, &SqliteOptions::default())?;
        // Ids count events and have no hole: nothing is ever removed.
        let sql = "SELECT id + events - 1, (SELECT from_us FROM block ORDER BY id LIMIT 1), to_us \
                   FROM block ORDER BY id DESC LIMIT 1";
        let row = connection
            .query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)))
            .with_context(|| format!("could not read {}", path.display()))?;
        let (events, from, to) = row;
        Ok(Kept {
            path,
            events: events.unsigned_abs(),
            from: Timestamp::from_micros(from),
            to: Timestamp::from_micros(to),
        })
    }
}

/// What a store that is made now looks like.
fn schema_now(scratch: &Scratch) -> anyhow::Result<String> {
    let path = scratch.path().join("empty").join(FILE);
    drop(SqliteStore::open(&path, Metrics::new(clock::now()))?);
    schema_of(&path)
}

/// Version and text of a schema, and what its pages are like.
fn schema_of(path: &Path) -> anyhow::Result<String> {
    let connection = sqlite::open_reader(path, &SqliteOptions::default())?;
    let sql = "SELECT (SELECT user_version FROM pragma_user_version) || ';' || \
               (SELECT page_size FROM pragma_page_size) || ';' || group_concat(sql, ';') \
               FROM (SELECT sql FROM sqlite_schema ORDER BY name)";
    connection
        .query_row(sql, [], |row| row.get(0))
        .with_context(|| format!("could not read the schema of {}", path.display()))
}
