//! The master's end of the stream: one session per agent, over connections that mutual TLS has let through.
//!
//! Who an agent is stands in its certificate and nowhere else; whether it may speak, the registry knows. Rules are in `session.rs`, I/O in `drive.rs`.

mod clones;
mod directory;
mod drive;
mod peer;
mod renewing;
mod session;
mod told;
mod turns;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hume_core::ErrorClass;
use hume_proto::relay::{self, AgentFrames, FrameError, MasterFrame, RelayHandler};
use hume_runtime::accept::{Accepted, Connection, OnRefusal};
use hume_runtime::task_group::{Spawner, Stop};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use self::clones::Clones;
use self::directory::Directory;
use self::drive::Shared;
pub use self::peer::Peer;
use self::peer::{AgentStream, Porch};
pub use self::renewing::Issuing;
use self::told::Told;
use self::turns::Turns;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::registry::View;

/// Sessions at the same time.
pub const SESSIONS_MAX: usize = 10_000;
/// Frames that wait for an agent to take them.
const ANSWERS_MAX: usize = 64;
/// A session lasts so long, a quarter more or less by chance; then the agent comes back and its certificate is checked anew.
const SESSION_AGE: Duration = Duration::from_hours(12);
/// A connection carries one session; a second one follows the first when an agent is quick.
const STREAMS_MAX: u32 = 4;
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// After the stop, sessions and connections may take this long to end.
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(6);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The section `[relay]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelayConfig {
    /// Where agents connect.
    pub listen: SocketAddr,
}

impl Default for RelayConfig {
    fn default() -> RelayConfig {
        RelayConfig { listen: SocketAddr::from(([127, 0, 0, 1], 4863)) }
    }
}

/// The relay, ready to run as a task of its own, over connections of the kind `S`.
pub struct Relay<S = Connection> {
    /// Where events go.
    pub intake: Intake,
    /// Connections whose handshake is done.
    pub accepted: mpsc::Receiver<Accepted<S>>,
    /// The site whose agents may come; any if the CA names none.
    pub trust_domain: Option<String>,
    /// Told of connections that name no agent.
    pub on_refusal: OnRefusal,
    /// Who may speak.
    pub agents: View,
    /// Where the certificates of agents are renewed; nowhere if they come from another CA.
    pub issuing: Option<Issuing>,
    /// Runs the sessions.
    pub sessions: Spawner,
    /// Counts.
    pub metrics: Metrics,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Relay<S> {
    /// Serves sessions until `stop`, and then until they have said goodbye.
    /// # Errors
    /// If the server itself fails.
    pub async fn run(self, stop: Stop) -> anyhow::Result<()> {
        let Relay { intake, accepted, trust_domain, on_refusal, agents, issuing, sessions, metrics } = self;
        let shared = Shared {
            intake,
            directory: Directory::default(),
            clones: Clones::default(),
            turns: Turns::default(),
            told: Told::default(),
            agents,
            issuing,
            stop: stop.clone(),
            metrics,
        };
        let cuts = cuts(shared.agents.clone(), shared.directory.clone());
        let handler = Arc::new(Handler { shared, sessions });
        let porch = Porch::new(Arc::clone(&on_refusal), stop.clone());
        let connections = ReceiverStream::new(accepted).filter_map(move |accepted| {
            match AgentStream::new(accepted, trust_domain.as_deref(), &porch) {
                Ok(stream) => Some(Ok::<_, std::io::Error>(stream)),
                Err(refusal) => {
                    on_refusal(refusal);
                    None
                }
            }
        });
        let stopped = stop.clone();
        let serving = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            .add_service(relay::server(handler))
            .serve_with_incoming_shutdown(connections, async move { stop.wait().await });
        tokio::select! {
            served = serving => Ok(served?),
            never = cuts => match never {},
            () = drained(stopped) => {
                tracing::warn!("cut off agents that did not take the goodbye");
                Ok(())
            }
        }
    }
}

/// Cuts the sessions of agents that may not speak any more, whenever something has changed.
async fn cuts(agents: View, directory: Directory) -> Infallible {
    let mut changes = agents.changes();
    loop {
        if changes.changed().await.is_err() {
            // Without a registry nothing ever changes.
            std::future::pending::<()>().await;
        }
        directory.cut(|agent| agents.check(agent).is_err());
    }
}

/// Completes when agents had all the time they get after the stop.
async fn drained(stop: Stop) {
    stop.wait().await;
    tokio::time::sleep(GOODBYE_TIME_MAX).await;
}

struct Handler {
    shared: Shared,
    sessions: Spawner,
}

impl RelayHandler for Handler {
    type Peer = Peer;

    fn session(&self, peer: Peer, frames: AgentFrames) -> Result<mpsc::Receiver<MasterFrame>, FrameError> {
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        peer.begin_session();
        let session = drive::drive(self.shared.clone(), peer.visitor, session_age(), frames, answers);
        self.sessions.try_spawn("session", session).map_err(|error| FrameError::Broken {
            class: ErrorClass::Unavailable,
            detail: format!("no new session: {error}"),
        })?;
        Ok(receiver)
    }
}

/// The age with a quarter more or less, so that agents that came together do not leave together.
fn session_age() -> Duration {
    let chance = f64::from(u16::from_ne_bytes(hume_runtime::random::bytes())) / f64::from(u16::MAX);
    SESSION_AGE.mul_f64(0.75 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault 49: those that came together do not leave together.
    #[test]
    fn sessions_end_within_a_quarter_of_their_age_more_or_less_and_not_together() {
        let ages: Vec<Duration> = (0..1000).map(|_| session_age()).collect();
        assert!(
            ages.iter().all(|age| *age >= SESSION_AGE.mul_f64(0.75) && *age <= SESSION_AGE.mul_f64(1.25))
        );
        let early = ages.iter().filter(|age| **age < SESSION_AGE.mul_f64(0.85)).count();
        let late = ages.iter().filter(|age| **age > SESSION_AGE.mul_f64(1.15)).count();
        assert!(early > 100 && late > 100, "{early} early, {late} late");
    }
}
