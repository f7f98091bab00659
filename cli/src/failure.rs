//! Why a command did not do its work: a message without key material, and an exit code.

use std::fmt;
use std::io::{Write as _, stderr};
use std::process::ExitCode;

use jwt_reissuer::ConfigError;

/// The meaning of the exit codes, for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done, or there was nothing to do
  1  the keyring is refused, or it would break a token that is valid; no file was changed
  2  an option, a file or the environment cannot be used; no file was changed";

/// The longest run of letters and digits that a message of the core keeps. No word is longer, and a key is.
const LONGEST_WORD: usize = 15;

/// Why a command did not do its work.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// A keyring that gateways refuse, or that would break valid tokens: exit code 1.
    Refused(String),
    /// An option, a file or the environment that cannot be used: exit code 2.
    Unusable(String),
}

impl Failure {
    /// A keyring in a place that the core refuses. The core's message may quote a member or a label of the document. In a
    /// damaged document these may be parts of a key, so they are left out.
    pub fn refused(place: impl fmt::Display, error: &ConfigError) -> Self {
        Self::Refused(format!("{place}: {}", without_long_words(&error.to_string())))
    }

    /// A file or stream that could not be read or written.
    pub fn io(place: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::Unusable(format!("{place}: {error}"))
    }

    /// Writes the message to standard error.
    pub fn report(&self) -> ExitCode {
        let (message, code) = match self {
            Self::Refused(message) => (message, 1),
            Self::Unusable(message) => (message, 2),
        };
        say(message);
        code.into()
    }
}

/// Writes a line to standard error. Where that fails, the exit code is all that is told.
pub fn say(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

/// The text with each run of base64 characters that is longer than a word replaced.
fn without_long_words(text: &str) -> String {
    let is_base64 = |character: char| character.is_ascii_alphanumeric() || matches!(character, '+' | '/' | '=');
    let mut kept = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_base64) {
        let (before, from_word) = rest.split_at(start);
        let end = from_word.find(|character| !is_base64(character)).unwrap_or(from_word.len());
        let (word, after) = from_word.split_at(end);
        kept.push_str(before);
        kept.push_str(if word.len() > LONGEST_WORD { "(left out)" } else { word });
        rest = after;
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_words_paths_and_times_and_loses_what_may_be_a_key() {
        for (text, expected) in [
            ("keys[0].private_key: is a PEM of X", "keys[0].private_key: is a PEM of X"),
            ("no key signs until 2026-12-01T00:00:00Z", "no key signs until 2026-12-01T00:00:00Z"),
            ("MIIEvQIBADANBgkq is not a setting", "(left out) is not a setting"),
            ("keys[0].a+b/cdefghijklmnop", "keys[0].(left out)"),
            ("", ""),
        ] {
            assert_eq!(without_long_words(text), expected);
        }
    }
}
