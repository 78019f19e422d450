//! What the command line orders, or the first word of it that makes no sense.

use std::path::PathBuf;

use crate::parts::Part;

/// What `cargo xtask help` prints.
pub(crate) const HELP: &str = "\
cargo xtask demo [--keep]
    a master and two agents on this machine, a script that reports, the answers to one question;
    --keep leaves them up and says how to ask them more, and how to end them
cargo xtask test [--only PART]...
    everything that must hold: format, clippy, build, tests, docs, cost, deny, advisories;
    with HUME_NO_SKIP=1 a part that the machine cannot run is a failure
cargo xtask dist
    the programs as they are shipped, in dist/bin of the target folder: hume static, the others release builds
cargo xtask install --prefix DIR [--destdir DIR]
    the same into PREFIX/bin and PREFIX/sbin, example configurations into PREFIX/share/doc/hume
cargo xtask cost
    CPU instructions, memory and size of one confirmed event, beside those of logger(1); needs valgrind
cargo xtask bench [--quick] [--json] [--only PART]...
    what hume costs and carries, each figure beside its baseline in the same run; `bench --help` says more
cargo xtask swarm --agents N [--storm K] [--events E] [--json]
    N agents at once, E events each, to one master, which is killed K times; `bench --help` says more
cargo xtask fuzz DOOR [--seconds N]
    libFuzzer at one decoder (the names: fuzz/fuzz_targets), for a minute if nothing else is said; needs cargo-fuzz
cargo xtask chaos [--seed S] [--minutes M] [--agents N] [--reverts]
    a master and agents (6) under a random order of faults for M minutes (1), and whether anything was lost, doubled or made up;
    --reverts also puts spools back to earlier states; the same seed is the same order (docs/RELIABILITY.md)
cargo xtask help";

/// How long a door is fuzzed if nothing else is said.
const FUZZ_SECONDS: u32 = 60;

/// What `xtask` shall do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Show the main job at work.
    Demo(Afterwards),
    /// Run the parts of the test, all of them if none is named.
    Test {
        /// The parts named with `--only`.
        only: Vec<Part>,
    },
    /// Build the programs as they are shipped.
    Dist,
    /// Put the programs where an administrator wants them.
    Install {
        /// Where they will run from.
        prefix: PathBuf,
        /// A folder that stands for `/` while they are copied, for those who build packages.
        destdir: Option<PathBuf>,
    },
    /// Count the instructions of one event.
    Cost,
    /// Measure, with the program of the benchmark, which gets these words.
    Bench {
        /// As they stand on the command line, from `bench` or `swarm` on.
        words: Vec<String>,
    },
    /// Give one decoder whatever libFuzzer finds.
    Fuzz {
        /// Its name.
        door: String,
        /// For so long.
        seconds: u32,
    },
    /// Let faults happen, with the program that does, which gets these words.
    Chaos {
        /// What stands behind `chaos`.
        words: Vec<String>,
    },
    /// Print [`HELP`].
    Help,
}

/// What becomes of the demo's site when the demo has been shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// Processes are ended and the folder is removed.
    CleanUp,
    /// Everything stays up.
    Keep,
}

/// Reads the words after `cargo xtask`.
/// # Errors
/// A sentence that names the word nobody understands, or the one that is missing.
pub(crate) fn parse(words: &[String]) -> Result<Order, String> {
    let Some((command, rest)) = words.split_first() else {
        return Err("a command is missing".to_owned());
    };
    // Before anything is built.
    if rest.iter().any(|word| word == "--help" || word == "-h") {
        return Ok(Order::Help);
    }
    match command.as_str() {
        "demo" => demo(rest),
        "test" => test(rest),
        "install" => install(rest),
        "dist" => alone(Order::Dist, command, rest),
        "cost" => alone(Order::Cost, command, rest),
        "bench" | "swarm" => Ok(Order::Bench { words: words.to_vec() }),
        "fuzz" => fuzz(rest),
        "chaos" => Ok(Order::Chaos { words: rest.to_vec() }),
        "help" | "--help" | "-h" => Ok(Order::Help),
        _ => Err(format!("there is no command {command:?}")),
    }
}

/// An order that takes no further words.
fn alone(order: Order, command: &str, words: &[String]) -> Result<Order, String> {
    words.first().map_or(Ok(order), |word| Err(unknown(command, word)))
}

fn demo(words: &[String]) -> Result<Order, String> {
    let mut afterwards = Afterwards::CleanUp;
    for word in words {
        match word.as_str() {
            "--keep" => afterwards = Afterwards::Keep,
            _ => return Err(unknown("demo", word)),
        }
    }
    Ok(Order::Demo(afterwards))
}

fn test(words: &[String]) -> Result<Order, String> {
    let mut only = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let name = value("--only", word, &mut words)?.ok_or_else(|| unknown("test", word))?;
        let part = Part::ALL.into_iter().find(|part| part.name() == name);
        only.push(part.ok_or_else(|| {
            format!("there is no part {name:?}: the parts are {}", Part::ALL.map(Part::name).join(", "))
        })?);
    }
    Ok(Order::Test { only })
}

fn install(words: &[String]) -> Result<Order, String> {
    let (mut prefix, mut destdir) = (None, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if let Some(folder) = value("--prefix", word, &mut words)? {
            prefix = Some(PathBuf::from(folder));
        } else if let Some(folder) = value("--destdir", word, &mut words)? {
            destdir = Some(PathBuf::from(folder));
        } else {
            return Err(unknown("install", word));
        }
    }
    let prefix = prefix.ok_or("install wants --prefix DIR, such as /usr/local")?;
    Ok(Order::Install { prefix, destdir })
}

fn fuzz(words: &[String]) -> Result<Order, String> {
    let (mut door, mut seconds) = (None, FUZZ_SECONDS);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if let Some(number) = value("--seconds", word, &mut words)? {
            seconds = number.parse().map_err(|_| format!("--seconds wants a number, not {number:?}"))?;
        } else if word.starts_with('-') || door.is_some() {
            return Err(unknown("fuzz", word));
        } else {
            door = Some(word.clone());
        }
    }
    Ok(Order::Fuzz { door: door.ok_or("fuzz wants the name of a door: see fuzz/fuzz_targets")?, seconds })
}

/// The value of `flag` if `word` is it: `--flag VALUE` or `--flag=VALUE`.
fn value(flag: &str, word: &str, rest: &mut std::slice::Iter<'_, String>) -> Result<Option<String>, String> {
    let found = match word.strip_prefix(flag) {
        Some("") => rest.next().cloned().unwrap_or_default(),
        Some(tail) if tail.starts_with('=') => tail.trim_start_matches('=').to_owned(),
        Some(_) | None => return Ok(None),
    };
    if found.is_empty() { Err(format!("{flag} wants a value")) } else { Ok(Some(found)) }
}

fn unknown(command: &str, word: &str) -> String {
    format!("{command} does not know {word:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Order, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_command_of_the_help_is_understood() {
        assert_eq!(parsed("demo"), Ok(Order::Demo(Afterwards::CleanUp)));
        assert_eq!(parsed("demo --keep"), Ok(Order::Demo(Afterwards::Keep)));
        assert_eq!(parsed("test"), Ok(Order::Test { only: vec![] }));
        assert_eq!(
            parsed("test --only docs --only=tests"),
            Ok(Order::Test { only: vec![Part::Docs, Part::Tests] })
        );
        assert_eq!(
            parsed("install --prefix=/usr --destdir /stage"),
            Ok(Order::Install { prefix: "/usr".into(), destdir: Some("/stage".into()) })
        );
        assert_eq!(parsed("dist"), Ok(Order::Dist));
        let words = ["bench", "--quick", "--only", "intake"].map(str::to_owned).to_vec();
        assert_eq!(parsed("bench --quick --only intake"), Ok(Order::Bench { words }));
        let fuzz = |seconds| Ok(Order::Fuzz { door: "event".to_owned(), seconds });
        assert_eq!(parsed("fuzz event"), fuzz(FUZZ_SECONDS));
        assert_eq!(parsed("fuzz --seconds 5 event"), fuzz(5));
        let words = ["--seed", "7"].map(str::to_owned).to_vec();
        assert_eq!(parsed("chaos --seed 7"), Ok(Order::Chaos { words }));
        assert_eq!(parsed("help"), Ok(Order::Help));
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
            ("dmeo", "dmeo"),
            ("demo --kep", "--kep"),
            ("dist --static", "--static"),
            ("test docs", "docs"),
            ("test --only", "--only"),
            ("test --only everything", "everything"),
            ("fuzz", "door"),
            ("fuzz event --seconds soon", "soon"),
            ("fuzz event lines", "lines"),
            ("install", "--prefix"),
            ("install --prefix=", "--prefix"),
            ("install --prefixes /usr", "--prefixes"),
        ] {
            let mistake = parsed(line).unwrap_err();
            assert!(mistake.contains(named), "{line:?}: {mistake}");
        }
    }
}
