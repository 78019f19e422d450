//! The parameters of a question to the REST API.

#![no_main]

use hume_doors::door;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| door("query").expect("it is in the table")(bytes));
