//! What would break if one keyring took the place of another.

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
/// timetable of `new`. What `old` has published and signed until then is taken from its own timetable.
pub fn between(old: &Keyring, new: &Keyring, now: u64, publish_ahead: Duration) -> Vec<GapAt> {
    let mut succession = Succession::default();
    let begins = |keyring: &Keyring| keyring.timetable().phases().iter().map(|phase| phase.from).collect::<Vec<_>>();
    for at in begins(old).into_iter().filter(|from| *from < now).chain([now]) {
        // Gaps of the past are over.
        succession.observe(old, at, publish_ahead);
    }
    let later = begins(new).into_iter().filter(|from| *from > now);
    let moments = std::iter::once(now).chain(later);
    let found = moments.flat_map(|at| {
        let gaps = succession.observe(new, at, publish_ahead);
        gaps.into_iter().map(move |gap| GapAt { at, gap })
    });
    found.collect()
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
                "key {kid:?} would sign from {at}, and would have been published for {} by then: {} are needed",
                written(*published_for),
                written(publish_ahead.as_secs())
            ),
        }
    }
}

/// Seconds as a duration of the settings, in the largest unit that is exact.
pub fn written(seconds: u64) -> String {
    let unit = [(3600, "h"), (60, "m")].into_iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "s"));
    format!("{}{name}", seconds.checked_div(unit).unwrap_or_default())
}
