//! The two forms of an ECDSA signature: JOSE has `r || s`, each as long as the curve's order (RFC 7518 section 3.4), BoringSSL
//! a DER SEQUENCE of two INTEGERs (RFC 3279 section 2.2.3). One text for one value, both ways.

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
/// The longest length that is one byte, and the first byte of one that is two (X.690 section 8.1.3)
const SHORT: usize = 0x7f;
const LONG: u8 = 0x81;

/// The DER form of `r || s`; `None` where it is not two numbers of `size` bytes.
pub(crate) fn to_der(signature: &[u8], size: usize) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(size)?;
    if s.len() != size {
        return None;
    }
    let mut numbers = Vec::with_capacity(signature.len().saturating_add(10));
    for number in [r, s] {
        let leading = number.iter().take_while(|byte| **byte == 0).count();
        // Of zero one byte stays: whoever verifies refuses it.
        let digits = number.get(leading.min(size.saturating_sub(1))..).unwrap_or_default();
        let sign: &[u8] = if digits.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
        numbers.push(INTEGER);
        numbers.push(u8::try_from(digits.len().saturating_add(sign.len())).ok()?);
        numbers.extend_from_slice(sign);
        numbers.extend_from_slice(digits);
    }
    let mut der = Vec::with_capacity(numbers.len().saturating_add(3));
    der.push(SEQUENCE);
    if numbers.len() > SHORT {
        der.push(LONG);
    }
    der.push(u8::try_from(numbers.len()).ok()?);
    der.extend_from_slice(&numbers);
    Some(der)
}

/// `r || s`, each of `size` bytes, of the DER form; `None` for anything but the one encoding of two such numbers.
pub(crate) fn from_der(der: &[u8], size: usize) -> Option<Vec<u8>> {
    let (content, after) = element(SEQUENCE, der)?;
    let (r, rest) = element(INTEGER, content)?;
    let (s, rest) = element(INTEGER, rest)?;
    if !after.is_empty() || !rest.is_empty() {
        return None;
    }
    let mut signature = Vec::with_capacity(size.saturating_mul(2));
    for number in [r, s] {
        let digits = match number {
            // Negative, or with a zero that is no sign
            [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => return None,
            [0, digits @ ..] => digits,
            digits => digits,
        };
        let padding = size.checked_sub(digits.len())?;
        signature.extend(std::iter::repeat_n(0, padding));
        signature.extend_from_slice(digits);
    }
    Some(signature)
}

/// Content of an element of this tag, and what follows it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [first, LONG, length, rest @ ..] if *first == tag && usize::from(*length) > SHORT => (length, rest),
        [first, length, rest @ ..] if *first == tag && usize::from(*length) <= SHORT => (length, rest),
        _ => return None,
    };
    rest.split_at_checked(usize::from(*length))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Coordinates of the three curves.
    const SIZES: [usize; 3] = [32, 48, 66];

    fn both_ways(r: &[u8], s: &[u8], size: usize) -> Vec<u8> {
        let mut signature = vec![0; 2 * size];
        signature[size - r.len()..size].copy_from_slice(r);
        signature[2 * size - s.len()..].copy_from_slice(s);
        let der = to_der(&signature, size).unwrap();
        assert_eq!(from_der(&der, size).as_ref(), Some(&signature), "{der:x?}");
        der
    }

    #[test]
    fn a_signature_of_any_length_of_its_numbers_comes_back_as_it_was() {
        for size in SIZES {
            for length in 1..=size {
                for first in [1, 0x7f, 0x80, 0xff] {
                    let number: Vec<u8> = std::iter::once(first).chain((1..length).map(|byte| byte as u8)).collect();
                    both_ways(&number, &[1], size);
                    both_ways(&[0x80], &number, size);
                    both_ways(&number, &number, size);
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_what_the_library_writes() {
        // p256 is the judge: its own DER of the same signature.
        for (r, s) in [([1; 32], [2; 32]), ([0x80; 32], [0x7f; 32]), ([0xfe; 32], [0xfe; 32])] {
            let signature = p256::ecdsa::Signature::from_scalars(r, s).unwrap();
            let der = to_der(&signature.to_bytes(), 32).unwrap();
            assert_eq!(der, signature.to_der().as_bytes());
            assert_eq!(p256::ecdsa::Signature::from_der(&der).unwrap(), signature);
        }
    }

    #[test]
    fn anything_else_than_the_one_encoding_is_refused() {
        let good = both_ways(&[0x80; 32], &[0x01; 32], 32);
        assert_eq!(good[..5], [0x30, 0x45, 0x02, 0x21, 0x00]);
        let refused: [(&str, Vec<u8>); 14] = [
            ("empty", Vec::new()),
            ("cut", good[..good.len() - 1].to_vec()),
            ("more after it", [&good[..], &[0]].concat()),
            ("more within", {
                let mut longer = [&good[..], &[5, 0]].concat();
                longer[1] += 2;
                longer
            }),
            ("another tag", [&[0x31], &good[1..]].concat()),
            ("a length in two bytes that fits in one", [&[0x30, 0x81], &good[1..]].concat()),
            ("an indefinite length", [&[0x30, 0x80], &good[2..]].concat()),
            ("a length of three bytes", [&[0x30, 0x82, 0x00], &good[1..]].concat()),
            ("a negative number", vec![0x30, 6, 2, 1, 0x80, 2, 1, 1]),
            ("a zero that is no sign", vec![0x30, 7, 2, 2, 0, 1, 2, 1, 1]),
            ("a number of no bytes", vec![0x30, 5, 2, 0, 2, 1, 1]),
            ("one number", vec![0x30, 3, 2, 1, 1]),
            ("three numbers", vec![0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1]),
            ("a number that is too long", [&[0x30, 0x26, 2, 33, 1], &[7; 32][..], &[2, 1, 1]].concat()),
        ];
        for (why, der) in refused {
            assert_eq!(from_der(&der, 32), None, "{why}");
        }
        for length in [0, 32, 63, 65, 128] {
            assert_eq!(to_der(&vec![1; length], 32), None, "{length}");
        }
    }
}
