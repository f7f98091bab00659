//! As much of protobuf's wire format as the arguments and results of two foreign functions need: fields of bytes and of bool.

const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// A message of fields of bytes, by their numbers. It has all its room from the beginning: what a growing buffer leaves behind is
/// wiped by nobody.
pub(crate) fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let room = fields.iter().fold(0_usize, |room, (_, value)| room.saturating_add(value.len()).saturating_add(6));
    let mut bytes = Vec::with_capacity(room);
    for (number, value) in fields {
        bytes.push(number << 3 | 2);
        let mut length = value.len();
        while length >= 0x80 {
            bytes.push(0x80 | low_bits(length));
            length >>= 7;
        }
        bytes.push(low_bits(length));
        bytes.extend_from_slice(value);
    }
    bytes
}

/// What a message says in its first three fields: a bool, and two times bytes. Fields that are not there are as protobuf has
/// them: false and empty. `None` where it is no message.
pub(crate) fn result(mut bytes: &[u8]) -> Option<(bool, [&[u8]; 2])> {
    let (mut good, mut texts): (bool, [&[u8]; 2]) = (false, [&[]; 2]);
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = varint(&mut bytes)?;
        match (key >> 3, key & 7) {
            (1, VARINT) => good = value != 0,
            (_, VARINT) => {}
            (number, BYTES) => {
                let (text, rest) = bytes.split_at_checked(usize::try_from(value).ok()?)?;
                bytes = rest;
                match number {
                    2 => texts[0] = text,
                    3 => texts[1] = text,
                    _ => {}
                }
            }
            _ => return None,
        }
    }
    Some((good, texts))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for place in 0..10_u32 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        let shift = place.checked_mul(7)?;
        let shifted = bits.checked_shl(shift)?;
        // The tenth byte has room for one bit.
        if shifted.checked_shr(shift)? != bits {
            return None;
        }
        value |= shifted;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn low_bits(number: usize) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_with_the_length_they_have() {
        assert_eq!(*message(&[(1, b"sha256"), (2, b"")]), *b"\x0a\x06sha256\x12\x00");
        let long = vec![7; 300];
        let written = message(&[(4, &long)]);
        assert_eq!(written.get(..3), Some(&b"\x22\xac\x02"[..]));
        assert_eq!(result(&written), Some((false, [&[][..], &[]])), "a field that is not asked for is passed over");
    }

    #[test]
    fn a_result_is_read_whatever_the_order_and_with_fields_that_nobody_knows() {
        assert_eq!(result(b""), Some((false, [&[][..], &[]])));
        assert_eq!(result(b"\x08\x01\x12\x02ab"), Some((true, [&b"ab"[..], &[]])));
        assert_eq!(result(b"\x1a\x03bad\x08\x00"), Some((false, [&[][..], b"bad"])));
        assert_eq!(result(b"\x48\x81\x01\x52\x01x\x08\x01"), Some((true, [&[][..], &[]])));
    }

    #[test]
    fn what_is_no_message_is_nothing() {
        let cases: [&[u8]; 6] = [
            b"\x08",
            b"\x12\x05ab",
            b"\x80",
            b"\x0d\x00\x00\x00\x00",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            &[0xff; 20],
        ];
        for case in cases {
            assert_eq!(result(case), None, "{case:x?}");
        }
    }
}
