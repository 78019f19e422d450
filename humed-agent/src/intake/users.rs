//! Names of users by their numbers, kept in memory; a slow directory never holds up an event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hume_core::event::USER_BYTES_MAX;
use hume_core::fit::cut;
use nix::unistd::{Uid, User};

/// Names kept; beyond, the memory starts anew.
const NAMES_MAX: usize = 4096;
/// An event waits this long for a name that was never asked for; the next event finds it.
const PATIENCE: Duration = Duration::from_millis(20);
/// A name is asked for again after this time.
const KEPT_FOR: Duration = Duration::from_mins(10);
/// So is one that the directory did not tell.
const FAILED_FOR: Duration = Duration::from_secs(10);
/// Questions to the directory at once: each may hang, and holds a thread.
const ASKED_MAX: usize = 8;

/// Names by number.
#[derive(Debug, Default)]
pub(super) struct Users {
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    names: HashMap<u32, Known>,
    asked: usize,
}

#[derive(Clone, Debug)]
struct Known {
    name: Option<String>,
    /// Asked for again from then on; none while the answer is still to come.
    until: Option<Instant>,
}

impl Users {
    /// The name of a user; none when there is none, or when the directory takes its time.
    pub(super) async fn name(&self, uid: u32) -> Option<String> {
        let known = {
            let mut memory = lock(&self.memory);
            let known = memory.names.get(&uid).cloned();
            let is_fresh =
                known.as_ref().is_some_and(|known| known.until.is_none_or(|until| Instant::now() < until));
            if is_fresh || memory.asked >= ASKED_MAX {
                return known.and_then(|known| known.name);
            }
            memory.asked += 1;
            if memory.names.len() >= NAMES_MAX {
                memory.names.clear();
            }
            let name = known.and_then(|known| known.name);
            memory.names.insert(uid, Known { name: name.clone(), until: None });
            name
        };
        let memory = Arc::clone(&self.memory);
        let asked = tokio::task::spawn_blocking(move || {
            let found = User::from_uid(Uid::from_raw(uid));
            let mut memory = lock(&memory);
            memory.asked -= 1;
            let kept_for = if found.is_ok() { KEPT_FOR } else { FAILED_FOR };
            let name = found.ok().flatten().map(|user| cut(&user.name, USER_BYTES_MAX).to_owned());
            memory.names.insert(uid, Known { name: name.clone(), until: Some(Instant::now() + kept_for) });
            name
        });
        // An old name is better than a late one.
        match known {
            Some(name) => Some(name),
            None => tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?,
        }
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn root_has_a_name_and_nobody_has_that_number() {
        let users = Users::default();
        let deadline = Instant::now() + Duration::from_secs(30);
        while users.name(0).await.as_deref() != Some("root") {
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        assert_eq!(users.name(4_000_000_000).await, None);
    }
}
