//! `humeconfig watch`, which is `hume watch` too: this host says itself when its tasks are expected, and reads that from its crontabs and timers.
//!
//! It is told to the agent, which checks it and hands it on to the master; the last word on a task counts.

pub mod args;
mod crontab;
mod declaration;
mod found;
mod import;
mod job;
mod socket;
mod timer;

use std::io::Write;

pub use args::WatchArgs;
use args::WatchOrder;
use socket::Agent;

use crate::failure::Failure;
use crate::report::Report;

/// Does what the command line asks.
/// # Errors
/// [`Failure`]: nothing is declared that was not said to be.
pub fn run(args: &WatchArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut report = Report::default();
    let agent = Agent::at(args.socket.as_deref());
    let done = match &args.order {
        Some(WatchOrder::Import(order)) => import::run(order, &agent, &mut report),
        None => {
            let task = args.task.as_deref().unwrap_or_default();
            let text = declaration::text(&args.when).map_err(Failure::Expectation)?;
            agent.declare(task, args.host.as_deref(), &text)?;
            report.line(match text.as_str() {
                declaration::NEVER => format!("{task} is not expected any more"),
                text => format!("{task} is expected: {text}"),
            });
            Ok(())
        }
    };
    // What was found is said, also when something is wrong with it.
    report.write(out)?;
    done
}
