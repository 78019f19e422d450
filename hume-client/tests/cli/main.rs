//! The program `hume` as scripts call it: one event, a command between two events, and the lines of a pipe.

mod exec;
mod left;
mod patience;
mod pipe;
mod report;
mod support;
