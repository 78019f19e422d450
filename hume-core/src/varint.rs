//! Whole numbers in as few bytes as they need: seven bits in each, the lowest first, as protobuf does it.
//!
//! For what stores keep by the million. Taking returns none where the bytes end or a number has more than 64 bits.

/// Most bytes of one number.
const BYTES_MAX: u32 = 10;

/// Appends a number.
pub fn put(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Appends a number that is near zero on either side.
pub fn put_signed(to: &mut Vec<u8>, value: i64) {
    put(to, ((value << 1) ^ (value >> 63)) as u64);
}

/// Takes the number that [`put`] appended.
pub fn take(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for place in 0..BYTES_MAX {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        let bits = u64::from(byte & 0x7f);
        if place == BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes the number that [`put_signed`] appended.
pub fn take_signed(from: &mut &[u8]) -> Option<i64> {
    let value = take(from)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// Takes so many bytes.
pub fn take_bytes<'a>(from: &mut &'a [u8], count: u64) -> Option<&'a [u8]> {
    let (bytes, rest) = from.split_at_checked(usize::try_from(count).ok()?)?;
    *from = rest;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_read_back(value in any::<u64>(), shift in 0_u32..64, signed in any::<i64>()) {
            let (mut bytes, small) = (Vec::new(), value >> shift);
            put(&mut bytes, small);
            put_signed(&mut bytes, signed);
            put_signed(&mut bytes, signed >> shift);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take(&mut rest), Some(small));
            prop_assert_eq!(take_signed(&mut rest), Some(signed));
            prop_assert_eq!(take_signed(&mut rest), Some(signed >> shift));
            prop_assert_eq!(take(&mut rest), None);
        }

        #[test]
        fn any_bytes_are_a_number_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..12), count in 0_u64..20) {
            let mut rest = bytes.as_slice();
            if take(&mut rest).is_some() {
                prop_assert!(rest.len() < bytes.len());
            }
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_bytes(&mut rest, count).is_some(), count as usize <= bytes.len());
        }
    }
}
