//! Who has how many connections: nobody can take all places for himself, and all together leave some for root.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::CONNECTIONS_MAX;
use super::rights::ROOT;

/// Connections of one user at once; beyond, the answer is `busy`.
pub(super) const CONNECTIONS_PER_USER_MAX: usize = 512;

/// Connections that are left for root.
pub(super) const CONNECTIONS_FOR_ROOT: usize = 64;

/// Connections by user. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<u32, usize>>>);

/// One place, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    uid: u32,
}

impl Places {
    /// A place for this user, unless there are too many of the same, or of all but root.
    pub(super) fn take(&self, uid: u32) -> Option<Place> {
        let mut all = self.all();
        let others: usize = all.iter().filter(|(uid, _)| **uid != ROOT).map(|(_, taken)| taken).sum();
        if uid != ROOT && others >= CONNECTIONS_MAX - CONNECTIONS_FOR_ROOT {
            return None;
        }
        let taken = all.entry(uid).or_default();
        if *taken >= CONNECTIONS_PER_USER_MAX {
            return None;
        }
        *taken += 1;
        Some(Place { places: self.clone(), uid })
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.places.all();
        if let Some(taken) = all.get_mut(&self.uid) {
            *taken -= 1;
            if *taken == 0 {
                all.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_too_many_is_refused_and_others_are_not() {
        let places = Places::default();
        let mut held: Vec<Place> = (0..CONNECTIONS_PER_USER_MAX).map(|_| places.take(1).unwrap()).collect();
        assert!(places.take(1).is_none());
        assert!(places.take(2).is_some());
        held.pop();
        assert!(places.take(1).is_some());
        drop(held);
        assert!(places.all().is_empty());
    }

    #[test]
    fn all_users_together_leave_places_for_root() {
        let places = Places::default();
        let held: Vec<Place> = (1..10)
            .flat_map(|uid| std::iter::repeat_with(move || uid).take(500))
            .filter_map(|uid| places.take(uid))
            .collect();
        assert_eq!(held.len(), CONNECTIONS_MAX - CONNECTIONS_FOR_ROOT);
        assert!(places.take(ROOT).is_some() && places.take(11).is_none());
    }
}
