//! What is measured: gauges for the state of a reissuer, and the names of the counters that are there from the beginning.
//!
//! All workers of a gateway share one value of each, and the last one to write wins. So what is told are moments, not
//! ages, and counts of what all of them agree on.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::Config;
use crate::error::Rejection;
use crate::sorted::sorted;
use crate::succession::Gap;
use crate::timetable::Timetable;
use crate::trusted_issuer::JwksFrom;

/// When our keyring was last read.
pub(crate) const KEYRING_LAST_SUCCESS: &str = "jwt_reissuer.keyring.last_success";

/// When the key set of a trusted issuer was last read.
pub(crate) fn jwks_last_success(issuer: &str) -> String {
    format!("jwt_reissuer.jwks.{issuer}.last_success")
}

/// A measured value. Moments are in seconds since 1970; 0 is never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// The name of the metric
    pub name: Cow<'static, str>,
    /// What it is now
    pub value: u64,
}

/// When a key set was last fetched, and what its server's clock was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LastFetch {
    /// By our clock
    pub(crate) at: u64,
    /// By the server's, as its `Date` header said
    pub(crate) server_time: Option<u64>,
    /// Until when they are used, if there are no others; by our clock
    pub(crate) usable_until: u64,
    /// Usable keys
    pub(crate) keys: usize,
}

/// Our keys by what they are at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyStates {
    /// Not published yet
    pub upcoming: u64,
    /// Published, and signs later
    pub next: u64,
    /// Signs
    pub active: u64,
    /// Published, and does not sign any more
    pub retired: u64,
}

/// Our keyring at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyringGauges {
    /// When it was last read
    pub(crate) at: u64,
    pub(crate) states: KeyStates,
    /// When that changes next
    pub(crate) next_change: Option<u64>,
    /// Of the published keys
    pub(crate) fingerprint: u32,
}

impl Gauge {
    /// When a gap between keyrings was found, by the id of its key.
    pub(crate) fn of_gap(gap: &Gap, at: u64) -> Self {
        let what = match gap {
            Gap::Withdrawn { .. } => "withdrawn_at",
            Gap::SignsUnpublished { .. } => "signs_unpublished_at",
        };
        // Characters that a name of Envoy's statistics may hold, and not so many that it gets in the way.
        let plain = |character: char| {
            if character.is_ascii_alphanumeric() || "-_".contains(character) { character } else { '_' }
        };
        let kid: String = gap.kid().chars().take(64).map(plain).collect();
        Self::new(format!("jwt_reissuer.keyring.{what}.{kid}"), at)
    }

    fn new(name: impl Into<Cow<'static, str>>, value: u64) -> Self {
        Self { name: name.into(), value }
    }
}

impl KeyStates {
    /// How many keys of a timetable are what at a time. One that is gone is nothing any more.
    #[must_use]
    pub fn of(timetable: &Timetable, unix: u64) -> Self {
        let phases = timetable.phases();
        let (begun, later) = phases.split_at(timetable.place(unix).saturating_add(1).min(phases.len()));
        let Some(now) = begun.last() else { return Self::default() };
        let signs_later = |key: usize| later.iter().any(|phase| phase.signing == Some(key));
        let mut upcoming: Vec<usize> = sorted(later.iter().flat_map(|phase| phase.published.iter().copied()).collect());
        upcoming.dedup();
        upcoming.retain(|key| !now.published.contains(key));
        let others = now.published.iter().copied().filter(|key| Some(*key) != now.signing);
        let (next, retired): (Vec<usize>, Vec<usize>) = others.partition(|key| signs_later(*key));
        Self {
            upcoming: count(upcoming.len()),
            next: count(next.len()),
            active: now.signing.is_some().into(),
            retired: count(retired.len()),
        }
    }
}

impl LastFetch {
    pub(crate) fn gauges(self, issuer: &str, gauges: &mut Vec<Gauge>) {
        let name = |what: &str| format!("jwt_reissuer.jwks.{issuer}.{what}");
        gauges.push(Gauge::new(jwks_last_success(issuer), self.at));
        gauges.push(Gauge::new(name("usable_until"), self.usable_until));
        gauges.push(Gauge::new(name("keys"), count(self.keys)));
        if let Some(server) = self.server_time {
            // A gauge of Envoy is not negative, so there are two, one of which is 0.
            gauges.push(Gauge::new(name("clock_ahead_seconds"), self.at.saturating_sub(server)));
            gauges.push(Gauge::new(name("clock_behind_seconds"), server.saturating_sub(self.at)));
        }
    }
}

impl KeyringGauges {
    pub(crate) fn gauges(self, gauges: &mut Vec<Gauge>) {
        let KeyStates { upcoming, next, active, retired } = self.states;
        gauges.extend([
            Gauge::new(KEYRING_LAST_SUCCESS, self.at),
            Gauge::new("jwt_reissuer.keyring.next_change", self.next_change.unwrap_or_default()),
            Gauge::new("jwt_reissuer.keyring.published_hash", self.fingerprint.into()),
            Gauge::new("jwt_reissuer.keyring.keys.upcoming", upcoming),
            Gauge::new("jwt_reissuer.keyring.keys.next", next),
            Gauge::new("jwt_reissuer.keyring.keys.active", active),
            Gauge::new("jwt_reissuer.keyring.keys.retired", retired),
        ]);
    }
}

/// Counters that are to be there, at 0, before anything has happened: an alert on one that rises misses the first time
/// where it comes into being with it.
pub(crate) fn counters(config: &Config) -> Vec<String> {
    let always = [
        "documents_served",
        "issued",
        "issued_again",
        "keyring.failed",
        "keyring.loaded",
        "keyring.missing",
        "keyring.signs_unpublished",
        "keyring.withdrawn",
        "signing_latched",
    ];
    let mut names: Vec<String> = always.iter().map(|name| format!("jwt_reissuer.{name}")).collect();
    // Refusals that are not the fault of one caller alone.
    let refusals = [
        Rejection::AmbiguousIssuer { kid: String::new() },
        Rejection::PlainHttp { exposed: true },
        Rejection::SigningFailed,
        Rejection::IssuerKeysUnavailable { retry_after: 0 },
        Rejection::SigningKeysUnavailable { retry_after: 0 },
        Rejection::TooManyWaiting,
        Rejection::OverBudget { retry_after: 0 },
        Rejection::SubjectOverBudget { sub: String::new() },
    ];
    names.extend(refusals.iter().map(|rejection| format!("jwt_reissuer.rejected.{}", rejection.reason())));
    if config.serve.tokens {
        let fetched = config.trusted_issuers.iter().filter(|issuer| matches!(issuer.jwks, JwksFrom::EnvoyCluster(_)));
        for issuer in fetched {
            let watched = ["failed", "failed.no_usable_key", "fetched", "missing"];
            names.extend(watched.map(|what| format!("jwt_reissuer.jwks.{}.{what}", issuer.name)));
        }
    }
    names
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
