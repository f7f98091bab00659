//! The two clocks that a host tells the time by.

use core::time::Duration;

use der::DateTime;

/// A point of a clock that nobody can set, since any fixed point.
pub type Monotonic = Duration;

/// Both clocks. Claims and timetables go by the wall clock; timers by the monotonic one, so that a step of the wall clock
/// neither stalls a refresh nor frees a waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Unix time in seconds
    pub unix: u64,
    /// Since any fixed point
    pub monotonic: Monotonic,
}

/// Seconds since 1970 of a `Date` header (RFC 9110 section 5.6.7), in the one form that is written today:
/// `Sun, 06 Nov 1994 08:49:37 GMT`.
#[must_use]
pub fn parse_http_date(text: &[u8]) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let text = core::str::from_utf8(text).ok()?;
    let (_, date) = text.split_once(", ")?;
    let mut parts = date.split([' ', ':']);
    let mut part = |length: usize| parts.next().filter(|part| part.len() == length);
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    let (day, month, year) = (part(2)?, part(3)?, part(4)?);
    let (hour, minute, second, zone) = (part(2)?, part(2)?, part(2)?, part(3)?);
    let month = MONTHS.find(month).filter(|at| at.is_multiple_of(3))?.checked_div(3)?.checked_add(1)?;
    let small = |text| number(text).and_then(|number| u8::try_from(number).ok());
    let month = u8::try_from(month).ok()?;
    let time = DateTime::new(number(year)?, month, small(day)?, small(hour)?, small(minute)?, small(second)?).ok()?;
    (zone == "GMT" && parts.next().is_none()).then(|| time.unix_duration().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_header_is_read_and_what_is_none_is_not() {
        assert_eq!(parse_http_date(b"Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_http_date(b"Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for wrong in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 anF 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
        ] {
            assert_eq!(parse_http_date(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
