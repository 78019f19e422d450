//! What follows from the state of an agent. Pure.

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
