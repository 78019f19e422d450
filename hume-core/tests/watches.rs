//! Two years of a watch in seconds, with outages, restarts and late deliveries, against a judge who sees all of it at the end.
//!
//! The course sees what a master sees, when it sees it. The judge knows what truly happened and how far the watermark was
//! at each time, and judges each expected instant on its own, without any state. They must agree on every slot, and no slot
//! is ever called missed whose run had truly come. `HUME_TEST_SEED` repeats one history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hume_core::Timestamp;
use hume_core::course::{Course, Finding, Input, Rules, Wake};
use hume_core::name::{RunId, WatchName};
use hume_core::slot::{Circumstances, Ending, Failure, Miss, RunSeen, Slot, SlotState, Window};
use hume_core::watch::{Declared, MatchBy, OfflinePolicy, Plan, Terms, Watch};
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// 2024-01-01T00:00:00Z
const BEGIN: i64 = 1_704_067_200;
const END: i64 = BEGIN + 2 * 366 * 86_400;
const HEARTBEAT: i64 = 30;
const DOWN_AFTER: i64 = 120;
const RECONNECT_GRACE: i64 = 60;

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn second(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(1_000_000)
}

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn within(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from).max(1) as u64) as i64
    }

    fn percent(&mut self, share: u64) -> bool {
        self.next() % 100 < share
    }

    /// So many spans of time, most of them short, in order and apart from each other.
    fn spans(&mut self, count: i64, short: i64, long: i64) -> Vec<(i64, i64)> {
        let part = (END - BEGIN) / count;
        let mut spans = Vec::new();
        for place in 0..count {
            let long = if self.percent(70) { short + (long - short) / 20 } else { long };
            let length = self.within(short, long);
            let from = BEGIN + place * part + self.within(3600, (part - length).max(3601));
            spans.push((from, from + length));
        }
        spans
    }
}

type Spans = [(i64, i64)];

/// The end of the span that this second lies in.
fn end_of(spans: &Spans, second: i64) -> Option<i64> {
    let place = spans.partition_point(|(from, _)| *from <= second);
    let (_, until) = *spans.get(place.checked_sub(1)?)?;
    (second < until).then_some(until)
}

fn is_in(spans: &Spans, second: i64) -> bool {
    end_of(spans, second).is_some()
}

/// The first second from `second` on that lies in none of these.
fn first_outside(all: &[&Spans], mut second: i64) -> i64 {
    while let Some(end) = all.iter().find_map(|spans| end_of(spans, second)) {
        second = end;
    }
    second
}

/// What happened to the world in two years, whoever saw it.
struct World {
    runs: Vec<RunSeen>,
    /// When the master came to know what: in order.
    deliveries: Vec<(i64, RunSeen)>,
    /// From when on the watermark was what.
    watermarks: Vec<(i64, i64)>,
    master_off: Vec<(i64, i64)>,
    held: Vec<(i64, i64)>,
    off: Vec<Window>,
}

impl World {
    fn watermark(&self, second: i64) -> i64 {
        let place = self.watermarks.partition_point(|(from, _)| *from <= second);
        if place == 0 { BEGIN - 1 } else { self.watermarks[place - 1].1 }
    }

    /// The first time from then on at which the master could conclude something from silence.
    fn first_look(&self, second: i64) -> i64 {
        first_outside(&[&self.master_off, &self.held], second)
    }
}

/// The instants at which runs are wanted: of intervals, as they would be if all went well.
fn wanted(plan: &Plan) -> Vec<i64> {
    match plan {
        Plan::Every(interval) => (BEGIN..END).step_by(interval.as_secs() as usize).skip(1).collect(),
        Plan::Moments(table) | Plan::Periods(table) => {
            let mut found = Vec::new();
            let mut last = at(BEGIN - 1);
            while let Some(next) = table.next_after(last).filter(|next| second(*next) < END) {
                found.push(second(next));
                last = next;
            }
            found
        }
    }
}

/// Starts as a host would make them: most in time, some never, late, early, or by hand.
fn starts(chance: &mut Chance, plan: &Plan, terms: &Terms) -> Vec<(i64, i64)> {
    let wanted = wanted(plan);
    let grace = terms.start_grace.as_secs() as i64;
    let mut starts = Vec::new();
    let mut drift = 0;
    for (place, instant) in wanted.iter().enumerate() {
        let spacing = wanted.get(place + 1).map_or(3600, |next| next - instant);
        let offset = match (plan, chance.next() % 100) {
            (_, 0..4) => continue,
            (Plan::Every(_), _) => {
                drift += chance.within(-200, 260);
                drift.clamp(-spacing / 3, spacing / 3)
            }
            (Plan::Moments(_), 8..11) => -chance.within(0, 80),
            (Plan::Moments(_), 11..) => chance.within(0, grace.min(spacing / 2)),
            (Plan::Periods(_) | Plan::Moments(_), _) => chance.within(0, spacing),
        };
        starts.push((instant + offset, spacing));
        while chance.percent(10) {
            starts.push((instant + offset + chance.within(1, spacing), spacing));
        }
    }
    starts
}

fn runs(chance: &mut Chance, plan: &Plan, terms: &Terms, host_off: &Spans) -> Vec<RunSeen> {
    let mut runs = Vec::new();
    for (start, spacing) in starts(chance, plan, terms) {
        if is_in(host_off, start) || !(BEGIN..END).contains(&start) {
            continue;
        }
        let length = match chance.next() % 100 {
            0..80 => chance.within(0, (spacing / 4).clamp(2, 1800)),
            80..97 => chance.within(0, spacing.min(20_000)),
            _ => END,
        };
        let how = match chance.next() % 100 {
            0..90 => Ending::Good,
            90..97 => Ending::Failed,
            _ => Ending::Aborted,
        };
        let end = start + length;
        let power_cut = host_off.iter().find(|(from, _)| (start..end).contains(from));
        let ended = match power_cut {
            Some((from, _)) => Some((at(*from), Ending::Aborted)),
            None => (end < END).then_some((at(end), how)),
        };
        let mut id = [0; 16];
        id[8..].copy_from_slice(&(runs.len() as u64).to_be_bytes());
        let id = RunId::from_bytes(id);
        runs.push(RunSeen { id, started_at: at(start), ended, paused: Duration::ZERO, is_paused: false });
    }
    runs.sort_by_key(|run| (run.started_at, run.id));
    runs
}

fn world(chance: &mut Chance, plan: &Plan, terms: &Terms) -> World {
    let host_off = chance.spans(12, 600, 180_000);
    let link_off = chance.spans(60, 20, 220_000);
    let master_off = chance.spans(40, 5, 20_000);
    // After a restart, and when many agents were lost at once.
    let mut held: Vec<(i64, i64)> =
        master_off.iter().map(|(_, until)| (*until, until + RECONNECT_GRACE)).collect();
    for (from, until) in chance.spans(12, 60, 3_000) {
        if !held.iter().any(|held| from < held.1 && until > held.0) {
            held.push((from, until));
        }
    }
    held.sort_unstable();
    let off = chance.spans(20, 600, 60_000);
    let off = off.into_iter().map(|(from, until)| Window { from: at(from), until: at(until) }).collect();
    let runs = runs(chance, plan, terms, &host_off);
    // What the host wrote down, when: starts, and ends. What the power took is written down when it is back.
    let mut spool: Vec<(i64, RunSeen)> = Vec::new();
    for run in &runs {
        spool.push((second(run.started_at), RunSeen { ended: None, ..*run }));
        if let Some((ended_at, _)) = run.ended {
            spool.push((first_outside(&[&host_off], second(ended_at)), *run));
        }
    }
    spool.sort_by_key(|(when, _)| *when);
    let away: [&Spans; 3] = [&host_off, &link_off, &master_off];
    let deliveries = deliver(chance, &spool, &away);
    let watermarks = watermarks(&spool, &deliveries, &away);
    World { runs, deliveries, watermarks, master_off, held, off }
}

fn deliver(chance: &mut Chance, spool: &[(i64, RunSeen)], away: &[&Spans]) -> Vec<(i64, RunSeen)> {
    let mut last = BEGIN;
    let mut deliveries = Vec::new();
    for (when, run) in spool {
        let reached = first_outside(away, *when);
        let is_slow = reached > *when || chance.percent(2);
        let slow = chance.within(0, if is_slow { 900 } else { 4 });
        let mut arrives = first_outside(away, (reached + slow).max(last));
        // Never in the second of a heartbeat, so that it is plain which came first.
        while arrives % HEARTBEAT == 0 {
            arrives = first_outside(away, arrives + 1);
        }
        last = arrives;
        deliveries.push((arrives, *run));
    }
    deliveries
}

fn watermarks(spool: &[(i64, RunSeen)], deliveries: &[(i64, RunSeen)], away: &[&Spans]) -> Vec<(i64, i64)> {
    let mut delivered = 0;
    let mut watermarks = Vec::new();
    for now in (BEGIN..END).step_by(HEARTBEAT as usize) {
        if away.iter().any(|spans| is_in(spans, now)) {
            continue;
        }
        while deliveries.get(delivered).is_some_and(|(arrived, _)| *arrived <= now) {
            delivered += 1;
        }
        let first_left = spool.get(delivered).map_or(END, |(when, _)| *when);
        watermarks.push((now, (now - 1).min(first_left - 1)));
    }
    watermarks
}

/// What the master did in these two years.
#[derive(Default)]
struct Played {
    rows: BTreeMap<Timestamp, Slot>,
    findings: Vec<(i64, Finding)>,
    steps: usize,
}

struct Master<'a> {
    world: &'a World,
    rules: Arc<Rules>,
    terms: &'a Terms,
    course: Course,
    wake: Wake,
    has_run: bool,
    watermark: i64,
    played: Played,
}

impl Master<'_> {
    fn step(&mut self, now: i64, input: Input) {
        let known = Circumstances {
            now: at(now),
            watermark: at(self.watermark),
            is_held: is_in(&self.world.held, now),
            off: &self.world.off,
            down_after: Duration::from_secs(DOWN_AFTER as u64),
            has_run: self.has_run,
        };
        let step = self.course.step(input, &known);
        self.played.steps += 1;
        self.played.findings.extend(step.findings.into_iter().map(|finding| (now, finding)));
        for gone in step.removed {
            self.played.rows.remove(&gone);
        }
        self.played.rows.extend(step.changed.into_iter().map(|slot| (slot.at, slot)));
        self.wake = step.wake;
    }

    fn deliver(&mut self, now: i64, run: RunSeen) {
        self.has_run = true;
        let moment = match self.terms.match_by {
            MatchBy::Start => Some(run.started_at),
            MatchBy::End => run.ended.map(|(at, _)| at),
        };
        let settled =
            |slot: &&Slot| moment.is_some_and(|moment| slot.has(moment)) && slot.is_settled(self.terms);
        let around = moment.map(|moment| self.played.rows.range(..=moment.plus_micros(86_400_000_000)));
        let settled =
            around.and_then(|rows| rows.rev().take(200).map(|(_, slot)| slot).find(settled).cloned());
        self.step(now, Input::Run(run, settled.map(Box::new)));
    }

    /// A new master knows what the old one wrote down.
    fn restart(&mut self) {
        let open = self.played.rows.values().filter(|slot| !slot.is_settled(self.terms)).cloned().collect();
        self.course = Course::resume(Arc::clone(&self.rules), self.course.kept(), open);
    }

    fn wants_look(&self, now: i64) -> bool {
        let has_come = |wake: Option<Timestamp>, reached: i64| wake.is_some_and(|wake| wake <= at(reached));
        has_come(self.wake.clock, now) || has_come(self.wake.watermark, self.watermark)
    }
}

fn second_up(at: Timestamp) -> i64 {
    second(at.plus_micros(999_999))
}

fn play(world: &World, plan: &Plan, terms: &Terms) -> Played {
    let rules = Arc::new(Rules { plan: plan.clone(), terms: *terms, from: None, until: None });
    let course = Course::begin(Arc::clone(&rules), at(BEGIN));
    let (wake, played, watermark) = (Wake::default(), Played::default(), BEGIN - 1);
    let mut master = Master { world, rules, terms, course, wake, has_run: false, watermark, played };
    master.step(BEGIN, Input::Look);
    let mut deliveries = world.deliveries.iter().peekable();
    let mut watermarks = world.watermarks.iter().peekable();
    let mut returns: Vec<i64> = world.held.iter().chain(&world.master_off).map(|(_, until)| *until).collect();
    returns.sort_unstable();
    let mut returns = returns.into_iter().peekable();
    let mut restarts = world.master_off.iter().peekable();
    let mut now = BEGIN;
    loop {
        // The next second in which something can happen.
        let clock = master.wake.clock.map(second_up).filter(|clock| *clock > now);
        let delivery = deliveries.peek().map(|(when, _)| *when);
        let heartbeat = watermarks.peek().map(|(when, _)| *when);
        let next = [clock, delivery, heartbeat, returns.peek().copied()].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next < END) else { break };
        now = next;
        while returns.next_if(|when| *when <= now).is_some() {}
        if restarts.next_if(|(_, until)| *until <= now).is_some() {
            master.restart();
        }
        while let Some((_, watermark)) = watermarks.next_if(|(when, _)| *when <= now) {
            master.watermark = *watermark;
        }
        while let Some((_, run)) = deliveries.next_if(|(when, _)| *when <= now) {
            master.deliver(now, *run);
        }
        if master.wants_look(now) && !is_in(&world.held, now) && !is_in(&world.master_off, now) {
            master.step(now, Input::Look);
            assert!(!master.wants_look(now), "{now}: looking changed nothing: {:?}", master.wake);
        }
    }
    master.played
}

/// The judge: each slot on its own, from all that happened.
struct Judge<'a> {
    world: &'a World,
    terms: &'a Terms,
}

struct Expected {
    instant: i64,
    opens: i64,
    closes: i64,
    due: i64,
    wanted_from: i64,
}

impl Judge<'_> {
    fn moment(&self, run: &RunSeen) -> Option<i64> {
        match self.terms.match_by {
            MatchBy::Start => Some(second(run.started_at)),
            MatchBy::End => run.ended.map(|(at, _)| second(at)),
        }
    }

    fn expected(&self, plan: &Plan) -> Vec<Expected> {
        let seconds = |length: Option<Duration>| length.unwrap_or_default().as_secs() as i64;
        let early = seconds(Some(self.terms.early));
        let by_end = if self.terms.match_by == MatchBy::End { seconds(self.terms.max_runtime) } else { 0 };
        let grace = seconds(Some(self.terms.start_grace)) + by_end;
        let wanted = wanted(plan);
        if let Plan::Every(interval) = plan {
            return self.chain(interval.as_secs() as i64, early, grace);
        }
        let is_period = matches!(plan, Plan::Periods(_));
        let begins = |place: usize| {
            let half_way = if place == 0 { early } else { (wanted[place] - wanted[place - 1]) / 2 };
            wanted[place] - if is_period { 0 } else { early.min(half_way) }
        };
        let slot = |place: usize| {
            let (opens, closes) = (begins(place), begins(place + 1));
            let due = if is_period { closes } else { wanted[place] + grace };
            Expected {
                instant: wanted[place],
                opens,
                closes,
                due,
                wanted_from: if is_period { due } else { opens },
            }
        };
        (0..wanted.len() - 1).map(slot).collect()
    }

    /// The slots of an interval: each run calls for the next.
    fn chain(&self, interval: i64, early: i64, grace: i64) -> Vec<Expected> {
        let (mut opens, mut instant) = (BEGIN, BEGIN + interval);
        let mut slots = Vec::new();
        while instant + grace < END {
            let run = self.world.runs.iter().map(|run| second(run.started_at)).find(|start| *start >= opens);
            let if_missed = instant + interval - early.min(interval / 2);
            let filled = run.filter(|start| *start < if_missed);
            let closes = filled.map_or(if_missed, |start| start + 1);
            slots.push(Expected { instant, opens, closes, due: instant + grace, wanted_from: instant });
            instant = filled.unwrap_or(instant) + interval;
            opens = closes;
        }
        slots
    }

    /// Those that belong to the slot, in order. All starts are in order; ends are not.
    fn runs_of(&self, slot: &Expected) -> Vec<&RunSeen> {
        let runs = &self.world.runs;
        let first = match self.terms.match_by {
            MatchBy::Start => runs.partition_point(|run| second(run.started_at) < slot.opens),
            MatchBy::End => 0,
        };
        let mine = |run: &&RunSeen| {
            self.moment(run).is_some_and(|moment| (slot.opens..slot.closes).contains(&moment))
        };
        let candidates = runs[first..].iter().take_while(|run| second(run.started_at) < slot.closes);
        let mut runs: Vec<&RunSeen> = candidates.filter(mine).collect();
        runs.sort_by_key(|run| (self.moment(run), run.id));
        runs
    }

    fn verdict(&self, slot: &Expected) -> SlotState {
        let runs = self.runs_of(slot);
        let Some(first) = runs.first() else { return self.silence(slot) };
        let is_late = self.moment(first).is_some_and(|moment| moment > slot.due);
        let good = if is_late { SlotState::Late } else { SlotState::Ok };
        if let Some(within) = self.terms.success_within {
            let limit = slot.instant + within.as_secs() as i64;
            let successes = runs.iter().filter_map(|run| run.ended.filter(|(_, how)| *how == Ending::Good));
            return match successes.map(|(at, _)| second(at)).min() {
                Some(when) if when > limit => SlotState::Late,
                Some(_) => good,
                None => SlotState::Failed(Failure::NoSuccess),
            };
        }
        match first.ended {
            Some((_, Ending::Good)) => good,
            Some((_, Ending::Failed)) => SlotState::Failed(Failure::Ended),
            Some((_, Ending::Aborted)) => SlotState::Failed(Failure::Aborted),
            None if self.terms.hard_runtime.is_some() => SlotState::Failed(Failure::Overdue),
            None if is_late => SlotState::Late,
            None => SlotState::Pending,
        }
    }

    fn silence(&self, slot: &Expected) -> SlotState {
        let is_off = |off: &Window| second(off.from) <= slot.due && second(off.until) > slot.wanted_from;
        if self.world.off.iter().any(is_off) {
            return SlotState::Excused;
        }
        let was_silent_for =
            |length: i64| self.world.watermark(self.world.first_look(slot.due + length)) < slot.due;
        if self.terms.offline_policy == OfflinePolicy::Ignore && was_silent_for(DOWN_AFTER) {
            return SlotState::Excused;
        }
        let max = self.terms.offline_max.filter(|_| self.terms.offline_policy != OfflinePolicy::Ignore);
        if max.is_some_and(|max| was_silent_for(max.as_secs() as i64)) {
            return SlotState::Missed(Miss::Offline);
        }
        // When the master called it missed, and what it had seen by then.
        let told = self.world.watermarks.partition_point(|(_, watermark)| *watermark < slot.due);
        let told = self.world.watermarks.get(told).map_or(END, |(when, _)| self.world.first_look(*when));
        let has_run = self.world.deliveries.first().is_some_and(|(when, _)| *when <= told);
        SlotState::Missed(if has_run { Miss::NotStarted } else { Miss::NeverRan })
    }

    /// Nobody may say "missed" of what had truly come in time, or twice.
    fn check_misses(&self, slots: &[Expected], findings: &[(i64, Finding)]) {
        let by_instant: BTreeMap<i64, &Expected> = slots.iter().map(|slot| (slot.instant, slot)).collect();
        let mut missed = BTreeMap::new();
        for (now, finding) in findings {
            let Finding::Slot { at, after: SlotState::Missed(miss), .. } = finding else { continue };
            assert!(
                !is_in(&self.world.held, *now),
                "{at} was called missed while judgement was held, at {now}"
            );
            let Some(slot) = by_instant.get(&second(*at)) else { continue };
            let twice = missed.insert(slot.instant, now);
            assert_eq!(twice, None, "{at} was called missed twice, again at {now}");
            let had_come = |run: &&RunSeen| self.moment(run).is_some_and(|moment| moment <= slot.due);
            match miss {
                Miss::NeverRan | Miss::NotStarted => {
                    let run = self.runs_of(slot).into_iter().find(had_come);
                    assert!(run.is_none(), "{at} was called missed at {now}, and {run:?} had come");
                }
                Miss::Offline => {
                    assert!(self.world.watermark(*now) < slot.due, "{at} was reachable at {now}");
                }
            }
        }
    }
}

fn watch(keys: &str) -> Watch {
    let declared: Declared = toml::from_str(keys).expect("keys of a watch");
    let name = WatchName::parse("BACKUP").expect("a name");
    declared.check(&name, &TimeZoneDatabase::bundled()).expect("a watch whose parts agree")
}

fn seeds() -> Vec<u64> {
    match std::env::var("HUME_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("a seed is a number")],
        Err(_) => (1..=2).collect(),
    }
}

fn simulate(keys: &str) {
    let watch = watch(keys);
    let plan = watch.plan(&TimeZone::UTC);
    for seed in seeds() {
        let world = world(&mut Chance(seed), &plan, &watch.terms);
        let played = play(&world, &plan, &watch.terms);
        let judge = Judge { world: &world, terms: &watch.terms };
        let slots = judge.expected(&plan);
        judge.check_misses(&slots, &played.findings);
        // What may still be under way at the end is not compared.
        let end = END - 4 * 86_400;
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        for slot in slots.iter().filter(|slot| slot.due < end) {
            let verdict = judge.verdict(slot);
            let row = played.rows.get(&at(slot.instant));
            assert_eq!(
                row.map(|row| row.state),
                Some(verdict),
                "seed {seed}, {}: {row:#?}",
                at(slot.instant)
            );
            *seen.entry(verdict.as_str()).or_default() += 1;
        }
        let rows = played.rows.keys().filter(|instant| second(**instant) < end).count();
        let expected = slots.iter().filter(|slot| slot.instant < end).count();
        assert_eq!(rows, expected, "seed {seed}: slots that nobody expected");
        assert!(seen.get("ok").is_some_and(|ok| *ok > 100) && seen.len() >= 4, "seed {seed}: {seen:?}");
        let cause = rows + world.deliveries.len();
        assert!(played.steps < 6 * cause, "seed {seed}: {} steps for {cause} causes", played.steps);
    }
}

#[test]
fn a_nightly_job_with_limits() {
    simulate(
        "schedule = \"30 2 * * *\"\nzone = \"Europe/Berlin\"\nmax_runtime = \"1h\"\nhard_runtime = \"2h\"",
    );
}

#[test]
fn a_job_every_half_hour_that_alerts() {
    simulate(
        "schedule = \"*/30 * * * *\"\nstart_grace = \"2m\"\noffline_policy = \"alert\"\noffline_max = \"6h\"\n\
         hard_runtime = \"1h\"",
    );
}

#[test]
fn a_job_once_a_day_on_a_laptop_that_sleeps() {
    simulate(
        "schedule = \"daily\"\nzone = \"America/Havana\"\noffline_policy = \"ignore\"\nhard_runtime = \"8h\"",
    );
}

#[test]
fn a_job_that_may_try_again_for_three_hours() {
    simulate("schedule = \"0 */6 * * *\"\nsuccess_within = \"3h\"\nstart_grace = \"20m\"");
}

#[test]
fn a_job_that_reports_when_it_is_done() {
    simulate("schedule = [\"Mon..Fri 03:00\", \"Sat,Sun 05:00\"]\nmatch_by = \"end\"\nmax_runtime = \"1h\"");
}

#[test]
fn a_job_every_six_hours_after_its_last_start() {
    simulate("schedule = \"every 6h\"\noffline_max = \"never\"\nhard_runtime = \"3h\"");
}
