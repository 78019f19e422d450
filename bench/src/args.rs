//! What the command line orders, or the first word of it that makes no sense.

/// What `cargo xtask bench --help` prints.
pub(crate) const HELP: &str = "\
cargo xtask bench [--quick] [--json] [--only PART]...
    what hume costs and carries: release programs on loopback, mutual TLS, every sync kept; each figure beside its
    baseline in the same run. A report, no judgement: it fails only when something did not work.
    --quick   fewer events and rounds: about 3 minutes once its stores are filled
    --json    the same as JSON on standard output
    --only    the parts named, of: call, intake, relay, latency, retention, fan_in, query, growth,
              idle, disk
cargo xtask swarm --agents N [--storm K] [--events E] [--json]
    N agents at once, E events each (1000), to one master. With --storm the master is killed K times while they send E
    events each (20): how soon all are back and acknowledged, what an idle session costs the master, and whether its
    store has everything, once and in order";

/// Events of one agent of a swarm, unless it is said.
const SWARM_EVENTS: usize = 1000;
/// The same for a swarm whose master is killed.
const STORM_EVENTS: usize = 20;
/// Nobody waits for more.
const STORMS_MAX: usize = 100;
/// As many sessions as a master has.
const SWARM_AGENTS_MAX: usize = 10_000;

/// One part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// What one call costs a script.
    Call,
    /// What an agent takes in.
    Intake,
    /// From an agent's socket to the master's ack.
    Relay,
    /// How soon one event is seen.
    Latency,
    /// How soon one event is seen while the master forgets.
    Retention,
    /// Many agents at once.
    FanIn,
    /// Questions to a master with millions of events.
    Query,
    /// Events into a store that has millions.
    Growth,
    /// Daemons with nothing to do.
    Idle,
    /// Bytes of an event at the master.
    Disk,
}

impl Part {
    /// All parts, in order.
    pub(crate) const ALL: [Part; 10] = [
        Part::Call,
        Part::Intake,
        Part::Relay,
        Part::Latency,
        Part::Retention,
        Part::FanIn,
        Part::Query,
        Part::Growth,
        Part::Idle,
        Part::Disk,
    ];

    /// The name for `--only`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Call => "call",
            Part::Intake => "intake",
            Part::Relay => "relay",
            Part::Latency => "latency",
            Part::Retention => "retention",
            Part::FanIn => "fan_in",
            Part::Query => "query",
            Part::Growth => "growth",
            Part::Idle => "idle",
            Part::Disk => "disk",
        }
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// For a look while working.
    Quick,
    /// For the record.
    Full,
}

impl Extent {
    /// One of two numbers.
    pub(crate) fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Extent::Quick => quick,
            Extent::Full => full,
        }
    }
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Measure these parts.
    Bench { parts: Vec<Part>, extent: Extent, format: Format },
    /// Measure one swarm.
    Swarm { agents: usize, events: usize, format: Format },
    /// Measure one swarm whose master is killed so many times.
    Storm { agents: usize, storms: usize, events: usize, format: Format },
    /// Print [`HELP`].
    Help,
}

/// Reads the words of the command line: `bench` or `swarm`, and what follows.
/// # Errors
/// A sentence that names the word nobody understands, or the one that is missing.
pub(crate) fn parse(words: &[String]) -> Result<Order, String> {
    let mut words = words.iter().map(String::as_str);
    match words.next() {
        Some("bench") => bench(words),
        Some("swarm") => swarm(words),
        Some("help" | "--help" | "-h") => Ok(Order::Help),
        Some(word) => Err(format!("there is no command {word:?}")),
        None => Err("a command is missing".to_owned()),
    }
}

fn bench<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Order, String> {
    let (mut parts, mut extent, mut format) = (Vec::new(), Extent::Full, Format::Table);
    while let Some(word) = words.next() {
        match word {
            "--quick" => extent = Extent::Quick,
            "--json" => format = Format::Json,
            "--help" | "-h" => return Ok(Order::Help),
            _ => match value("--only", word, &mut words)? {
                Some(name) => parts.push(part(name)?),
                None => return Err(format!("bench does not know {word:?}")),
            },
        }
    }
    if parts.is_empty() {
        parts.extend(Part::ALL);
    }
    parts.sort_unstable();
    parts.dedup();
    Ok(Order::Bench { parts, extent, format })
}

fn swarm<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Order, String> {
    let (mut agents, mut storms, mut events, mut format) = (None, None, None, Format::Table);
    while let Some(word) = words.next() {
        if word == "--json" {
            format = Format::Json;
        } else if word == "--help" || word == "-h" {
            return Ok(Order::Help);
        } else if let Some(text) = value("--agents", word, &mut words)? {
            agents = Some(number("--agents", text, SWARM_AGENTS_MAX)?);
        } else if let Some(text) = value("--events", word, &mut words)? {
            events = Some(number("--events", text, usize::MAX)?);
        } else if let Some(text) = value("--storm", word, &mut words)? {
            storms = Some(number("--storm", text, STORMS_MAX)?);
        } else {
            return Err(format!("swarm does not know {word:?}"));
        }
    }
    let agents = agents.ok_or("swarm wants --agents N")?;
    Ok(match storms {
        Some(storms) => Order::Storm { agents, storms, events: events.unwrap_or(STORM_EVENTS), format },
        None => Order::Swarm { agents, events: events.unwrap_or(SWARM_EVENTS), format },
    })
}

fn number(flag: &str, text: &str, max: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(format!("{flag} wants a number from 1 to {max}, not {text:?}")),
    }
}

fn part(name: &str) -> Result<Part, String> {
    Part::ALL.into_iter().find(|part| part.name() == name).ok_or_else(|| {
        format!("there is no part {name:?}: the parts are {}", Part::ALL.map(Part::name).join(", "))
    })
}

/// The value of `flag` if `word` is it: `--flag VALUE` or `--flag=VALUE`.
fn value<'a>(
    flag: &str,
    word: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
) -> Result<Option<&'a str>, String> {
    let found = match word.strip_prefix(flag) {
        Some("") => rest.next().unwrap_or_default(),
        Some(tail) if tail.starts_with('=') => tail.trim_start_matches('='),
        Some(_) | None => return Ok(None),
    };
    if found.is_empty() { Err(format!("{flag} wants a value")) } else { Ok(Some(found)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Order, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn parts_are_measured_in_their_order_and_once() {
        let bench = |parts: &[Part], extent, format| Order::Bench { parts: parts.to_vec(), extent, format };
        assert_eq!(parsed("bench"), Ok(bench(&Part::ALL, Extent::Full, Format::Table)));
        assert_eq!(
            parsed("bench --only relay --quick --json --only=intake --only relay"),
            Ok(bench(&[Part::Intake, Part::Relay], Extent::Quick, Format::Json))
        );
        assert_eq!(parsed("bench --quick --help"), Ok(Order::Help));
    }

    #[test]
    fn a_swarm_has_a_size() {
        assert_eq!(
            parsed("swarm --agents 500 --events=10"),
            Ok(Order::Swarm { agents: 500, events: 10, format: Format::Table })
        );
        assert_eq!(
            parsed("swarm --json --agents=1"),
            Ok(Order::Swarm { agents: 1, events: SWARM_EVENTS, format: Format::Json })
        );
        assert_eq!(
            parsed("swarm --agents 5000 --storm 3"),
            Ok(Order::Storm { agents: 5000, storms: 3, events: STORM_EVENTS, format: Format::Table })
        );
    }

    #[test]
    fn every_part_is_named_in_the_help() {
        for part in Part::ALL {
            assert!(HELP.contains(part.name()), "{}", part.name());
        }
    }

    #[test]
    fn a_word_that_makes_no_sense_is_named() {
        for (line, named) in [
            ("", "missing"),
            ("bensh", "bensh"),
            ("bench --quik", "--quik"),
            ("bench intake", "intake"),
            ("bench --only", "--only"),
            ("bench --only everything", "everything"),
            ("swarm", "--agents"),
            ("swarm --agents 0", "--agents"),
            ("swarm --agents many", "many"),
            ("swarm --agents 1 --storm 0", "--storm"),
            ("swarm --quick", "--quick"),
        ] {
            let mistake = parsed(line).unwrap_err();
            assert!(mistake.contains(named), "{line:?}: {mistake}");
        }
    }
}
