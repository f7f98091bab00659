//! Everything that comes from elsewhere is the same thing: an entry that is fetched, kept, fetched again ahead of time,
//! and used for a while when that fails.
//!
//! [`Source`] is that entry as a state machine without a clock. The host asks [`Source::poll`] whether a fetch is due,
//! performs it, and reports what came by [`Source::succeed`] or [`Source::fail`]. One fetch is in flight at a time; an
//! answer to any other is ignored. A value is replaced whole or not at all.

use core::time::Duration;

use crate::clock::Monotonic;

/// What is fetched from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKey {
    /// Our keys
    Keyring,
    /// The keys of the trusted issuer in this place of the configuration
    Jwks(usize),
}

/// How an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// After which a value is fetched again, give or take a tenth, so that replicas do not ask in step
    pub lifetime: Duration,
    /// How much sooner it is fetched, so that nobody waits for it
    pub refresh_ahead: Duration,
    /// The age at which a value that could not be fetched again is not used any more; `None`: it is used for ever
    pub stale_limit: Option<Duration>,
    /// After which a fetch has failed
    pub timeout: Duration,
    /// The longest back-off while there is a value
    pub longest_backoff: Duration,
}

/// Between two fetches that unknown kids cause.
pub const DEMAND_INTERVAL: Duration = Duration::from_secs(10);
/// The longest back-off while there is no value.
pub const COLD_BACKOFF: Duration = Duration::from_secs(5);
/// How much longer than its time-out a fetch is waited for, before the host is taken to have lost it.
const GRACE: Duration = Duration::from_millis(250);

/// An entry: a value and the fetches that keep it.
#[derive(Clone, Debug)]
pub struct Source<T> {
    freshness: Freshness,
    value: Option<Kept<T>>,
    /// When the next fetch is due
    due: Monotonic,
    flight: Option<Flight>,
    /// Fetches begun; names the one in flight
    attempts: u64,
    /// Failures since the last success
    failures: u32,
    demanded: Option<Monotonic>,
}

#[derive(Clone, Debug)]
struct Kept<T> {
    value: T,
    since: Monotonic,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    attempt: u64,
    lost_at: Monotonic,
}

/// What an entry has to give.
#[derive(Debug, PartialEq, Eq)]
pub enum State<'a, T> {
    /// A value to use
    Ready(&'a T),
    /// None yet, and a fetch that may bring it is in flight or due
    Pending,
    /// None, and the next try is that far off
    Failed {
        /// Until the next fetch
        retry_in: Duration,
    },
}

impl<T> Source<T> {
    /// An empty entry whose first fetch is due at once.
    #[must_use]
    pub const fn new(freshness: Freshness) -> Self {
        Self { freshness, value: None, due: Duration::ZERO, flight: None, attempts: 0, failures: 0, demanded: None }
    }

    /// An entry whose value never changes and is never fetched.
    #[must_use]
    pub fn constant(value: T) -> Self {
        let forever = Freshness {
            lifetime: Duration::MAX,
            refresh_ahead: Duration::ZERO,
            stale_limit: None,
            timeout: Duration::ZERO,
            longest_backoff: Duration::ZERO,
        };
        let mut source = Self::new(forever);
        source.value = Some(Kept { value, since: Duration::ZERO });
        source.due = Duration::MAX;
        source
    }

    /// What there is at `now`.
    #[must_use]
    pub fn state(&self, now: Monotonic) -> State<'_, T> {
        match self.usable(now) {
            Some(value) => State::Ready(value),
            None if self.flight.is_some() || self.due <= now => State::Pending,
            None => State::Failed { retry_in: self.due.saturating_sub(now) },
        }
    }

    /// Whether a fetch is in flight or due at `now`.
    #[must_use]
    pub fn is_pending(&self, now: Monotonic) -> bool {
        self.flight.is_some() || self.due <= now
    }

    /// Begins a fetch if one is due, and gives its number. `random` spreads the back-off of a fetch that was lost.
    pub fn poll(&mut self, now: Monotonic, random: u32) -> Option<u64> {
        if let Some(flight) = self.flight {
            if now < flight.lost_at {
                return None;
            }
            self.fail(flight.attempt, now, random);
        }
        if self.due > now {
            return None;
        }
        self.attempts = self.attempts.saturating_add(1);
        let lost_at = now.saturating_add(self.freshness.timeout).saturating_add(GRACE);
        self.flight = Some(Flight { attempt: self.attempts, lost_at });
        Some(self.attempts)
    }

    /// Takes the value that a fetch brought; false if it is not the one in flight.
    pub fn succeed(&mut self, attempt: u64, value: T, now: Monotonic, random: u32) -> bool {
        if !self.land(attempt) {
            return false;
        }
        let freshness = self.freshness;
        self.value = Some(Kept { value, since: now });
        self.failures = 0;
        let spread = freshness.lifetime.checked_div(5).unwrap_or_default();
        let lifetime = freshness.lifetime.saturating_sub(half_of(spread)).saturating_add(fraction(spread, random));
        self.due = now.saturating_add(lifetime.saturating_sub(freshness.refresh_ahead));
        true
    }

    /// Notes that a fetch failed; false if it is not the one in flight. The value stays as it was.
    pub fn fail(&mut self, attempt: u64, now: Monotonic, random: u32) -> bool {
        if !self.land(attempt) {
            return false;
        }
        let longest = if self.usable(now).is_some() { self.freshness.longest_backoff } else { COLD_BACKOFF };
        let backoff = Duration::from_secs(1_u64.checked_shl(self.failures).unwrap_or(u64::MAX)).min(longest);
        self.failures = self.failures.saturating_add(1);
        let half = half_of(backoff);
        self.due = now.saturating_add(half).saturating_add(fraction(half, random));
        true
    }

    /// Asks for a fetch now rather than when it is due, as often as [`DEMAND_INTERVAL`] allows. True if one will be made.
    pub fn demand(&mut self, now: Monotonic) -> bool {
        let too_soon = self.demanded.is_some_and(|last| now.saturating_sub(last) < DEMAND_INTERVAL);
        if too_soon || self.due == Duration::MAX {
            return false;
        }
        self.demanded = Some(now);
        self.due = self.due.min(now);
        true
    }

    /// Goes on with what `made_of` makes of the value of an entry for the same thing, by the same clock, if that is newer. The
    /// next fetch stays due when it was, and what unknown kids have caused lately counts.
    pub fn inherit(&mut self, before: &Self, made_of: impl FnOnce(&T) -> Option<T>) {
        self.demanded = self.demanded.max(before.demanded);
        let Some(kept) = &before.value else { return };
        if self.value.as_ref().is_none_or(|own| own.since < kept.since)
            && let Some(value) = made_of(&kept.value)
        {
            self.value = Some(Kept { value, since: kept.since });
        }
    }

    /// When the host should call [`Source::poll`] again, if nothing happens before.
    #[must_use]
    pub fn next_poll(&self) -> Monotonic {
        self.flight.map_or(self.due, |flight| flight.lost_at)
    }

    /// How long there has been no usable value, if there is none. `begun` is when the entry came into use.
    #[must_use]
    pub fn missing_for(&self, begun: Monotonic, now: Monotonic) -> Option<Duration> {
        if self.usable(now).is_some() {
            return None;
        }
        let ended = self
            .value
            .as_ref()
            .zip(self.freshness.stale_limit)
            .map(|(kept, limit)| kept.since.saturating_add(limit.max(self.freshness.lifetime)));
        Some(now.saturating_sub(ended.unwrap_or(begun).max(begun)))
    }

    fn usable(&self, now: Monotonic) -> Option<&T> {
        let kept = self.value.as_ref()?;
        let Some(limit) = self.freshness.stale_limit else { return Some(&kept.value) };
        (now.saturating_sub(kept.since) < limit.max(self.freshness.lifetime)).then_some(&kept.value)
    }

    fn land(&mut self, attempt: u64) -> bool {
        let landed = self.flight.is_some_and(|flight| flight.attempt == attempt);
        if landed {
            self.flight = None;
        }
        landed
    }
}

fn half_of(duration: Duration) -> Duration {
    duration.checked_div(2).unwrap_or_default()
}

/// A part of a duration, by a random number.
fn fraction(of: Duration, random: u32) -> Duration {
    of.saturating_mul(random >> 16).checked_div(1 << 16).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const JWKS: Freshness = Freshness {
        lifetime: Duration::from_secs(300),
        refresh_ahead: Duration::from_secs(30),
        stale_limit: Some(Duration::from_secs(6 * 3600)),
        timeout: Duration::from_secs(2),
        longest_backoff: Duration::from_secs(60),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn warm_at(now: Duration) -> Source<&'static str> {
        let mut source = Source::new(JWKS);
        let attempt = source.poll(now, 0).expect("the first fetch is due at once");
        assert!(source.succeed(attempt, "keys", now, 1 << 31));
        source
    }

    #[test]
    fn the_first_fetch_is_due_at_once_and_one_is_in_flight_at_a_time() {
        let mut source = Source::<()>::new(JWKS);
        assert_eq!(source.poll(seconds(5), 0), Some(1));
        assert_eq!(source.poll(seconds(5), 0), None);
        assert_eq!(source.state(seconds(5)), State::Pending);
    }

    #[test]
    fn a_value_is_fetched_again_thirty_seconds_before_its_lifetime_ends_give_or_take_a_tenth() {
        for (random, lifetime) in [(0, 270), (1 << 31, 300), (u32::MAX, 329)] {
            let mut source = Source::new(JWKS);
            let attempt = source.poll(seconds(0), 0).unwrap();
            source.succeed(attempt, "keys", seconds(0), random);
            assert_eq!(source.poll(seconds(lifetime - 30 - 1), 0), None, "{random}");
            assert_eq!(source.poll(seconds(lifetime - 30 + 1), 0), Some(2), "{random}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_fetched_again_is_used_until_it_is_six_hours_old_and_then_not() {
        let mut source = warm_at(seconds(0));
        let mut now = seconds(0);
        let end = 360 * MINUTE;
        while now < end {
            if let Some(attempt) = source.poll(now, 0) {
                assert!(source.fail(attempt, now, 0));
            }
            assert_eq!(source.state(now), State::Ready(&"keys"), "{now:?}");
            now += seconds(1);
        }
        assert!(!matches!(source.state(end), State::Ready(_)));
    }

    #[test]
    fn an_answer_to_another_fetch_than_the_one_in_flight_is_ignored() {
        let mut source = Source::new(JWKS);
        let lost = source.poll(seconds(0), 0).unwrap();
        // The host never answered: after time-out and grace the fetch counts as failed, and another is made.
        assert_eq!(source.poll(seconds(3), 0), None);
        let second = source.poll(seconds(4), 0).unwrap();
        assert!(!source.succeed(lost, "late", seconds(4), 0));
        assert!(!source.fail(lost, seconds(4), 0));
        assert_eq!(source.state(seconds(4)), State::Pending);
        assert!(source.succeed(second, "keys", seconds(4), 0));
        assert!(!source.succeed(second, "twice", seconds(4), 0));
        assert_eq!(source.state(seconds(4)), State::Ready(&"keys"));
    }

    #[test]
    fn back_off_doubles_from_one_second_to_five_while_cold_and_to_sixty_while_warm() {
        for (mut source, longest) in [(Source::new(JWKS), 5), (warm_at(seconds(0)), 60)] {
            let mut now = seconds(1000);
            let mut expected = 1;
            for _ in 0..40 {
                let attempt = source.poll(now, 0).expect("due");
                source.fail(attempt, now, u32::MAX);
                let wait = source.next_poll() - now;
                assert!(wait <= seconds(expected) && wait > seconds(expected).mul_f32(0.99), "{wait:?} {expected}");
                now += wait;
                expected = (expected * 2).min(longest);
            }
        }
    }

    #[test]
    fn a_fetch_is_lost_a_quarter_of_a_second_after_its_time_out() {
        let mut source = Source::<()>::new(JWKS);
        source.poll(seconds(0), 0);
        let last = Duration::from_millis(2249);
        assert_eq!((source.poll(last, 0), source.is_pending(last)), (None, true));
        let lost = Duration::from_millis(2250);
        assert_eq!((source.poll(lost, 0), source.is_pending(lost)), (None, false));
    }

    #[test]
    fn the_tenth_second_after_a_demand_is_there_for_the_next() {
        let mut source = warm_at(seconds(0));
        assert!(source.demand(seconds(50)));
        assert!(!source.demand(Duration::from_millis(59_999)));
        assert!(source.demand(seconds(60)));
    }

    #[test]
    fn a_demand_causes_at_most_one_fetch_in_ten_seconds() {
        let mut source = warm_at(seconds(0));
        let mut fetches = 0;
        for tenth in 0..600_u64 {
            let now = seconds(50) + Duration::from_millis(tenth * 100);
            source.demand(now);
            if let Some(attempt) = source.poll(now, 0) {
                fetches += 1;
                source.succeed(attempt, "keys", now, 1 << 31);
            }
        }
        assert_eq!(fetches, 6);
    }

    #[test]
    fn an_inherited_value_is_used_at_once_and_until_its_own_age_ends_it_and_is_fetched_again_at_once() {
        let before = warm_at(seconds(100));
        let shorter = Freshness { stale_limit: Some(seconds(1000)), ..JWKS };
        let mut source = Source::new(shorter);
        source.inherit(&before, |keys| Some(*keys));
        assert_eq!(source.state(seconds(200)), State::Ready(&"keys"));
        let attempt = source.poll(seconds(200), 0).expect("a fetch is due");
        source.fail(attempt, seconds(200), 0);
        assert_eq!(source.state(seconds(1099)), State::Ready(&"keys"));
        assert!(!matches!(source.state(seconds(1100)), State::Ready(_)));
        // An older one does not displace a newer one, nor does none.
        let mut newer = warm_at(seconds(150));
        let older = Source { value: Some(Kept { value: "old", since: seconds(100) }), ..Source::new(JWKS) };
        newer.inherit(&older, |keys| Some(*keys));
        newer.inherit(&Source::new(JWKS), |keys| Some(*keys));
        // One as old neither; a newer one does.
        let same = Source { value: Some(Kept { value: "same", since: seconds(150) }), ..Source::new(JWKS) };
        newer.inherit(&same, |keys| Some(*keys));
        assert_eq!(newer.state(seconds(200)), State::Ready(&"keys"));
        let mut older = older;
        older.inherit(&same, |keys| Some(*keys));
        assert_eq!(older.state(seconds(200)), State::Ready(&"same"));
        // Nor one of which nothing can be made.
        newer.inherit(&warm_at(seconds(160)), |_| None);
        assert_eq!(newer.state(seconds(200)), State::Ready(&"keys"));
    }

    #[test]
    fn while_there_is_nothing_a_failed_entry_says_when_it_tries_again() {
        let mut source = Source::<()>::new(JWKS);
        let attempt = source.poll(seconds(0), 0).unwrap();
        source.fail(attempt, seconds(0), 0);
        assert_eq!(source.state(seconds(0)), State::Failed { retry_in: Duration::from_millis(500) });
        assert_eq!(source.state(seconds(1)), State::Pending);
    }

    #[test]
    fn a_constant_is_never_fetched() {
        let mut source = Source::constant("inline");
        assert!(!source.demand(seconds(1)));
        assert_eq!(source.poll(seconds(1_000_000_000), 0), None);
        assert_eq!(source.state(seconds(1_000_000_000)), State::Ready(&"inline"));
    }
}
