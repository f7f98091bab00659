//! When each of our keys is published, signs, and goes.
//!
//! ```text
//!            publish_at        sign_at            the next one's sign_at         retire_at
//! ───────────────┼────────────────┼─────────────────────────┼────────────────────────┼──────────
//!   not there    │   published    │   published, and signs  │  published             │  gone
//!                 publish_ahead                              12 h and 5 minutes
//! ```
//!
//! A key stays published for the longest life that any configuration can give a token, and not for the `ttl` of the moment:
//! `ttl` can be lowered, and differs between gateways, while tokens of the old one are still valid.
//!
//! All of it is computed when a keyring is loaded, from the keyring alone: every worker and every replica, also one that
//! started a minute ago, does the same at the same time.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use der::DateTime;

use crate::config::MAX_TTL;
use crate::settings::ConfigError;
use crate::sorted::sorted;

/// Seconds that a key stays published after the last token it signed has expired: the clocks of gateways differ.
const CLOCK_DIFFERENCE: u64 = 300;
/// Seconds that a key stays published after the next one has begun to sign.
pub(crate) const PUBLISHED_AFTER: u64 = MAX_TTL.as_secs() + CLOCK_DIFFERENCE;
/// For ever
const NEVER: u64 = u64::MAX;

/// What a timetable is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How long a key is published before it signs
    pub(crate) publish_ahead: Duration,
    /// Whether there has to be a key that signs, now and ever after; seconds since 1970
    pub(crate) signs_from: Option<u64>,
}

/// The times of one key, as they are given; seconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// Whether it takes its turn as the key that signs
    pub(crate) signs: bool,
    pub(crate) publish_at: Option<u64>,
    pub(crate) sign_at: Option<u64>,
    pub(crate) retire_at: Option<u64>,
}

/// The phases of a keyring, the first of which began long ago.
#[derive(Clone, Debug)]
pub struct Timetable {
    phases: Vec<Phase>,
}

/// A time in which the same keys are published and the same one signs. Keys are named by their place in the keyring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Its first second, since 1970
    pub from: u64,
    /// The one that signs, if any does
    pub signing: Option<usize>,
    /// The one that signs first
    pub published: Vec<usize>,
}

/// The times of one key, all of them known.
struct Turn {
    publish_at: u64,
    /// `None`: it never signs
    sign_at: Option<u64>,
    retire_at: u64,
}

impl Timetable {
    /// The timetable of keys with these times.
    ///
    /// # Errors
    /// [`ConfigError`] with the moment at which no key would sign, a key would sign that verifiers may not have seen, or
    /// one would be gone whose tokens still live.
    pub(crate) fn new(keys: &[Times], terms: Terms) -> Result<Self, ConfigError> {
        let turns = turns(keys, terms)?;
        let mut moments = Vec::from([0]);
        for turn in &turns {
            moments.extend([turn.publish_at, turn.retire_at].into_iter().chain(turn.sign_at));
        }
        moments.retain(|moment| *moment != NEVER);
        let mut moments = sorted(moments);
        moments.dedup();
        let mut phases: Vec<Phase> = Vec::new();
        for from in moments {
            let phase = Phase::at(from, &turns);
            if phases.last().is_none_or(|last| (last.signing, &last.published) != (phase.signing, &phase.published)) {
                phases.push(phase);
            }
        }
        Ok(Self { phases })
    }

    /// All phases, in their order.
    #[must_use]
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// The place of the phase at a time.
    #[must_use]
    pub fn place(&self, unix: u64) -> usize {
        self.phases.partition_point(|phase| phase.from <= unix).saturating_sub(1)
    }

    /// The phase at a time.
    #[must_use]
    pub fn at(&self, unix: u64) -> Option<&Phase> {
        self.phases.get(self.place(unix))
    }

    /// Until when tokens of a published key may be valid at a time, and whether they are tokens that it was seen to sign here.
    /// A key that never signs by this timetable may sign elsewhere until it leaves; `None` is a key that signs later.
    #[must_use]
    pub(crate) fn tokens_until(&self, key: usize, unix: u64) -> Option<(u64, bool)> {
        let now = self.place(unix);
        let last_turn = self.phases.iter().take(now.saturating_add(1)).rposition(|phase| phase.signing == Some(key));
        let signs_later = self.phases.iter().skip(now).any(|phase| phase.signing == Some(key));
        let begin_of = |place: usize| self.phases.get(place).map_or(NEVER, |phase| phase.from);
        match last_turn {
            Some(turn) if turn == now => Some((unix.saturating_add(MAX_TTL.as_secs()), true)),
            Some(turn) => Some((begin_of(turn.saturating_add(1)).saturating_add(MAX_TTL.as_secs()), true)),
            None if signs_later => None,
            None => {
                let leaves = self.phases.iter().skip(now).position(|phase| !phase.published.contains(&key));
                Some((leaves.map_or(NEVER, |after| begin_of(now.saturating_add(after))), false))
            }
        }
    }

    /// When the next phase after a time begins, if one does.
    #[must_use]
    pub fn next_after(&self, unix: u64) -> Option<u64> {
        self.phases.get(self.place(unix).saturating_add(1)).map(|phase| phase.from)
    }
}

impl Phase {
    fn at(from: u64, turns: &[Turn]) -> Self {
        let there = |turn: &Turn| turn.publish_at <= from && from < turn.retire_at;
        let begun =
            turns.iter().enumerate().filter(|(_, turn)| there(turn) && turn.sign_at.is_some_and(|at| at <= from));
        let signing = begun.max_by_key(|(_, turn)| turn.sign_at).map(|(place, _)| place);
        let others = turns.iter().enumerate().filter(|(place, turn)| there(turn) && Some(*place) != signing);
        Self { from, signing, published: signing.into_iter().chain(others.map(|(place, _)| place)).collect() }
    }
}

fn turns(keys: &[Times], terms: Terms) -> Result<Vec<Turn>, ConfigError> {
    let mut order: Vec<usize> = Vec::new();
    for (place, times) in keys.iter().enumerate().filter(|(_, times)| times.signs) {
        let earlier =
            order.iter().copied().find(|other| keys.get(*other).is_some_and(|other| other.sign_at == times.sign_at));
        match (earlier, times.sign_at) {
            (None, _) => order.push(place),
            (Some(_), None) => {
                let problem = "is a second key that would sign now; give its sign_at, or its public_key alone";
                return Err(ConfigError::new(format!("keys[{place}].private_key"), problem));
            }
            (Some(other), Some(at)) => {
                let problem = format!("keys[{other}] begins to sign at {} too", text_of(at));
                return Err(at_member(place, "sign_at", problem));
            }
        }
    }
    let begins = |place: usize| keys.get(place).and_then(|times| times.sign_at).unwrap_or_default();
    let order = sorted(order.into_iter().map(|place| (begins(place), place)).collect());
    let order: Vec<usize> = order.into_iter().map(|(_, place)| place).collect();
    check_that_one_signs(keys, &order, terms)?;
    keys.iter()
        .enumerate()
        .map(|(place, times)| {
            let next = order.iter().skip_while(|other| **other != place).nth(1);
            let next = next.and_then(|next| keys.get(*next)).and_then(|next| next.sign_at);
            turn(place, times, next, terms)
        })
        .collect()
}

fn check_that_one_signs(keys: &[Times], order: &[usize], terms: Terms) -> Result<(), ConfigError> {
    let Some(now) = terms.signs_from else { return Ok(()) };
    let (Some(first), Some(last)) = (order.first().copied(), order.last().copied()) else { return Ok(()) };
    if let Some(at) = keys.get(first).and_then(|times| times.sign_at)
        && at > now
    {
        return Err(at_member(first, "sign_at", format!("no key signs until {}", text_of(at))));
    }
    if let Some(at) = keys.get(last).and_then(|times| times.retire_at) {
        return Err(at_member(last, "retire_at", format!("no key signs from {} on", text_of(at))));
    }
    Ok(())
}

/// One key's turn; `next` is when the key after it begins to sign.
fn turn(place: usize, times: &Times, next: Option<u64>, terms: Terms) -> Result<Turn, ConfigError> {
    let sign_at = times.signs.then_some(times.sign_at.unwrap_or_default());
    let seen = sign_at.unwrap_or_default().saturating_sub(terms.publish_ahead.as_secs());
    let publish_at = times.publish_at.unwrap_or(seen);
    if let Some(sign_at) = sign_at
        && publish_at > seen
    {
        return Err(at_member(
            place,
            "publish_at",
            format!(
                "must be {} at the latest, publish_ahead before it signs at {}: verifiers would not have seen it",
                text_of(seen),
                text_of(sign_at)
            ),
        ));
    }
    let earliest = next.map(|next| next.saturating_add(PUBLISHED_AFTER));
    let retire_at = times.retire_at.or(earliest).unwrap_or(NEVER);
    if let (Some(earliest), Some(next)) = (earliest, next)
        && retire_at < earliest
    {
        let problem = format!(
            "must be {} at the earliest: it signs until {}, and a token lives for 12 h at most",
            text_of(earliest),
            text_of(next)
        );
        return Err(at_member(place, "retire_at", problem));
    }
    if retire_at <= publish_at {
        return Err(at_member(
            place,
            "retire_at",
            format!("must be after {}, when it is published", text_of(publish_at)),
        ));
    }
    Ok(Turn { publish_at, sign_at, retire_at })
}

fn at_member(place: usize, member: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError::new(format!("keys[{place}].{member}"), problem)
}

/// Parses a time of RFC 3339 in UTC, to the second, as `2026-12-01T00:00:00Z`; in seconds since 1970. A time with an offset is
/// refused, so that two readers cannot take it for two times.
#[must_use]
pub fn parse_time(text: &str) -> Option<u64> {
    text.parse::<DateTime>().ok().map(|time| time.unix_duration().as_secs())
}

/// Writes a time (seconds since 1970) in the form that [`parse_time`] reads. A time after the year 9999 is `the year 10000`.
#[must_use]
pub fn text_of(unix: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(unix))
        .map_or_else(|_| "the year 10000".into(), |time| time.to_string())
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests"
)]
mod tests {
    use alloc::vec;

    use super::*;

    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    const NOW: u64 = 20_000 * DAY;

    fn terms() -> Terms {
        Terms { publish_ahead: Duration::from_secs(DAY), signs_from: Some(NOW) }
    }

    fn key(sign_at: Option<u64>) -> Times {
        Times { signs: true, sign_at, ..Times::default() }
    }

    fn phases(keys: &[Times]) -> Vec<(u64, Option<usize>, Vec<usize>)> {
        let timetable = Timetable::new(keys, terms()).unwrap();
        timetable.phases().iter().map(|phase| (phase.from, phase.signing, phase.published.clone())).collect()
    }

    fn error(keys: &[Times]) -> String {
        Timetable::new(keys, terms()).unwrap_err().to_string()
    }

    #[test]
    fn a_key_without_times_signs_always() {
        assert_eq!(phases(&[key(None)]), [(0, Some(0), vec![0])]);
    }

    #[test]
    fn a_rotation_has_four_phases() {
        let turn = NOW + 2 * DAY;
        assert_eq!(
            phases(&[key(None), key(Some(turn))]),
            [
                (0, Some(0), vec![0]),
                (turn - DAY, Some(0), vec![0, 1]),
                (turn, Some(1), vec![1, 0]),
                (turn + PUBLISHED_AFTER, Some(1), vec![1]),
            ]
        );
    }

    #[test]
    fn times_that_are_given_count() {
        let (turn, early, late) = (NOW + 2 * DAY, NOW - DAY, NOW + 5 * DAY);
        let old = Times { retire_at: Some(late), ..key(None) };
        let new = Times { publish_at: Some(early), ..key(Some(turn)) };
        let beside = Times { publish_at: Some(NOW), retire_at: Some(late), ..Times::default() };
        assert_eq!(
            phases(&[old, new, beside]),
            [
                (0, Some(0), vec![0]),
                (early, Some(0), vec![0, 1]),
                (NOW, Some(0), vec![0, 1, 2]),
                (turn, Some(1), vec![1, 0, 2]),
                (late, Some(1), vec![1]),
            ]
        );
    }

    #[test]
    fn at_each_second_the_phase_is_the_one_that_has_begun() {
        let turn = NOW + 2 * DAY;
        let timetable = Timetable::new(&[key(None), key(Some(turn))], terms()).unwrap();
        let signing = |unix| timetable.at(unix).unwrap().signing.unwrap();
        assert_eq!([0, turn - 1, turn, u64::MAX].map(signing), [0, 0, 1, 1]);
        let next = |unix| timetable.next_after(unix);
        let gone = turn + PUBLISHED_AFTER;
        assert_eq!(
            [0, turn - DAY - 1, turn - DAY, turn, gone].map(next),
            [Some(turn - DAY), Some(turn - DAY), Some(turn), Some(gone), None]
        );
    }

    #[test]
    fn a_timetable_that_would_fail_somebody_is_refused_with_the_moment() {
        let turn = NOW + 2 * DAY;
        let at = |unix| text_of(unix);
        let with = |retire_at, times: Times| Times { retire_at: Some(retire_at), ..times };
        let published = |publish_at, times: Times| Times { publish_at: Some(publish_at), ..times };
        let cases = [
            (vec![key(Some(turn))], format!("keys[0].sign_at: no key signs until {}", at(turn))),
            (vec![with(turn, key(None))], format!("keys[0].retire_at: no key signs from {} on", at(turn))),
            (
                vec![key(None), with(turn + DAY, key(Some(turn)))],
                format!("keys[1].retire_at: no key signs from {} on", at(turn + DAY)),
            ),
            (
                vec![with(turn + PUBLISHED_AFTER - 1, key(None)), key(Some(turn))],
                format!("keys[0].retire_at: must be {} at the earliest", at(turn + PUBLISHED_AFTER)),
            ),
            (
                vec![key(None), published(turn - DAY + 1, key(Some(turn)))],
                format!("keys[1].publish_at: must be {} at the latest", at(turn - DAY)),
            ),
            (vec![key(None), key(None)], "keys[1].private_key: is a second key that would sign now".into()),
            (
                vec![key(Some(turn)), key(None), key(Some(turn))],
                format!("keys[2].sign_at: keys[0] begins to sign at {} too", at(turn)),
            ),
            (
                vec![key(None), with(NOW, published(NOW, Times::default()))],
                format!("keys[1].retire_at: must be after {}", at(NOW)),
            ),
        ];
        for (keys, expected) in cases {
            let error = error(&keys);
            assert!(error.starts_with(&expected), "{error:?} does not begin with {expected:?}");
        }
        // Each of them is right when it is moved by the second that was missing.
        phases(&[with(turn + PUBLISHED_AFTER, key(None)), key(Some(turn))]);
        phases(&[key(None), published(turn - DAY, key(Some(turn)))]);
        phases(&[key(Some(NOW))]);
    }

    #[test]
    fn who_only_publishes_needs_no_key_that_signs() {
        let turn = NOW + 2 * DAY;
        let elsewhere = Terms { signs_from: None, ..terms() };
        let timetable = Timetable::new(&[key(Some(turn)), key(Some(turn + DAY))], elsewhere).unwrap();
        assert!(timetable.at(turn - DAY - 1).unwrap().published.is_empty());
        assert_eq!(timetable.at(turn).unwrap().published, [0, 1]);
        assert_eq!(timetable.at(turn + 9 * DAY).unwrap().published, [1]);
    }

    #[test]
    fn a_time_is_utc_to_the_second_and_nothing_else() {
        assert_eq!(parse_time("2026-12-01T00:00:00Z"), Some(1_796_083_200));
        assert_eq!(parse_time(&text_of(NOW)), Some(NOW));
        for wrong in [
            "2026-12-01",
            "2026-12-01T00:00:00",
            "2026-12-01T00:00:00+01:00",
            "2026-12-01T00:00:00.5Z",
            "2026-13-01T00:00:00Z",
            "2026-12-01t00:00:00z",
            "1796083200",
            "",
        ] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }
}
