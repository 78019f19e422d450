//! `humed-… transfer …`: what is configured, where each stands, what became of it; a test, and what an administrator may ask for.
//!
//! These commands work on the files, beside a daemon that runs or not. What changes something is a wish that the daemon looks
//! for every few seconds, so two never write a cursor at once.

mod show;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use hume_core::HostName;
use hume_runtime::{clock, exit};

use crate::kinds::Options;
use crate::notice::{About, Notice};
use crate::options::{TransferName, Transfers};
use crate::sample::{self, SampleError};
use crate::state::{self, Skip, State, StateError};
use crate::template::Templates;
use crate::transfer::{OpenError, Setting, Trail, Transfer};

/// Dead letters that are shown when nobody says how many.
const DEAD_SHOWN: u32 = 100;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Order {
    /// Show the transfers of the configuration and what each wants
    List,
    /// Show where each transfer stands: delivered, waiting, dead letters, the last trouble
    ///
    /// As the daemon wrote it down: at every delivery, and at least every half minute while something waits.
    Status {
        /// Only this one
        name: Option<TransferName>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Send an event that is marked as a test, and report each step
    Test {
        /// Which transfer
        name: TransferName,
        /// Say nothing to the peer but what the event in this file says
        #[arg(long, value_name = "FILE")]
        event: Option<PathBuf>,
    },
    /// Show what would be sent for an event, and send nothing
    Render {
        /// Which transfer
        name: TransferName,
        /// The event in this file, a JSON object, instead of the one that `test` sends
        #[arg(long, value_name = "FILE")]
        event: Option<PathBuf>,
    },
    /// Show the dead letters of a transfer: what its peer will never take, and why
    Dead {
        /// Which transfer
        name: TransferName,
        /// At most so many, the oldest first
        #[arg(long, value_name = "NUMBER", default_value_t = DEAD_SHOWN)]
        limit: u32,
        /// As JSON, with the whole event
        #[arg(long)]
        json: bool,
    },
    /// Have dead letters tried again
    Retry {
        /// Which transfer
        name: TransferName,
        /// Their numbers, as `transfer dead` shows them
        #[arg(value_name = "NUMBER", required_unless_present = "all")]
        letters: Vec<i64>,
        /// All of them
        #[arg(long, conflicts_with = "letters")]
        all: bool,
    },
    /// Have the notice passed over that is next, or all that wait
    ///
    /// The one becomes a dead letter, so it can be looked at and retried; with --all they are only counted.
    Skip {
        /// Which transfer
        name: TransferName,
        /// Everything that waits
        #[arg(long)]
        all: bool,
    },
}

/// What an order is about.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The transfers of the configuration.
    pub transfers: &'a Transfers,
    /// The configuration file.
    pub config_file: &'a Path,
    /// The daemon's folder.
    pub dir: &'a Path,
    /// The host it runs on.
    pub host: &'a HostName,
    /// `humed-agent` or `humed-master`.
    pub program: &'static str,
}

/// An order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// There is no such transfer.
    #[error("no transfer \"{name}\" in {}{}", file.display(), names(.known))]
    Unknown {
        /// What was asked for.
        name: TransferName,
        /// Where.
        file: PathBuf,
        /// What there is.
        known: Vec<String>,
    },
    /// It has never run.
    #[error("transfer \"{0}\" has never run: start the daemon with it first")]
    NeverRan(TransferName),
    /// There is nothing to be tried again.
    #[error("transfer \"{0}\" has no such dead letter")]
    NoLetter(TransferName),
    /// It cannot be opened.
    #[error("transfer \"{name}\"")]
    Open {
        /// Which.
        name: TransferName,
        /// Why.
        source: OpenError,
    },
    /// A template cannot be used.
    #[error("transfer \"{name}\": {fault}")]
    Template {
        /// Of which.
        name: TransferName,
        /// Which template, where in it, and why.
        fault: String,
    },
    /// The event in the file is none.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The peer did not take the test.
    #[error("not delivered: {0}")]
    NotDelivered(String),
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The answer cannot be written.
    #[error("could not write the answer")]
    Write(#[from] std::io::Error),
}

fn names(names: &[String]) -> String {
    if names.is_empty() { ": it has none".to_owned() } else { format!(": it has {}", names.join(", ")) }
}

impl OrderError {
    /// After sysexits(3).
    pub fn exit_code(&self) -> u8 {
        match self {
            OrderError::Unknown { .. } | OrderError::NeverRan(_) | OrderError::NoLetter(_) => exit::NO_INPUT,
            OrderError::Open { .. } | OrderError::Template { .. } => exit::CONFIG,
            OrderError::Sample(_) => exit::DATA,
            OrderError::NotDelivered(_) => exit::UNAVAILABLE,
            OrderError::State(_) | OrderError::Write(_) => exit::IO,
        }
    }
}

/// Checks that every transfer can be opened, and its templates be used.
///
/// # Errors
/// The first that cannot.
pub fn check(place: Place<'_>) -> Result<(), OrderError> {
    for (name, options) in &place.transfers.0 {
        open_whole(place, name, options)?;
    }
    Ok(())
}

/// Opens a transfer all of whose templates can be used.
fn open_whole(
    place: Place<'_>,
    name: &TransferName,
    options: &Options,
) -> Result<Box<dyn Transfer>, OrderError> {
    let transfer = open(place, name, options)?;
    match transfer.templates().map(Templates::faults).unwrap_or_default().first() {
        Some(fault) => Err(OrderError::Template { name: name.clone(), fault: fault.to_string() }),
        None => Ok(transfer),
    }
}

fn open(place: Place<'_>, name: &TransferName, options: &Options) -> Result<Box<dyn Transfer>, OrderError> {
    let Place { transfers: _, config_file, dir: _, host, program } = place;
    let setting = Setting { name, config_file, host, program };
    options.open(&setting).map_err(|source| OrderError::Open { name: name.clone(), source })
}

/// Carries an order out; the answer goes to `out`.
///
/// # Errors
/// [`OrderError`].
pub async fn run(order: Order, place: Place<'_>, mut out: impl Write + Send) -> Result<(), OrderError> {
    match order {
        Order::List => out.write_all(show::list(place.transfers).as_bytes())?,
        Order::Status { name, json } => {
            let known = match existing(place)? {
                Some(state) => state.all().await?,
                None => Vec::new(),
            };
            let known: BTreeMap<String, state::Known> =
                known.into_iter().map(|known| (known.name.clone(), known)).collect();
            let only = name.as_ref().map(TransferName::as_str);
            let rows = show::rows(place.transfers, &known, only);
            // One that was taken out of the configuration is known as well.
            if let (Some(name), true) = (&name, rows.is_empty()) {
                configured(place, name)?;
            }
            let text = if json { show::status_json(&rows) } else { show::status(&rows, clock::now()) };
            out.write_all(text.as_bytes())?;
        }
        Order::Test { name, event } => test(place, &name, event.as_deref(), &mut out).await?,
        Order::Render { name, event } => {
            let options = configured(place, &name)?;
            let notice = notice(place, &name, event.as_deref())?;
            let text = open_whole(place, &name, options)?.preview(&notice);
            writeln!(out, "{}", text.trim_end())?;
        }
        Order::Dead { name, limit, json } => {
            let letters = ran(place, &name).await?.dead(&name, limit).await?;
            let text = if json { show::dead_json(&letters) } else { show::dead(&letters) };
            out.write_all(text.as_bytes())?;
        }
        Order::Retry { name, letters, all: _ } => {
            configured(place, &name)?;
            let state = ran(place, &name).await?;
            match state.ask_retry(&name, letters).await? {
                0 => return Err(OrderError::NoLetter(name)),
                count => writeln!(out, "{count} dead letters of {name} will be tried again by the daemon")?,
            }
        }
        Order::Skip { name, all } => {
            let skip = if all { Skip::All } else { Skip::One };
            if !ran(place, &name).await?.ask_skip(&name, skip).await? {
                return Err(OrderError::NeverRan(name));
            }
            let what = if all { "everything that waits" } else { "the next notice" };
            writeln!(out, "{what} of {name} will be passed over by the daemon")?;
        }
    }
    Ok(())
}

fn configured<'a>(place: Place<'a>, name: &TransferName) -> Result<&'a Options, OrderError> {
    place.transfers.0.get(name).ok_or_else(|| OrderError::Unknown {
        name: name.clone(),
        file: place.config_file.to_owned(),
        known: place.transfers.0.keys().map(ToString::to_string).collect(),
    })
}

/// The state, if the daemon has ever made one: a command makes none.
fn existing(place: Place<'_>) -> Result<Option<State>, StateError> {
    if state::path_in(place.dir).exists() { State::open(place.dir).map(Some) } else { Ok(None) }
}

/// The state of a transfer that has run; it may have gone from the configuration.
async fn ran(place: Place<'_>, name: &TransferName) -> Result<State, OrderError> {
    let Some(state) = existing(place)? else {
        configured(place, name)?;
        return Err(OrderError::NeverRan(name.clone()));
    };
    if state.cursor(name).await?.is_none() {
        configured(place, name)?;
        return Err(OrderError::NeverRan(name.clone()));
    }
    Ok(state)
}

/// The event of the file, or the one that tests a transfer.
fn notice(place: Place<'_>, name: &TransferName, event: Option<&Path>) -> Result<Notice, SampleError> {
    let now = clock::now();
    if let Some(file) = event {
        return Ok(Notice::of(sample::read(file, place.host, now)?));
    }
    let event = sample::test(place.program, name, place.host, now);
    Ok(Notice { about: About::Test, ..Notice::of(event) })
}

async fn test(
    place: Place<'_>,
    name: &TransferName,
    event: Option<&Path>,
    out: &mut (impl Write + Send),
) -> Result<(), OrderError> {
    let options = configured(place, name)?;
    let notice = notice(place, name, event)?;
    let mut transfer = open(place, name, options)?;
    writeln!(out, "{name}: opened as {}", options.kind())?;
    // Steps are told as they are made, by a channel, since the transfer keeps its trail.
    let (steps, mut told) = tokio::sync::mpsc::unbounded_channel::<String>();
    let mut trail = Trail::to(move |step| {
        let _ = steps.send(step.to_owned());
    });
    let batch = [notice];
    let started = std::time::Instant::now();
    let delivery = {
        let mut delivering = transfer.deliver(&batch, &mut trail);
        loop {
            tokio::select! {
                biased;
                step = told.recv() => {
                    if let Some(step) = step {
                        writeln!(out, "{name}: {step}")?;
                    }
                }
                delivery = &mut delivering => break delivery,
            }
        }
    };
    while let Ok(step) = told.try_recv() {
        writeln!(out, "{name}: {step}")?;
    }
    match delivery.trouble {
        None => Ok(writeln!(out, "{name}: delivered in {} ms", started.elapsed().as_millis())?),
        Some(trouble) => Err(OrderError::NotDelivered(trouble.reason().to_owned())),
    }
}

#[cfg(test)]
#[path = "../command_tests.rs"]
mod tests;
