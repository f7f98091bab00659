//! Whether one keyring follows another without a gap.
//!
//! A verifier refuses a token whose key it does not find in our key set. Two changes of a keyring cause that: a key is withdrawn
//! while its tokens are valid, and a key signs before verifiers have had time to read it. Each keyring alone is checked when it
//! is parsed ([`crate::timetable`]); a [`Succession`] watches what is published over time, across keyrings. It refuses nothing,
//! because withdrawing a leaked key at once must be possible.

use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::config::MAX_TTL;
use crate::crypto::VerifyingKey;
use crate::error::Quoted;
use crate::keyring::Keyring;
use crate::timetable::text_of;

/// How long verifiers take to see a published key, at least.
const LEAST_SEEN_AFTER: Duration = Duration::from_secs(300);
/// Most keys whose tokens may still be valid that are remembered; the one that ends soonest is forgotten first.
const MAX_KEYS: usize = 64;

/// The keys that were published and that have signed so far.
#[derive(Clone, Debug, Default)]
pub struct Succession {
    published: Vec<Published>,
    /// Keys with tokens that may be valid
    alive: Vec<Alive>,
    /// The key that signed when it was last observed
    signing: Option<Id>,
    /// The last time that was observed, in seconds since 1970
    last: Option<u64>,
}

/// A gap between keyrings: some verifiers refuse valid tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// A key left the key set while tokens that it signed may be valid.
    Withdrawn {
        /// The key's id
        kid: String,
        /// When the last of its tokens expires, in seconds since 1970; [`u64::MAX`] where that is unknown
        until: u64,
    },
    /// A key signs that was published for too short a time.
    SignsUnpublished {
        /// The key's id
        kid: String,
        /// Seconds since it was first published
        published_for: u64,
    },
}

/// A key under an id: verifiers look for both.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Id {
    kid: String,
    spki: Arc<[u8]>,
}

#[derive(Clone, Debug)]
struct Published {
    id: Id,
    /// Since when it was seen in the key set, in seconds since 1970
    since: u64,
}

#[derive(Clone, Debug)]
struct Alive {
    id: Id,
    /// Until when its tokens may be valid, in seconds since 1970
    until: u64,
    /// Whether it was seen to sign; else another gateway may sign with it, and `until` is when it is planned to leave
    signed: bool,
}

impl Succession {
    /// Takes note of what a keyring publishes and signs with at `now` (seconds since 1970), and tells the gaps since the last
    /// time. `seen_after` is how long verifiers take to see a published key; five minutes are assumed at least, since verifiers
    /// cache for longer than they are told. The first call finds no gap, and neither does the first after the clock was set back.
    pub fn observe(&mut self, keyring: &Keyring, now: u64, seen_after: Duration) -> Vec<Gap> {
        let Some(phase) = keyring.timetable().at(now) else { return Vec::new() };
        if self.last.is_some_and(|last| now < last) {
            // The clock was set back: times that were observed with it mean nothing.
            *self = Self::default();
        }
        let first = self.last.is_none();
        self.last = Some(now);
        let published = keyring.published(phase).map(|(kid, key)| {
            let id = Id::of(kid, key);
            let before = self.published.iter().find(|before| before.id == id);
            let since = before.map_or(if first { 0 } else { now }, |before| before.since);
            Published { id, since }
        });
        self.published = published.collect();

        // The key that signed at the last time has signed until its turn ended, or until now where this keyring does not know.
        if let Some(id) = self.signing.take() {
            let known =
                keyring.place_of(&id.kid, &id.spki).and_then(|place| keyring.timetable().tokens_until(place, now));
            let until = match known {
                Some((until, true)) => until,
                _ => now.saturating_add(MAX_TTL.as_secs()),
            };
            self.keep(Alive { id, until, signed: true });
        }
        let mut gaps = Vec::new();
        self.alive.retain(|key| {
            let withdrawn = key.until > now && !self.published.iter().any(|published| published.id == key.id);
            if withdrawn {
                gaps.push(Gap::Withdrawn { kid: key.id.kid.clone(), until: key.until });
            }
            !withdrawn && key.until > now
        });
        // The signing key is the first one that is published.
        if let (Some(_), Some(key)) = (phase.signing, self.published.first())
            && !self.alive.iter().any(|alive| alive.signed && alive.id == key.id)
        {
            let published_for = now.saturating_sub(key.since);
            if published_for < seen_after.max(LEAST_SEEN_AFTER).as_secs() {
                gaps.push(Gap::SignsUnpublished { kid: key.id.kid.clone(), published_for });
            }
        }
        for place in phase.published.iter().copied() {
            if let (Some((until, signed)), Some((kid, key))) =
                (keyring.timetable().tokens_until(place, now), keyring.key(place))
            {
                self.keep(Alive { id: Id::of(kid, key), until, signed });
            }
        }
        self.signing = phase.signing.and_then(|place| keyring.key(place)).map(|(kid, key)| Id::of(kid, key));
        gaps
    }

    /// Whether it has observed something later than another one.
    #[must_use]
    pub fn is_later(&self, other: &Self) -> bool {
        self.last > other.last
    }

    fn keep(&mut self, key: Alive) {
        match self.alive.iter_mut().find(|before| before.id == key.id) {
            None => self.alive.push(key),
            Some(before) if before.signed && key.signed => before.until = before.until.max(key.until),
            // Only its public half is left. The tokens that it signed are valid for as long as before.
            Some(before) if before.signed => {}
            Some(before) => *before = key,
        }
        let soonest = self.alive.iter().enumerate().min_by_key(|(_, key)| key.until).map(|(place, _)| place);
        if let Some(soonest) = soonest.filter(|_| self.alive.len() > MAX_KEYS) {
            self.alive.remove(soonest);
        }
    }
}

impl Id {
    fn of(kid: &str, key: &VerifyingKey) -> Self {
        Self { kid: kid.to_string(), spki: key.shared_spki() }
    }
}

impl Gap {
    /// Whether it is one of the same kind, of a key with the same id.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        core::mem::discriminant(self) == core::mem::discriminant(other) && self.kid() == other.kid()
    }

    /// The id of the key that it is about.
    #[must_use]
    pub fn kid(&self) -> &str {
        match self {
            Self::Withdrawn { kid, .. } | Self::SignsUnpublished { kid, .. } => kid,
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withdrawn { kid, until: u64::MAX } => {
                write!(f, "key kid={} was withdrawn, and tokens of it may be valid: verifiers refuse them", Quoted(kid))
            }
            Self::Withdrawn { kid, until } => write!(
                f,
                "key kid={} was withdrawn, and its tokens may be valid until {}: verifiers refuse them",
                Quoted(kid),
                text_of(*until)
            ),
            Self::SignsUnpublished { kid, published_for } => write!(
                f,
                "key kid={} signs, and was published {published_for} s before: verifiers with a cached key set refuse its tokens",
                Quoted(kid)
            ),
        }
    }
}
