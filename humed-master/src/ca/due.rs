//! What is due to the issuing CA. Pure.
//!
//! Another one takes over while the longest certificate of the present one still fits into its life. By itself the master does that
//! only under a clock that it has seen to be steady for [`STEADY_MIN`], since a certificate that begins in the future is worth nothing.

use std::time::Duration;

use hume_core::Timestamp;
use hume_runtime::pki::{MASTER_DAYS, Summary};

/// The clock must have been steady for this long before an issuing CA is replaced that still lives.
const STEADY_MIN: Duration = Duration::from_hours(24);
/// The same for one that has ended, by which nothing works any more, and for the master's own certificate.
pub(super) const STEADY_ENDED_MIN: Duration = Duration::from_hours(1);
/// The rotation comes this much before the life of the longest certificate would be cut.
const MARGIN: Duration = Duration::from_hours(24 * 30);
/// A certificate that nobody here can renew is told of this long before its end.
const WARNING: Duration = Duration::from_hours(24 * 30);

/// What is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) now: Timestamp,
    /// For how long the clock has not jumped.
    pub(super) steady_for: Duration,
    pub(super) root: &'a Summary,
    pub(super) issuing: &'a Summary,
    pub(super) has_root_key: bool,
    /// How long an agent's certificate lasts.
    pub(super) agent_life: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing yet.
    Nothing,
    /// Another issuing CA takes over.
    Rotate,
    /// Somebody must do something.
    Warn(Trouble),
}

/// What somebody must do something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The key of the root is away, and the issuing CA ends then.
    RootKeyAway(Timestamp),
    /// No issuing CA can last longer than the root, which ends then.
    RootEnds(Timestamp),
    /// The issuing CA begins only then.
    NotYet(Timestamp),
    /// The certificate of another CA ends then.
    OtherEnds(Timestamp),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::RootKeyAway(end) => write!(
                f,
                "the issuing CA ends at {end}, and the key of the root, which makes the next one, is not here: `humeconfig ca rotate --root-key FILE`"
            ),
            Trouble::RootEnds(end) => write!(
                f,
                "the root of the CA ends at {end}, and nothing below it lasts longer: set another site up and let its hosts join"
            ),
            Trouble::NotYet(begin) => write!(
                f,
                "the issuing CA begins at {begin} only: set the clock, or if it is right, `humeconfig ca rotate`"
            ),
            Trouble::OtherEnds(end) => write!(
                f,
                "the master's certificate ends at {end}: put the next one in the place of `tls.certificate` and reload the master"
            ),
        }
    }
}

/// When the issuing CA is to be replaced.
pub(super) fn rotation_due(issuing: &Summary, agent_life: Duration) -> Timestamp {
    let longest = agent_life.max(Duration::from_hours(24 * MASTER_DAYS.unsigned_abs()));
    let overlap_us = micros(longest.saturating_add(MARGIN));
    // However long certificates are to live, a CA is used for half of its life.
    let life_us = issuing.not_after.micros_since(issuing.not_before);
    issuing.not_after.plus_micros(-overlap_us.min(life_us / 2))
}

/// What is due.
pub(super) fn decide(known: Known<'_>) -> Action {
    let Known { now, steady_for, root, issuing, has_root_key, agent_life } = known;
    if now < issuing.not_before {
        return Action::Warn(Trouble::NotYet(issuing.not_before));
    }
    if now < rotation_due(issuing, agent_life) {
        return Action::Nothing;
    }
    if root.not_after <= issuing.not_after {
        return Action::Warn(Trouble::RootEnds(root.not_after));
    }
    if !has_root_key {
        return Action::Warn(Trouble::RootKeyAway(issuing.not_after));
    }
    let steady_min = if now < issuing.not_after { STEADY_MIN } else { STEADY_ENDED_MIN };
    if steady_for < steady_min { Action::Nothing } else { Action::Rotate }
}

/// What there is to say of a certificate that another CA made.
pub(super) fn decide_other(now: Timestamp, certificate: &Summary) -> Option<Trouble> {
    let life_us = certificate.not_after.micros_since(certificate.not_before);
    let left_us = certificate.not_after.micros_since(now);
    // What is renewed every week by somebody else is not told of all its life.
    (left_us < micros(WARNING).min(life_us / 3)).then_some(Trouble::OtherEnds(certificate.not_after))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const HOUR: Duration = Duration::from_hours(1);

    fn day(days: i64) -> Timestamp {
        Timestamp::from_micros(days * micros(DAY))
    }

    fn of(begins: i64, ends: i64) -> Summary {
        Summary { fingerprint: String::new(), not_before: day(begins), not_after: day(ends) }
    }

    #[test]
    fn the_issuing_ca_is_rotated_in_time_where_the_key_is_here_and_told_of_where_it_is_away() {
        use Action::{Nothing, Rotate, Warn};
        let steady = 7 * DAY;
        let away = Warn(Trouble::RootKeyAway(day(730)));
        // Day, how long the clock has been steady, days of an agent's certificate, the key: 90 days and the margin fit in until 610.
        for (at, steady_for, life, has_root_key, expected) in [
            (0, steady, 7, true, Nothing),
            (609, steady, 7, true, Nothing),
            (609, steady, 7, false, Nothing),
            (610, steady, 7, true, Rotate),
            (610, steady, 7, false, away),
            (610, 23 * HOUR, 7, true, Nothing),
            (610, DAY, 7, true, Rotate),
            (729, HOUR, 7, true, Nothing),
            (730, HOUR, 7, true, Rotate),
            (730, HOUR / 2, 7, true, Nothing),
            (730, Duration::ZERO, 7, false, away),
            // Longer certificates want more of it, half of its life at most.
            (519, steady, 180, true, Nothing),
            (520, steady, 180, true, Rotate),
            (364, steady, 5000, true, Nothing),
            (365, steady, 5000, true, Rotate),
            (-1, steady, 7, true, Warn(Trouble::NotYet(day(0)))),
        ] {
            let known = Known {
                now: day(at),
                steady_for,
                root: &of(0, 3653),
                issuing: &of(0, 730),
                has_root_key,
                agent_life: DAY * life,
            };
            assert_eq!(
                decide(known),
                expected,
                "day {at}, steady for {steady_for:?}, {life} days, {has_root_key}"
            );
        }
    }

    #[test]
    fn a_root_that_ends_is_told_of_and_nothing_is_rotated_for_nothing() {
        let (root, issuing) = (of(0, 1000), of(600, 1000));
        let known = |at| Known {
            now: day(at),
            steady_for: 7 * DAY,
            root: &root,
            issuing: &issuing,
            has_root_key: true,
            agent_life: 7 * DAY,
        };
        assert_eq!(decide(known(879)), Action::Nothing);
        assert_eq!(decide(known(880)), Action::Warn(Trouble::RootEnds(day(1000))));
    }

    #[test]
    fn a_certificate_of_another_ca_is_told_of_a_month_or_a_third_of_its_life_before_its_end() {
        let is_told = |of: &Summary, at| decide_other(day(at), of).is_some();
        let long = of(0, 825);
        assert_eq!([is_told(&long, 795), is_told(&long, 796), is_told(&long, 900)], [false, true, true]);
        let short = of(0, 9);
        assert_eq!([is_told(&short, 6), is_told(&short, 7)], [false, true]);
    }
}
