//! What is expected of the runs of a task: how long they may take, what their exit codes mean, what decides their status.
//!
//! Sections `[[runs]]`, the same in agent.toml and master.toml. Each names the tasks it is for and sets some keys; for every
//! key the first section that is for the task and sets it decides, so the special stands before the general.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use wildmatch::WildMatch;

use crate::duration;
use crate::event::Exit;
use crate::level::Level;
use crate::name::TaskName;

/// Pauses count as paused up to this, unless configured.
const MAX_PAUSE: Duration = Duration::from_hours(24);
/// An implicit run ends when nothing was added for this long, unless configured.
const IDLE_GAP: Duration = Duration::from_mins(10);
/// An open run of an agent that was not heard for this long is `lost`, unless configured.
const LOST_AFTER: Duration = Duration::from_mins(5);
/// Three heartbeats of an agent: less says nothing.
const LOST_AFTER_MIN: Duration = Duration::from_secs(36);
/// What a process can end with.
const EXIT_CODES: RangeInclusive<i32> = 0..=255;

/// What decides the outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusBy {
    /// The worst of everything that was reported.
    #[default]
    Worst,
    /// Only the level of the stop and the exit code: for scripts that try again.
    Final,
}

/// What becomes of a start while another run of the task is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Both run and nothing is said.
    Allow,
    /// Both run, and the newer is flagged.
    #[default]
    Warn,
    /// `hume exec` does not start the newer; a plain `hume` only warns.
    Forbid,
}

impl Overlap {
    /// All of them.
    pub const ALL: [Overlap; 3] = [Overlap::Allow, Overlap::Warn, Overlap::Forbid];

    /// The word used in configurations, flags and lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Overlap::Allow => "allow",
            Overlap::Warn => "warn",
            Overlap::Forbid => "forbid",
        }
    }

    /// The one with this word.
    pub fn from_word(word: &str) -> Option<Overlap> {
        Overlap::ALL.into_iter().find(|overlap| overlap.as_str() == word)
    }
}

/// A duration in a configuration: `90s`, `1h30m`, `2d`, or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// `never`
    Never,
    /// So long; never nothing.
    Of(Duration),
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
        from.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"2h\", or \"never\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
        if text == "never" {
            return Ok(Span::Never);
        }
        let span = duration::parse(text).filter(|span| !span.is_zero()).map(Span::Of);
        span.ok_or_else(|| {
            E::custom(format!("`{}` is not a duration: write 90s, 1h30m, 2d or never", short(text)))
        })
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Span, E> {
        Err(E::custom(format!("a duration has a unit: write \"{number}s\", \"2h\", or \"never\"")))
    }
}

/// So much of a text as a message bears.
fn short(text: &str) -> String {
    text.chars().take(32).collect()
}

/// How exit codes are to be read: `{ 0 = "ok", 1 = "warning", other = "failed" }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitMap {
    codes: BTreeMap<i32, Level>,
    other: Level,
}

impl Default for ExitMap {
    /// 0 is ok, everything else failed.
    fn default() -> ExitMap {
        ExitMap { codes: BTreeMap::from([(0, Level::Ok)]), other: Level::Error }
    }
}

impl ExitMap {
    /// What an end like this says of the run. A signal is never in the map: it failed.
    pub fn level(&self, exit: Exit) -> Level {
        match exit {
            Exit::Code(code) => self.codes.get(&code).copied().unwrap_or(self.other),
            Exit::Signal(_) => Level::Error,
        }
    }
}

impl<'de> Deserialize<'de> for ExitMap {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<ExitMap, D::Error> {
        let mut map = ExitMap::default();
        for (key, word) in BTreeMap::<String, String>::deserialize(from)? {
            let level = match word.as_str() {
                "ok" => Level::Ok,
                "warning" => Level::Warning,
                "unknown" => Level::Unknown,
                "failed" => Level::Error,
                "critical" => Level::Critical,
                _ => {
                    return Err(D::Error::custom(format!(
                        "exit_map: an exit code is ok, warning, unknown, failed or critical, not `{word}`"
                    )));
                }
            };
            match key.parse::<i32>() {
                Ok(code) if EXIT_CODES.contains(&code) => {
                    map.codes.insert(code, level);
                }
                Ok(code) => {
                    return Err(D::Error::custom(format!(
                        "exit_map: {code} is never an exit code: 0 to 255 are"
                    )));
                }
                Err(_) if key == "other" => map.other = level,
                Err(_) => {
                    return Err(D::Error::custom(format!(
                        "exit_map: `{key}` is not an exit code, nor `other`"
                    )));
                }
            }
        }
        Ok(map)
    }
}

/// A task's name with `*` for any text and `?` for any character.
#[derive(Clone, PartialEq)]
struct Pattern(WildMatch);

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.to_string())
    }
}

impl Pattern {
    /// The pattern, if the name of a task can match it; else why none can.
    fn parse(text: &str) -> Result<Pattern, String> {
        let refused = |why: &str| Err(format!("tasks: `{}` {why}", short(text)));
        if text.contains(['[', ']', '{', '}']) {
            return refused(
                "has brackets, which would stand for themselves: only * and ? are for other text",
            );
        }
        // The shortest name that it could match, and one that has something for every `*`.
        let names = [text.replace('*', ""), text.replace('*', "x")].map(|name| name.replace('?', "x"));
        if names.iter().all(|name| TaskName::parse(name).is_ok_and(|name| name.is_none())) {
            return refused("is for no task: leave `tasks` out for all of them");
        }
        match names.map(|name| TaskName::parse(&name)) {
            [Err(error), Err(_)] => refused(&format!("matches no name: a {error}")),
            _ => Ok(Pattern(WildMatch::new(text))),
        }
    }
}

/// Names of tasks with `*` and `?`, as configurations have them: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPatterns(Vec<Pattern>);

impl TaskPatterns {
    /// This one name, or pattern.
    /// # Errors
    /// Why no task can have such a name.
    pub fn one(text: &str) -> Result<TaskPatterns, String> {
        Ok(TaskPatterns(vec![Pattern::parse(text)?]))
    }

    /// The patterns of these texts.
    ///
    /// # Errors
    /// In words, which of them can match no task.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<TaskPatterns, String> {
        if texts.is_empty() {
            return Err("tasks: an empty list is for no task; leave `tasks` out for all of them".to_owned());
        }
        texts.iter().map(|text| Pattern::parse(text.as_ref())).collect::<Result<_, _>>().map(TaskPatterns)
    }

    /// As they were written.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|pattern| pattern.0.to_string())
    }

    /// Whether one of them is for this task.
    pub fn has(&self, task: &TaskName) -> bool {
        self.0.iter().any(|pattern| pattern.0.matches(task.as_str()))
    }
}

impl<'de> Deserialize<'de> for TaskPatterns {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<TaskPatterns, D::Error> {
        from.deserialize_any(PatternsVisitor)
    }
}

struct PatternsVisitor;

impl<'de> Visitor<'de> for PatternsVisitor {
    type Value = TaskPatterns;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names such as [\"BACKUP_*\"]")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TaskPatterns, E> {
        Err(E::custom(format!("tasks is a list: write [\"{}\"]", short(text))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TaskPatterns, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            texts.push(text);
        }
        TaskPatterns::parse(&texts).map_err(A::Error::custom)
    }
}

/// One section `[[runs]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    /// Names of tasks, with `*` and `?`; without this key the section is for all.
    #[serde(default)]
    tasks: Option<TaskPatterns>,
    #[serde(default)]
    status_by: Option<StatusBy>,
    #[serde(default)]
    exit_map: Option<ExitMap>,
    #[serde(default)]
    min_runtime: Option<Span>,
    #[serde(default)]
    max_runtime: Option<Span>,
    #[serde(default)]
    hard_runtime: Option<Span>,
    #[serde(default)]
    max_pause: Option<Span>,
    #[serde(default)]
    idle_gap: Option<Span>,
    #[serde(default)]
    lost_after: Option<Span>,
    #[serde(default)]
    overlap: Option<Overlap>,
}

impl Section {
    fn is_for(&self, task: &TaskName) -> bool {
        self.tasks.as_ref().is_none_or(|tasks| tasks.has(task))
    }
}

/// All sections `[[runs]]` of a configuration, in its order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Policies(Vec<Section>);

impl<'de> Deserialize<'de> for Policies {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Policies, D::Error> {
        let sections = from.deserialize_any(SectionsVisitor)?;
        for section in &sections {
            let of = |span: Option<Span>| match span {
                Some(Span::Of(duration)) => Some(duration),
                Some(Span::Never) | None => None,
            };
            let beyond = |small: Option<Span>, large: Option<Span>| {
                of(small).zip(of(large)).is_some_and(|(small, large)| small > large)
            };
            if beyond(section.min_runtime, section.max_runtime) {
                return Err(D::Error::custom("min_runtime is longer than max_runtime"));
            }
            if beyond(section.max_runtime, section.hard_runtime) {
                return Err(D::Error::custom("max_runtime is longer than hard_runtime"));
            }
            if of(section.lost_after).is_some_and(|lost_after| lost_after < LOST_AFTER_MIN) {
                return Err(D::Error::custom("lost_after is shorter than three heartbeats (36s)"));
            }
        }
        Ok(Policies(sections))
    }
}

struct SectionsVisitor;

impl<'de> Visitor<'de> for SectionsVisitor {
    type Value = Vec<Section>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sections [[runs]]")
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Vec<Section>, A::Error> {
        Err(A::Error::custom("there may be several of these sections: write [[runs]] instead of [runs]"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<Section>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }
}

/// What holds for the runs of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPolicy {
    /// What decides the outcome.
    pub status_by: StatusBy,
    /// What exit codes mean.
    pub exit_map: ExitMap,
    /// A run that was active for less is `too_short`.
    pub min_runtime: Option<Duration>,
    /// An open run that is active for longer is `overdue`; an ended one has `overran`.
    pub max_runtime: Option<Duration>,
    /// An open run that is active for longer has failed, as far as monitoring goes.
    pub hard_runtime: Option<Duration>,
    /// Pauses of a run count as paused up to this, all together.
    pub max_pause: Option<Duration>,
    /// An implicit run ends when nothing was added for this long.
    pub idle_gap: Option<Duration>,
    /// An open run of an agent that was not heard for this long is `lost`.
    pub lost_after: Option<Duration>,
    /// What becomes of a second start.
    pub overlap: Overlap,
}

impl Default for RunPolicy {
    fn default() -> RunPolicy {
        RunPolicy {
            status_by: StatusBy::default(),
            exit_map: ExitMap::default(),
            min_runtime: None,
            max_runtime: None,
            hard_runtime: None,
            max_pause: Some(MAX_PAUSE),
            idle_gap: Some(IDLE_GAP),
            lost_after: Some(LOST_AFTER),
            overlap: Overlap::default(),
        }
    }
}

impl Policies {
    /// What holds for the runs of this task.
    pub fn of(&self, task: &TaskName) -> RunPolicy {
        let mine: Vec<&Section> = self.0.iter().filter(|section| section.is_for(task)).collect();
        let default = RunPolicy::default();
        let span = |key: fn(&Section) -> Option<Span>, default: Option<Duration>| match mine
            .iter()
            .find_map(|section| key(section))
        {
            Some(Span::Of(duration)) => Some(duration),
            Some(Span::Never) => None,
            None => default,
        };
        RunPolicy {
            status_by: mine.iter().find_map(|section| section.status_by).unwrap_or_default(),
            exit_map: mine.iter().find_map(|section| section.exit_map.clone()).unwrap_or_default(),
            min_runtime: span(|section| section.min_runtime, default.min_runtime),
            max_runtime: span(|section| section.max_runtime, default.max_runtime),
            hard_runtime: span(|section| section.hard_runtime, default.hard_runtime),
            max_pause: span(|section| section.max_pause, default.max_pause),
            idle_gap: span(|section| section.idle_gap, default.idle_gap),
            lost_after: span(|section| section.lost_after, default.lost_after),
            overlap: mine.iter().find_map(|section| section.overlap).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        runs: Policies,
    }

    fn policies(text: &str) -> Result<Policies, String> {
        toml::from_str::<File>(text).map(|file| file.runs).map_err(|error| error.to_string())
    }

    fn of(text: &str, task: &str) -> RunPolicy {
        policies(text).unwrap().of(&TaskName::parse(task).unwrap())
    }

    const HOURS: fn(u64) -> Option<Duration> = |hours| Some(Duration::from_hours(hours));

    #[test]
    fn without_a_section_the_defaults_hold() {
        let policy = of("", "BACKUP");
        assert_eq!(policy, RunPolicy::default());
        let RunPolicy {
            max_runtime,
            hard_runtime,
            min_runtime,
            max_pause,
            idle_gap,
            lost_after,
            status_by,
            overlap,
            exit_map,
        } = policy;
        assert_eq!(
            (max_runtime, hard_runtime, min_runtime),
            (None, None, None),
            "nobody knows how long it may take"
        );
        assert_eq!((max_pause, idle_gap), (HOURS(24), Some(Duration::from_mins(10))));
        assert_eq!(lost_after, Some(Duration::from_mins(5)));
        assert_eq!((status_by, overlap), (StatusBy::Worst, Overlap::Warn));
        assert_eq!(exit_map.level(Exit::Code(0)), Level::Ok);
        assert_eq!(exit_map.level(Exit::Code(1)), Level::Error);
    }

    #[test]
    fn for_each_key_the_first_section_that_is_for_the_task_decides() {
        let text = "[[runs]]\ntasks = [\"BACKUP_*\", \"SYNC?\"]\nmax_runtime = \"2h\"\n\
                    [[runs]]\nmax_runtime = \"1h\"\nstatus_by = \"final\"\noverlap = \"allow\"";
        let special = of(text, "BACKUP_DB");
        assert_eq!((special.max_runtime, special.status_by), (HOURS(2), StatusBy::Final));
        assert_eq!(of(text, "SYNC1").max_runtime, HOURS(2));
        assert_eq!(of(text, "SYNC12").max_runtime, HOURS(1));
        assert_eq!(of(text, "BACKUP").overlap, Overlap::Allow);
    }

    #[test]
    fn never_takes_a_limit_of_a_later_section_away() {
        let text = "[[runs]]\ntasks = [\"SLOW\"]\nmax_runtime = \"never\"\nidle_gap = \"never\"\n\
                    [[runs]]\nmax_runtime = \"1h\"";
        assert_eq!((of(text, "SLOW").max_runtime, of(text, "SLOW").idle_gap), (None, None));
        assert_eq!(of(text, "QUICK").max_runtime, HOURS(1));
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        let seconds = |text: &str| {
            of(&format!("[[runs]]\nmax_runtime = \"{text}\""), "X").max_runtime.unwrap().as_secs()
        };
        assert_eq!(seconds("90s"), 90);
        assert_eq!(seconds("1h30m"), 5400);
        assert_eq!(seconds("2d"), 172_800);
        for text in ["0s", "-1h", "soon", "", "5", "9999999h", "1 month", "2 hours", "2hours"] {
            let error = policies(&format!("[[runs]]\nmax_runtime = \"{text}\"")).unwrap_err();
            assert!(error.contains("is not a duration"), "{text}: {error}");
        }
    }

    #[test]
    fn an_exit_map_adds_to_the_default_and_a_signal_has_always_failed() {
        let map = of("[[runs]]\nexit_map = { 1 = \"warning\", 99 = \"critical\" }", "X").exit_map;
        for (code, level) in [
            (0, Level::Ok),
            (1, Level::Warning),
            (2, Level::Error),
            (99, Level::Critical),
            (-1, Level::Error),
        ] {
            assert_eq!(map.level(Exit::Code(code)), level, "{code}");
        }
        assert_eq!(map.level(Exit::Signal(9)), Level::Error);
        let lenient = of("[[runs]]\nexit_map = { other = \"unknown\", 0 = \"warning\" }", "X").exit_map;
        assert_eq!(lenient.level(Exit::Code(7)), Level::Unknown);
        assert_eq!(lenient.level(Exit::Code(0)), Level::Warning);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        for (text, reason) in [
            ("exit_map = { x = \"ok\" }", "exit_map: `x` is not an exit code"),
            ("exit_map = { 1 = \"bad\" }", "not `bad`"),
            ("exit_map = { 256 = \"ok\" }", "exit_map: 256 is never an exit code"),
            ("exit_map = { -1 = \"ok\" }", "exit_map: -1 is never an exit code"),
            ("tasks = []", "tasks: an empty list is for no task"),
            ("tasks = [\"\"]", "tasks: `` is for no task"),
            ("tasks = [\"A\", \"[ab]\"]", "tasks: `[ab]` has brackets"),
            ("tasks = [\" A\"]", "tasks: ` A` matches no name"),
            ("tasks = \"BACKUP\"", "tasks is a list: write [\"BACKUP\"]"),
            ("max_runtime = 7200", "a duration has a unit: write \"7200s\", \"2h\""),
            ("max_runtime = true", "expected a duration such as \"2h\""),
            ("min_runtime = \"2h\"\nmax_runtime = \"1h\"", "min_runtime is longer"),
            ("max_runtime = \"2h\"\nhard_runtime = \"1h\"", "max_runtime is longer"),
            ("lost_after = \"10s\"", "three heartbeats"),
            ("maxruntime = \"1h\"", "unknown field `maxruntime`"),
            ("overlap = \"maybe\"", "`maybe`"),
        ] {
            let error = policies(&format!("[[runs]]\n{text}")).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let error = policies("[runs]\nmax_runtime = \"1h\"").unwrap_err();
        assert!(error.contains("write [[runs]] instead of [runs]"), "{error}");
    }

    #[test]
    fn every_pattern_that_a_name_can_match_is_taken() {
        for (pattern, task) in
            [("*", "X"), ("?", "X"), ("A *", "A b"), ("* A", "b A"), ("A", "A"), ("**", "X")]
        {
            let text = format!("[[runs]]\ntasks = [\"{pattern}\"]\nmax_runtime = \"1h\"");
            assert_eq!(of(&text, task).max_runtime, HOURS(1), "{pattern}");
        }
    }
}
