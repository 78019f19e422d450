//! The master: gathers what agents report, keeps it, and answers.
//!
//! Rooms import only to the right: master → relay, web, pump → intake → store; anybody may count in `metrics`.

pub mod args;
pub mod config;
pub mod intake;
pub mod master;
pub mod metrics;
pub mod pump;
pub mod relay;
pub mod store;
pub mod web;
