//! What the writer does about a fault of the disk.
//!
//! A full disk costs the ballast and nothing else. After any other fault nothing is appended to the same log, because
//! pages in memory may be cleaner than the disk: what was committed is copied out of it and the file opened anew, once at
//! once and then every ten seconds. The agent stays: it answers questions, sends what it has to the master, and refuses
//! new events, so that `hume` uses the drop folder. It would gain nothing by ending: whoever starts it again meets the
//! same disk, and in between nobody would say what is wrong.

use hume_runtime::sqlite::{self, Fault, SqliteError};
use tracing::{error, info, warn};

use super::disk::Refusal;
use super::epochs;
use super::rescue::{self, Rescued};
use super::types::{self, Figures, SpoolError};
use super::writer::Writer;

impl Writer {
    /// A statement failed: finds out what that says of the disk, and acts. What is to be answered to those it was for.
    pub(super) fn suffer(&mut self, failure: &rusqlite::Error, doing: &'static str) -> Refusal {
        let cause = sqlite::cause(failure, self.disk.folder());
        match Fault::of(failure) {
            Some(Fault::Full) => self.fill(),
            Some(fault) => {
                self.fail(fault, cause);
                Refusal::Failing { cause }
            }
            None => {
                error!(error = failure as &dyn std::error::Error, "the spool could not {doing}");
                Refusal::Failing { cause }
            }
        }
    }

    /// The same for what `hume_runtime` does with the file.
    pub(super) fn suffer_sqlite(&mut self, failure: &SqliteError, doing: &'static str) {
        match failure {
            SqliteError::Step { source, .. } => drop(self.suffer(source, doing)),
            other => error!(error = other as &dyn std::error::Error, "the spool could not {doing}"),
        }
    }

    /// There was no room: by the bound of the spool, or on the disk.
    fn fill(&mut self) -> Refusal {
        self.disk.ballast.release_if_full();
        let is_disk = self.disk.ballast.is_out();
        self.tell_room(is_disk, false);
        self.press_later();
        if is_disk {
            return Refusal::DiskFull;
        }
        Refusal::Full { used_bytes: self.figures.get().file_bytes }
    }

    /// The disk failed: nothing is written until it is repaired, which is tried at once.
    pub(super) fn fail(&mut self, fault: Fault, cause: &'static str) {
        if self.disk.breaks(fault, cause) {
            error!(cause, path = %self.disk.path.display(), "the disk of the spool fails: new events are refused");
        }
        self.repair();
    }

    /// Tries to go on.
    pub(super) fn repair(&mut self) {
        let Some(fault) = self.disk.fault() else { return };
        match self.try_repair(fault) {
            Ok(()) => {
                self.disk.repaired();
                self.figures.update(|values| {
                    values.repairs += 1;
                    values.trouble = None;
                });
                info!("the spool goes on");
            }
            Err(failure) => {
                let cause = match &failure {
                    SpoolError::Sql(source)
                    | SpoolError::Open(SqliteError::Step { source, .. } | SqliteError::Open { source, .. }) => {
                        sqlite::cause(source, self.disk.folder())
                    }
                    _ => self.disk.trouble().map_or("it could not be repaired", |trouble| trouble.cause),
                };
                if self.disk.breaks(fault, cause) {
                    warn!(
                        cause,
                        error = &failure as &dyn std::error::Error,
                        "the spool could not be repaired; trying again"
                    );
                }
                self.figures.update(|values| values.trouble = self.disk.trouble());
            }
        }
    }

    fn try_repair(&mut self, fault: Fault) -> Result<(), SpoolError> {
        if self.disk.is_gone() {
            return self.renew();
        }
        let reopened = self.reopen().and_then(|()| match fault {
            Fault::Damaged => Ok(sqlite::quick_check(&self.connection)?),
            Fault::Full | Fault::ReadOnly | Fault::Failing => Ok(()),
        });
        match reopened {
            Err(SpoolError::Open(error)) if error.is_damage() => self.renew(),
            other => other,
        }
    }

    /// Moves what was committed out of the log, and opens the file anew.
    fn reopen(&mut self) -> Result<(), SpoolError> {
        sqlite::empty_log(&self.connection)?;
        self.connection = sqlite::open_writer(&self.disk.path, &self.disk.options)?;
        self.adopt()
    }

    /// Puts a new spool in the place of one that is damaged, or that nobody finds under its name any more.
    fn renew(&mut self) -> Result<(), SpoolError> {
        self.disk.lock_again()?;
        let rescued =
            rescue::rescue(Some(&self.connection), &self.disk.path, &self.disk.options, self.agent)?;
        self.connection = sqlite::open_writer(&self.disk.path, &self.disk.options)?;
        self.renewals.renew();
        self.adopt()?;
        if let Some(agent) = self.agent {
            types::claim(&self.connection, self.disk.folder(), agent)?;
        }
        tell(&rescued, &self.figures);
        self.figures.update(|values| values.set_aside = rescue::count_aside(&self.disk.path));
        self.disk.ballast.restore();
        self.count()
    }

    /// Goes by what the file says that was just opened.
    fn adopt(&mut self) -> Result<(), SpoolError> {
        self.folds.clear();
        self.wal_bytes = 0;
        self.epoch = epochs::newest(&self.connection)?;
        self.disk.opened();
        self.publish_tail();
        Ok(())
    }
}

/// Says how a rescue went, for all to see.
pub(super) fn tell(rescued: &Rescued, figures: &Figures) {
    let Rescued { aside, salvage } = rescued;
    let aside =
        aside.as_ref().map_or_else(|| "nowhere: it is gone".to_owned(), |path| path.display().to_string());
    error!(
        saved = salvage.events,
        lost = salvage.unreadable,
        aside,
        "a new spool has taken the place of one that could not go on; what the master does not have and could not be saved is lost, \
         unless it is read out of the old one"
    );
    figures.update(|values| {
        values.saved += salvage.events;
        values.unreadable += salvage.unreadable;
    });
}
