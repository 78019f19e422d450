//! What happened when in a run: its marks with their offsets from the start, and when its clock ran. Pure.

use hume_core::{EventId, RunId, Timestamp};
use hume_proto::rest::{EventJson, RunJson, RunList, Source};
use serde::Serialize;

use crate::offset::Offsets;

/// What `--timeline --format json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimelineList {
    /// Who answers.
    pub source: Source,
    /// Newest start first.
    pub runs: Vec<Timeline>,
    /// True when `--limit` cut it short; not printed.
    #[serde(skip)]
    pub more: bool,
}

/// One run along its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timeline {
    /// The run.
    pub run: RunId,
    /// Its task.
    pub task: String,
    /// Its host.
    pub host: String,
    /// What is shown of it.
    pub status: String,
    /// As a number.
    pub severity: u8,
    /// `running`, `paused`, `ended`.
    pub phase: String,
    /// Where the offsets begin.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// From the start to the last thing that is shown.
    pub length_ms: u64,
    /// When its clock ran and when it was paused, in order, without holes.
    pub segments: Vec<Segment>,
    /// What happened, in order.
    pub marks: Vec<Mark>,
    /// The run as it was answered; its events are the marks.
    #[serde(skip)]
    pub shown: RunJson,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// What it is.
    pub kind: SegmentKind,
    /// From this offset.
    pub from_ms: u64,
    /// To this one.
    pub to_ms: u64,
}

/// What a part of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SegmentKind {
    /// Its clock ran.
    Active,
    /// Between a pause and the next start.
    Paused,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// From the start of the run; negative for an event that is older than it.
    pub offset_ms: i64,
    /// When.
    pub time: Timestamp,
    /// What it did to the run.
    pub kind: MarkKind,
    /// Its level.
    pub level: String,
    /// The name of a flag.
    pub flag: Option<String>,
    /// Its text.
    pub message: String,
    /// Its event.
    pub event: EventId,
}

/// What an event did to its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkKind {
    /// Its first start.
    Start,
    /// A start after a pause.
    Resume,
    /// A pause.
    Pause,
    /// The clock was set to nothing.
    Reset,
    /// Its stop.
    Stop,
    /// A named mark.
    Flag,
    /// What nobody reported, such as the end of a process.
    Found,
    /// Nothing but itself.
    Event,
}

impl MarkKind {
    /// The word that is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            MarkKind::Start => "start",
            MarkKind::Resume => "resume",
            MarkKind::Pause => "pause",
            MarkKind::Reset => "reset",
            MarkKind::Stop => "stop",
            MarkKind::Flag => "flag",
            MarkKind::Found => "found",
            MarkKind::Event => "event",
        }
    }
}

impl TimelineList {
    /// From runs with their events.
    pub fn new(list: RunList) -> TimelineList {
        let RunList { source, runs, next } = list;
        TimelineList { source, runs: runs.into_iter().map(Timeline::new).collect(), more: next.is_some() }
    }
}

impl Timeline {
    /// The time line of a run that was answered with its events.
    pub fn new(run: RunJson) -> Timeline {
        let mut marks = Vec::with_capacity(run.events.len());
        let mut pauses: Vec<(u64, Option<u64>)> = Vec::new();
        let mut started = false;
        let offsets = Offsets::of(&run);
        for event in &run.events {
            let offset_ms = offsets.micros(event).div_euclid(1000);
            let at = u64::try_from(offset_ms).unwrap_or(0);
            let is_paused = pauses.last().is_some_and(|(_, to)| to.is_none());
            let kind = kind_of(event, started);
            started |= kind == MarkKind::Start;
            match kind {
                MarkKind::Pause if !is_paused => pauses.push((at, None)),
                // Whatever moves the clock ends a pause.
                MarkKind::Start | MarkKind::Resume | MarkKind::Reset | MarkKind::Stop if is_paused => {
                    if let Some((from, to)) = pauses.last_mut() {
                        *to = Some(at.max(*from));
                    }
                }
                MarkKind::Start
                | MarkKind::Resume
                | MarkKind::Pause
                | MarkKind::Reset
                | MarkKind::Stop
                | MarkKind::Flag
                | MarkKind::Found
                | MarkKind::Event => {}
            }
            marks.push(Mark {
                offset_ms,
                time: event.time,
                kind,
                level: event.level.clone(),
                flag: event.flag.clone(),
                message: event.message.clone(),
                event: event.id,
            });
        }
        let end = offsets.end_micros().map(|end| end.div_euclid(1000));
        let last = marks.iter().map(|mark| mark.offset_ms).chain(end).max().unwrap_or(0);
        let length_ms = u64::try_from(last).unwrap_or(0).max(match run.ended_at {
            Some(_) => 0,
            None => run.duration_ms,
        });
        Timeline {
            run: run.id,
            task: run.task.clone(),
            host: run.host.clone(),
            status: run.status.clone(),
            severity: run.severity,
            phase: run.phase.clone(),
            started_at: run.started_at,
            ended_at: run.ended_at,
            length_ms,
            segments: segments(&pauses, length_ms),
            marks,
            shown: run,
        }
    }
}

fn kind_of(event: &EventJson, started: bool) -> MarkKind {
    if event.kind != "reported" {
        return MarkKind::Found;
    }
    match event.command.as_deref() {
        Some("counter-start") if started => MarkKind::Resume,
        Some("counter-start") => MarkKind::Start,
        Some("counter-pause") => MarkKind::Pause,
        Some("counter-reset") => MarkKind::Reset,
        Some("counter-stop") => MarkKind::Stop,
        _ if event.flag.is_some() => MarkKind::Flag,
        _ => MarkKind::Event,
    }
}

/// The pauses, and what lies between them. A wall clock that jumped may put one before another: then they are cut.
fn segments(pauses: &[(u64, Option<u64>)], length_ms: u64) -> Vec<Segment> {
    let mut all = Vec::new();
    let mut at = 0;
    let mut push = |kind, from_ms, to_ms| {
        if from_ms < to_ms {
            all.push(Segment { kind, from_ms, to_ms });
        }
    };
    for (from, to) in pauses {
        let from = (*from).clamp(at, length_ms.max(at));
        let to = to.unwrap_or(length_ms).clamp(from, length_ms.max(from));
        push(SegmentKind::Active, at, from);
        push(SegmentKind::Paused, from, to);
        at = to;
    }
    push(SegmentKind::Active, at, length_ms);
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use hume_core::BootId;

    use super::*;
    use crate::fleet::tests::run;

    fn event(offset_ms: i64, command: Option<&str>, level: &str, flag: Option<&str>) -> EventJson {
        let at = "2026-11-22T10:00:00Z".parse::<Timestamp>().unwrap().plus_micros(offset_ms * 1000);
        serde_json::from_value(serde_json::json!({
            "id": "01936f2e-0000-7000-8000-000000000009", "kind": "reported", "task": "A", "host": "web1",
            "agent": null, "epoch": "00", "seq": 1, "run": null, "time": at, "received_at": at, "arrived_at": null,
            "level": level, "command": command, "flag": flag, "message": "m", "truncated_from": null, "tags": [],
            "extra": {}, "exit": null, "user": null, "uid": null, "pid": null, "script": null, "line": null,
            "unit": null, "tree": null, "correlation": null, "reason": null, "flags": []
        }))
        .unwrap()
    }

    /// The same, with what the boot clock showed.
    fn event_by_both(offset_ms: i64, boot: u8, boottime_ms: u64, command: Option<&str>) -> EventJson {
        let (boot, boottime_us) = (Some(BootId::from_bytes([boot; 16])), Some(boottime_ms * 1000));
        EventJson { boot, boottime_us, ..event(offset_ms, command, "info", None) }
    }

    fn of(events: Vec<EventJson>) -> Timeline {
        Timeline::new(RunJson { events, ..run("A", "web1", "ok", 0) })
    }

    #[test]
    fn marks_have_offsets_and_pauses_are_cut_out_of_the_time() {
        let line = of(vec![
            event(0, Some("counter-start"), "info", None),
            event(60_000, Some("counter-pause"), "info", None),
            event(70_000, None, "warning", None),
            event(90_000, Some("counter-start"), "info", None),
            event(100_000, Some("flag"), "info", Some("db-done")),
            event(192_000, Some("counter-stop"), "ok", None),
        ]);
        let kinds: Vec<_> = line.marks.iter().map(|mark| (mark.offset_ms, mark.kind.as_str())).collect();
        assert_eq!(
            kinds,
            [
                (0, "start"),
                (60_000, "pause"),
                (70_000, "event"),
                (90_000, "resume"),
                (100_000, "flag"),
                (192_000, "stop")
            ]
        );
        let segment = |kind, from_ms, to_ms| Segment { kind, from_ms, to_ms };
        assert_eq!(
            line.segments,
            [
                segment(SegmentKind::Active, 0, 60_000),
                segment(SegmentKind::Paused, 60_000, 90_000),
                segment(SegmentKind::Active, 90_000, 192_000)
            ]
        );
        assert_eq!(line.length_ms, 192_000);
    }

    #[test]
    fn a_clock_that_jumped_does_not_stretch_the_time_line() {
        // An hour forward after two seconds, and a day back before the stop.
        let mut line = vec![
            event_by_both(0, 1, 5_000, Some("counter-start")),
            event_by_both(3_602_000, 1, 7_000, Some("counter-pause")),
            event_by_both(3_603_000, 1, 8_000, Some("counter-start")),
            event_by_both(-82_796_000, 1, 9_000, Some("counter-stop")),
        ];
        let end = line[3].time;
        let of = |events: &[EventJson], end| {
            let run = RunJson { ended_at: Some(end), ..run("A", "web1", "ok", 0) };
            Timeline::new(RunJson { events: events.to_vec(), ..run })
        };
        let offsets = |line: &Timeline| line.marks.iter().map(|mark| mark.offset_ms).collect::<Vec<_>>();
        let shown = of(&line, end);
        assert_eq!((offsets(&shown), shown.length_ms), (vec![0, 2_000, 3_000, 4_000], 4_000));
        let paused = Segment { kind: SegmentKind::Paused, from_ms: 2_000, to_ms: 3_000 };
        assert_eq!(shown.segments[1], paused);
        // Readings of another boot say nothing: then there is only the wall.
        line[3] = event_by_both(60_000, 2, 1_000, Some("counter-stop"));
        assert_eq!(offsets(&of(&line, end))[3], 60_000);
    }

    proptest! {
        #[test]
        fn segments_follow_on_each_other_whatever_the_clocks_did(
            events in proptest::collection::vec((-500_000i64..500_000, 0usize..6), 0..20)
        ) {
            let commands =
                [Some("counter-start"), Some("counter-pause"), Some("counter-reset"), Some("counter-stop"), None, None];
            let events = events.into_iter().map(|(at, which)| event(at, commands[which], "info", None)).collect();
            let line = of(events);
            let mut at = 0;
            for segment in &line.segments {
                prop_assert_eq!(segment.from_ms, at);
                prop_assert!(segment.to_ms > segment.from_ms);
                at = segment.to_ms;
            }
            prop_assert_eq!(at, line.length_ms);
        }
    }
}
