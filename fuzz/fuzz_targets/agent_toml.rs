//! The configuration of an agent.

#![no_main]

use hume_doors::door;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| door("agent_toml").expect("it is in the table")(bytes));
