//! `humequery`: ask the master or the agent what happened.

use std::process::ExitCode;

fn main() -> ExitCode {
    humequery::run(std::env::args_os())
}
