//! Where a page or a follower goes on, in its own words.

#![no_main]

use hume_doors::door;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| door("cursor").expect("it is in the table")(bytes));
