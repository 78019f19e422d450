//! What is read from stdin, and how much of it is kept.

use super::*;

#[test]
fn stdin_is_read_to_its_end_and_the_end_of_the_last_line_taken_off() {
    let message = read_message(&b"one\ntwo\n\n"[..]);
    assert_eq!((message.bytes.as_slice(), message.bytes_total), (&b"one\ntwo"[..], 7));
    assert_eq!(read_message(&b"\n\n"[..]).bytes_total, 0);
    assert_eq!(read_message(&b""[..]).bytes_total, 0);
}

#[test]
fn of_a_long_stdin_the_length_is_counted_and_no_more_kept_than_fits() {
    let message = read_message(io::repeat(b'x').take(1 << 20).chain(&b"\n"[..]));
    assert_eq!((message.bytes.len(), message.bytes_total), (MESSAGE_READ_BYTES_MAX, 1 << 20));
    let ends = read_message(io::repeat(b'\n').take(1 << 20).chain(&b"x"[..]));
    assert_eq!(ends.bytes_total, (1 << 20) + 1);
}

#[test]
fn a_stdin_that_fails_is_told_with_what_was_read() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    let message = read_message((&b"half"[..]).chain(Failing));
    assert_eq!((message.bytes.as_slice(), message.fault), (&b"half"[..], Some("stdin could not be read")));
}
