//! What an administrator of hume does: make a site (`init`), make an agent of it (`agent`), say who is told (`set`) who may speak
//! (`agents`), who may ask (`api-token`, `api-cert`), who signs (`ca`) and when tasks are expected (`watch`).
//!
//! Everything is prepared in a folder beside its place and moved there at the end: a run that fails leaves nothing half
//! made. Nothing that exists is replaced without `--force`, and what is replaced is kept under another name.

mod admin;
pub mod agent;
pub mod agents;
pub mod api_access;
pub mod args;
pub mod ca;
mod change;
mod child;
pub mod enrolment;
mod failure;
pub mod from_url;
mod http;
pub mod init;
pub mod join;
pub mod orders;
mod report;
pub mod set;
mod staging;
pub mod systemd;
mod token;
pub mod watch;
pub mod wizard;

use std::io::Write;

pub use args::{Args, Command};
pub use failure::Failure;

/// Does what the command line asks; says each step on `out`.
/// # Errors
/// [`Failure`], which knows its exit code and names the fix.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    match &args.command {
        Some(Command::Init(init)) => init::run(init, out),
        Some(Command::Agent(agent)) => agent::run(agent, out),
        Some(Command::Token(token)) => enrolment::run(token, out),
        Some(Command::Join(join)) if join.install_systemd => {
            // Said before the token is used up.
            systemd::is_possible()?;
            join::run(join, out)?;
            systemd::run_agent(out)
        }
        Some(Command::Join(join)) => join::run(join, out),
        Some(Command::Agents(agents)) => agents::run(agents, out),
        Some(Command::Ca(ca)) => ca::run(ca, out),
        Some(Command::ApiToken(tokens)) => api_access::run_token(tokens, out),
        Some(Command::ApiCert(certificates)) => api_access::run_cert(certificates, out),
        Some(Command::Set(set)) => set::run(set, out),
        Some(Command::Watch(watch)) => watch::run(watch, out),
        Some(Command::Wizard(wizard)) => wizard::run(wizard, out),
        None => set::run(&args.set, out),
    }
}
