//! What goes into the spool and comes out of it, its failures, and the small rows about the spool itself.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use super::epochs::EpochRow;
use hume_core::correlate::OpenRun;
use hume_core::name::{Epoch, EventId, Seq};
use hume_core::{AgentId, ErrorClass, HostName, RunId, TaskName, Timestamp};
use hume_runtime::sqlite::{LockError, SqliteError};
use rusqlite::{Connection, OptionalExtension as _, params};

/// The spool could not do what was asked; nothing of it was done.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// No room.
    #[error("the spool is full: {used_bytes} bytes used")]
    Full {
        /// Size of the file.
        used_bytes: u64,
    },
    /// No room on the disk, whoever took it.
    #[error("the disk of the spool is full")]
    DiskFull,
    /// The disk fails: nothing is written until it was repaired.
    #[error("the disk of the spool fails: {cause}")]
    Failing {
        /// In a few words.
        cause: &'static str,
    },
    /// More waits for the writer than it takes.
    #[error("the spool is busy: {JOBS_MAX} jobs wait", JOBS_MAX = super::JOBS_MAX)]
    Busy,
    /// A question took too long and was ended.
    #[error("the question took longer than {seconds} s: ask for less")]
    TooSlow {
        /// The limit.
        seconds: u64,
    },
    /// A border of the log that this spool has not reached.
    #[error("after lies beyond the end: this spool was made anew or restored since")]
    Beyond,
    /// The writer has ended.
    #[error("the spool is closed")]
    Closed,
    /// Another daemon has it, or the folder cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] SqliteError),
    /// SQL failed.
    #[error("could not use the spool")]
    Sql(#[from] rusqlite::Error),
    /// A row does not hold what was written.
    #[error("row {row} of the spool is damaged: {detail}")]
    Damaged {
        /// Which.
        row: i64,
        /// How.
        detail: String,
    },
    /// An event with this id is kept already, or was appended twice at once.
    #[error("an event with the id {id} is in the spool already")]
    Repeated {
        /// Which.
        id: EventId,
    },
    /// The spool is another agent's.
    #[error(
        "the spool in {} belongs to agent {kept}, and the certificate is that of agent {given}: the master would store all \
         that is kept here a second time. Put the certificate of {kept} back (`--force` of humeconfig set it aside \
         as pki.old-…), or set the spool aside to begin an empty one: mv {} {}.{kept}",
        dir.display(), dir.display(), dir.display()
    )]
    OtherAgent {
        /// Folder of the spool.
        dir: PathBuf,
        /// Whose it is.
        kept: AgentId,
        /// Who came.
        given: AgentId,
    },
    /// An epoch that is not one of this spool, or that another took over from already.
    #[error("the spool has no epoch {epoch} that may grow")]
    NoEpoch {
        /// Which.
        epoch: Epoch,
    },
    /// The writer's thread could not be started.
    #[error("could not start the spool's writer")]
    Thread(#[source] std::io::Error),
}

impl SpoolError {
    /// True when what is on disk could not be read there.
    pub fn is_unreadable(&self) -> bool {
        match self {
            SpoolError::Sql(error) => is_unreadable(error),
            _ => false,
        }
    }

    /// What a caller can do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            SpoolError::Full { .. } | SpoolError::DiskFull => ErrorClass::Full,
            SpoolError::Busy | SpoolError::TooSlow { .. } => ErrorClass::Busy,
            SpoolError::Beyond => ErrorClass::Conflict,
            SpoolError::Closed => ErrorClass::Unavailable,
            SpoolError::Failing { .. }
            | SpoolError::Lock(_)
            | SpoolError::Open(_)
            | SpoolError::Sql(_)
            | SpoolError::Damaged { .. }
            | SpoolError::Repeated { .. }
            | SpoolError::OtherAgent { .. }
            | SpoolError::NoEpoch { .. }
            | SpoolError::Thread(_) => ErrorClass::Internal,
        }
    }
}

/// True when what is on disk could not be read, or is no database there.
pub(super) fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(SystemIoFailure | DatabaseCorrupt | NotADatabase))
}

/// True when a progress handler ended the statement.
pub(super) fn is_ended(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted)
}

/// Where events were put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The epoch they are in.
    pub epoch: Epoch,
    /// Place of the first; the others follow.
    pub first: Seq,
}

/// A run that later events may join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRunRow {
    /// Its task.
    pub task: TaskName,
    /// Its host.
    pub host: HostName,
    /// What correlation knows of it.
    pub run: OpenRun,
}

/// What an append changes about the runs that may be joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunChange {
    /// It is open, and this is now known of it.
    Put(Box<OpenRunRow>),
    /// Nothing joins it any more.
    Remove(RunId),
}

/// Bits of a row's number that hold its seq; the number of its epoch stands above them.
const SEQ_BITS: u32 = 40;

/// The number of the row at a place.
pub(super) fn row_of(epoch_no: i64, seq: Seq) -> i64 {
    (epoch_no << SEQ_BITS) | seq.get() as i64
}

/// The number of the epoch, and the place in it, that the number of a row stands for.
pub(super) fn place_of(row: i64) -> (i64, Seq) {
    let seq = row & ((1 << SEQ_BITS) - 1);
    (row >> SEQ_BITS, Seq::new(seq as u64).unwrap_or(Seq::ZERO))
}

/// The places of an epoch from this one on.
pub(super) fn rows_from(epoch_no: i64, from: Seq) -> Range<i64> {
    row_of(epoch_no, from)..row_of(epoch_no + 1, Seq::ZERO)
}

/// The end of the spool: what was last given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Newest epoch.
    pub epoch: Epoch,
    /// Its highest place.
    pub last: Seq,
}

impl Tail {
    /// When that epoch grows.
    pub(super) fn of(epoch: &EpochRow) -> Tail {
        Tail { epoch: epoch.epoch, last: epoch.last() }
    }
}

/// Numbers of the spool that anybody may read at any time.
#[derive(Debug, Default)]
pub struct Figures {
    inner: Mutex<FigureValues>,
}

/// The values of [`Figures`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FigureValues {
    /// Events kept.
    pub events: u64,
    /// Bytes of events kept.
    pub event_bytes: u64,
    /// Events not acknowledged.
    pub unacked_events: u64,
    /// Bytes of them.
    pub unacked_bytes: u64,
    /// Bytes of the file and its WAL.
    pub file_bytes: u64,
    /// Events appended since the start.
    pub appended: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Microseconds spent in commits since the start.
    pub commit_us: u64,
    /// True when the newest events were refused for want of room.
    pub full: bool,
    /// True when what is left of the spool is for root.
    pub reserved: bool,
    /// True when the disk has no room: the ballast is given up.
    pub disk_full: bool,
    /// What is wrong with the disk, while nothing is written.
    pub trouble: Option<Trouble>,
    /// Events refused for want of room since the start.
    pub refused: u64,
    /// Events removed for want of room that the master did not have, since the start.
    pub evicted: u64,
    /// Repairs after a fault of the disk since the start.
    pub repairs: u64,
    /// Spools that were set aside and still lie beside this one.
    pub set_aside: u64,
    /// Events saved from such ones since the start.
    pub saved: u64,
    /// Events of such ones that the master does not have and that could not be saved, since the start.
    pub unreadable: u64,
}

/// Why nothing is written to the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// In a few words.
    pub cause: &'static str,
    /// Since when.
    pub since: Timestamp,
}

impl FigureValues {
    /// A commit was done, and took so long.
    pub(super) fn committed(&mut self, took: Duration) {
        self.commits += 1;
        self.commit_us += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    }

    /// So many events, and bytes, are newly acknowledged.
    pub(super) fn acked(&mut self, (events, bytes): (u64, u64)) {
        self.unacked_events = self.unacked_events.saturating_sub(events);
        self.unacked_bytes = self.unacked_bytes.saturating_sub(bytes);
    }
}

impl Figures {
    /// The values now.
    pub fn get(&self) -> FigureValues {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut FigureValues)) {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The bytes of a stored id as an id.
pub(super) fn id_from<T>(row: i64, bytes: &[u8], make: impl Fn(&[u8]) -> Option<T>) -> Result<T, SpoolError> {
    make(bytes).ok_or_else(|| SpoolError::Damaged { row, detail: "an id of the wrong length".to_owned() })
}

fn meta(connection: &Connection, key: &str) -> Result<Option<Vec<u8>>, SpoolError> {
    Ok(connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()?)
}

fn remember(connection: &Connection, key: &str, value: &[u8]) -> Result<(), SpoolError> {
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", params![key, value])?;
    Ok(())
}

/// Makes the spool that of `agent`, once and for all: under another id the master would store everything again.
pub(super) fn claim(connection: &Connection, dir: &Path, agent: AgentId) -> Result<(), SpoolError> {
    match meta(connection, "agent")? {
        None => remember(connection, "agent", agent.as_bytes()),
        Some(kept) => match AgentId::from_slice(&kept) {
            Some(kept) if kept == agent => Ok(()),
            Some(kept) => Err(SpoolError::OtherAgent { dir: dir.to_owned(), kept, given: agent }),
            None => Err(SpoolError::Damaged { row: 0, detail: "the agent it belongs to".to_owned() }),
        },
    }
}
