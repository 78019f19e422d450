//! What is said of expected runs, one rule at a time. Two years of all of them at once are in `tests/watches.rs`.

use jiff::tz::TimeZoneDatabase;

use super::*;
use crate::name::WatchName;
use crate::slot::Window;
use crate::watch::Declared;

fn moment(text: &str) -> Timestamp {
    format!("{text}Z").parse().unwrap()
}

fn run(id: u8, start: &str) -> RunSeen {
    let id = RunId::from_bytes([id; 16]);
    RunSeen { id, started_at: moment(start), ended: None, paused: Duration::ZERO, is_paused: false }
}

fn ended(run: RunSeen, at: &str, how: Ending) -> RunSeen {
    RunSeen { ended: Some((moment(at), how)), ..run }
}

/// A course with what its caller keeps for it.
struct Host {
    course: Course,
    terms: Terms,
    off: Vec<Window>,
    is_held: bool,
    has_run: bool,
    rows: BTreeMap<Timestamp, Slot>,
    step: Step,
}

impl Host {
    fn new(keys: &str, since: &str) -> Host {
        let declared: Declared = toml::from_str(keys).unwrap();
        let name = WatchName::parse("BACKUP").unwrap();
        let watch = declared.check(&name, &TimeZoneDatabase::bundled()).unwrap();
        let course = Course::begin(Arc::new(Rules::of(&watch, &TimeZone::UTC)), moment(since));
        let (off, rows, step) = (Vec::new(), BTreeMap::new(), Step::default());
        Host { course, terms: watch.terms, off, is_held: false, has_run: false, rows, step }
    }

    fn step(&mut self, input: Input, now: &str, watermark: &str) -> Vec<String> {
        let known = Circumstances {
            now: moment(now),
            watermark: moment(watermark),
            is_held: self.is_held,
            off: &self.off,
            down_after: Duration::from_mins(2),
            has_run: self.has_run,
        };
        self.step = self.course.step(input, &known);
        for at in &self.step.removed {
            self.rows.remove(at);
        }
        self.rows.extend(self.step.changed.iter().map(|slot| (slot.at, slot.clone())));
        self.step.findings.iter().map(|finding| shown(*finding)).collect()
    }

    /// Nothing happened, and everything until now was delivered.
    fn look(&mut self, now: &str) -> Vec<String> {
        self.step(Input::Look, now, now)
    }

    fn sees(&mut self, run: RunSeen, now: &str) -> Vec<String> {
        self.sees_at(run, now, now)
    }

    fn sees_at(&mut self, run: RunSeen, now: &str, watermark: &str) -> Vec<String> {
        self.has_run = true;
        let moment = run.moment(self.terms.match_by);
        let settled = |slot: &&Slot| moment.is_some_and(|at| slot.has(at)) && slot.is_settled(&self.terms);
        let settled = self.rows.values().find(settled).cloned();
        self.step(Input::Run(run, settled.map(Box::new)), now, watermark)
    }

    fn states(&self) -> String {
        let state =
            |(at, slot): (&Timestamp, &Slot)| format!("{} {}", &at.to_string()[8..16], slot.state.as_str());
        self.rows.iter().map(state).collect::<Vec<_>>().join(", ")
    }
}

fn shown(finding: Finding) -> String {
    let place = |at: Timestamp| at.to_string()[8..16].to_owned();
    match finding {
        Finding::Slot { at, run: _, before, after, is_reported_late } => {
            let why = after.reason().map(|why| format!(" ({why})")).unwrap_or_default();
            let late = if is_reported_late { ", reported late" } else { "" };
            format!("{}: {} to {}{why}{late}", place(at), before.as_str(), after.as_str())
        }
        Finding::Overdue { at, run: _ } => format!("{}: overdue", place(at)),
        Finding::TooShort { at, run: _, took } => format!("{}: too short: {took:?}", place(at)),
        Finding::TooSoon { run: _, gap } => format!("too soon: {gap:?}"),
    }
}

const NOTHING: [&str; 0] = [];
const NIGHTLY: &str = "schedule = \"0 2 * * *\"";

fn nightly() -> Host {
    let mut host = Host::new(NIGHTLY, "2027-01-01T12:00:00");
    host.has_run = true;
    host
}

#[test]
fn a_run_in_time_is_ok_once_it_has_ended_well() {
    let mut host = nightly();
    assert_eq!(host.look("2027-01-02T02:00:00"), NOTHING);
    assert_eq!(host.sees(run(1, "2027-01-02T02:05:00"), "2027-01-02T02:05:00"), NOTHING);
    assert_eq!(host.look("2027-01-02T09:00:00"), NOTHING, "it may take as long as it likes");
    let ended = ended(run(1, "2027-01-02T02:05:00"), "2027-01-02T10:00:00", Ending::Good);
    assert_eq!(host.sees(ended, "2027-01-02T10:00:00"), ["02T02:00: pending to ok"]);
    assert_eq!(host.sees(ended, "2027-01-02T10:00:01"), NOTHING, "what comes twice is said once");
    assert_eq!(host.course.open().count(), 0);
}

#[test]
fn silence_is_a_miss_only_when_the_watermark_has_passed_the_deadline() {
    let mut host = nightly();
    host.look("2027-01-02T02:00:00");
    assert_eq!(host.step.wake.watermark, Some(moment("2027-01-02T02:05:00")));
    assert_eq!(host.step(Input::Look, "2027-01-02T02:06:59", "2027-01-02T02:04:59.999999"), NOTHING);
    assert_eq!(
        host.step(Input::Look, "2027-01-02T02:06:59", "2027-01-02T02:05:00"),
        ["02T02:00: pending to missed (not_started)"]
    );
}

#[test]
fn a_task_that_never_ran_is_found_at_its_first_deadline() {
    let mut host = Host::new(NIGHTLY, "2027-01-01T12:00:00");
    host.look("2027-01-02T02:00:00");
    assert_eq!(host.look("2027-01-02T02:05:00"), ["02T02:00: pending to missed (never_ran)"]);
    assert_eq!(host.look("2027-01-03T02:05:00"), ["03T02:00: pending to missed (never_ran)"]);
}

#[test]
fn a_silent_host_makes_slots_unreachable_and_they_repair_themselves() {
    let mut host = nightly();
    let gone = "2027-01-02T01:00:00";
    assert_eq!(host.step(Input::Look, "2027-01-02T02:06:59", gone), NOTHING);
    assert_eq!(host.step.wake.clock, Some(moment("2027-01-02T02:07:00")));
    assert_eq!(host.step(Input::Look, "2027-01-02T02:07:00", gone), ["02T02:00: pending to unreachable"]);
    let late = ended(run(1, "2027-01-02T02:00:01"), "2027-01-02T03:00:00", Ending::Good);
    assert_eq!(host.sees_at(late, "2027-01-02T20:00:00", gone), ["02T02:00: unreachable to ok"]);
}

#[test]
fn when_a_host_was_silent_for_too_long_its_slots_are_missed_and_late_data_corrects_that_once() {
    let mut host = nightly();
    let gone = "2027-01-02T01:00:00";
    host.step(Input::Look, "2027-01-02T02:07:00", gone);
    assert_eq!(host.step.wake.clock, Some(moment("2027-01-03T02:00:00")), "the next slot");
    host.step(Input::Look, "2027-01-03T02:00:00", gone);
    assert_eq!(
        host.step(Input::Look, "2027-01-03T02:05:00", gone),
        ["02T02:00: unreachable to missed (offline)"]
    );
    let start = run(1, "2027-01-02T02:01:00");
    assert_eq!(
        host.sees_at(start, "2027-01-03T02:05:30", gone),
        ["02T02:00: missed to pending, reported late"]
    );
    assert_eq!(
        host.sees_at(ended(start, "2027-01-02T02:30:00", Ending::Good), "2027-01-03T02:05:31", gone),
        ["02T02:00: pending to ok, reported late"]
    );
    assert_eq!(host.states(), "02T02:00 ok, 03T02:00 pending");
}

#[test]
fn a_run_after_the_grace_is_late_whether_it_was_called_missed_or_not() {
    let mut host = nightly();
    host.look("2027-01-02T02:05:00");
    let late = run(1, "2027-01-02T02:05:01");
    assert_eq!(host.sees(late, "2027-01-02T02:05:02"), ["02T02:00: missed to late"]);
    assert_eq!(host.course.open().count(), 1, "how it ends is not known");
    let failed = ended(late, "2027-01-02T03:00:00", Ending::Failed);
    assert_eq!(host.sees(failed, "2027-01-02T03:00:00"), ["02T02:00: late to failed (ended_badly)"]);

    let mut host = nightly();
    let late = ended(run(1, "2027-01-02T20:00:00"), "2027-01-02T20:30:00", Ending::Good);
    assert_eq!(host.sees(late, "2027-01-02T20:30:00"), ["02T02:00: pending to late"]);
}

#[test]
fn extra_runs_are_no_slot_and_the_first_run_of_a_slot_decides() {
    let mut host = nightly();
    let first = ended(run(1, "2027-01-02T01:59:00"), "2027-01-02T02:10:00", Ending::Failed);
    assert_eq!(host.sees(first, "2027-01-02T02:10:00"), ["02T02:00: pending to failed (ended_badly)"]);
    let again = ended(run(2, "2027-01-02T09:00:00"), "2027-01-02T09:10:00", Ending::Good);
    assert_eq!(host.sees(again, "2027-01-02T09:10:00"), NOTHING);
    assert_eq!(host.look("2027-01-03T02:05:00"), ["03T02:00: pending to missed (not_started)"]);
    let before = ended(run(3, "2027-01-01T11:00:00"), "2027-01-01T11:10:00", Ending::Good);
    assert_eq!(host.sees(before, "2027-01-03T02:06:00"), NOTHING, "of before the watch began");
}

#[test]
fn an_earlier_run_that_is_known_later_takes_the_slot() {
    let mut host = nightly();
    let by_hand = ended(run(2, "2027-01-02T09:00:00"), "2027-01-02T09:10:00", Ending::Failed);
    assert_eq!(
        host.sees_at(by_hand, "2027-01-02T09:10:00", "2027-01-02T01:00:00"),
        ["02T02:00: pending to failed (ended_badly)"]
    );
    let true_one = ended(run(1, "2027-01-02T02:00:02"), "2027-01-02T02:10:00", Ending::Good);
    assert_eq!(host.sees(true_one, "2027-01-02T09:11:00"), ["02T02:00: failed to ok"]);
}

#[test]
fn slots_close_together_share_the_time_between_them() {
    let mut host = Host::new("schedule = \"* * * * *\"", "2027-01-01T12:00:00");
    for (start, slot) in
        [("12:00:20", "12:00"), ("12:00:29", "12:00"), ("12:00:30", "12:01"), ("12:01:29", "12:01")]
    {
        let start = moment(&format!("2027-01-01T{start}"));
        host.look("2027-01-01T12:02:00");
        let slots: Vec<String> = host
            .course
            .open()
            .filter(|slot| slot.has(start))
            .map(|slot| slot.at.to_string()[11..16].to_owned())
            .collect();
        assert_eq!(slots, [slot], "{start}");
    }
}

#[test]
fn grace_is_added_after_a_change_of_the_clock_was_thought_of() {
    let keys = "schedule = \"30 2 * * *\"\nzone = \"Europe/Berlin\"\nstart_grace = \"10m\"";
    let mut host = Host::new(keys, "2024-03-30T12:00:00");
    host.look("2024-03-31T01:00:00");
    assert_eq!(
        host.step.wake.watermark,
        Some(moment("2024-03-31T01:10:00")),
        "03:00 in summer, and ten minutes"
    );
}

#[test]
fn who_is_off_is_excused_unless_a_run_came() {
    let mut host = nightly();
    host.off = vec![Window { from: moment("2027-01-02T02:04:00"), until: moment("2027-01-02T06:00:00") }];
    assert_eq!(host.look("2027-01-02T02:05:00"), ["02T02:00: pending to excused"]);
    let came = ended(run(1, "2027-01-02T02:03:00"), "2027-01-02T02:30:00", Ending::Good);
    assert_eq!(host.sees(came, "2027-01-02T07:00:00"), ["02T02:00: excused to ok"]);
    host.off = vec![Window { from: moment("2027-01-03T00:00:00"), until: moment("2027-01-03T01:59:00") }];
    assert_eq!(host.look("2027-01-03T02:05:00"), ["03T02:00: pending to missed (not_started)"]);

    let mut day = Host::new("schedule = \"daily\"", "2027-01-02T00:00:00");
    day.off = vec![Window { from: moment("2027-01-02T02:00:00"), until: moment("2027-01-02T03:00:00") }];
    assert_eq!(
        day.look("2027-01-03T00:00:00"),
        ["02T00:00: pending to missed (never_ran)"],
        "it had the day"
    );
}

#[test]
fn while_judgement_is_held_silence_means_nothing_and_runs_still_do() {
    let mut host = nightly();
    host.is_held = true;
    assert_eq!(host.step(Input::Look, "2027-01-04T12:00:00", "2027-01-01T12:00:00"), NOTHING);
    assert_eq!(host.look("2027-01-04T12:00:00"), NOTHING);
    let came = ended(run(1, "2027-01-02T02:00:00"), "2027-01-02T02:30:00", Ending::Good);
    assert_eq!(host.sees(came, "2027-01-04T12:00:01"), ["02T02:00: pending to ok"]);
    assert!(
        host.step.wake.watermark < Some(moment("2027-01-04T12:00:00")),
        "it is to be looked at when that is over"
    );
    host.is_held = false;
    let missed = ["03T02:00: pending to missed (not_started)", "04T02:00: pending to missed (not_started)"];
    assert_eq!(host.look("2027-01-04T12:00:02"), missed);
}

#[test]
fn laptops_that_slept_are_excused_and_those_that_were_awake_are_not() {
    let mut host = Host::new(&format!("{NIGHTLY}\noffline_policy = \"ignore\""), "2027-01-01T12:00:00");
    let asleep = "2027-01-02T01:00:00";
    assert_eq!(host.step(Input::Look, "2027-01-02T02:07:00", asleep), ["02T02:00: pending to unreachable"]);
    assert_eq!(host.step.wake.clock, Some(moment("2027-01-03T02:00:00")), "never missed for being away");
    assert_eq!(host.look("2027-01-02T08:00:00"), ["02T02:00: unreachable to excused"]);
    assert_eq!(host.look("2027-01-03T02:05:00"), ["03T02:00: pending to missed (never_ran)"]);
}

#[test]
fn a_run_that_goes_on_is_overdue_and_then_has_failed_and_pauses_do_not_count() {
    let keys = format!("{NIGHTLY}\nmax_runtime = \"1h\"\nhard_runtime = \"2h\"");
    let mut host = Host::new(&keys, "2027-01-01T12:00:00");
    let start = run(1, "2027-01-02T02:00:00");
    host.sees(start, "2027-01-02T02:00:01");
    assert_eq!(host.step.wake.watermark, Some(moment("2027-01-02T03:00:00")));
    let paused = RunSeen { is_paused: true, ..start };
    host.sees(paused, "2027-01-02T02:30:00");
    assert_eq!(host.look("2027-01-02T05:00:00"), NOTHING);
    let resumed = RunSeen { paused: Duration::from_mins(150), ..start };
    assert_eq!(host.sees(resumed, "2027-01-02T05:00:00"), NOTHING);
    assert_eq!(host.look("2027-01-02T05:30:00"), ["02T02:00: overdue"]);
    assert_eq!(host.look("2027-01-02T05:31:00"), NOTHING);
    assert_eq!(host.look("2027-01-02T06:30:00"), ["02T02:00: pending to failed (overdue)"]);
    let done = ended(resumed, "2027-01-02T07:00:00", Ending::Good);
    assert_eq!(host.sees(done, "2027-01-02T07:00:00"), ["02T02:00: failed to ok"]);
}

#[test]
fn a_run_that_was_cut_short_has_failed_until_its_own_end_is_known() {
    let mut host = nightly();
    let aborted = ended(run(1, "2027-01-02T02:00:00"), "2027-01-02T02:30:00", Ending::Aborted);
    assert_eq!(host.sees(aborted, "2027-01-02T02:30:00"), ["02T02:00: pending to failed (aborted)"]);
    let withdrawn = run(1, "2027-01-02T02:00:00");
    assert_eq!(host.sees(withdrawn, "2027-01-02T02:30:01"), ["02T02:00: failed to pending"]);
}

#[test]
fn runs_that_are_too_short_or_too_soon_are_named() {
    let keys = format!("{NIGHTLY}\nmin_runtime = \"1m\"\nmin_gap = \"6h\"");
    let mut host = Host::new(&keys, "2027-01-01T12:00:00");
    let short = ended(run(1, "2027-01-02T02:00:00"), "2027-01-02T02:00:59", Ending::Good);
    assert_eq!(
        host.sees(short, "2027-01-02T02:01:00"),
        ["02T02:00: too short: 59s", "02T02:00: pending to ok"]
    );
    assert_eq!(host.sees(short, "2027-01-02T02:01:01"), NOTHING);
    let soon = run(2, "2027-01-02T07:59:00");
    assert_eq!(host.sees(soon, "2027-01-02T07:59:00"), ["too soon: 21540s"]);
    assert_eq!(host.sees(ended(soon, "2027-01-02T08:00:00", Ending::Good), "2027-01-02T08:00:00"), NOTHING);
}

#[test]
fn a_job_may_try_again_until_it_succeeds() {
    let keys = format!("{NIGHTLY}\nsuccess_within = \"3h\"");
    let mut host = Host::new(&keys, "2027-01-01T12:00:00");
    let failed = ended(run(1, "2027-01-02T02:00:00"), "2027-01-02T02:30:00", Ending::Failed);
    assert_eq!(host.sees(failed, "2027-01-02T02:30:00"), NOTHING);
    let good = ended(run(2, "2027-01-02T04:00:00"), "2027-01-02T05:00:00", Ending::Good);
    assert_eq!(host.sees(good, "2027-01-02T05:00:00"), ["02T02:00: pending to ok"]);
    let failed = ended(run(3, "2027-01-03T02:00:00"), "2027-01-03T02:30:00", Ending::Failed);
    host.sees(failed, "2027-01-03T02:30:00");
    assert_eq!(host.look("2027-01-03T05:00:00"), ["03T02:00: pending to failed (no_success)"]);
    let good = ended(run(4, "2027-01-03T04:00:00"), "2027-01-03T05:00:01", Ending::Good);
    assert_eq!(host.sees(good, "2027-01-03T05:00:01"), ["03T02:00: failed to late"]);
}

#[test]
fn a_task_that_reports_its_end_has_the_time_that_it_may_take() {
    let keys = format!("{NIGHTLY}\nmatch_by = \"end\"\nmax_runtime = \"1h\"");
    let mut host = Host::new(&keys, "2027-01-01T12:00:00");
    assert_eq!(host.look("2027-01-02T03:04:59"), NOTHING);
    let done = ended(run(1, "2027-01-02T03:05:00"), "2027-01-02T03:05:00", Ending::Good);
    assert_eq!(host.sees(done, "2027-01-02T03:05:00"), ["02T02:00: pending to ok"]);
    assert_eq!(host.look("2027-01-03T03:05:00"), ["03T02:00: pending to missed (not_started)"]);
}

#[test]
fn an_interval_begins_anew_with_every_start() {
    let mut host = Host::new("schedule = \"every 6h\"", "2027-01-01T12:00:00");
    let done = |id, start: &str, end: &str| ended(run(id, start), end, Ending::Good);
    let soon = done(1, "2027-01-01T13:00:00", "2027-01-01T13:10:00");
    assert_eq!(host.sees(soon, "2027-01-01T13:10:00"), ["01T18:00: pending to ok"]);
    assert_eq!(host.step.wake.clock, Some(moment("2027-01-01T19:00:00")));
    host.look("2027-01-01T19:00:00");
    assert_eq!(host.look("2027-01-01T19:05:00"), ["01T19:00: pending to missed (not_started)"]);
    assert_eq!(host.step.wake.clock, Some(moment("2027-01-02T01:00:00")), "each miss is counted");
    let late = done(2, "2027-01-01T20:00:00", "2027-01-01T20:10:00");
    assert_eq!(host.sees(late, "2027-01-01T20:10:00"), ["01T19:00: missed to late"]);
    assert_eq!(host.step.wake.clock, Some(moment("2027-01-02T02:00:00")));
}

#[test]
fn an_interval_that_was_silent_is_counted_from_the_runs_that_came_to_light() {
    let mut host = Host::new("schedule = \"every 6h\"", "2027-01-01T12:00:00");
    let gone = "2027-01-01T12:00:00";
    host.step(Input::Look, "2027-01-02T06:10:00", gone);
    assert_eq!(host.states(), "01T18:00 unreachable, 02T00:00 unreachable, 02T06:00 unreachable");
    let came = ended(run(1, "2027-01-01T18:02:00"), "2027-01-01T18:10:00", Ending::Good);
    assert_eq!(
        host.sees_at(came, "2027-01-02T06:11:00", gone),
        [
            "01T18:00: unreachable to ok",
            "02T00:02: pending to unreachable",
            "02T06:02: pending to unreachable"
        ]
    );
    assert_eq!(host.states(), "01T18:00 ok, 02T00:02 unreachable, 02T06:02 unreachable");
}

#[test]
fn later_slots_of_an_interval_that_were_called_missed_stay_when_an_earlier_one_is_filled() {
    let mut host = Host::new("schedule = \"every 6h\"\noffline_max = \"1h\"", "2027-01-01T12:00:00");
    let gone = "2027-01-01T12:00:00";
    host.step(Input::Look, "2027-01-02T02:00:00", gone);
    assert_eq!(host.states(), "01T18:00 missed, 02T00:00 missed");
    let came = ended(run(1, "2027-01-01T18:02:00"), "2027-01-01T18:10:00", Ending::Good);
    let said = host.sees_at(came, "2027-01-02T02:01:00", gone);
    assert_eq!(said, ["01T18:00: missed to ok, reported late"]);
    assert_eq!(host.states(), "01T18:00 ok, 02T00:00 missed");
    assert_eq!(host.step.wake.clock, Some(moment("2027-01-02T06:00:00")));
}

#[test]
fn nobody_is_excused_before_it_is_known_that_no_run_came() {
    let mut host = Host::new("schedule = \"every 6h\"", "2027-01-01T12:00:00");
    host.off = vec![Window { from: moment("2027-01-01T23:00:00"), until: moment("2027-01-02T03:00:00") }];
    let gone = "2027-01-01T12:00:00";
    host.step(Input::Look, "2027-01-02T01:00:00", gone);
    assert_eq!(host.states(), "01T18:00 unreachable, 02T00:00 unreachable");
    let came = |id, at: &str| ended(run(id, at), at, Ending::Good);
    host.sees_at(came(1, "2027-01-01T18:02:00"), "2027-01-02T01:01:00", gone);
    host.sees_at(came(2, "2027-01-01T21:00:00"), "2027-01-02T01:02:00", gone);
    assert_eq!(host.states(), "01T18:00 ok, 02T00:02 ok", "by hand, and counted from");
    assert_eq!(host.step.wake.clock, Some(moment("2027-01-02T03:00:00")));

    let mut host = nightly();
    host.off = vec![Window { from: moment("2027-01-02T01:00:00"), until: moment("2027-01-02T03:00:00") }];
    let gone = "2027-01-02T01:00:00";
    assert_eq!(host.step(Input::Look, "2027-01-02T02:07:00", gone), ["02T02:00: pending to unreachable"]);
    assert_eq!(host.look("2027-01-02T03:00:00"), ["02T02:00: unreachable to excused"]);
}

#[test]
fn what_ends_is_expected_no_more() {
    let mut host = nightly();
    host.step(Input::Look, "2027-01-02T02:07:00", "2027-01-02T01:00:00");
    let closed = host.step(Input::Close, "2027-01-02T02:08:00", "2027-01-02T01:00:00");
    assert_eq!(closed, ["02T02:00: unreachable to excused"]);
    assert_eq!(host.step.wake, Wake::default());
    assert_eq!(host.look("2027-02-02T02:08:00"), NOTHING);

    let keys = format!("{NIGHTLY}\nfrom = \"2027-01-02T03:00:00Z\"\nuntil = \"2027-01-04T02:00:00Z\"");
    let mut host = Host::new(&keys, "2027-01-01T12:00:00");
    host.look("2027-02-01T12:00:00");
    assert_eq!(host.states(), "03T02:00 missed");
}

#[test]
fn after_a_long_time_slots_are_opened_a_number_at_a_time() {
    let mut host = Host::new("schedule = \"* * * * *\"", "2027-01-01T12:00:00");
    host.look("2027-01-02T12:00:00");
    assert_eq!(host.step.wake.clock, Some(moment("2027-01-02T12:00:00")), "there are more");
    assert_eq!(host.rows.len(), SLOTS_PER_STEP_MAX);
    host.look("2027-01-02T12:00:00");
    assert_eq!((host.rows.len(), host.step.wake.clock), (1441, Some(moment("2027-01-02T12:01:00"))));
}
