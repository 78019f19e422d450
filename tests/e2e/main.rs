//! The promises of hume, kept by real processes: one module for each.

mod correlation;
mod kill9;
mod main_job;
