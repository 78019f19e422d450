//! The task that keeps the certificates: one order, or one look at what is due, after the other.

use std::sync::Arc;
use std::time::Duration;

use hume_core::Timestamp;
use hume_runtime::clock;
use hume_runtime::pki::CaFolder;
use hume_runtime::secret::SecretText;
use hume_runtime::task_group::Stop;
use hume_runtime::tls;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::clock::Steady;
use super::due::{self, Action, Known, Trouble};
use super::shown::{self, Loaded, Opened, Shown};
use super::{Ca, CaError, CaState, LOOK_EVERY, ORDERS_MAX, Settings};
use crate::metrics::{Certificate, Metrics};
use crate::registry::{Actor, Registry};

/// What somebody should do is said in the log this often.
const SAY_EVERY: Duration = Duration::from_hours(24);
/// The names of the orders in the audit log.
const ROTATE: &str = "ca rotate";
const EXPORT: &str = "ca export-root";
const REMOVE: &str = "ca remove-root";

/// Where an answer goes. Whoever has gone away does not want to know.
type Answer<T> = oneshot::Sender<Result<T, CaError>>;

/// What can be asked of the custodian.
#[derive(Debug)]
pub(super) enum Order {
    Show(Answer<CaState>),
    Rotate { instead_of: Option<String>, root_key: Option<SecretText>, actor: Actor, answer: Answer<CaState> },
    RootKey { actor: Actor, answer: Answer<SecretText> },
    RemoveRootKey { copy_sha256: String, actor: Actor, answer: Answer<CaState> },
    Reload { settings: Settings, answer: Answer<()> },
}

/// The custodian, ready to run.
pub struct Custodian {
    settings: Settings,
    loaded: Loaded,
    shown: Shown,
    registry: Registry,
    metrics: Metrics,
    orders: mpsc::Receiver<Order>,
    steady: Steady,
    trouble: Option<String>,
    /// When the trouble was said, in microseconds since the boot.
    said_us: Option<u64>,
}

impl Custodian {
    /// A custodian of what was read at the start, and the way to it.
    pub fn new(opened: Opened, registry: Registry, metrics: Metrics) -> (Custodian, Ca) {
        let Opened { settings, loaded, shown } = opened;
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let (steady, trouble, said_us) = (Steady::default(), None, None);
        let custodian =
            Custodian { settings, loaded, shown, registry, metrics, orders, steady, trouble, said_us };
        custodian.count();
        (custodian, Ca { orders: sender })
    }

    /// Does what is asked and what is due, until `stop`.
    /// # Errors
    /// None; what fails is told to whoever asked, or in the log.
    pub async fn run(mut self, stop: Stop) -> anyhow::Result<()> {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.wait() => return Ok(()),
                Some(order) = self.orders.recv() => self.obey(order).await,
                _ = looks.tick() => self.look(clock::now(), clock::boottime_us()).await,
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        let now = clock::now();
        match order {
            Order::Show(answer) => drop(answer.send(self.state(now))),
            Order::Rotate { instead_of, root_key, actor, answer } => {
                let rotated = self.rotate_for(instead_of, root_key, &actor, now).await;
                // What was said of the one before is of no use now.
                self.say(self.trouble_now(now).map(|trouble| trouble.to_string()), None);
                drop(answer.send(rotated.and_then(|()| self.state(now))));
            }
            Order::RootKey { actor, answer } => drop(answer.send(self.root_key(&actor, now).await)),
            Order::RemoveRootKey { copy_sha256, actor, answer } => {
                let removed = self.remove_root_key(&copy_sha256, &actor, now).await;
                drop(answer.send(removed.and_then(|()| self.state(now))));
            }
            Order::Reload { settings, answer } => drop(answer.send(self.reload(settings, now))),
        }
    }

    /// What is due under these clocks is done or said.
    pub(super) async fn look(&mut self, now: Timestamp, boot_us: u64) {
        let steady_for = self.steady.look(now, boot_us);
        if steady_for >= due::STEADY_ENDED_MIN {
            self.renew_own(now);
        }
        let trouble = match self.due(now, steady_for) {
            Action::Nothing => None,
            Action::Warn(trouble) => Some(trouble.to_string()),
            Action::Rotate => {
                // Whatever comes of it, the next try wants a clock that was steady again.
                self.steady.forget();
                let actor = Actor { name: "the master".to_owned(), address: String::new() };
                let rotated = self.rotate(None, &actor, now).await;
                rotated.err().map(|error| format!("the issuing CA cannot be rotated: {}", chain_of(&error)))
            }
        };
        self.say(trouble, Some(boot_us));
    }

    fn due(&self, now: Timestamp, steady_for: Duration) -> Action {
        let Some(ca) = self.loaded.ca() else {
            return due::decide_other(now, &self.loaded.master).map_or(Action::Nothing, Action::Warn);
        };
        let (Ok(root), Ok(issuing)) = (ca.root(), ca.issuing()) else { return Action::Nothing };
        let (has_root_key, agent_life) = (ca.has_root_key(), self.settings.agent_life);
        due::decide(Known { now, steady_for, root: &root, issuing: &issuing, has_root_key, agent_life })
    }

    /// What there is to say of a clock that nobody doubts.
    fn trouble_now(&self, now: Timestamp) -> Option<Trouble> {
        match self.due(now, Duration::ZERO) {
            Action::Warn(trouble) => Some(trouble),
            Action::Nothing | Action::Rotate => None,
        }
    }

    /// Tells of trouble, where nobody has heard of it for a while.
    fn say(&mut self, trouble: Option<String>, boot_us: Option<u64>) {
        let is_news = self.trouble != trouble;
        if let (Some(trouble), Some(boot_us)) = (&trouble, boot_us) {
            let since_us = self.said_us.map_or(u64::MAX, |said| boot_us.saturating_sub(said));
            if is_news || Duration::from_micros(since_us) >= SAY_EVERY {
                tracing::warn!("{trouble}");
                self.said_us = Some(boot_us);
            }
        }
        self.metrics.certificates_say(trouble.clone());
        self.trouble = trouble;
    }

    /// The master's own certificate is made anew when half of its life is over.
    fn renew_own(&mut self, now: Timestamp) {
        let Some(ca) = self.loaded.ca().cloned() else { return };
        let Settings { names, addresses, .. } = &self.settings;
        let renewed = ca.master(names, addresses, now).and_then(|identity| shown::of_own(ca, &identity));
        match renewed {
            Ok(loaded) if loaded.master == self.loaded.master => {}
            Ok(loaded) => {
                tracing::info!(until = %loaded.master.not_after, "renewed the master's certificate; open connections keep theirs");
                self.show(loaded);
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the master's certificate stays as it was"
                );
            }
        }
    }

    fn show(&mut self, loaded: Loaded) {
        self.shown.show(&loaded);
        self.loaded = loaded;
        self.count();
    }

    /// The figures of what is shown.
    fn count(&self) {
        self.metrics.certificate_ends(Certificate::Master, self.loaded.master.not_after);
        if let Some(ca) = self.loaded.ca() {
            for (which, summary) in [(Certificate::Root, ca.root()), (Certificate::Issuing, ca.issuing())] {
                if let Ok(summary) = summary {
                    self.metrics.certificate_ends(which, summary.not_after);
                }
            }
        }
    }

    fn own(&self) -> Result<&Arc<CaFolder>, CaError> {
        self.loaded.ca().ok_or(CaError::AnotherCa)
    }

    fn state(&self, now: Timestamp) -> Result<CaState, CaError> {
        let ca = self.own()?;
        let issuing = ca.issuing()?;
        Ok(CaState {
            trust_domain: ca.trust_domain().to_owned(),
            root_pem: ca.root_pem().to_owned(),
            root: ca.root()?,
            has_root_key: ca.has_root_key(),
            rotation_due: due::rotation_due(&issuing, self.settings.agent_life),
            issuing,
            earlier: ca.earlier(now)?,
            master: self.loaded.master.clone(),
            trouble: self.trouble.clone(),
        })
    }

    async fn rotate_for(
        &mut self,
        instead_of: Option<String>,
        root_key: Option<SecretText>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), CaError> {
        // Who asks again because the answer was lost does not want another one.
        let present = self.own()?.issuer_fingerprint();
        let is_done = instead_of.is_some_and(|one| one != present);
        if is_done { Ok(()) } else { self.rotate(root_key, actor, now).await }
    }

    async fn rotate(
        &mut self,
        root_key: Option<SecretText>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), CaError> {
        let ca = Arc::clone(self.own()?);
        let before = ca.issuer_fingerprint();
        // A crash in between leaves this line: the log never lacks a rotation.
        self.note(actor, ROTATE, &before, "begun", now).await?;
        let Settings { names, addresses, .. } = &self.settings;
        let rotated = ca.rotated(root_key.as_ref(), names, addresses, now);
        let shown = rotated.and_then(|(ca, identity)| shown::of_own(Arc::new(ca), &identity));
        match shown {
            Ok(loaded) => {
                self.show(loaded);
                let after = self.own()?.issuer_fingerprint();
                tracing::info!(
                    by = actor.name,
                    before,
                    after,
                    "another issuing CA has taken over; what the one before issued stays good"
                );
                self.note_done(actor, ROTATE, &after, now).await;
                Ok(())
            }
            Err(error) => {
                let error = CaError::from(error);
                self.note(actor, ROTATE, &before, &chain_of(&error), now).await?;
                Err(error)
            }
        }
    }

    async fn root_key(&mut self, actor: &Actor, now: Timestamp) -> Result<SecretText, CaError> {
        let ca = Arc::clone(self.own()?);
        let (subject, key) = (fingerprint(&ca), ca.root_key().map_err(CaError::from));
        let outcome = key.as_ref().map_or_else(chain_of, |_| "done".to_owned());
        // Nobody has the key before the log says so.
        self.note(actor, EXPORT, &subject, &outcome, now).await?;
        if key.is_ok() {
            tracing::warn!(by = actor.name, "the key of the root was given away, to be kept elsewhere");
        }
        key
    }

    async fn remove_root_key(
        &mut self,
        copy_sha256: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), CaError> {
        let ca = Arc::clone(self.own()?);
        let is_copy = match ca.root_key() {
            Ok(key) => tls::sha256_hex(key.expose().as_bytes()) == copy_sha256,
            Err(error) => return Err(error.into()),
        };
        let removed =
            if is_copy { ca.remove_root_key().map_err(CaError::from) } else { Err(CaError::NotACopy) };
        let outcome = removed.as_ref().map_or_else(chain_of, |()| "done".to_owned());
        let subject = fingerprint(&ca);
        if removed.is_ok() {
            tracing::info!(by = actor.name, "the key of the root was taken away");
            self.note_done(actor, REMOVE, &subject, now).await;
        } else {
            self.note(actor, REMOVE, &subject, &outcome, now).await?;
        }
        removed
    }

    fn reload(&mut self, settings: Settings, now: Timestamp) -> Result<(), CaError> {
        let loaded = shown::load(&settings, now)?;
        self.show(loaded);
        self.settings = settings;
        Ok(())
    }

    async fn note(
        &self,
        actor: &Actor,
        action: &'static str,
        subject: &str,
        outcome: &str,
        now: Timestamp,
    ) -> Result<(), CaError> {
        let (subject, outcome) = (subject.to_owned(), outcome.to_owned());
        self.registry.note(actor.clone(), action, subject, outcome, now).await.map_err(CaError::Audit)
    }

    /// It is done, whether or not the log can take it.
    async fn note_done(&self, actor: &Actor, action: &'static str, subject: &str, now: Timestamp) {
        if let Err(error) = self.note(actor, action, subject, "done", now).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                action,
                "what was done is not in the audit log"
            );
        }
    }
}

/// The name of the root.
fn fingerprint(ca: &CaFolder) -> String {
    ca.root().map(|root| root.fingerprint).unwrap_or_default()
}

/// The failure and its causes, on one line.
fn chain_of(error: &CaError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
