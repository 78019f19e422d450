//! From local time to moments: what becomes of a schedule when the clocks of its zone are changed.
//!
//! Between two changes of a zone local time is UTC and a constant, so the search goes from change to change. What a change
//! skips (a gap) or repeats (a fold) is decided by [`Dst`]; the results are moments, to which grace is added later.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp as Instant};

use super::pattern::Pattern;

/// As Vixie's cron: it corrects for changes below this, and takes a larger one for a new time.
const CORRECTED_BELOW: SignedDuration = SignedDuration::from_hours(3);
/// So far ahead is looked for the next moment: a 29 February that is a Sunday comes within 40 years, across 2100 too.
const YEARS_AHEAD: i64 = 41;

/// What a change of the clocks does to a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dst {
    /// As in cron(8) of Vixie: at a fixed time once, whether the change skips it (then right after) or repeats it; with a
    /// star in hours or minutes as the clock goes.
    Vixie,
    /// As the clock goes: what is skipped is not run, what is repeated is run twice.
    Posix,
    /// As systemd (measured with 252): what is skipped is not run, what is repeated is run the first time.
    Systemd,
}

/// What is done about one kind of change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    gap: Gap,
    fold: Fold,
    corrected_below: Option<SignedDuration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    Skip,
    AtEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fold {
    First,
    Each,
}

impl Rule {
    /// For starts of calendar periods, of which each is there and begins once.
    pub(super) const PERIOD: Rule = Rule { gap: Gap::AtEnd, fold: Fold::First, corrected_below: None };
    /// For hours, of which there are two when the clock goes back.
    pub(super) const HOUR: Rule = Rule { gap: Gap::AtEnd, fold: Fold::Each, corrected_below: None };
    const AS_THE_CLOCK: Rule = Rule { gap: Gap::Skip, fold: Fold::Each, corrected_below: None };

    pub(super) fn of(dst: Dst, pattern: &Pattern) -> Rule {
        match dst {
            Dst::Vixie if pattern.is_wild => Rule::AS_THE_CLOCK,
            Dst::Vixie => Rule { gap: Gap::AtEnd, fold: Fold::First, corrected_below: Some(CORRECTED_BELOW) },
            Dst::Posix => Rule::AS_THE_CLOCK,
            Dst::Systemd => Rule { gap: Gap::Skip, fold: Fold::First, corrected_below: None },
        }
    }

    /// The rule for a change by so much.
    fn at(self, change: SignedDuration) -> Rule {
        let is_too_large = self.corrected_below.is_some_and(|limit| change >= limit);
        if is_too_large { Rule::AS_THE_CLOCK } else { self }
    }
}

/// A time in which a zone does not change its clocks.
struct Stretch {
    offset: Offset,
    /// The first second of it, and the offset before; none at the beginning of time.
    began: Option<(Instant, Offset)>,
    ends: Option<Instant>,
}

impl Stretch {
    fn around(zone: &TimeZone, at: Instant) -> Stretch {
        let offset = zone.to_offset(at);
        let just_after = at.checked_add(SignedDuration::from_secs(1)).ok();
        let began =
            just_after.and_then(|after| zone.preceding(after).next()).map(|change| change.timestamp());
        let before = began.and_then(|began| began.checked_sub(SignedDuration::from_secs(1)).ok());
        Stretch {
            offset,
            began: began.zip(before.map(|before| zone.to_offset(before))),
            ends: zone.following(at).next().map(|change| change.timestamp()),
        }
    }
}

/// The first moment after `after` (in whole seconds) at which `pattern` is due in `zone`.
pub(super) fn next_after(pattern: &Pattern, rule: Rule, zone: &TimeZone, after: Instant) -> Option<Instant> {
    let after = Instant::from_second(after.as_second()).ok()?;
    let horizon =
        after.checked_add(SignedDuration::from_hours(24 * 366 * YEARS_AHEAD)).unwrap_or(Instant::MAX);
    let mut at = after.checked_add(SignedDuration::from_secs(1)).ok()?;
    while at < horizon {
        let stretch = Stretch::around(zone, at);
        if let Some(found) = first_in(pattern, rule, &stretch, at, horizon) {
            return Some(found);
        }
        at = stretch.ends?;
    }
    None
}

/// The first moment of the stretch, from `at` on.
fn first_in(
    pattern: &Pattern,
    rule: Rule,
    stretch: &Stretch,
    at: Instant,
    horizon: Instant,
) -> Option<Instant> {
    let Stretch { offset, began, ends } = *stretch;
    let mut from = offset.to_datetime(at);
    if let Some((began, before)) = began {
        // Both as they would be shown when the change happens.
        let (shown, due) = (offset.to_datetime(began), before.to_datetime(began));
        let change = SignedDuration::from_secs(i64::from(offset.seconds() - before.seconds()));
        let rule = rule.at(change.abs());
        let was_skipped = |from: DateTime| pattern.first(from, shown).is_some();
        if at == began && due < shown && rule.gap == Gap::AtEnd && was_skipped(due) {
            return Some(began);
        }
        if shown < due && rule.fold == Fold::First {
            from = from.max(due);
        }
    }
    let until = offset.to_datetime(ends.unwrap_or(horizon));
    let found = pattern.first(from, until)?;
    offset.to_timestamp(found).ok()
}
