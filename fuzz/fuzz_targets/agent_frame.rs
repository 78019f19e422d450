//! A frame of an agent, as its master reads it.

#![no_main]

use hume_doors::door;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| door("agent_frame").expect("it is in the table")(bytes));
