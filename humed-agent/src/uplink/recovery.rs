//! When a certificate that has ended is recovered before a connection, and what follows from the answer. Pure.
//!
//! The way of grace is for the newest pair of an agent alone: the master takes an older one for a copy, and locks the agent.

use hume_core::{ErrorClass, Timestamp};
use hume_runtime::recovery::has_ended;

use super::identity::Standing;

/// The alert of a server that finds our certificate ended, as the TLS library writes it.
const ENDED_ALERT: &str = "received fatal alert: CertificateExpired";

/// What is known of the pair that is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// When its certificate ends.
    pub(super) not_after: Timestamp,
    /// The time that this host believes in.
    pub(super) now: Timestamp,
    /// The master has refused it as one that has ended.
    pub(super) is_told: bool,
    pub(super) standing: Standing,
    pub(super) has_next: bool,
}

impl Known {
    /// Whether its certificate has ended, as far as we know.
    pub(super) fn has_ended(&self) -> bool {
        self.is_told || has_ended(self.not_after, self.now)
    }

    /// Whether another one is to be asked for before we connect.
    pub(super) fn is_due(&self) -> bool {
        let is_newest = self.standing == Standing::Next || !self.has_next;
        is_newest && self.has_ended()
    }
}

/// Why an agent has no other certificate than one that has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The master said no; in its words.
    #[error("{detail}")]
    Master {
        /// What can be done about it.
        class: ErrorClass,
        /// Why.
        detail: String,
    },
    /// It could not be asked, or what it answered could not be kept.
    #[error(
        "{0} (the enrolment port of the master must be reachable, see `master.enroll_address`; a site made by hand needs `humeconfig agent --force`)"
    )]
    Failed(String),
}

impl Refused {
    /// Whether a session with the pair as it is may still be had: by the master's clock the certificate may be good, and the clock
    /// of this host wrong.
    pub(super) fn leaves_a_session(&self) -> bool {
        match self {
            Refused::Master { class: ErrorClass::Denied, .. } => false,
            Refused::Master { .. } | Refused::Failed(_) => true,
        }
    }

    /// Whether waiting does not help.
    pub(super) fn is_final(&self) -> bool {
        !self.leaves_a_session()
    }

    /// Whether the master says that the certificate has not ended.
    pub(super) fn is_about_a_wrong_clock(&self) -> bool {
        matches!(self, Refused::Master { class: ErrorClass::Conflict, .. })
    }
}

/// Whether the end of a session says that the master finds our certificate ended.
pub(super) fn says_ended(detail: &str) -> bool {
    detail.contains(ENDED_ALERT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn known(now: i64) -> Known {
        Known {
            not_after: at(100),
            now: at(now),
            is_told: false,
            standing: Standing::Current,
            has_next: false,
        }
    }

    #[test]
    fn another_certificate_is_asked_for_when_ours_has_ended_by_our_clock_or_by_the_master_s_word() {
        assert!(!known(99).is_due() && !known(100).is_due());
        assert!(known(101).is_due());
        // A host that starts in 1970 learns it from the master.
        assert!(Known { is_told: true, ..known(0) }.is_due());
    }

    #[test]
    fn the_pair_before_an_untried_one_is_never_recovered() {
        assert!(!Known { has_next: true, ..known(101) }.is_due());
        assert!(!Known { has_next: true, standing: Standing::Files, ..known(101) }.is_due());
        assert!(Known { has_next: true, standing: Standing::Next, ..known(101) }.is_due());
    }

    #[test]
    fn only_a_master_that_denies_it_keeps_us_from_trying_a_session() {
        let master = |class| Refused::Master { class, detail: String::new() };
        for class in ErrorClass::ALL {
            assert_eq!(master(class).leaves_a_session(), class != ErrorClass::Denied, "{class:?}");
            assert_eq!(master(class).is_final(), class == ErrorClass::Denied, "{class:?}");
            assert_eq!(master(class).is_about_a_wrong_clock(), class == ErrorClass::Conflict, "{class:?}");
        }
        let failed = Refused::Failed("nobody listens".to_owned());
        assert!(failed.leaves_a_session() && !failed.is_final());
    }

    #[test]
    fn the_alert_is_written_as_the_library_writes_it() {
        let alert = |alert| rustls::Error::AlertReceived(alert).to_string();
        assert!(says_ended(&alert(rustls::AlertDescription::CertificateExpired)));
        assert!(!says_ended(&alert(rustls::AlertDescription::CertificateRevoked)));
    }
}
