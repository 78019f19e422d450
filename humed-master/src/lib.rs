//! The master: gathers what agents report, keeps it, and answers.
//!
//! Rooms import only to the right: master → relay, enroll, watchdog, web, admin, pump → intake, ca → store, registry; anybody may
//! count in `metrics`.

pub mod admin;
pub mod args;
pub mod ca;
pub mod config;
pub mod enroll;
pub mod intake;
pub mod master;
pub mod metrics;
pub mod pump;
pub mod registry;
pub mod relay;
pub mod store;
pub mod watchdog;
pub mod web;
