//! What is said of a finding: an event of kind `watchdog`, or nothing where somebody reported it already. Pure.

use hume_core::course::Finding;
use hume_core::event::{EventKind, Finding as Word};
use hume_core::slot::{Failure, Miss, SlotState};
use hume_core::watch::OfflinePolicy;
use hume_core::{Event, EventId, HostName, Level, RunId, Timestamp};

use super::roster::Watched;

/// Where and when something was found.
pub(super) struct Scene<'a> {
    pub(super) watched: &'a Watched,
    pub(super) host: &'a HostName,
    pub(super) now: Timestamp,
}

/// What is said.
struct Said {
    word: Word,
    level: Level,
    message: String,
    slot: Option<Timestamp>,
    run: Option<RunId>,
}

/// The event of a finding; `id` is who it will be.
pub(super) fn event(finding: &Finding, scene: &Scene<'_>, id: EventId) -> Option<Event> {
    let Said { word, level, message, slot, run } = said(finding, scene)?;
    let Scene { watched, host, now } = scene;
    let mut event = Event::new(id, (*host).clone(), *now);
    event.kind = EventKind::Watchdog;
    event.task = watched.task.clone();
    event.level = level;
    event.message = message;
    event.finding = Some(word);
    // The run belongs to its agent: naming it as the event's own would make it one of the master's.
    let extra = [
        ("watch", Some(watched.watch.name.as_str().to_owned())),
        ("slot", slot.map(|slot| slot.to_string())),
        ("run", run.map(|run| run.to_string())),
    ];
    event.extra = extra.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    Some(event)
}

fn said(finding: &Finding, scene: &Scene<'_>) -> Option<Said> {
    let task = scene.watched.task.as_str();
    match *finding {
        Finding::Slot { at, run, before, after, is_reported_late } => {
            let (word, level, message) = of_slot(scene, at, before, after, is_reported_late)?;
            Some(Said { word, level, message, slot: Some(at), run })
        }
        Finding::Overdue { at, run } => {
            let max = scene.watched.watch.terms.max_runtime.unwrap_or_default();
            let message = format!("{task} still runs after {max:?}");
            Some(Said { word: Word::Overdue, level: Level::Warning, message, slot: Some(at), run: Some(run) })
        }
        Finding::TooShort { at, run, took } => {
            let min = scene.watched.watch.terms.min_runtime.unwrap_or_default();
            let message = format!("{task} took only {took:?}, less than {min:?}");
            Some(Said {
                word: Word::TooShort,
                level: Level::Warning,
                message,
                slot: Some(at),
                run: Some(run),
            })
        }
        Finding::TooSoon { run, gap } => {
            let min = scene.watched.watch.terms.min_gap.unwrap_or_default();
            let message = format!("{task} started {gap:?} after the run before, sooner than {min:?}");
            Some(Said { word: Word::TooSoon, level: Level::Warning, message, slot: None, run: Some(run) })
        }
    }
}

fn of_slot(
    scene: &Scene<'_>,
    at: Timestamp,
    before: SlotState,
    after: SlotState,
    is_reported_late: bool,
) -> Option<(Word, Level, String)> {
    let task = scene.watched.task.as_str();
    let when = short(at);
    let was_missed = matches!(before, SlotState::Missed(_));
    match after {
        SlotState::Missed(Miss::NeverRan) => {
            let message = format!("{task} never ran on this host: expected at {when}");
            Some((Word::NeverRan, Level::Error, message))
        }
        SlotState::Missed(Miss::NotStarted) => {
            Some((Word::Missed, Level::Error, format!("{task} did not run: expected at {when}")))
        }
        SlotState::Missed(Miss::Offline) => {
            let message = format!("{task} counts as missed: expected at {when}, and the host stays silent");
            Some((Word::Missed, Level::Error, message))
        }
        _ if was_missed && is_reported_late => {
            let message = format!("{task} had run in time: expected at {when}, reported late");
            Some((Word::ReportedLate, Level::Ok, message))
        }
        SlotState::Late => {
            Some((Word::Late, Level::Warning, format!("{task} came too late: expected at {when}")))
        }
        SlotState::Failed(Failure::Overdue) => {
            let hard = scene.watched.watch.terms.hard_runtime.unwrap_or_default();
            Some((Word::OverdueHard, Level::Error, format!("{task} still runs after {hard:?}")))
        }
        SlotState::Failed(Failure::NoSuccess) => {
            let within = scene.watched.watch.terms.success_within.unwrap_or_default();
            let message = format!("no run of {task} succeeded within {within:?} of {when}");
            Some((Word::NoSuccess, Level::Error, message))
        }
        SlotState::Unreachable if scene.watched.watch.terms.offline_policy == OfflinePolicy::Alert => {
            let message = format!("nobody can tell whether {task} ran at {when}: the host is silent");
            Some((Word::Unreachable, Level::Warning, message))
        }
        // Its run said so itself, or there is nothing to say.
        SlotState::Failed(Failure::Ended | Failure::Aborted)
        | SlotState::Unreachable
        | SlotState::Pending
        | SlotState::Ok
        | SlotState::Excused => None,
    }
}

/// Without a fraction where there is none.
fn short(at: Timestamp) -> String {
    at.to_string().replace(".000000Z", "Z")
}

#[cfg(test)]
mod tests {
    use hume_core::name::WatchName;
    use hume_core::watch::Declared;
    use jiff::tz::TimeZoneDatabase;

    use super::*;

    fn watched(keys: &str) -> Watched {
        let declared: Declared = toml::from_str(keys).unwrap();
        let name = WatchName::parse("BACKUP").unwrap();
        Watched::new(declared.check(&name, &TimeZoneDatabase::bundled()).unwrap())
    }

    fn told(keys: &str, before: SlotState, after: SlotState, is_reported_late: bool) -> Option<String> {
        let (watched, host) = (watched(keys), HostName::parse("web1").unwrap());
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        let scene = Scene { watched: &watched, host: &host, now: at };
        let finding = Finding::Slot { at, run: None, before, after, is_reported_late };
        let event = event(&finding, &scene, EventId::from_bytes([1; 16]))?;
        assert_eq!((event.kind, event.task.as_str()), (EventKind::Watchdog, "BACKUP"));
        assert!(event.run.is_none(), "it would be a run of the master's");
        event.check().unwrap();
        Some(format!("{} {}: {}", event.level.as_str(), event.finding?.as_str(), event.message))
    }

    #[test]
    fn what_nobody_reported_is_said_and_the_rest_is_not() {
        let plain = "schedule = \"30 2 * * *\"\nhard_runtime = \"2h\"";
        let never = told(plain, SlotState::Pending, SlotState::Missed(Miss::NeverRan), false);
        let expected = "error never_ran: BACKUP never ran on this host: expected at 2023-11-14T22:13:20Z";
        assert_eq!(never.as_deref(), Some(expected));
        for quiet in [
            SlotState::Ok,
            SlotState::Excused,
            SlotState::Unreachable,
            SlotState::Failed(Failure::Ended),
            SlotState::Failed(Failure::Aborted),
        ] {
            assert_eq!(told(plain, SlotState::Pending, quiet, false), None, "{quiet:?}");
        }
        let missed = SlotState::Missed(Miss::NotStarted);
        for (after, is_reported_late, word) in [
            (SlotState::Ok, true, "ok reported_late"),
            (SlotState::Pending, true, "ok reported_late"),
            (SlotState::Failed(Failure::Ended), true, "ok reported_late"),
            (SlotState::Late, false, "warning late"),
        ] {
            let told = told(plain, missed, after, is_reported_late).unwrap();
            assert!(told.starts_with(word), "{told}");
        }
        let overdue = told(plain, SlotState::Pending, SlotState::Failed(Failure::Overdue), false).unwrap();
        assert!(overdue.starts_with("error overdue_hard"), "{overdue}");
    }

    #[test]
    fn a_silent_host_is_told_by_task_only_where_the_watch_says_so() {
        let alert = "schedule = \"30 2 * * *\"\noffline_policy = \"alert\"";
        let told = told(alert, SlotState::Pending, SlotState::Unreachable, false).unwrap();
        assert!(told.starts_with("warning unreachable"), "{told}");
    }
}
