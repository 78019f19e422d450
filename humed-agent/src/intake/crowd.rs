//! A drop folder with more files than one pass takes: each user has a share of the pass, so that nobody's files hide another's.
//!
//! Holds the first names of each of [`USERS_MAX`] users; root is always among them.

use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::ffi::OsString;

use super::rights::ROOT;

/// Users whose files are looked at in one pass.
const USERS_MAX: usize = 50;

/// The first names of each user.
#[derive(Debug)]
pub(super) struct Crowd {
    first: HashMap<u32, BinaryHeap<OsString>>,
    /// Users of whom there are more.
    cut: BTreeSet<u32>,
    /// Names of one user that are held.
    of_user_max: usize,
}

impl Crowd {
    /// Nobody yet.
    pub(super) fn new(of_user_max: usize) -> Crowd {
        Crowd { first: HashMap::new(), cut: BTreeSet::new(), of_user_max }
    }

    /// One more file.
    pub(super) fn push(&mut self, uid: u32, name: OsString) {
        if self.first.len() >= USERS_MAX && uid != ROOT && !self.first.contains_key(&uid) {
            self.cut.insert(uid);
            return;
        }
        let names = self.first.entry(uid).or_default();
        names.push(name);
        if names.len() > self.of_user_max {
            names.pop();
            self.cut.insert(uid);
        }
    }

    /// The names of one pass of about `most`, in order: of each user as many as of any other, or all he has. And the users of
    /// whom there are more.
    pub(super) fn names(self, most: usize) -> (Vec<OsString>, BTreeSet<u32>) {
        let Crowd { first, mut cut, of_user_max: _ } = self;
        let share = most / first.len().max(1);
        cut.extend(first.iter().filter(|(_, names)| names.len() > share).map(|(uid, _)| *uid));
        let of_user = |names: BinaryHeap<OsString>| names.into_sorted_vec().into_iter().take(share);
        let mut names: Vec<OsString> = first.into_values().flat_map(of_user).collect();
        names.sort_unstable();
        (names, cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u32) -> OsString {
        format!("{number:06}.json").into()
    }

    #[test]
    fn the_first_of_each_user_are_taken_however_many_another_has() {
        let mut crowd = Crowd::new(100);
        (0..5000).rev().for_each(|number| crowd.push(7, name(number)));
        crowd.push(8, name(9000));
        crowd.push(8, name(8000));
        let (names, cut) = crowd.names(20);
        assert_eq!(names, [(0..10).map(name).collect(), vec![name(8000), name(9000)]].concat());
        assert_eq!(cut, BTreeSet::from([7]));
    }

    #[test]
    fn alone_a_user_has_all_that_one_user_may_have() {
        let mut crowd = Crowd::new(100);
        (0..5000).for_each(|number| crowd.push(7, name(number)));
        assert_eq!(crowd.names(1000).0, (0..100).map(name).collect::<Vec<_>>());
    }

    #[test]
    fn root_is_there_among_however_many_users() {
        let mut crowd = Crowd::new(100);
        (1..10_000).for_each(|uid| crowd.push(uid, name(uid)));
        crowd.push(ROOT, name(99_999));
        let (names, _) = crowd.names(1000);
        assert_eq!((names.len(), names.last()), (USERS_MAX + 1, Some(&name(99_999))));
    }
}
