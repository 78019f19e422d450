//! Fluentd's forward protocol, for Fluentd and Fluent Bit: what counts as delivered was acknowledged by the server.
//!
//! Notices go in chunks, each with an id that the server must repeat; without that they are sent again, in the same chunk with the
//! same id. A server with a shared key is asked to prove that it knows it before it gets anything.

#[cfg(test)]
mod tests;
mod wire;

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use hume_runtime::random;
use hume_runtime::secret::{Secret, SecretText};
use tokio::time::Instant;

use self::wire::{ANSWER_BYTES_MAX, Ping};
use crate::net::{Address, Connection, Target, TlsKeys};
use crate::notice::Notice;
use crate::options::options;
use crate::text::{one_line, truncate};
use crate::transfer::{BoxFuture, Delivery, Manner, OpenError, Setting, Trail, Transfer, Trouble};

pub(super) const MANNER: Manner = Manner::PIPELINE;

/// A batch may take so long, connecting and acknowledgements included.
const BATCH_TIME_MAX: Duration = Duration::from_secs(25);
/// What an administrator has to mend is tried again after this.
const MEND_TIME: Duration = Duration::from_mins(5);
/// A chunk has at most so many bytes of entries, or one that is larger. Fluent Bit takes 6 MB by default.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;

options! {
    /// `[transfer.NAME.fluentd]`
    pub struct Options {
        /// `tcp://host:port` or `tls://host:port`.
        pub address: Address,
        /// The tag; `{level}`, `{task}`, `{host}` and `{about}` are filled in.
        #[serde(default = "tag_default")]
        pub tag: String,
        /// The `shared_key` of the server's `<security>`.
        pub shared_key: Option<Secret>,
        /// A user of the server's `<security>`.
        pub user: Option<String>,
        /// Its password.
        pub password: Option<Secret>,
        /// Who issues the peer's certificate; the system's roots when missing.
        pub ca: Option<PathBuf>,
        /// Our certificate.
        pub certificate: Option<PathBuf>,
        /// Its key.
        pub key: Option<PathBuf>,
        /// The name in the peer's certificate; the host of the address when missing.
        pub server_name: Option<String>,
    }
}

fn tag_default() -> String {
    "hume.{level}.{task}".to_owned()
}

pub(super) fn open(options: &Options, setting: &Setting<'_>) -> Result<Box<dyn Transfer>, OpenError> {
    Ok(Box::new(Fluentd::of(options, setting)?))
}

struct Fluentd {
    target: Target,
    tag: String,
    host: String,
    security: Option<Security>,
    kept: Option<Connection>,
    /// Chunks that were sent and not acknowledged: id, and number of notices.
    unacknowledged: Vec<(String, usize)>,
    time_max: Duration,
}

struct Security {
    shared_key: SecretText,
    login: Option<(String, SecretText)>,
}

impl Fluentd {
    fn of(options: &Options, setting: &Setting<'_>) -> Result<Fluentd, OpenError> {
        if let Some(wrong) = wire::wrong_tag(&options.tag) {
            return Err(OpenError::value("tag", wrong));
        }
        let read = |secret: &Option<Secret>, key| {
            secret
                .as_ref()
                .map(|secret| secret.read(setting.config_file).map_err(OpenError::secret(key)))
                .transpose()
        };
        let shared_key = read(&options.shared_key, "shared_key")?;
        let login = match (&options.user, read(&options.password, "password")?) {
            (Some(user), Some(password)) => Some((user.clone(), password)),
            (None, None) => None,
            (Some(_), None) => return Err(OpenError::value("password", "is missing; it goes with `user`")),
            (None, Some(_)) => return Err(OpenError::value("user", "is missing; it goes with `password`")),
        };
        let security = match (shared_key, login) {
            (Some(shared_key), login) => Some(Security { shared_key, login }),
            (None, None) => None,
            (None, Some(_)) => return Err(OpenError::value("shared_key", "is missing; `user` goes with it")),
        };
        let keys = TlsKeys {
            ca: options.ca.as_deref(),
            certificate: options.certificate.as_deref(),
            key: options.key.as_deref(),
            server_name: options.server_name.as_deref(),
        };
        Ok(Fluentd {
            target: Target::open(&options.address, keys, setting)?,
            tag: options.tag.clone(),
            host: setting.host.as_str().to_owned(),
            security,
            kept: None,
            unacknowledged: Vec::new(),
            time_max: BATCH_TIME_MAX,
        })
    }

    async fn run(&mut self, notices: &[Notice], trail: &mut Trail) -> Delivery {
        let deadline = Instant::now() + self.time_max;
        let chunks = match self.chunks(notices) {
            Ok(chunks) => chunks,
            Err((0, reason)) => return Delivery::stopped(0, Trouble::never(reason)),
            // What comes before it is delivered first.
            Err((at, _)) => return Box::pin(self.run(&notices[..at], trail)).await,
        };
        self.unacknowledged = chunks.iter().map(|chunk| (chunk.id.clone(), chunk.notices.len())).collect();
        let mut settled = 0;
        match self.exchange(&chunks, &mut settled, deadline, trail).await {
            Ok(()) => Delivery { settled, trouble: None },
            Err(trouble) => Delivery::stopped(settled, trouble),
        }
    }

    /// Sends all chunks and waits for their acknowledgements in their order; the connection is kept if all is well.
    async fn exchange(
        &mut self,
        chunks: &[Chunk],
        settled: &mut usize,
        deadline: Instant,
        trail: &mut Trail,
    ) -> Result<(), Trouble> {
        let mut talk = Talk { connection: self.ready(deadline, trail).await?, heard: Vec::new(), deadline };
        for chunk in chunks {
            talk.connection.send(&chunk.message, deadline).await?;
            trail.say(|| {
                format!("sent {} notices as {} in chunk {}", chunk.notices.len(), chunk.tag, chunk.id)
            });
        }
        for chunk in chunks {
            let ack = talk.hear(wire::ack).await?;
            if ack != chunk.id {
                let ack = truncate(&one_line(&ack), 64);
                return Err(Trouble::later(format!(
                    "the server acknowledged `{ack}`, not chunk {}",
                    chunk.id
                )));
            }
            trail.say(|| format!("chunk {} is acknowledged", chunk.id));
            *settled = chunk.notices.end;
            self.unacknowledged.remove(0);
        }
        self.kept = Some(talk.connection);
        Ok(())
    }

    /// The connection that is kept, if it is still good, or a new one that has been introduced.
    async fn ready(&mut self, deadline: Instant, trail: &mut Trail) -> Result<Connection, Trouble> {
        if let Some(mut connection) = self.kept.take() {
            match connection.watch(Duration::ZERO).await {
                Ok(()) => return Ok(connection),
                Err(error) => trail.say(|| format!("{error}: connecting again")),
            }
        }
        let connection = self.target.connect(deadline, trail).await?;
        let Some(security) = &self.security else { return Ok(connection) };
        let mut talk = Talk { connection, heard: Vec::new(), deadline };
        security.introduce(&self.host, &mut talk).await?;
        trail.say(|| "both know the shared key".to_owned());
        Ok(talk.connection)
    }

    /// The notices in messages: what was sent and not acknowledged in the same chunks as before, the others by their tags.
    ///
    /// # Errors
    /// The first that cannot be written, and why.
    fn chunks(&self, notices: &[Notice]) -> Result<Vec<Chunk>, (usize, String)> {
        let mut chunks = Vec::new();
        let mut begin = 0;
        for (id, count) in &self.unacknowledged {
            let is_again =
                notices.get(begin..begin + count).is_some_and(|again| wire::chunk_id(again) == *id);
            if !is_again {
                break;
            }
            chunks.push(Chunk::of(&self.tag, notices, begin..begin + count)?);
            begin += count;
        }
        while begin < notices.len() {
            let end = begin + self.together(&notices[begin..]);
            chunks.push(Chunk::of(&self.tag, notices, begin..end)?);
            begin = end;
        }
        Ok(chunks)
    }

    /// How many of the first notices go in one chunk; at least one.
    fn together(&self, notices: &[Notice]) -> usize {
        let tag = notices.first().map(|first| wire::tag(&self.tag, first));
        let mut bytes = 0;
        for (at, notice) in notices.iter().enumerate() {
            // One that cannot be written ends the chunk before it.
            let Ok(entry) = wire::entry(notice) else { return at.max(1) };
            bytes += entry.len();
            if at > 0 && (bytes > CHUNK_BYTES_MAX || Some(wire::tag(&self.tag, notice)) != tag) {
                return at;
            }
        }
        notices.len()
    }
}

impl Transfer for Fluentd {
    fn deliver<'a>(&'a mut self, notices: &'a [Notice], trail: &'a mut Trail) -> BoxFuture<'a, Delivery> {
        Box::pin(self.run(notices, trail))
    }

    fn preview(&self, notice: &Notice) -> String {
        let record = serde_json::to_string_pretty(&notice.view()).unwrap_or_else(|error| error.to_string());
        format!("tag {}\n{record}", wire::tag(&self.tag, notice))
    }
}

/// Notices of one tag in one message.
struct Chunk {
    id: String,
    tag: String,
    notices: Range<usize>,
    message: Vec<u8>,
}

impl Chunk {
    fn of(template: &str, notices: &[Notice], range: Range<usize>) -> Result<Chunk, (usize, String)> {
        let mut entries = Vec::with_capacity(range.len());
        for at in range.clone() {
            let wrong = |error| (at, format!("the notice is no MessagePack: {error}"));
            entries.push(wire::entry(&notices[at]).map_err(wrong)?);
        }
        let tag = notices.get(range.start).map(|first| wire::tag(template, first)).unwrap_or_default();
        let id = wire::chunk_id(&notices[range.clone()]);
        let wrong = |error| (range.start, format!("the chunk is no MessagePack: {error}"));
        let message = wire::message(&tag, &entries, &id).map_err(wrong)?;
        Ok(Chunk { id, tag, notices: range, message })
    }
}

/// A connection, and what was heard over it and not yet read.
struct Talk {
    connection: Connection,
    heard: Vec<u8>,
    deadline: Instant,
}

impl Talk {
    /// The next answer, as `read` understands it.
    async fn hear<T>(
        &mut self,
        read: impl Fn(&[u8]) -> Result<Option<(T, usize)>, String>,
    ) -> Result<T, Trouble> {
        loop {
            match read(&self.heard) {
                Ok(Some((answer, length))) => {
                    self.heard.drain(..length);
                    return Ok(answer);
                }
                Err(_) if matches!(wire::helo(&self.heard), Ok(Some(_))) => {
                    return Err(Trouble::after(
                        "the server asks for a shared key: set `shared_key`",
                        MEND_TIME,
                    ));
                }
                Err(reason) => {
                    return Err(Trouble::later(format!(
                        "the server's answer is not of this protocol: {}",
                        one_line(&reason)
                    )));
                }
                Ok(None) if self.heard.len() > ANSWER_BYTES_MAX => {
                    return Err(Trouble::later(format!(
                        "the server's answer has more than {ANSWER_BYTES_MAX} bytes"
                    )));
                }
                Ok(None) => {}
            }
            let mut piece = [0; 4096];
            let count = self.connection.receive(&mut piece, self.deadline).await?;
            self.heard.extend_from_slice(&piece[..count]);
        }
    }
}

impl Security {
    /// Each proves to the other that it knows the shared key.
    async fn introduce(&self, host: &str, talk: &mut Talk) -> Result<(), Trouble> {
        let helo = talk.hear(wire::helo).await.map_err(|trouble| match trouble {
            Trouble::Later { reason, after: None } => Trouble::later(format!(
                "{reason}, where it should ask for the shared key: if it has none, leave `shared_key` out"
            )),
            other => other,
        })?;
        let login = match (&self.login, helo.auth.is_empty()) {
            (_, true) => None,
            (Some((user, password)), false) => Some((user.as_str(), password.expose(), helo.auth.as_slice())),
            (None, false) => {
                return Err(Trouble::after(
                    "the server asks for a user: set `user` and `password`",
                    MEND_TIME,
                ));
            }
        };
        let salt = random_hex();
        let shared_key = self.shared_key.expose();
        let ping = Ping { host, salt: &salt, nonce: &helo.nonce, shared_key, login };
        let ping =
            wire::ping(&ping).map_err(|error| Trouble::later(format!("no PING can be written: {error}")))?;
        talk.connection.send(&ping, talk.deadline).await?;
        let pong = talk.hear(wire::pong).await?;
        if !pong.is_welcome {
            let reason = truncate(&one_line(&pong.reason), 200);
            let told =
                format!("the server refuses us ({reason}): look at `shared_key`, `user` and `password`");
            return Err(Trouble::after(told, MEND_TIME));
        }
        if pong.digest != wire::proof(&salt, &pong.host, &helo.nonce, shared_key) {
            let told =
                "the server does not know the shared key: it is another server, or `shared_key` is wrong";
            return Err(Trouble::after(told, MEND_TIME));
        }
        Ok(())
    }
}

fn random_hex() -> String {
    random::uuid().simple().to_string()
}
