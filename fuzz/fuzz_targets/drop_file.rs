//! A file that somebody left in the drop folder.

#![no_main]

use hume_doors::door;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| door("drop_file").expect("it is in the table")(bytes));
