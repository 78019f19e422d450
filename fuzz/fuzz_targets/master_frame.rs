//! A frame of a master, as its agents read it.

#![no_main]

use hume_doors::door;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| door("master_frame").expect("it is in the table")(bytes));
