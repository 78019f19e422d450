//! When a session asks for a new certificate: the master's clock and its answers in, steps out. No I/O, no clock of its own.
//!
//! One question at a time; after a refusal none before the master's own time for it, [`AGAIN_MIN`] at least.

use std::time::Duration;

use hume_core::Timestamp;
use hume_proto::relay::{FEATURE_RENEW, FrameError, RenewalRefused, Welcome};

use super::identity::Standing;

/// After a refusal nothing is asked for this time at least,
pub(super) const AGAIN_MIN: Duration = Duration::from_secs(1);
/// and for this time at most.
pub(super) const AGAIN_MAX: Duration = Duration::from_hours(24);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a key and ask for its certificate.
    Ask,
    /// Keep this chain with the key.
    Keep(String),
}

/// The renewal within one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Renewal {
    phase: Phase,
    /// What the master's clock last showed.
    now: Timestamp,
    next: Option<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// This session renews nothing.
    Never,
    /// Nothing before this time.
    Waits(Timestamp),
    /// The master owes an answer.
    Asked,
    /// The answer is there, and is being kept.
    Keeping,
}

impl Renewal {
    /// The renewal of a session whose certificate is due at `due`. Not with a master that does not name it, and not with a pair
    /// that has a successor already: of that, the master may know more than we do.
    pub(super) fn begin(welcome: &Welcome, due: Timestamp, standing: Standing, has_next: bool) -> Renewal {
        let is_offered = welcome.features.iter().any(|name| name == FEATURE_RENEW);
        let is_newest = standing == Standing::Next || !has_next;
        let phase = if is_offered && is_newest { Phase::Waits(due) } else { Phase::Never };
        let mut renewal = Renewal { phase, now: welcome.master_time, next: None };
        renewal.told(welcome.master_time);
        renewal
    }

    /// The master's clock shows this.
    pub(super) fn told(&mut self, now: Timestamp) {
        self.now = now;
        if let Phase::Waits(from) = self.phase
            && now >= from
        {
            self.phase = Phase::Asked;
            self.next = Some(Step::Ask);
        }
    }

    /// What to do now, once.
    pub(super) fn step(&mut self) -> Option<Step> {
        self.next.take()
    }

    /// The master sent a chain.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] when nobody asked.
    pub(super) fn answered(&mut self, chain: String) -> Result<(), FrameError> {
        if self.phase != Phase::Asked {
            return Err(FrameError::Malformed("a certificate that nobody asked for"));
        }
        self.phase = Phase::Keeping;
        self.next = Some(Step::Keep(chain));
        Ok(())
    }

    /// The master has none for us now.
    pub(super) fn refused(&mut self, refused: &RenewalRefused) {
        self.later(Duration::from_millis(u64::from(refused.again_ms)));
    }

    /// It did not come to a certificate; the next try.
    pub(super) fn later(&mut self, pause: Duration) {
        let pause_us = pause.clamp(AGAIN_MIN, AGAIN_MAX).as_micros() as i64;
        self.phase = Phase::Waits(self.now.plus_micros(pause_us));
    }

    /// The new certificate is kept, and is due then.
    pub(super) fn renewed(&mut self, due: Timestamp) {
        self.phase = Phase::Waits(due);
    }

    /// What the master's clock last showed.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use hume_core::ErrorClass;
    use hume_core::host_patterns::HostPatterns;
    use hume_proto::relay::Limits;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn welcome(features: &[&str]) -> Welcome {
        Welcome {
            session: 1,
            store_id: [0; 16],
            resume: Vec::new(),
            limits: Limits::default(),
            heartbeat_ms: 10_000,
            master_time: at(100),
            features: features.iter().map(|name| (*name).to_owned()).collect(),
            hosts: HostPatterns::any(),
        }
    }

    fn renewal(due: i64) -> Renewal {
        Renewal::begin(&welcome(&[FEATURE_RENEW]), at(due), Standing::Files, false)
    }

    fn refusal(again_ms: u32) -> RenewalRefused {
        RenewalRefused { class: ErrorClass::Unavailable, detail: String::new(), again_ms }
    }

    #[test]
    fn a_certificate_is_asked_for_once_when_the_masters_clock_says_that_it_is_due() {
        let mut renewal = renewal(130);
        assert_eq!(renewal.step(), None);
        renewal.told(at(129));
        assert_eq!(renewal.step(), None);
        renewal.told(at(131));
        assert_eq!(renewal.step(), Some(Step::Ask));
        renewal.told(at(500));
        assert_eq!(renewal.step(), None, "the answer is still owed");
    }

    #[test]
    fn one_that_is_due_at_the_welcome_is_asked_for_at_once_and_the_next_one_in_its_time() {
        let mut renewal = renewal(99);
        assert_eq!(renewal.step(), Some(Step::Ask));
        renewal.answered("chain".to_owned()).unwrap();
        assert_eq!(renewal.step(), Some(Step::Keep("chain".to_owned())));
        renewal.renewed(at(200));
        renewal.told(at(199));
        assert_eq!(renewal.step(), None);
        renewal.told(at(200));
        assert_eq!(renewal.step(), Some(Step::Ask));
    }

    #[test]
    fn a_refusal_gives_the_time_of_the_next_question_within_bounds() {
        for (again_ms, seconds) in [(0, 1), (60_000, 60), (u32::MAX, 86_400)] {
            let mut renewal = renewal(99);
            assert_eq!(renewal.step(), Some(Step::Ask));
            renewal.refused(&refusal(again_ms));
            renewal.told(at(100 + seconds).plus_micros(-1));
            assert_eq!(renewal.step(), None, "{again_ms}");
            renewal.told(at(100 + seconds));
            assert_eq!(renewal.step(), Some(Step::Ask), "{again_ms}");
        }
    }

    #[test]
    fn nothing_is_asked_of_a_master_without_the_feature_nor_with_a_pair_that_has_a_successor() {
        let due = at(1);
        let silent = [
            Renewal::begin(&welcome(&[]), due, Standing::Files, false),
            Renewal::begin(&welcome(&[FEATURE_RENEW]), due, Standing::Current, true),
            Renewal::begin(&welcome(&[FEATURE_RENEW]), due, Standing::Files, true),
        ];
        for mut renewal in silent {
            renewal.told(at(1_000_000));
            assert_eq!(renewal.step(), None);
        }
        let mut renewal = Renewal::begin(&welcome(&[FEATURE_RENEW]), due, Standing::Next, true);
        assert_eq!(renewal.step(), Some(Step::Ask));
    }

    #[test]
    fn a_certificate_that_nobody_asked_for_ends_the_session() {
        let mut renewal = renewal(130);
        assert!(matches!(renewal.answered(String::new()), Err(FrameError::Malformed(_))));
        let mut renewal = Renewal::begin(&welcome(&[]), at(1), Standing::Files, false);
        assert!(matches!(renewal.answered(String::new()), Err(FrameError::Malformed(_))));
    }
}
