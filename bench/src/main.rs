//! What hume costs and carries, measured with its release programs, each figure beside its baseline in the same run.
//!
//! It reports and does not judge: the exit code says whether everything could be measured, not how fast it was.

mod args;
mod disk;
mod fill;
mod fleet;
mod http;
mod kept;
mod lines;
mod load;
mod machine;
mod part;
mod proc;
mod programs;
mod row;
mod rsyslog;
mod scratch;
mod site;
mod stats;
mod swarm;
mod table;
mod talk;
mod wait;

use std::process::ExitCode;

use args::{Extent, Format, Order, Part};
use machine::Machine;
use part::{Context, Findings};
use programs::Programs;
use talk::{say, tell};

/// `EX_USAGE` of sysexits: the command line makes no sense.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into()).collect();
    let order = match args::parse(&words) {
        Ok(order) => order,
        Err(mistake) => {
            tell(format_args!("{mistake}\n\n{}", args::HELP));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    hume_runtime::tls::install_provider();
    hume_runtime::limits::raise_open_files();
    let outcome = match order {
        Order::Bench { parts, extent, format } => bench(&words, &parts, extent, format),
        Order::Swarm { agents, events, format } => {
            swarm(&words, format, |programs| part::of_swarm(programs, agents, events))
        }
        Order::Storm { agents, storms, events, format } => {
            swarm(&words, format, |programs| part::of_storm(programs, agents, storms, events))
        }
        Order::Help => say(args::HELP).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        tell(format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// Measures part after part; one that does not work leaves the others their turn.
fn bench(words: &[String], parts: &[Part], extent: Extent, format: Format) -> anyhow::Result<ExitCode> {
    let programs = Programs::find()?;
    let machine = machine(words, &programs);
    let context = Context::new(programs, extent);
    let mut all = Findings::default();
    let mut worked = true;
    for part in parts {
        match part::measure(*part, &context) {
            Ok(Findings { rows, skipped }) => {
                all.rows.extend(rows);
                all.skipped.extend(skipped);
            }
            Err(error) => {
                worked = false;
                tell(format_args!("{} did not work: {error:#}", part.name()));
                all.skipped.push(format!("{}: it did not work, see standard error", part.name()));
            }
        }
    }
    show(&machine, &all, format)?;
    Ok(if worked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn swarm(
    words: &[String],
    format: Format,
    measure: impl FnOnce(&Programs) -> anyhow::Result<Findings>,
) -> anyhow::Result<ExitCode> {
    let programs = Programs::find()?;
    let machine = machine(words, &programs);
    let findings = measure(&programs)?;
    show(&machine, &findings, format)?;
    Ok(ExitCode::SUCCESS)
}

fn machine(words: &[String], programs: &Programs) -> Machine {
    let command = ["cargo xtask"].into_iter().chain(words.iter().map(String::as_str));
    Machine::here(command.collect::<Vec<_>>().join(" "), &programs.bench_folder())
}

fn show(machine: &Machine, findings: &Findings, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Table => say(table::text(machine, findings)),
        Format::Json => say(format_args!("{:#}", table::json(machine, findings))),
    }
}
