//! What follows from the state of an agent. Pure.

use std::collections::BTreeSet;

use hume_core::host_patterns::{HOST_PATTERNS_MAX, HostPattern};

use super::types::AgentState;

/// What an administrator wants of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It may speak, or may speak again.
    Approve,
    /// It may not speak for now.
    Suspend,
    /// It may never speak again.
    Revoke,
}

impl Wish {
    /// As people and the audit log know it.
    pub fn as_str(self) -> &'static str {
        match self {
            Wish::Approve => "approve",
            Wish::Suspend => "suspend",
            Wish::Revoke => "revoke",
        }
    }
}

/// What becomes of the hosts that an agent may report for besides its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostWish {
    /// For these as well.
    Allow,
    /// Not for these any more.
    Remove,
}

/// The patterns of other hosts after a wish, in order and without doubles. What is allowed already, or was never, is no error.
pub(super) fn change_hosts(
    before: &[String],
    wish: HostWish,
    patterns: &[HostPattern],
) -> Result<Vec<String>, String> {
    let named: BTreeSet<String> = patterns.iter().map(HostPattern::to_string).collect();
    let mut after: BTreeSet<String> = before.iter().cloned().collect();
    match wish {
        HostWish::Allow => after.extend(named),
        HostWish::Remove => after.retain(|pattern| !named.contains(pattern)),
    }
    // One place is the agent's own host's.
    if after.len() >= HOST_PATTERNS_MAX {
        let most = HOST_PATTERNS_MAX - 1;
        return Err(format!("an agent may have {most} patterns at most: `*` and `?` stand for many hosts"));
    }
    Ok(after.into_iter().collect())
}

/// The state of an agent after a wish; none before is an agent that the registry does not know. What is done already stays done.
pub(super) fn change(before: Option<AgentState>, wish: Wish) -> Result<AgentState, &'static str> {
    match (before, wish) {
        (_, Wish::Revoke) => Ok(AgentState::Revoked),
        (Some(AgentState::Revoked), Wish::Approve | Wish::Suspend) => {
            Err("it is revoked, which is for good: let the host join again with a new token")
        }
        (_, Wish::Approve) => Ok(AgentState::Active),
        (Some(AgentState::Pending), Wish::Suspend) => {
            Err("it waits for approval and may not speak anyway: approve or revoke it")
        }
        (Some(AgentState::Active | AgentState::Suspended) | None, Wish::Suspend) => Ok(AgentState::Suspended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_allowed_and_removed_without_doubles_and_within_their_bound() {
        let patterns =
            |texts: &[&str]| -> Vec<HostPattern> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let texts = |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| (*text).to_owned()).collect() };
        let one = change_hosts(&[], HostWish::Allow, &patterns(&["web*", "db1", "web*"])).unwrap();
        assert_eq!(one, texts(&["db1", "web*"]));
        assert_eq!(change_hosts(&one, HostWish::Allow, &patterns(&["db1"])), Ok(one.clone()));
        assert_eq!(change_hosts(&one, HostWish::Remove, &patterns(&["web*", "x"])), Ok(texts(&["db1"])));
        let many: Vec<HostPattern> =
            (0..HOST_PATTERNS_MAX).map(|one| format!("h{one}").parse().unwrap()).collect();
        assert!(change_hosts(&[], HostWish::Allow, &many).is_err());
        assert!(change_hosts(&[], HostWish::Allow, &many[1..]).is_ok());
    }

    #[test]
    fn what_is_revoked_stays_revoked_and_the_rest_can_be_changed_and_changed_back() {
        use AgentState::{Active, Pending, Revoked, Suspended};
        for before in [None, Some(Pending), Some(Active), Some(Suspended), Some(Revoked)] {
            assert_eq!(change(before, Wish::Revoke), Ok(Revoked));
        }
        for wish in [Wish::Approve, Wish::Suspend] {
            assert!(change(Some(Revoked), wish).is_err());
        }
        assert_eq!(change(Some(Active), Wish::Suspend), Ok(Suspended));
        assert_eq!(change(Some(Suspended), Wish::Approve), Ok(Active));
        assert_eq!(change(Some(Pending), Wish::Approve), Ok(Active));
        assert!(change(Some(Pending), Wish::Suspend).is_err());
        assert_eq!(change(None, Wish::Suspend), Ok(Suspended), "one of another CA");
    }
}
