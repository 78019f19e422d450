//! An agent whose certificate has ended, with the certificates that it shows.

#![no_main]

use hume_doors::door;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| door("recover_request").expect("it is in the table")(bytes));
