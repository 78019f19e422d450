//! The uplink's way into the simulated network.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use humed_agent::uplink::Dial;
use turmoil::net::TcpStream;

use crate::journal::{Entry, Journal};

/// The agents whose way to the master is cut.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cuts(Arc<Mutex<BTreeSet<usize>>>);

impl Cuts {
    pub(crate) fn set(&self, agent: usize, is_cut: bool) {
        let mut cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_cut {
            cuts.insert(agent);
        } else {
            cuts.remove(&agent);
        }
    }

    fn has(&self, agent: usize) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&agent)
    }
}

/// Connects an agent over the simulated network.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    pub(crate) agent: usize,
    pub(crate) cuts: Cuts,
    pub(crate) journal: Arc<Journal>,
}

impl Dial for Net {
    type Stream = TcpStream;

    async fn dial(&self, address: &str) -> io::Result<TcpStream> {
        self.journal.note(Entry::Dials(self.agent));
        match TcpStream::connect(address).await {
            // The simulated network refuses what it drops. A real one says nothing, and whoever connects gives up by itself.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && self.cuts.has(self.agent) => {
                std::future::pending().await
            }
            connected => connected,
        }
    }
}
