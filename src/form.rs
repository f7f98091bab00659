//! `application/x-www-form-urlencoded` text (URL Standard section 5.1), as queries and forms are.

use alloc::vec::Vec;

/// More bytes of an audience than any that can be configured has.
const LONGEST: usize = 1024;

/// The audience that a query asks for. Nothing else of a query is kept: a request may wait, and a thousand of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// None
    Nothing,
    /// This one, decoded, and cut where it is longer than any that can be configured
    For(Vec<u8>),
    /// More than one
    Several,
}

impl Asked {
    /// A parameter without a value counts as not given (RFC 6749 section 3.1); everything else in the query is ignored.
    pub(crate) fn by(query: &[u8]) -> Self {
        // A query that is not text cannot name an audience; it is ignored like any other unknown one.
        if core::str::from_utf8(query).is_err() {
            return Self::Nothing;
        }
        let mut given =
            parameters(query).filter(|(name, value)| !value.is_empty() && form_decoded(name).eq(*b"audience"));
        match (given.next(), given.next()) {
            (None, _) => Self::Nothing,
            (Some((_, audience)), None) => Self::For(form_decoded(audience).take(LONGEST).collect()),
            (Some(_), Some(_)) => Self::Several,
        }
    }
}

/// Names and values of `application/x-www-form-urlencoded` text, as they stand there: most are nobody's, and decoding thirty
/// thousand of them would cost more than a signature.
pub(crate) fn parameters(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|byte| *byte == b'&').map(|pair| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
    })
}

/// A name or value of [`parameters`], decoded byte by byte. What is not a valid escape stays as it is, and so equals nothing
/// that is configured.
pub(crate) fn form_decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    let hex = |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut rest = text;
    core::iter::from_fn(move || {
        let (byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'+' => Some(b' '),
            b'%' => match (hex(after.first()), hex(after.get(1))) {
                (Some(high), Some(low)) => {
                    rest = after.get(2..).unwrap_or_default();
                    Some((high << 4) | low)
                }
                _ => Some(b'%'),
            },
            byte => Some(*byte),
        }
    })
}
