//! What schedules mean, against walkers that go through every minute as cron's own loop does.

use jiff::Timestamp as Instant;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Half hours, three quarters, two hours, changes at midnight, in Ramadan, in both halves of the year, and none.
const ZONES: [&str; 18] = [
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "America/Santiago",
    "America/Nuuk",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Jerusalem",
    "Asia/Kolkata",
    "Antarctica/Troll",
    "Australia/Lord_Howe",
    "Australia/Adelaide",
    "Pacific/Chatham",
    "UTC",
];

/// Single values, lists and ranges at fixed times; stars and steps in either field; both rules for days.
const CRONS: [&str; 16] = [
    "30 2 * * *",
    "0 0 * * *",
    "15 0 * * *",
    "0 3 * * *",
    "30 2,14 * * *",
    "0,15,30,45 0-3 * * *",
    "10-20 1-2 * * *",
    "5-55/10 1-3/2 * * *",
    "59 23 * * *",
    "*/20 * * * *",
    "30 * * * *",
    "* 2 * * *",
    "*/15 0 * * *",
    "0 */2 * * *",
    "30 2 29 3 sun",
    "30 1-3 */2 * sat-sun",
];

fn zones() -> TimeZoneDatabase {
    TimeZoneDatabase::bundled()
}

fn named(name: &str) -> TimeZone {
    zone(name, &zones()).unwrap()
}

fn schedule(text: &str) -> Schedule {
    Schedule::parse(text, &zones()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn timetable(text: &str, zone: &str, dst: Option<Dst>) -> Timetable {
    Timetable::new(&[schedule(text)], &named(zone), dst)
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next few moments, in UTC to the minute.
fn next(timetable: &Timetable, after: &str, count: usize) -> Vec<String> {
    let mut at = moment(after);
    let mut found = Vec::new();
    while found.len() < count
        && let Some(next) = timetable.next_after(at)
    {
        found.push(next.to_string()[..16].to_owned());
        at = next;
    }
    found
}

fn refusal(text: &str) -> String {
    match Schedule::parse(text, &zones()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{text} was accepted"),
    }
}

/// Cron's fields, read and compared as simply as can be.
struct NaiveCron {
    /// For each field and each number whether it is meant.
    fields: Vec<Vec<bool>>,
    has_star: Vec<bool>,
}

impl NaiveCron {
    fn new(text: &str) -> NaiveCron {
        let text = text.replace("sat-sun", "6-7").replace("sun", "0");
        let fields: Vec<&str> = text.split(' ').collect();
        let ends = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
        let is_meant = |(field, ends): (&&str, (i64, i64))| {
            (0..60).map(|value| NaiveCron::field(field, value, ends)).collect()
        };
        NaiveCron {
            fields: fields.iter().zip(ends).map(is_meant).collect(),
            has_star: fields.iter().map(|field| field.starts_with('*')).collect(),
        }
    }

    fn is_wild(&self) -> bool {
        self.has_star[0] || self.has_star[1]
    }

    fn field(field: &str, value: i64, (least, most): (i64, i64)) -> bool {
        field.split(',').any(|member| {
            let (range, step) = member.split_once('/').unwrap_or((member, "1"));
            let (from, to) = match range.split_once('-') {
                Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
                None if range == "*" => (least, most),
                None => (range.parse().unwrap(), range.parse().unwrap()),
            };
            let step: i64 = step.parse().unwrap();
            (from..=to).any(|number| number == value && (number - from) % step == 0)
        })
    }

    /// `minute` counts the minutes of local time since 1970.
    fn matches(&self, minute: i64) -> bool {
        let (of_day, of_hour) = (minute.rem_euclid(1440), minute.rem_euclid(60));
        if !self.fields[0][of_hour as usize] || !self.fields[1][of_day as usize / 60] {
            return false;
        }
        let at = Instant::from_second(minute * 60).unwrap().to_zoned(TimeZone::UTC).datetime();
        let weekday = at.weekday().to_sunday_zero_offset() as usize;
        let day = self.fields[2][at.day() as usize];
        let weekday = self.fields[4][weekday] || (weekday == 0 && self.fields[4][7]);
        let both = self.has_star[2] || self.has_star[4];
        self.fields[3][at.month() as usize] && if both { day && weekday } else { day || weekday }
    }
}

/// Minutes of UTC since 1970, and what the clock on the wall shows then, in the same unit.
fn walk(zone: &TimeZone, from: i64, to: i64) -> impl Iterator<Item = (i64, i64)> {
    (from..to).map(|minute| {
        let offset = zone.to_offset(Instant::from_second(minute * 60).unwrap());
        (minute, minute + i64::from(offset.seconds()).div_euclid(60))
    })
}

/// The main loop of Vixie's cron: a virtual time that follows the clock, and what is done when they differ.
fn walk_as_vixie(cron: &NaiveCron, zone: &TimeZone, from: i64, to: i64) -> Vec<i64> {
    let mut runs = Vec::new();
    let mut virtual_time = walk(zone, from - 1, from).next().unwrap().1;
    for (minute, clock) in walk(zone, from, to) {
        let ahead = clock - virtual_time;
        let (wild, fixed) = (cron.is_wild(), !cron.is_wild());
        let is_due = match ahead {
            1 => cron.matches(clock),
            2..=180 => {
                (wild && cron.matches(clock))
                    || (fixed && (virtual_time + 1..=clock).any(|then| cron.matches(then)))
            }
            -179..=0 => wild && cron.matches(clock),
            _ => cron.matches(clock),
        };
        if !(-179..=0).contains(&ahead) {
            virtual_time = clock;
        }
        if is_due {
            runs.push(minute);
        }
    }
    runs
}

fn walk_as_posix(cron: &NaiveCron, zone: &TimeZone, from: i64, to: i64) -> Vec<i64> {
    walk(zone, from, to).filter(|(_, clock)| cron.matches(*clock)).map(|(minute, _)| minute).collect()
}

/// What was shown before is not shown again.
fn walk_as_systemd(cron: &NaiveCron, zone: &TimeZone, from: i64, to: i64) -> Vec<i64> {
    let mut latest = i64::MIN;
    let mut runs = Vec::new();
    for (minute, clock) in walk(zone, from - 24 * 60, to) {
        if clock > latest && cron.matches(clock) && minute >= from {
            runs.push(minute);
        }
        latest = latest.max(clock);
    }
    runs
}

fn minutes(timetable: &Timetable, from: i64, to: i64) -> Vec<i64> {
    let mut at = Timestamp::from_micros((from * 60 - 1) * 1_000_000);
    let mut found = Vec::new();
    while let Some(next) = timetable.next_after(at) {
        let second = next.as_micros() / 1_000_000;
        assert_eq!(second % 60, 0, "{next}");
        if second / 60 >= to {
            break;
        }
        found.push(second / 60);
        at = next;
    }
    found
}

/// Two days before and after each change of a zone's clocks in these years, in minutes.
fn around_changes(zone: &TimeZone, years: std::ops::Range<i16>) -> Vec<(i64, i64)> {
    let at = |year: i16| date(year, 1, 1).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
    let (begin, end) = (at(years.start), at(years.end));
    let changes = zone.following(begin).map(|change| change.timestamp()).take_while(|change| *change < end);
    let mut spans: Vec<(i64, i64)> = changes
        .map(|change| change.as_second().div_euclid(60))
        .map(|minute| (minute - 2 * 1440, minute + 2 * 1440))
        .collect();
    if spans.is_empty() {
        let minute = begin.as_second() / 60;
        spans.push((minute, minute + 4 * 1440));
    }
    spans
}

fn compare(zone_name: &str, years: std::ops::Range<i16>) {
    let zone = named(zone_name);
    for (from, to) in around_changes(&zone, years) {
        for text in CRONS {
            let cron = NaiveCron::new(text);
            for (dst, expected) in [
                (Dst::Vixie, walk_as_vixie(&cron, &zone, from, to)),
                (Dst::Posix, walk_as_posix(&cron, &zone, from, to)),
                (Dst::Systemd, walk_as_systemd(&cron, &zone, from, to)),
            ] {
                let found = minutes(&timetable(text, zone_name, Some(dst)), from, to);
                assert_eq!(found, expected, "{text} in {zone_name}, {dst:?}, from minute {from}");
            }
        }
    }
}

#[test]
fn every_change_of_a_year_is_as_a_walker_through_its_minutes_finds_it() {
    for zone in ZONES {
        compare(zone, 2024..2025);
    }
}

#[test]
fn a_change_of_a_whole_day_is_a_new_time_and_not_corrected() {
    compare("Pacific/Apia", 2011..2012);
    compare("America/Caracas", 2016..2017);
    compare("Asia/Pyongyang", 2018..2019);
}

#[test]
fn a_fixed_time_that_is_skipped_is_due_right_after_the_change_once() {
    let table = timetable("0,30 2 * * *", "Europe/Berlin", None);
    assert_eq!(
        next(&table, "2026-03-28T12:00:00Z", 3),
        ["2026-03-29T01:00", "2026-03-30T00:00", "2026-03-30T00:30"]
    );
    let midnight = timetable("@daily", "America/Havana", None);
    assert_eq!(next(&midnight, "2024-03-09T12:00:00Z", 2), ["2024-03-10T05:00", "2024-03-11T04:00"]);
    let half_an_hour = timetable("15 2 * * *", "Australia/Lord_Howe", None);
    assert_eq!(next(&half_an_hour, "2026-10-03T12:00:00Z", 2), ["2026-10-03T15:30", "2026-10-04T15:15"]);
}

#[test]
fn a_fixed_time_that_is_repeated_is_due_once_and_a_star_twice() {
    let fixed = timetable("30 2,14 * * *", "Europe/Berlin", None);
    assert_eq!(next(&fixed, "2026-10-24T22:00:00Z", 2), ["2026-10-25T00:30", "2026-10-25T13:30"]);
    let wild = timetable("30 * * * *", "Europe/Berlin", None);
    assert_eq!(
        next(&wild, "2026-10-25T00:00:00Z", 3),
        ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"]
    );
}

/// From `systemd-analyze calendar --iterations` of 252.
#[test]
fn calendar_events_are_as_systemd_elapses() {
    let berlin = |text| timetable(text, "Europe/Berlin", None);
    let spring = "2026-03-28T23:00:00Z";
    assert_eq!(next(&berlin("*-*-* 02:30:00"), spring, 2), ["2026-03-30T00:30", "2026-03-31T00:30"]);
    assert_eq!(
        next(&berlin("*:30"), spring, 3),
        ["2026-03-28T23:30", "2026-03-29T00:30", "2026-03-29T01:30"]
    );
    let autumn = "2026-10-24T21:00:00Z";
    assert_eq!(
        next(&berlin("*:30"), autumn, 5),
        ["2026-10-24T21:30", "2026-10-24T22:30", "2026-10-24T23:30", "2026-10-25T00:30", "2026-10-25T02:30"]
    );
    let havana = timetable("OnCalendar=daily", "America/Havana", None);
    assert_eq!(next(&havana, "2024-03-09T17:00:00Z", 1), ["2024-03-11T04:00"]);
    assert_eq!(next(&havana, "2024-11-02T17:00:00Z", 2), ["2024-11-03T04:00", "2024-11-04T05:00"]);
    let lord_howe = timetable("02:15", "Australia/Lord_Howe", None);
    assert_eq!(next(&lord_howe, "2026-10-03T12:00:00Z", 1), ["2026-10-04T15:15"]);
}

#[test]
fn calendar_events_mean_what_systemd_says_they_mean() {
    let first = |text: &str| next(&timetable(text, "UTC", None), "2026-01-01T00:00:00Z", 1).join("");
    for (text, expected) in [
        ("*-02~03", "2026-02-26T00:00"),
        ("*-*~07/1", "2026-01-25T00:00"),
        ("*-*~1..3", "2026-01-29T00:00"),
        ("*-*~28", "2026-01-04T00:00"),
        ("*-*~7..12/4", "2026-01-21T00:00"),
        ("*-*~10/3", "2026-01-22T00:00"),
        ("*-02~2/1", "2026-02-27T00:00"),
        ("1/11-2", "2026-01-02T00:00"),
        ("*:0..30/40", "2026-01-01T01:00"),
        ("Mon..Fri", "2026-01-02T00:00"),
        ("Mon-Fri", "2026-01-02T00:00"),
        ("Sat..Sun 10:00", "2026-01-03T10:00"),
        ("hourly Europe/Berlin", "2026-01-01T01:00"),
        ("*-*-31 10:00", "2026-01-31T10:00"),
        ("0/6:00", "2026-01-01T06:00"),
        ("1..10/3:00", "2026-01-01T01:00"),
        ("5,3:00", "2026-01-01T03:00"),
        ("Fri *-*-13", "2026-02-13T00:00"),
        ("*-*-* 10:00 CET", "2026-01-01T09:00"),
        ("OnCalendar=quarterly", "2026-04-01T00:00"),
        ("OnCalendar=semiannually", "2026-07-01T00:00"),
        ("OnCalendar=weekly", "2026-01-05T00:00"),
        ("friday,sun 23:59:00", "2026-01-02T23:59"),
        ("27-1-31 02:30", "2027-01-31T02:30"),
        ("2026/4-01-02", "2026-01-02T00:00"),
    ] {
        assert_eq!(first(text), expected, "{text}");
    }
    assert_eq!(first("2012-10-15"), "", "what is over never comes again");
    let seconds = timetable("12:05:10,20", "UTC", None);
    let at = seconds.next_after(moment("2026-01-01T12:05:10Z")).unwrap();
    assert_eq!(at.to_string(), "2026-01-01T12:05:20.000000Z");
}

#[test]
fn days_of_cron_are_either_unless_one_begins_with_a_star() {
    let first = |text: &str, count| next(&timetable(text, "UTC", None), "2026-01-01T12:00:00Z", count);
    assert_eq!(first("0 0 13 * fri", 3), ["2026-01-02T00:00", "2026-01-09T00:00", "2026-01-13T00:00"]);
    assert_eq!(first("0 0 */2 * mon", 2), ["2026-01-05T00:00", "2026-01-19T00:00"], "both must hold");
    assert_eq!(first("0 0 1,3 * */2", 2), ["2026-01-03T00:00", "2026-02-01T00:00"]);
    for sunday in ["0 0 * * 0", "0 0 * * 7", "0 0 * * SUN", "@weekly"] {
        assert_eq!(first(sunday, 2), ["2026-01-04T00:00", "2026-01-11T00:00"], "{sunday}");
    }
    assert_eq!(first("*/90 3 * * *", 2), ["2026-01-02T03:00", "2026-01-03T03:00"], "as lenient as cron");
}

#[test]
fn leap_days_come_when_they_come() {
    let leap = timetable("0 0 29 2 *", "UTC", None);
    assert_eq!(next(&leap, "2026-01-01T00:00:00Z", 2), ["2028-02-29T00:00", "2032-02-29T00:00"]);
    assert_eq!(next(&leap, "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00"], "1900 and 2100 have none");
    let sunday = timetable("Sun *-02-29", "UTC", None);
    assert_eq!(next(&sunday, "2072-01-01T00:00:00Z", 1), [next_leap_sunday(2072)]);
    let last = timetable("*-02~01", "UTC", None);
    assert_eq!(next(&last, "2027-01-01T00:00:00Z", 2), ["2027-02-28T00:00", "2028-02-29T00:00"]);
}

/// The first Sunday that is a leap day from this year on.
fn next_leap_sunday(year: i16) -> String {
    let leap = |year| jiff::civil::Date::new(year, 2, 29).ok();
    let days = (year..year + 41).filter_map(leap);
    let first = days.into_iter().find(|day| day.weekday() == jiff::civil::Weekday::Sunday).unwrap();
    format!("{first}T00:00")
}

#[test]
fn a_period_begins_once_whatever_the_clock_does_and_hours_are_counted_as_they_pass() {
    let havana = timetable("daily", "America/Havana", None);
    assert_eq!(next(&havana, "2024-03-09T12:00:00Z", 2), ["2024-03-10T05:00", "2024-03-11T04:00"]);
    assert_eq!(next(&havana, "2024-11-02T12:00:00Z", 2), ["2024-11-03T04:00", "2024-11-04T05:00"]);
    let apia = timetable("daily", "Pacific/Apia", None);
    assert_eq!(next(&apia, "2011-12-29T12:00:00Z", 2), ["2011-12-30T10:00", "2011-12-31T10:00"]);
    let hours = timetable("hourly", "Europe/Berlin", None);
    assert_eq!(next(&hours, "2026-10-25T00:00:00Z", 2), ["2026-10-25T01:00", "2026-10-25T02:00"]);
    assert_eq!(next(&hours, "2026-03-29T00:00:00Z", 2), ["2026-03-29T01:00", "2026-03-29T02:00"]);
    let lord_howe = timetable("hourly", "Australia/Lord_Howe", None);
    assert_eq!(next(&lord_howe, "2026-10-03T15:00:00Z", 2), ["2026-10-03T15:30", "2026-10-03T16:00"]);
    for (word, expected) in [
        ("weekly", "2026-01-05T00:00"),
        ("monthly", "2026-02-01T00:00"),
        ("quarterly", "2026-04-01T00:00"),
        ("yearly", "2027-01-01T00:00"),
    ] {
        assert_eq!(next(&timetable(word, "UTC", None), "2026-01-01T00:00:00Z", 1), [expected], "{word}");
    }
}

#[test]
fn several_lines_are_due_when_one_of_them_is() {
    let lines = ["30 2 * * mon-fri", "0 6 * * sat,sun", "Sat 06:00 UTC"].map(schedule);
    let table = Timetable::new(&lines, &TimeZone::UTC, None);
    assert_eq!(
        next(&table, "2026-01-02T00:00:00Z", 4),
        ["2026-01-02T02:30", "2026-01-03T06:00", "2026-01-04T06:00", "2026-01-05T02:30"]
    );
    assert_eq!(
        Timetable::new(&[schedule("every 6h")], &TimeZone::UTC, None).next_after(Timestamp::EPOCH),
        None
    );
    assert_eq!(schedule("every 6h").every(), Some(Duration::from_hours(6)));
    assert_eq!(schedule("daily").period(), Some(Period::Day));
    assert_eq!(schedule("@daily").period(), None);
}

#[test]
fn what_can_never_be_is_refused_with_its_field_and_an_example() {
    for (text, field, says) in [
        ("", "schedule", "30 2 * * *"),
        ("30 2 30 2 *", "day", "never comes"),
        ("0 0 31 4,6,9,11 *", "day", "never comes"),
        ("2027-02-30", "day", "never comes"),
        ("Mon 2024-01-02", "day", "never comes"),
        ("0 30 2 * * *", "schedule", "has 6 fields; cron has five"),
        ("30 2 * * * /usr/local/bin/backup.sh", "schedule", "nor a command"),
        ("30 2 * *", "schedule", "has 4 fields"),
        ("30", "schedule", "has 1 fields"),
        ("60 2 * * *", "minute", "not within 0 to 59, such as `30 2 * * *`"),
        ("30 24 * * *", "hour", "not within 0 to 23"),
        ("30 2 0 * *", "day", "not within 1 to 31"),
        ("30 2 * 13 *", "month", "not within 1 to 12"),
        ("30 2 * foo *", "month", "none of cron's numbers and words"),
        ("30 2 * * 8", "weekday", "not within 0 to 7"),
        ("30 2 L * *", "day", "no ?, L, W, #, ~"),
        ("0~30 2 * * *", "minute", "~"),
        ("30 2 ? * *", "day", "?"),
        ("30 22-2 * * *", "hour", "ends before it begins"),
        ("5/15 * * * *", "minute", "write 5-59/n"),
        ("*/0 * * * *", "minute", "step"),
        ("*/ * * * *", "minute", "step"),
        ("1,,2 * * * *", "minute", "none of"),
        ("-5 * * * *", "minute", "none of"),
        ("+5 * * * *", "minute", "none of"),
        ("99999999999 * * * *", "minute", "not within"),
        ("@reboot", "schedule", "no time"),
        ("@fortnightly", "schedule", "@weekly"),
        ("every 30s", "schedule", "every 6h"),
        ("every day", "schedule", "every 6h"),
        ("every 6", "schedule", "every 6h"),
        ("*-*-*/2", "day", "write 1/n"),
        ("*:*/15", "minute", "write 0/n"),
        ("Sat..Mon..Tue 10:00", "weekday", "no weekday"),
        ("Sun..Mon", "weekday", "ends before it begins"),
        ("*-*-* 24:00", "hour", "not within 0 to 23"),
        ("10..5:00", "hour", "ends before it begins"),
        ("8-18/2:00", "hour", "not a whole number"),
        ("*-13-01", "month", "not within 1 to 12"),
        ("*:60", "minute", "not within"),
        ("0:0/70", "minute", "step"),
        ("*:1/59", "minute", "step beyond"),
        ("12/1-1", "month", "step beyond"),
        ("*-*~1/4", "day", "step beyond"),
        ("*-*~29", "day", "not within 1 to 28"),
        ("*-*~3..1", "day", "ends before it begins"),
        ("*:0/0", "minute", "step that is no number"),
        ("02:30:15.5", "second", "not a whole number"),
        ("1:2:3:4", "schedule", "not a time"),
        ("1-2-3-4 10:00", "schedule", "not a date"),
        ("*-*-* 10:00 Europe/Berln", "zone", "`Europe/Berln` is not known"),
        ("*-*-* 10:00 11:00", "schedule", "not expected"),
        ("soon", "weekday", "no weekday"),
        ("10:", "minute", "not a whole number"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.starts_with(field) && refusal.contains(says), "{text}: {refusal}");
    }
    assert!(refusal(&"1,".repeat(200)).contains("at most 256"));
    assert!(zone("Mars/Olympus", &zones()).unwrap_err().to_string().contains("Europe/Berlin"));
}

fn cron_text() -> impl Strategy<Value = String> {
    let field = |least: u32, most: u32| {
        let number = move || least..=most;
        prop_oneof![
            2 => Just("*".to_owned()),
            1 => (1u32..9).prop_map(|step| format!("*/{step}")),
            2 => number().prop_map(|n| n.to_string()),
            2 => (number(), number()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            1 => (number(), number(), 1u32..9).prop_map(|(a, b, s)| format!("{}-{}/{s}", a.min(b), a.max(b))),
            1 => (number(), number()).prop_map(|(a, b)| format!("{a},{b}")),
        ]
    };
    (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7))
        .prop_map(|(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}"))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[0-9a-z*/:.,~@ -]{0,40}|.{0,40}") {
        let _ = Schedule::parse(&text, &zones());
    }

    #[test]
    fn any_cron_is_as_the_walkers_find_it(
        text in cron_text(),
        name in select(ZONES.to_vec()),
        day in 0i64..365,
        dst in select(vec![Dst::Vixie, Dst::Posix, Dst::Systemd]),
    ) {
        let Ok(line) = Schedule::parse(&text, &zones()) else { return Ok(()) };
        let (cron, zone) = (NaiveCron::new(&text), named(name));
        // From 2024 on.
        let from = 28_401_120 + day * 1440;
        let to = from + 1440;
        // A day before as well: cron's own loop decides by what it has seen.
        let walk_all = match dst {
            Dst::Vixie => walk_as_vixie,
            Dst::Posix => walk_as_posix,
            Dst::Systemd => walk_as_systemd,
        };
        let mut expected = walk_all(&cron, &zone, from - 1440, to);
        expected.retain(|minute| *minute >= from);
        prop_assert_eq!(minutes(&Timetable::new(&[line], &zone, Some(dst)), from, to), expected);
    }

    #[test]
    fn the_last_moment_until_one_is_the_one_whose_next_is_later(
        text in prop_oneof![cron_text(), select(vec!["daily", "*-02~01", "*:0/10:0/20", "Mon 10:00"]).prop_map(str::to_owned)],
        name in select(ZONES.to_vec()),
        second in 1_760_000_000i64..1_800_000_000,
    ) {
        let Ok(line) = Schedule::parse(&text, &zones()) else { return Ok(()) };
        let table = Timetable::new(&[line], &named(name), None);
        let until = Timestamp::from_micros(second * 1_000_000 + 500_000);
        match table.last_until(until) {
            Some(last) => {
                prop_assert!(last <= until);
                prop_assert!(table.next_after(last).is_none_or(|next| next > until));
                prop_assert_eq!(table.next_after(last.plus_micros(-1_000_000)), Some(last));
            }
            None => prop_assert!(table.next_after(until).is_some()),
        }
    }
}

#[test]
fn at_the_ends_of_time_nothing_panics() {
    for text in ["* * * * *", "30 2 * * *", "daily", "*-*~01"] {
        let table = timetable(text, "Europe/Berlin", None);
        for micros in [i64::MIN, -1, 0, i64::MAX] {
            let at = Timestamp::from_micros(micros);
            let _ = (table.next_after(at), table.last_until(at));
        }
    }
    let before = timetable("* * * * *", "UTC", None).next_after(Timestamp::from_micros(-1));
    assert_eq!(before, Some(Timestamp::EPOCH));
}
