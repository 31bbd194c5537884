//! Numbers in as few bytes as they need: seven bits a byte, the least significant first, as in protobuf, but with one
//! form only: who pads a number with zeros is refused. For the formats that are not protobuf: cursors, and what the log
//! keeps of its state.

/// Appends `number`: one byte for each seven bits, ten at most.
pub fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        let [low, ..] = number.to_le_bytes();
        out.push(low | 0x80);
        number >>= 7;
    }
    let [low, ..] = number.to_le_bytes();
    out.push(low);
}

/// Takes a number off the front; `None`, with `rest` somewhere in it, if it is cut off, padded or above 64 bits.
pub fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        number |= bits << shift;
        if number >> shift != bits {
            return None;
        }
        if byte & 0x80 == 0 {
            return (byte != 0 || shift == 0).then_some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive(number in any::<u64>(), shift in 0..64_u32) {
            let number = number >> shift;
            let mut bytes = Vec::new();
            put(number, &mut bytes);
            prop_assert_eq!(bytes.len(), (64 - number.leading_zeros()).div_ceil(7).max(1) as usize);
            let mut rest = &bytes[..];
            prop_assert_eq!((take(&mut rest), rest.len()), (Some(number), 0));
            prop_assert_eq!(take(&mut &bytes[..bytes.len() - 1]), None);
        }

        #[test]
        fn whatever_is_taken_has_no_other_form(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut rest = &bytes[..];
            if let Some(number) = take(&mut rest) {
                let mut again = Vec::new();
                put(number, &mut again);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - rest.len()]);
            }
        }
    }

    #[test]
    fn padded_and_oversized_numbers_are_refused() {
        let nine = [0xff; 9];
        for bad in
            [&[][..], &[0x80], &[0x80, 0x00], &[&nine[..], &[0x02]].concat(), &[&nine[..], &[0x81, 0x00]].concat()]
        {
            assert_eq!(take(&mut &*bad), None, "{bad:x?}");
        }
        assert_eq!(take(&mut &[&nine[..], &[0x01]].concat()[..]), Some(u64::MAX));
    }
}
