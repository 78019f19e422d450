//! What a script writes to the socket of the agent.

#![no_main]

use hume_doors::door;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| door("lines").expect("it is in the table")(bytes));
