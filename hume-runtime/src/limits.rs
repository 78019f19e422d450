//! Limits of the process that its administrator allows it to raise: open files, up to the hard limit.
//!
//! The soft limit is 1,024 in most places, for programs that use `select(2)`; a daemon with thousands of sessions does not.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one, and says in the log what holds now.
pub fn raise_open_files() {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => tracing::debug!(
            before = shown(before.current),
            now = shown(before.maximum),
            "may open so many files"
        ),
        // It runs all the same, with fewer connections.
        Err(error) => tracing::warn!(
            %error,
            now = shown(before.current),
            wanted = shown(before.maximum),
            "could not raise the limit of open files"
        ),
    }
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // Low enough to differ, high enough for the tests beside this one.
        setrlimit(Resource::Nofile, Rlimit { current: Some(512), maximum }).unwrap();
        raise_open_files();
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }
}
