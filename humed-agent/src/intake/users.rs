//! Names of users by their numbers, kept in memory; a slow directory never holds up an event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::unistd::{Uid, User};

/// Names kept; beyond, the memory starts anew.
const NAMES_MAX: usize = 4096;
/// An event waits this long for a name that was never asked for; the next event finds it.
const PATIENCE: Duration = Duration::from_millis(20);

/// Names by number.
#[derive(Debug, Default)]
pub(super) struct Users {
    names: Arc<Mutex<HashMap<u32, Option<String>>>>,
}

impl Users {
    /// The name of a user; none when there is none, or when the directory takes its time.
    pub(super) async fn name(&self, uid: u32) -> Option<String> {
        if let Some(name) = self.names.lock().unwrap_or_else(PoisonError::into_inner).get(&uid) {
            return name.clone();
        }
        let names = Arc::clone(&self.names);
        let asked = tokio::task::spawn_blocking(move || {
            let name = User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
            let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
            if names.len() >= NAMES_MAX {
                names.clear();
            }
            names.insert(uid, name.clone());
            name
        });
        tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?
    }
}
