//! Signals as futures: SIGTERM and SIGINT stop, SIGHUP reloads, a second stop signal ends at once.
//!
//! Needs a tokio runtime with I/O enabled; without one these functions panic, at the first line of the program.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::task_group;

/// Completes when SIGTERM or SIGINT arrives. From then on the next one ends the process at once with 128 + its number,
/// for the operator who does not want to wait for the drain.
pub async fn stop_requested() {
    let mut term = listen(SignalKind::terminate());
    let mut int = listen(SignalKind::interrupt());
    let name = either(&mut term, &mut int).await;
    tracing::info!(signal = name.as_raw_value(), "stopping");
    task_group::detached(async move {
        let second = either(&mut term, &mut int).await.as_raw_value();
        tracing::warn!(signal = second, "second stop signal: ending at once");
        #[expect(
            clippy::disallowed_methods,
            clippy::exit,
            reason = "the operator asked twice not to wait for destructors"
        )]
        std::process::exit(128 + second);
    });
}

/// SIGHUP signals from now on. Without this call SIGHUP ends the process.
pub fn hangups() -> Hangups {
    Hangups(listen(SignalKind::hangup()))
}

/// From now on a write beyond the process's limit of the size of files is an error, as one to a full disk is. Without this
/// call SIGXFSZ ends the process.
pub fn survive_file_limit() {
    // Caught is enough, and stays so when nobody listens any more.
    drop(listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())));
}

/// The stream of SIGHUP; several that arrive while nobody waits count as one.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// Completes at the next SIGHUP.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

fn listen(kind: SignalKind) -> Signal {
    signal(kind).expect("SIGTERM, SIGINT, SIGHUP and SIGXFSZ can be caught inside a tokio runtime")
}

async fn either(term: &mut Signal, int: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = term.recv() => SignalKind::terminate(),
        _ = int.recv() => SignalKind::interrupt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal as Raised, getpid, kill_process};

    #[tokio::test]
    async fn a_hangup_is_seen() {
        let mut hangups = hangups();
        kill_process(getpid(), Raised::HUP).unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(10), hangups.next()).await.unwrap();
    }

    #[tokio::test]
    async fn a_stop_signal_completes_the_future() {
        let mut stop = std::pin::pin!(stop_requested());
        // The first poll registers the handlers; before it the signal would end the test.
        assert!(tokio::time::timeout(std::time::Duration::ZERO, &mut stop).await.is_err());
        kill_process(getpid(), Raised::TERM).unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(10), stop).await.unwrap();
    }
}
