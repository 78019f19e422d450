//! The payload of a batch: lengths, counts and zstd.

#![no_main]

use hume_doors::door;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| door("batch").expect("it is in the table")(bytes));
