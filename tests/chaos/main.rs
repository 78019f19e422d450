//! `hume-chaos`: what `cargo xtask chaos` runs. Words in, a run of faults, the verdict out; 0 only when it is clean.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hume_tests::chaos::{self, Plan, Reverts};
use signal_hook::consts::{SIGINT, SIGTERM};

const USAGE: &str = "cargo xtask chaos [--seed S] [--minutes M] [--agents N] [--reverts]";
const EXIT_USAGE: u8 = 64;
const EXIT_INTERRUPTED: u8 = 130;
const AGENTS: usize = 6;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let plan = match parse(&words) {
        Ok(plan) => plan,
        Err(mistake) => {
            say(&format!("{mistake}\n{USAGE}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        if signal_hook::flag::register(signal, Arc::clone(&is_over)).is_err() {
            say("signals cannot be caught");
            return ExitCode::FAILURE;
        }
    }
    let reverts = if plan.reverts == Reverts::Some { " --reverts" } else { "" };
    say(&format!(
        "again: cargo xtask chaos --seed {} --minutes {} --agents {}{reverts}",
        plan.seed,
        plan.time.as_secs_f64() / 60.0,
        plan.agents
    ));
    let report = chaos::run(&plan, &say, &is_over);
    say(&report.to_string());
    match (report.is_clean(), is_over.load(Ordering::Relaxed)) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::from(EXIT_INTERRUPTED),
        (false, false) => ExitCode::FAILURE,
    }
}

#[expect(clippy::print_stdout, reason = "what this program is for")]
fn say(what: &str) {
    println!("{what}");
}

fn parse(words: &[String]) -> Result<Plan, String> {
    let (seed, time) = (fastrand::u64(0..1_000_000), Duration::from_mins(1));
    let mut plan = Plan { seed, time, agents: AGENTS, reverts: Reverts::None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--reverts" {
            plan.reverts = Reverts::Some;
            continue;
        }
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag, value),
            None => (word.as_str(), words.next().ok_or(format!("{word} wants a value"))?.as_str()),
        };
        let wrong = || format!("{flag} does not take {value:?}");
        match flag {
            "--seed" => plan.seed = value.parse().map_err(|_| wrong())?,
            "--agents" => {
                plan.agents = value.parse().ok().filter(|agents| *agents > 0).ok_or_else(wrong)?;
            }
            "--minutes" => {
                let minutes: f64 = value.parse().map_err(|_| wrong())?;
                plan.time = Duration::try_from_secs_f64(minutes * 60.0).map_err(|_| wrong())?;
                if plan.time.is_zero() {
                    return Err(wrong());
                }
            }
            _ => return Err(format!("there is no {flag}")),
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Plan, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_words_are_understood_in_any_order_and_a_wrong_one_is_named() {
        let plan = parsed("--reverts --minutes=0.5 --agents 3 --seed 7").unwrap();
        let expected = Plan { seed: 7, time: Duration::from_secs(30), agents: 3, reverts: Reverts::Some };
        assert_eq!(plan, expected);
        for (line, named) in [
            ("--seed", "--seed"),
            ("--seed x", "\"x\""),
            ("--agents 0", "--agents"),
            ("--minutes -1", "-1"),
            ("--minutes 0", "--minutes"),
            ("--hours 1", "--hours"),
        ] {
            let mistake = parsed(line).unwrap_err();
            assert!(mistake.contains(named), "{line}: {mistake}");
        }
    }
}
