//! A host that wants to join, in its own words.

#![no_main]

use hume_doors::door;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| door("join_request").expect("it is in the table")(bytes));
