//! Who may speak: agents and their states, certificates that were issued, tokens for enrolment, and who changed what when.
//!
//! All of it is in `registry.db` beside the store, written by one thread, each change and its line in the audit log in one
//! transaction. Deciding is pure (`decide.rs`); the tables are acted on in `agents.rs`, `tokens.rs` and `audit.rs`. What is asked
//! for every session and every commit, whether an agent may speak, is answered from memory (`view.rs`).

mod adoption;
mod agents;
mod audit;
mod certificates;
mod copies;
mod decide;
mod desk;
mod issuer;
mod join;
mod passes;
mod recovery;
mod renewal;
mod schema;
#[cfg(test)]
mod tests;
mod tokens;
mod types;
mod view;

use std::path::Path;
use std::time::Duration;

use hume_core::host_patterns::HostPattern;
use hume_core::{AgentId, HostName, Timestamp};
use hume_runtime::pki::PublicKey;
use hume_runtime::sqlite::{self, SqliteError, SqliteOptions};
use tokio::sync::{mpsc, oneshot};

pub use self::audit::AuditFilter;
pub use self::copies::{check, copy, renew};
pub use self::decide::{HostWish, Wish};
pub use self::desk::RegistryThread;
use self::desk::{Desk, Work};
pub use self::issuer::Issuer;
pub use self::join::{JoinError, JoinRefusal, JoinWish, Joined, Proven, Sign};
pub use self::passes::{MadePass, NewPass, PASSES_MAX, Pass, PassKind, Passes, Proof};
pub use self::renewal::Renewal;
pub use self::types::{
    Actor, AgentEntry, AgentState, AuditLine, IssuedCertificate, NewToken, RegistryError, TokenEntry,
};
pub use self::view::{Denial, Strangers, View};

/// The file beside the store.
pub const FILE: &str = "registry.db";
/// Jobs that wait for the thread.
const JOBS_MAX: usize = 64;
const CACHE_KIB: u32 = 1024;

type Job = Box<dyn FnOnce(&mut Desk) + Send>;

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    jobs: mpsc::Sender<Job>,
    view: View,
    passes: Passes,
}

impl Registry {
    /// Opens the registry in the file, which is made if it is missing. The thread must run for anything to be answered.
    /// # Errors
    /// [`SqliteError`].
    pub fn open(path: &Path, strangers: Strangers) -> Result<(Registry, RegistryThread), SqliteError> {
        let options = SqliteOptions { cache_kib: CACHE_KIB, ..SqliteOptions::default() };
        let mut connection = sqlite::open_writer(path, &options)?;
        sqlite::migrate(&mut connection, schema::APPLICATION_ID, &schema::MIGRATIONS)?;
        let failed = |source| SqliteError::Step { step: "read", source };
        let view = View::new(strangers, agents::standings(&connection).map_err(failed)?);
        let (jobs, receiver) = mpsc::channel(JOBS_MAX);
        let passes = Passes::new(jobs.clone());
        passes.replace(passes::not_revoked(&connection).map_err(failed)?);
        let thread = RegistryThread::new(Desk::new(connection, view.clone()), receiver);
        Ok((Registry { jobs, view, passes }, thread))
    }

    /// Who may speak.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Passes for the API that may be shown.
    pub fn good_passes(&self) -> &Passes {
        &self.passes
    }

    /// All passes for the API that ever were, by name.
    /// # Errors
    /// [`RegistryError`].
    pub async fn passes(&self) -> Result<Vec<Pass>, RegistryError> {
        self.ask(|desk| desk.read(passes::all)).await
    }

    /// Makes a pass for the API.
    /// # Errors
    /// [`RegistryError::Refused`] for a name that is taken, an end that has come, or too many passes.
    pub async fn make_pass(
        &self,
        new: NewPass,
        actor: Actor,
        now: Timestamp,
    ) -> Result<MadePass, RegistryError> {
        self.change_passes(move |work| passes::make(work, &new, &actor, now)).await
    }

    /// Makes a pass for the API good for nothing, at once.
    /// # Errors
    /// [`RegistryError::Refused`] if there is no such pass.
    pub async fn revoke_pass(
        &self,
        name: String,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Pass, RegistryError> {
        self.change_passes(move |work| {
            let revoked = passes::revoke(work, &name, &actor, now)?;
            Ok(revoked.map_err(|why| RegistryError::Refused(why.to_owned())))
        })
        .await
    }

    async fn change_passes<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Work<'_>) -> rusqlite::Result<Result<T, RegistryError>> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let passes = self.passes.clone();
        self.ask(move |desk| {
            let done = desk.write(|one| work(one))?;
            passes.replace(desk.read(passes::not_revoked)?);
            done
        })
        .await
    }

    /// All agents that the registry knows, by host.
    /// # Errors
    /// [`RegistryError`].
    pub async fn agents(&self) -> Result<Vec<AgentEntry>, RegistryError> {
        self.ask(|desk| desk.read(agents::all)).await
    }

    /// The newest certificates that were issued to an agent, the newest first.
    /// # Errors
    /// [`RegistryError`].
    pub async fn certificates(&self, agent: AgentId) -> Result<Vec<IssuedCertificate>, RegistryError> {
        self.ask(move |desk| desk.read(|connection| certificates::of_agent(connection, agent))).await
    }

    /// Changes the state of an agent, which is entered as one of this host if it is not known yet. The new entry.
    /// # Errors
    /// [`RegistryError::Refused`] if that does not follow from the state it has.
    pub async fn change(
        &self,
        agent: AgentId,
        host: HostName,
        wish: Wish,
        actor: Actor,
        now: Timestamp,
    ) -> Result<AgentEntry, RegistryError> {
        self.ask(move |desk| {
            desk.write(|work| {
                let before = agents::one(work.connection(), agent)?;
                let state = before.as_ref().map(|entry| entry.state);
                let subject = agent.to_string();
                let after = match decide::change(state, wish) {
                    Ok(after) => after,
                    Err(why) => {
                        work.audit(&actor, wish.as_str(), &subject, host.as_str(), why, now)?;
                        return Ok(Err(RegistryError::Refused(why.to_owned())));
                    }
                };
                agents::set_state(work, agent, &host, after, now)?;
                work.audit(&actor, wish.as_str(), &subject, host.as_str(), "done", now)?;
                let entry = agents::one(work.connection(), agent)?;
                Ok(entry.ok_or_else(|| RegistryError::Refused("the agent is gone".to_owned())))
            })?
        })
        .await
    }

    /// Changes for which other hosts an agent may report. The new entry.
    /// # Errors
    /// [`RegistryError::Refused`] if there would be too many.
    pub async fn change_hosts(
        &self,
        (agent, host): (AgentId, HostName),
        wish: HostWish,
        patterns: Vec<HostPattern>,
        actor: Actor,
        now: Timestamp,
    ) -> Result<AgentEntry, RegistryError> {
        self.ask(move |desk| {
            desk.write(|work| {
                let before = agents::one(work.connection(), agent)?;
                let allowed = before.as_ref().map(|entry| entry.allow_hosts.as_slice()).unwrap_or_default();
                let (action, subject) = ("allow-host", agent.to_string());
                let after = match decide::change_hosts(allowed, wish, &patterns) {
                    Ok(after) => after,
                    Err(why) => {
                        work.audit(&actor, action, &subject, host.as_str(), &why, now)?;
                        return Ok(Err(RegistryError::Refused(why)));
                    }
                };
                agents::set_hosts(work, agent, &host, &after, now)?;
                work.audit(&actor, action, &subject, &after.join(", "), "done", now)?;
                let entry = agents::one(work.connection(), agent)?;
                Ok(entry.ok_or_else(|| RegistryError::Refused("the agent is gone".to_owned())))
            })?
        })
        .await
    }

    /// The next certificate, for this key, of an agent whose session shows a certificate of this serial number.
    /// # Errors
    /// [`RegistryError`].
    pub async fn renew(
        &self,
        (agent, serial): (AgentId, Vec<u8>),
        key: PublicKey,
        issuer: Issuer,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Renewal, RegistryError> {
        self.ask(move |desk| {
            let renewed =
                desk.write(|work| renewal::renew(work, (agent, &serial), &key, &issuer, &actor, now))?;
            renewed.map_err(RegistryError::Authority)
        })
        .await
    }

    /// The next certificate, for this key, of an agent that proved to have the key of a certificate which ended no longer ago than
    /// `grace`.
    /// # Errors
    /// [`RegistryError`].
    pub async fn recover(
        &self,
        shown: hume_runtime::recovery::Proven,
        key: PublicKey,
        (issuer, grace): (Issuer, Duration),
        actor: Actor,
        now: Timestamp,
    ) -> Result<Renewal, RegistryError> {
        self.ask(move |desk| {
            let recovered =
                desk.write(|work| recovery::recover(work, &shown, &key, (&issuer, grace), &actor, now))?;
            recovered.map_err(RegistryError::Authority)
        })
        .await
    }

    /// The agent has the certificate of this serial number: older ones are copies from now on.
    /// # Errors
    /// [`RegistryError`].
    pub async fn confirm(&self, agent: AgentId, serial: Vec<u8>) -> Result<(), RegistryError> {
        self.ask(move |desk| desk.write(|work| renewal::confirm(work, agent, &serial))).await
    }

    /// The newest lines of the audit log that are asked for, the newest first.
    /// # Errors
    /// [`RegistryError`].
    pub async fn audit_lines(
        &self,
        filter: AuditFilter,
        lines_max: usize,
    ) -> Result<Vec<AuditLine>, RegistryError> {
        self.ask(move |desk| desk.read(|connection| audit::newest(connection, &filter, lines_max))).await
    }

    /// Has the thread do something, and waits for what comes of it.
    async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Desk) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |desk| {
            // Whoever has gone away does not want to know.
            let _ = answer.send(job(desk));
        });
        self.jobs.send(job).await.map_err(|_| RegistryError::Stopped)?;
        answered.await.map_err(|_| RegistryError::Stopped)?
    }
}
