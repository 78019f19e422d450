//! What a kind of transfer is: something that takes notices in order and says how many of them it has settled.
//!
//! Whatever decides when to try again, what is folded and what is remembered, is not here: a kind delivers, and says what came
//! of it. It waits at most [`DELIVERY_TIME_MAX`] for its peer.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use hume_core::HostName;
use hume_runtime::secret::SecretError;

use crate::notice::Notice;
use crate::options::{Rate, TransferName};
use crate::template::Templates;

/// A kind gives its peer so long for one batch before it says [`Trouble::Later`].
pub const DELIVERY_TIME_MAX: Duration = Duration::from_secs(30);

/// A future that can be named.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An opened transfer.
pub trait Transfer: Send {
    /// Delivers notices in their order, at most as many as [`Manner::batch_max`], and says how far it came. Connects when it has
    /// to, and may keep the connection. Never returns success for what the peer may not have taken, as far as its protocol
    /// can tell. Dropping the future leaves nothing running.
    fn deliver<'a>(&'a mut self, notices: &'a [Notice], trail: &'a mut Trail) -> BoxFuture<'a, Delivery>;

    /// Its templates, if it has any: whoever opens it tells what is wrong with them ([`Templates::faults`]).
    fn templates(&self) -> Option<&Templates> {
        None
    }

    /// Whether several notices may become one. False where each stands for itself: what opens an incident or closes it.
    fn folds(&self) -> bool {
        true
    }

    /// What it would send for this notice, for people: nothing is sent, and no secret is in it.
    fn preview(&self, notice: &Notice) -> String {
        serde_json::to_string_pretty(&notice.view()).unwrap_or_else(|error| error.to_string())
    }
}

/// How far a delivery came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// So many of the first notices are settled.
    pub settled: usize,
    /// What is the matter with the one after them; none when all are settled.
    pub trouble: Option<Trouble>,
}

impl Delivery {
    /// All of them.
    pub fn all(notices: &[Notice]) -> Delivery {
        Delivery { settled: notices.len(), trouble: None }
    }

    /// The first `settled`, then this.
    pub fn stopped(settled: usize, trouble: Trouble) -> Delivery {
        Delivery { settled, trouble: Some(trouble) }
    }
}

/// Why a notice was not delivered. The reason is for people and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The peer may take it later: it is tried again, and what comes after it waits.
    Later {
        /// What happened.
        reason: String,
        /// Not before this has passed, if the peer said so.
        after: Option<Duration>,
    },
    /// This notice will never be taken: it becomes a dead letter, and the next one goes on.
    Never {
        /// What happened.
        reason: String,
    },
}

impl Trouble {
    /// To be tried again whenever.
    pub fn later(reason: impl Into<String>) -> Trouble {
        Trouble::Later { reason: reason.into(), after: None }
    }

    /// To be tried again after a while.
    pub fn after(reason: impl Into<String>, after: Duration) -> Trouble {
        Trouble::Later { reason: reason.into(), after: Some(after) }
    }

    /// Never to be tried again.
    pub fn never(reason: impl Into<String>) -> Trouble {
        Trouble::Never { reason: reason.into() }
    }

    /// What happened.
    pub fn reason(&self) -> &str {
        match self {
            Trouble::Later { reason, .. } | Trouble::Never { reason } => reason,
        }
    }
}

/// What a kind is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// At most so many notices are given to [`Transfer::deliver`] at once. All of them may come twice when the daemon is
    /// killed before their end was written down.
    pub batch_max: usize,
    /// How many notices it takes in which time, when the configuration does not say.
    pub rate: Option<Rate>,
    /// What becomes of those that are too many.
    pub excess: Excess,
}

/// What becomes of notices that exceed the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// They are folded into one notice that says how many there were of what.
    Fold,
    /// They wait: a log pipeline wants each of them.
    Wait,
}

impl Manner {
    /// For kinds that people read.
    pub const PEOPLE: Manner = Manner { batch_max: 1, rate: Some(Rate::PEOPLE), excess: Excess::Fold };
    /// For log pipelines.
    pub const PIPELINE: Manner = Manner { batch_max: 256, rate: None, excess: Excess::Wait };
}

/// What a kind may need to open a transfer.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// `NAME` of `[transfer.NAME.KIND]`.
    pub name: &'a TransferName,
    /// The configuration file: relative paths are relative to its folder, and `templates/` stands beside it.
    pub config_file: &'a Path,
    /// The host the daemon runs on.
    pub host: &'a HostName,
    /// `humed-agent` or `humed-master`.
    pub program: &'static str,
}

/// A transfer cannot be opened as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A secret cannot be read.
    #[error("`{key}`")]
    Secret {
        /// The key that names it.
        key: &'static str,
        /// Why.
        source: SecretError,
    },
    /// The value of a key makes no sense.
    #[error("`{key}`: {reason}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

impl OpenError {
    /// The value of this key makes no sense.
    pub fn value(key: &'static str, reason: impl Into<String>) -> OpenError {
        OpenError::Value { key, reason: reason.into() }
    }

    /// The secret of this key cannot be read.
    pub fn secret(key: &'static str) -> impl Fn(SecretError) -> OpenError {
        move |source| OpenError::Secret { key, source }
    }
}

/// The steps of a delivery, for the one who tests a transfer; the pump does not listen, and then they are not even worded.
#[derive(Default)]
pub struct Trail(Option<Listener>);

type Listener = Box<dyn FnMut(&str) + Send>;

impl Trail {
    /// Nobody listens.
    pub fn silent() -> Trail {
        Trail::default()
    }

    /// Each step goes to `listener`, as it is made.
    pub fn to(listener: impl FnMut(&str) + Send + 'static) -> Trail {
        Trail(Some(Box::new(listener)))
    }

    /// A step was made: "connected to 192.0.2.1:514". Holds no secret.
    pub fn say(&mut self, step: impl FnOnce() -> String) {
        if let Some(listener) = &mut self.0 {
            listener(&step());
        }
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trail").field(&self.0.is_some()).finish()
    }
}
