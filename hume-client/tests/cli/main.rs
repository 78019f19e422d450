//! The program `hume` as scripts call it: one event, and a command between two events.

mod exec;
mod report;
mod support;
