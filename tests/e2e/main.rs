//! The promises of hume, kept by real processes: one module for each.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is test code, also what stands outside of a test function"
)]

mod attacks;
mod backlog;
mod backup;
mod bad_input;
mod certificates;
mod chaos;
mod correlation;
mod declared;
mod discard;
mod disk;
mod follow;
mod from_url;
mod hosts;
mod install;
mod join;
mod kill9;
mod lifecycle;
mod main_job;
mod namespaces;
mod network;
mod outage;
mod people;
mod person_certificates;
mod points;
mod process_limits;
mod recovery;
mod redact;
mod registry;
mod revert;
mod rights;
mod rotation;
mod service_manager;
mod settings;
mod storm;
mod transfers;
mod trust;
mod units;
mod untold;
mod watches;
mod watermark;
