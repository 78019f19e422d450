//! What a caller can do about a failure, and the one error for values out of bounds.

use std::borrow::Cow;

/// What a caller can do about a failure. `hume_proto::status` maps it to gRPC, HTTP and exit codes, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The request itself is wrong: change it.
    Invalid,
    /// Nobody knows who asks: show a credential.
    Unauthenticated,
    /// Known, but not allowed.
    Denied,
    /// There is no such thing.
    NotFound,
    /// The state does not allow it now.
    Conflict,
    /// No room: try later, or make room.
    Full,
    /// Too much at once: try again soon.
    Busy,
    /// The other side is away: try again.
    Unavailable,
    /// A fault of ours: report it.
    Internal,
}

impl ErrorClass {
    /// All classes.
    pub const ALL: [ErrorClass; 9] = [
        ErrorClass::Invalid,
        ErrorClass::Unauthenticated,
        ErrorClass::Denied,
        ErrorClass::NotFound,
        ErrorClass::Conflict,
        ErrorClass::Full,
        ErrorClass::Busy,
        ErrorClass::Unavailable,
        ErrorClass::Internal,
    ];

    /// The word used as `code` in JSON answers.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorClass::Invalid => "invalid",
            ErrorClass::Unauthenticated => "unauthenticated",
            ErrorClass::Denied => "denied",
            ErrorClass::NotFound => "not_found",
            ErrorClass::Conflict => "conflict",
            ErrorClass::Full => "full",
            ErrorClass::Busy => "busy",
            ErrorClass::Unavailable => "unavailable",
            ErrorClass::Internal => "internal",
        }
    }

    /// The class with this word.
    pub fn from_word(word: &str) -> Option<ErrorClass> {
        ErrorClass::ALL.into_iter().find(|class| class.as_str() == word)
    }
}

/// A value was out of bounds: which field, and which bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct BoundError {
    /// The field, as named in JSON.
    pub field: &'static str,
    /// What was wrong and what is allowed; continues the sentence that starts with the field.
    pub reason: Cow<'static, str>,
}

impl BoundError {
    /// An error about `field`; `reason` continues the sentence.
    pub fn new(field: &'static str, reason: impl Into<Cow<'static, str>>) -> BoundError {
        BoundError { field, reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_word_of_its_own() {
        for class in ErrorClass::ALL {
            assert_eq!(ErrorClass::from_word(class.as_str()), Some(class));
        }
        assert_eq!(ErrorClass::from_word("sad"), None);
    }
}
