//! Serves a router on TLS connections and on a Unix socket; every wait for a client is bounded. Feature `web`.
//!
//! Each connection is a child of the task group. At the stop a connection finishes the request at hand; a client that is
//! too slow for that is cut off. Who says through TLS what is no request, or nothing, is told to the one who counts refusals.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::accept::{Accepted, OnRefusal, Refusal, RefusalKind};
use crate::task_group::{Spawner, Stop};

/// A client must have sent the head of its request within this time; an idle connection of HTTP/1 is closed after it.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: usize = 32 * 1024;
const STREAMS_MAX: u32 = 32;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// At the stop a request at hand may take this long.
const FINISH_TIME_MAX: Duration = Duration::from_secs(3);
/// Without file descriptors there is nothing to do but to wait for some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// Serves connections whose handshake is done, until `stop`; `router_for` may look at who is at the other end.
/// # Errors
/// None; the shape is that of a task.
pub async fn serve_tls(
    router_for: impl Fn(&Accepted) -> Router + Send,
    mut accepted: mpsc::Receiver<Accepted>,
    connections: Spawner,
    on_refusal: OnRefusal,
    stop: Stop,
) -> anyhow::Result<()> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.wait() => return Ok(()),
            accepted = accepted.recv() => accepted,
        };
        let Some(accepted) = accepted else {
            // The accept loop has ended, which only the stop brings about.
            stop.wait().await;
            return Ok(());
        };
        let router = router_for(&accepted);
        let Accepted { stream, peer, certificates: _ } = accepted;
        let version = if stream.alpn() == Some(b"h2") { Version::Http2 } else { Version::Http1 };
        let (on_refusal, stop) = (Arc::clone(&on_refusal), stop.clone());
        let connection = async move {
            if let Err(refused) = connection(router, stream, version, stop).await {
                on_refusal(refused.of(peer));
            }
        };
        if let Err(error) = connections.try_spawn("web connection", connection) {
            tracing::debug!(%error, "dropped a connection");
        }
    }
}

/// Serves the connections of a Unix socket, until `stop`; `router_for` may look at who is at the other end.
/// # Errors
/// None; the shape is that of a task.
pub async fn serve_unix(
    router_for: impl Fn(&UnixStream) -> Router + Send,
    listener: UnixListener,
    connections: Spawner,
    stop: Stop,
) -> anyhow::Result<()> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.wait() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection on the socket");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (router, stop) = (router_for(&stream), stop.clone());
        let connection = async move {
            if let Err(Refused { reason, .. }) = connection(router, stream, Version::Http1, stop).await {
                tracing::debug!(reason, "a connection ended badly");
            }
        };
        if let Err(error) = connections.try_spawn("socket connection", connection) {
            tracing::debug!(%error, "dropped a connection");
        }
    }
}

/// Why a connection was refused after its handshake.
struct Refused {
    kind: RefusalKind,
    reason: String,
}

impl Refused {
    fn of(self, peer: SocketAddr) -> Refusal {
        let Refused { kind, reason } = self;
        Refusal { peer, kind, reason }
    }
}

/// Answers, and notes that something was asked.
struct Asked {
    answers: TowerToHyperService<Router>,
    was_asked: Arc<AtomicBool>,
}

impl Service<Request<Incoming>> for Asked {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.was_asked.store(true, Ordering::Relaxed);
        self.answers.call(request)
    }
}

fn builder(version: Version) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    match version {
        Version::Http1 => builder.http1_only(),
        Version::Http2 => builder.http2_only(),
    }
}

async fn connection<I>(router: Router, stream: I, version: Version, stop: Stop) -> Result<(), Refused>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let was_asked = Arc::new(AtomicBool::new(false));
    let service = Asked { answers: TowerToHyperService::new(router), was_asked: Arc::clone(&was_asked) };
    let builder = builder(version);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = nothing_is_asked(&was_asked) => return Err(too_slow()),
        () = stop.wait() => {
            connection.as_mut().graceful_shutdown();
            // Whoever is too slow for the end is no stranger for it.
            drop(tokio::time::timeout(FINISH_TIME_MAX, connection).await);
            return Ok(());
        }
    };
    match ended {
        Ok(()) => Ok(()),
        Err(error) => refused(&*error, was_asked.load(Ordering::Relaxed)),
    }
}

/// Completes when the time for the first request is over and none came. HTTP/2 has no such time of its own.
async fn nothing_is_asked(was_asked: &AtomicBool) {
    tokio::time::sleep(HEAD_TIME_MAX).await;
    if was_asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

fn too_slow() -> Refused {
    let reason = format!("no request came within {} s", HEAD_TIME_MAX.as_secs());
    Refused { kind: RefusalKind::Deadline, reason }
}

/// Whether the end of a connection is one that the other end is to blame for: not if it went away, or was idle after a request.
fn refused(error: &(dyn Error + 'static), was_asked: bool) -> Result<(), Refused> {
    let chain = || std::iter::successors(Some(error), |error| (*error).source());
    let Some(http) = error.downcast_ref::<hyper::Error>() else { return Ok(()) };
    if http.is_timeout() {
        return if was_asked { Ok(()) } else { Err(too_slow()) };
    }
    let has_gone = http.is_incomplete_message()
        || http.is_canceled()
        || http.is_closed()
        || http.is_shutdown()
        || http.is_body_write_aborted()
        || chain().any(<dyn Error>::is::<io::Error>);
    if has_gone {
        return Ok(());
    }
    let reason = chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    Err(Refused { kind: RefusalKind::NoRequest, reason })
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::task_group::TaskGroup;

    const HALF: &[u8] = b"GET /hello HTTP/1.1\r\nHost: x\r\n";

    /// A group that serves a socket, and the folder the socket is in.
    fn served(connections_max: usize) -> (TaskGroup, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let router = Router::new().route("/hello", get(async || "hello"));
        let mut tasks = TaskGroup::new();
        let connections = tasks.spawner(connections_max);
        tasks.spawn("web", |stop| serve_unix(move |_| router.clone(), listener, connections, stop));
        (tasks, folder)
    }

    async fn connect(folder: &tempfile::TempDir) -> UnixStream {
        UnixStream::connect(folder.path().join("s")).await.unwrap()
    }

    async fn answer(mut stream: UnixStream) -> String {
        let mut text = String::new();
        // Who was hung up on may see a reset instead of the end.
        let _ = stream.read_to_string(&mut text).await;
        text
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_request_is_cut_off_in_time_and_does_not_hold_up_the_stop() {
        let (tasks, folder) = served(8);
        let mut half = connect(&folder).await;
        half.write_all(HALF).await.unwrap();
        let started = tokio::time::Instant::now();
        let text = answer(half).await;
        assert!(!text.contains("hello") && started.elapsed() >= HEAD_TIME_MAX, "{text}");

        let mut half = connect(&folder).await;
        half.write_all(HALF).await.unwrap();
        let until = async {
            // Until the half is in the hands of the server: another request is answered after it.
            let mut whole = connect(&folder).await;
            whole.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
            assert!(answer(whole).await.ends_with("hello"));
        };
        tasks.run(until, FINISH_TIME_MAX + Duration::from_secs(1)).await.unwrap();
        drop(half);
    }

    #[tokio::test]
    async fn more_connections_than_allowed_are_hung_up_on_and_the_others_go_on() {
        let (tasks, folder) = served(1);
        let until = async {
            let mut first = connect(&folder).await;
            first.write_all(HALF).await.unwrap();
            let mut second = connect(&folder).await;
            let _ = second.write_all(HALF).await;
            assert_eq!(answer(second).await, "");
            first.write_all(b"Connection: close\r\n\r\n").await.unwrap();
            assert!(answer(first).await.ends_with("hello"));
        };
        tasks.run(until, FINISH_TIME_MAX).await.unwrap();
    }
}
