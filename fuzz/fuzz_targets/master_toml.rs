//! The configuration of a master.

#![no_main]

use hume_doors::door;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| door("master_toml").expect("it is in the table")(bytes));
