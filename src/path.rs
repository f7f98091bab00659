//! Spellings of a path that a server behind this gateway may read as a path of ours.
//!
//! On a shared host, paths that are not ours pass to an application. A misspelt path such as `//reissue` or `/%72eissue` must not:
//! the application may normalise it, act in our name and log the caller's token.
//!
//! Servers normalise in different orders, so every order is tried. The steps are: decode escapes (RFC 3986 section 6.2.2.2), drop
//! path parameters (section 3.3), cut at a decoded `?` or `#`, resolve dot segments (section 5.2.4), merge slashes, and ignore case.

use alloc::string::String;
use alloc::vec::Vec;

/// Longest path, in bytes, whose readings are searched. A longer one with a segment named like one of ours counts as a spelling.
const MAX_PATH: usize = 2048;
/// Most readings of one path. A path with more counts as a spelling of ours.
const MAX_READINGS: usize = 32;
/// Longest segment, in bytes after decoding, that may be the name of one of ours: letters of other scripts fold to shorter ones.
const MAX_NAME: usize = 128;

/// Whether some server reads `path`, without its query, as one of `ours`. Those are ASCII in lower case.
pub(crate) fn may_be_read_as(path: &[u8], ours: &[&[u8]]) -> bool {
    if is_plain(path) {
        return ours.contains(&path);
    }
    // No step makes a segment, so the last one of the result stands in what is left after all decoding.
    if !has_last_segment(&fully_decoded(path), ours) {
        return false;
    }
    if path.len() > MAX_PATH {
        return true;
    }
    let mut readings = Vec::from([path.to_vec()]);
    let mut next = 0;
    while let Some(reading) = readings.get(next) {
        if ours.iter().any(|ours| folds_to(reading, ours)) {
            return true;
        }
        let steps = [
            decoded_once(reading),
            without_parameters(reading),
            without_controls(reading),
            cut(reading),
            resolved(reading),
        ];
        for step in steps {
            if !readings.contains(&step) {
                if readings.len() >= MAX_READINGS {
                    return true;
                }
                readings.push(step);
            }
        }
        next = next.saturating_add(1);
    }
    false
}

/// Whether every server reads it in one way: nothing of it is escaped, resolved, cut or folded.
fn is_plain(path: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && !b"%;\\#?".contains(byte);
    let has_segments = path.split(|byte| *byte == b'/').skip(1).all(|segment| !matches!(segment, b"" | b"." | b".."));
    has_segments && path.iter().all(is_letter)
}

/// Percent-encoding decoded once, from left to right.
fn decoded_once(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        match (escaped(rest), after.get(2..)) {
            (Some(byte), Some(after)) => {
                decoded.push(byte);
                rest = after;
            }
            _ => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    decoded
}

/// Percent-encoding decoded until none is left, and without spaces and control characters: an escape that either makes is decoded too.
fn fully_decoded(path: &[u8]) -> Vec<u8> {
    let mut decoded: Vec<u8> = Vec::with_capacity(path.len());
    for byte in path.iter().copied().filter(is_no_control) {
        decoded.push(byte);
        while let Some(start) = decoded.len().checked_sub(3) {
            let Some(byte) = decoded.get(start..).and_then(escaped) else { break };
            decoded.truncate(start);
            decoded.extend(Some(byte).filter(is_no_control));
        }
    }
    decoded
}

/// The byte that an escape at the beginning stands for.
fn escaped(text: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match text {
        [b'%', high, low, ..] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    }
}

/// Without path parameters: from `;` to the next slash.
fn without_parameters(path: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(path.len());
    let mut inside = false;
    for byte in path {
        inside = match byte {
            b';' => true,
            b'/' | b'\\' => false,
            _ => inside,
        };
        if !inside {
            kept.push(*byte);
        }
    }
    kept
}

/// Up to a `?`, `#` or NUL, which decoding may have made.
fn cut(path: &[u8]) -> Vec<u8> {
    path.split(|byte| matches!(byte, b'?' | b'#' | 0)).next().unwrap_or_default().to_vec()
}

/// Dot segments resolved, slashes merged, the last one dropped; a backslash is a slash.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| matches!(byte, b'/' | b'\\')) {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut path = Vec::with_capacity(path.len());
    for segment in segments {
        path.push(b'/');
        path.extend_from_slice(segment);
    }
    path
}

/// Without spaces and control characters, which some servers strip.
fn without_controls(path: &[u8]) -> Vec<u8> {
    path.iter().copied().filter(is_no_control).collect()
}

/// NUL is left, since some servers cut there.
fn is_no_control(byte: &u8) -> bool {
    *byte == 0 || *byte > b' ' && *byte != 0x7f
}

/// Whether a segment is named like the last one of any of `ours`.
fn has_last_segment(path: &[u8], ours: &[&[u8]]) -> bool {
    let is_name = |segment: &[u8]| ours.iter().any(|ours| folds_to(segment, last_segment(ours)));
    path.split(|byte| b"/\\;?#\0".contains(byte)).any(|segment| segment.len() <= MAX_NAME && is_name(segment))
}

fn last_segment(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Whether a text is one of ours to a server that ignores case, white space and byte-order marks. `ours` is in lower case.
fn folds_to(text: &[u8], ours: &[u8]) -> bool {
    if text.is_ascii() {
        return text.eq_ignore_ascii_case(ours);
    }
    // By capitals first: letters such as the long s and ligatures have ASCII capitals alone.
    let text = String::from_utf8_lossy(text);
    let characters = text.chars().filter(|character| !character.is_whitespace() && *character != '\u{feff}');
    characters.flat_map(char::to_uppercase).flat_map(char::to_lowercase).eq(ours.iter().copied().map(char::from))
}
