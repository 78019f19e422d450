//! `hume`: reports one event and ends; whatever goes wrong, the script that called it goes on.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(hume_client::run(std::env::args_os()))
}
