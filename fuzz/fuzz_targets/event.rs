//! The bytes of one event, as batches and stores have them.

#![no_main]

use hume_doors::door;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| door("event").expect("it is in the table")(bytes));
