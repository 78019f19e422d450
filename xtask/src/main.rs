//! The commands of the README and of CI: a demo, every test, an installation by hand, the benchmark.
//!
//! It is compiled before anything else can happen, so it depends on next to nothing.

mod args;
mod bench;
mod cargo;
mod chaos;
mod cost;
mod demo;
mod dist;
mod fuzz;
mod install;
mod parts;
mod say;

use std::process::ExitCode;

use args::Order;
use say::say;

/// `EX_USAGE` of sysexits: the command line makes no sense.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into()).collect();
    let order = match args::parse(&words) {
        Ok(order) => order,
        Err(mistake) => {
            complain(format_args!("{mistake}\n\n{}", args::HELP));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let outcome = match order {
        Order::Demo(afterwards) => demo::run(afterwards).map(|()| ExitCode::SUCCESS),
        Order::Test { only } => parts::run(&only),
        Order::Install { prefix, destdir } => {
            install::run(&prefix, destdir.as_deref()).map(|()| ExitCode::SUCCESS)
        }
        Order::Dist => dist::run().map(|()| ExitCode::SUCCESS),
        Order::Cost => cost::run().map(|()| ExitCode::SUCCESS),
        Order::Bench { words } => bench::run(&words),
        Order::Fuzz { door, seconds } => fuzz::run(&door, seconds),
        Order::Chaos { words } => chaos::run(&words),
        Order::Help => say(args::HELP).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        complain(format_args!("xtask: {error:#}"));
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stderr, reason = "the last words of a program that has no log")]
fn complain(text: std::fmt::Arguments<'_>) {
    eprintln!("{text}");
}
