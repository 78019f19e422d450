//! `humeconfig`: parses the command line, runs it, turns a failure into one line and an exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use hume_runtime::exit;
use humeconfig::Args;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() { exit::USAGE } else { exit::OK };
            // Help that nobody reads to its end is not a failure.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match humeconfig::run(&args, &mut anstream::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !args.is_quiet() {
                // Without stderr there is nobody left to tell.
                let _ = writeln!(std::io::stderr(), "humeconfig: {}", failure.explained());
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
