//! The word with which a host joins.

#![no_main]

use hume_doors::door;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| door("join_token").expect("it is in the table")(bytes));
