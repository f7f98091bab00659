//! The gaps that would come of one keyring in the place of another: tokens that verifiers would refuse.

use std::mem;
use std::time::Duration;

use jwt_reissuer::keyring::Keyring;
use jwt_reissuer::succession::{Gap, Succession};
use jwt_reissuer::timetable::text_of;

/// A gap and the moment of it, in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapAt {
    pub at: u64,
    pub gap: Gap,
}

/// The gaps that come of `new` in the place of `old` at `now` (seconds since 1970): at once, and at each later moment of the
/// timetable of `new`. The history before `now` is taken from the timetable of `old`.
pub fn between(old: &Keyring, new: &Keyring, now: u64, publish_ahead: Duration) -> Vec<GapAt> {
    let mut succession = Succession::default();
    let begins = |keyring: &Keyring| keyring.timetable().phases().iter().map(|phase| phase.from).collect::<Vec<_>>();
    for at in begins(old).into_iter().filter(|from| *from < now).chain([now]) {
        // Gaps of the past are over.
        succession.observe(old, at, publish_ahead);
    }
    let later = begins(new).into_iter().filter(|from| *from > now);
    let mut found: Vec<GapAt> = Vec::new();
    for at in std::iter::once(now).chain(later) {
        for gap in succession.observe(new, at, publish_ahead) {
            // A key that signs too early does so in each phase of its turn; the first one says when.
            let is_known = |known: &GapAt| {
                known.gap.kid() == gap.kid() && mem::discriminant(&known.gap) == mem::discriminant(&gap)
            };
            if !found.iter().any(is_known) {
                found.push(GapAt { at, gap });
            }
        }
    }
    found
}

impl GapAt {
    /// The gap in words, as something that would come.
    pub fn message(&self, publish_ahead: Duration) -> String {
        let at = text_of(self.at);
        match &self.gap {
            Gap::Withdrawn { kid, until: u64::MAX } => {
                format!(
                    "key {kid:?} would be withdrawn at {at}, and another gateway may sign with it: it has no retire_at"
                )
            }
            Gap::Withdrawn { kid, until } => {
                format!("key {kid:?} would be withdrawn at {at}, and its tokens may be valid until {}", text_of(*until))
            }
            Gap::SignsUnpublished { kid, published_for } => format!(
                "key {kid:?} would sign from {at}, published for {} by then; it needs {}",
                written(*published_for),
                written(publish_ahead.as_secs())
            ),
        }
    }
}

/// Seconds in words, as `24 h` or `4 h 21 min 9 s`.
fn written(seconds: u64) -> String {
    let mut rest = seconds;
    let mut words = Vec::new();
    for (unit, name) in [(3600, "h"), (60, "min"), (1, "s")] {
        let count = rest.checked_div(unit).unwrap_or_default();
        rest = rest.checked_rem(unit).unwrap_or_default();
        if count > 0 {
            words.push(format!("{count} {name}"));
        }
    }
    if words.is_empty() { "0 s".into() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_without_units_that_are_none() {
        let cases = [(0, "0 s"), (59, "59 s"), (86_400, "24 h"), (15_669, "4 h 21 min 9 s"), (3_601, "1 h 1 s")];
        for (seconds, expected) in cases {
            assert_eq!(written(seconds), expected);
        }
    }
}
