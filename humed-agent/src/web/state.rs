//! What a handler may touch, and who is asking.

use std::sync::Arc;

use hume_core::policy::Policies;
use hume_core::{HostName, Timestamp};
use hume_proto::rest::{Source, SourceKind};
use hume_runtime::clock;
use hume_runtime::follow::Followers;
use tokio::net::UnixStream;

use crate::metrics::Metrics;
use crate::spool::{SpoolReader, SpoolWriter, Viewer};

/// What a handler may touch.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) host: HostName,
    pub(super) reader: SpoolReader,
    pub(super) writer: SpoolWriter,
    pub(super) metrics: Arc<Metrics>,
    pub(super) policies: Arc<Policies>,
    pub(super) followers: Followers,
    pub(super) started_at: Timestamp,
}

impl Shared {
    pub(super) fn new(
        host: HostName,
        reader: SpoolReader,
        writer: SpoolWriter,
        metrics: Arc<Metrics>,
        policies: Arc<Policies>,
        followers: Followers,
    ) -> Shared {
        Shared { host, reader, writer, metrics, policies, followers, started_at: clock::now() }
    }

    /// Who answers.
    pub(super) fn source(&self) -> Source {
        Source { kind: SourceKind::Agent, name: self.host.as_str().to_owned() }
    }
}

/// The user at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(Viewer);

impl Caller {
    #[cfg(test)]
    pub(super) fn new(viewer: Viewer) -> Caller {
        Caller(viewer)
    }

    /// By the kernel's word.
    pub(super) fn of(stream: &UnixStream) -> Caller {
        let own = rustix::process::geteuid().as_raw();
        Caller(match stream.peer_cred().map(|credentials| credentials.uid()) {
            Ok(uid) if uid == 0 || uid == own => Viewer::Administrator,
            Ok(uid) => Viewer::User(uid),
            // Nobody is user 2^32 - 1: whoever cannot be told apart sees nothing.
            Err(_) => Viewer::User(u32::MAX),
        })
    }

    /// What this user may see.
    pub(super) fn viewer(self) -> Viewer {
        self.0
    }
}
