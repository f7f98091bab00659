//! All that is fetched from elsewhere: our keyring, and the key set of every trusted issuer.
//!
//! Each is a [`Source`](crate::source::Source) under a [`SourceKey`]. This is where one says what to fetch and what is made of the answer.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use chacha20::rand_core::Rng as _;

use crate::clock::{Monotonic, Now};
use crate::config::Config;
use crate::crypto::{Algorithm, Crypto, Rng, VerifyingKey};
use crate::error::Quoted;
use crate::event::{Event, FetchFailure};
use crate::fetch::{Answer, Fetch, FetchId};
use crate::jwks::{JwksFetch, KeyCache, KeySet, RefusedKey};
use crate::loaded::Loaded;
use crate::metrics::{Gauge, LastFetch};
use crate::our_keys::{self, OurKeys};
use crate::settings::ConfigError;
use crate::source::{SourceKey, State};
use crate::trusted_issuer::{JwksFrom, TrustedIssuer};

/// How long a configuration may be without keys before that is an alarm: an Envoy that starts resolves names meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Most refused keys that a log line names.
const MAX_NAMED: usize = 8;

/// The entries, and what they hold.
pub(crate) struct Sources {
    /// When this configuration came into use
    begun: Monotonic,
    our_keys: OurKeys,
    /// In the order of `config.trusted_issuers`
    key_caches: Vec<KeyCache>,
    /// In the order of `config.trusted_issuers`
    last_fetches: Vec<Option<LastFetch>>,
    /// Entries that other VMs of the host read
    read_elsewhere: Vec<ReadElsewhere>,
    /// Entries that were logged to be out of reach
    out_of_reach: Vec<SourceKey>,
}

/// An entry that another VM of the host reads.
struct ReadElsewhere {
    key: SourceKey,
    /// When it was read, in seconds since 1970, as that VM says
    at: u64,
    /// When that last changed. The wall clock may jump.
    seen: Monotonic,
    /// Failures here since then. A process that was stopped finds all its readings old at once, and they are renewed in seconds.
    failures: u32,
}

/// Failures here, without a reading elsewhere between them, that may come of a process that was stopped.
const FAILURES_AFTER_A_STOP: u32 = 4;

impl Sources {
    /// Empty entries to be fetched, and full ones where the configuration gives the content; then with the events of that.
    ///
    /// # Errors
    /// [`ConfigError`] where keys that are written in the configuration are not usable.
    pub(crate) fn new(
        config: &Config,
        crypto: &dyn Crypto,
        rng: &mut Rng,
        now: Now,
    ) -> Result<(Self, Vec<Event>), ConfigError> {
        let (our_keys, events) = OurKeys::new(config, crypto, rng, now)?;
        let key_caches = config.trusted_issuers.iter().map(|issuer| match &issuer.jwks {
            JwksFrom::EnvoyCluster(fetch) => KeyCache::fetched(fetch),
            JwksFrom::Inline(keys) => KeyCache::constant(keys.clone()),
        });
        let sources = Self {
            begun: now.monotonic,
            our_keys,
            key_caches: key_caches.collect(),
            last_fetches: config.trusted_issuers.iter().map(|_| None).collect(),
            read_elsewhere: Vec::new(),
            out_of_reach: Vec::new(),
        };
        Ok((sources, events))
    }

    /// Our keys.
    pub(crate) fn keyring(&self, now: Monotonic) -> State<'_, Arc<Loaded>> {
        self.our_keys.state(now)
    }

    /// The events of what has come by the clock alone: a moment of our keyring's timetable, and another try of a keyring that
    /// is given with the configuration.
    pub(crate) fn turn(&mut self, config: &Config, crypto: &dyn Crypto, rng: &mut Rng, now: Now) -> Vec<Event> {
        let mut events = self.our_keys.turn(config, now);
        let read = self.our_keys.read_given(config, crypto, rng, now);
        events.extend(read.into_iter().map(|event| self.judged(event, SourceKey::Keyring, false, config, now)));
        events
    }

    /// Goes on with the keyring of the configuration before, if this one can use it, and with key sets that were read from the same
    /// places. Gives the events of our keyring.
    pub(crate) fn inherit(
        &mut self,
        config: &Config,
        before: &Self,
        config_before: &Config,
        crypto: &dyn Crypto,
        rng: &mut Rng,
        now: Now,
    ) -> Vec<Event> {
        let entries = config.trusted_issuers.iter().zip(&mut self.key_caches).zip(&mut self.last_fetches);
        for ((issuer, cache), last) in entries {
            let JwksFrom::EnvoyCluster(fetch) = &issuer.jwks else { continue };
            let others = config_before.trusted_issuers.iter().zip(&before.key_caches).zip(&before.last_fetches);
            for ((_, other), last_other) in others.filter(|((issuer, _), _)| issuer.jwks.is_from(fetch)) {
                cache.inherit(other);
                *last = (*last).max(*last_other).map(|last| {
                    let usable_until = last.at.saturating_add(issuer.jwks.usable_for().as_secs());
                    LastFetch { usable_until, ..last }
                });
            }
        }
        if config.issuer != config_before.issuer {
            return Vec::new();
        }
        self.our_keys.inherit(config, &before.our_keys, crypto, rng, now)
    }

    /// The gauges of our keyring and of every key set.
    pub(crate) fn gauges(&self, config: &Config, now: Now) -> Vec<Gauge> {
        let mut gauges = Vec::new();
        self.our_keys.gauges(now, &mut gauges);
        for (issuer, last) in config.trusted_issuers.iter().zip(&self.last_fetches) {
            if let Some(last) = last {
                last.gauges(&issuer.name, &mut gauges);
            }
        }
        gauges
    }

    /// The keys of the trusted issuer in that place of the configuration.
    pub(crate) fn keys_of(&mut self, index: usize) -> Option<&mut KeyCache> {
        self.key_caches.get_mut(index)
    }

    /// The key of that id for that algorithm, of the trusted issuer in that place.
    pub(crate) fn key_of(
        &self,
        index: usize,
        kid: &str,
        algorithm: Algorithm,
        now: Monotonic,
    ) -> Option<&VerifyingKey> {
        self.key_caches.get(index)?.key(kid, algorithm, now)
    }

    /// Whether the trusted issuer in that place publishes a key of that id with this `SubjectPublicKeyInfo`.
    pub(crate) fn publishes(&self, index: usize, kid: &str, spki: &[u8], now: Monotonic) -> bool {
        self.key_caches.get(index).is_some_and(|cache| cache.publishes(kid, spki, now))
    }

    /// Whether a fetch is in flight or due that a request may wait for.
    pub(crate) fn is_pending(&self, key: SourceKey, now: Monotonic) -> bool {
        match key {
            SourceKey::Keyring => self.our_keys.is_pending(now),
            SourceKey::Jwks(index) => self.key_caches.get(index).is_some_and(|cache| cache.is_pending(now)),
        }
    }

    /// A fetch that is due, if any.
    pub(crate) fn poll(&mut self, config: &Config, now: Monotonic, random: u32) -> Option<Fetch> {
        if let Some(fetch) = self.our_keys.poll(config, now, random) {
            return Some(fetch);
        }
        if !config.serve.tokens {
            return None;
        }
        for (index, (issuer, cache)) in config.trusted_issuers.iter().zip(&mut self.key_caches).enumerate() {
            if let JwksFrom::EnvoyCluster(fetch) = &issuer.jwks
                && let Some(attempt) = cache.source().poll(now, random)
            {
                return Some(Fetch {
                    id: FetchId::new(SourceKey::Jwks(index), attempt),
                    cluster: fetch.cluster.clone(),
                    authority: fetch.authority.clone(),
                    path: fetch.path.clone(),
                    // kube-apiserver answers 406 to application/json alone.
                    accept: "application/jwk-set+json, application/json;q=0.9",
                    timeout: fetch.timeout,
                });
            }
        }
        None
    }

    /// Takes note that another VM of this host has read an entry, in seconds since 1970; 0 is never.
    pub(crate) fn read_elsewhere(&mut self, key: SourceKey, at: u64, now: Monotonic) {
        match self.read_elsewhere.iter_mut().find(|read| read.key == key) {
            // A configuration that ends sets it to 0 for a moment.
            _ if at == 0 => {}
            Some(read) if read.at == at => {}
            Some(read) => (read.at, read.seen, read.failures) = (at, now, 0),
            None => self.read_elsewhere.push(ReadElsewhere { key, at, seen: now, failures: 0 }),
        }
    }

    /// Takes what came of a fetch, and gives its events: none of a fetch that is not in flight. `asked` is whether this VM has
    /// ever had a request: one that has had none may reach less than others.
    #[allow(clippy::too_many_arguments, reason = "all of them are what the reissuer has")]
    pub(crate) fn fetched(
        &mut self,
        id: FetchId,
        answer: Answer<'_>,
        config: &Config,
        crypto: &dyn Crypto,
        rng: &mut Rng,
        now: Now,
        asked: bool,
    ) -> Vec<Event> {
        let events = match id.key {
            SourceKey::Keyring => self.our_keys.fetched(id.attempt(), answer, config, crypto, rng, now),
            SourceKey::Jwks(index) => {
                self.jwks_fetched(index, id.attempt(), answer, config, now, rng.next_u32()).into_iter().collect()
            }
        };
        let is_unreached = !asked && matches!(answer, Answer::Response { status: 503, .. });
        events.into_iter().map(|event| self.judged(event, id.key, is_unreached, config, now)).collect()
    }

    /// A failure as it is logged and counted. It is an alarm once there have been no keys for a minute. In a VM that has served no
    /// request it is excused during the first minute, and for as long as another VM reads the keys.
    fn judged(&mut self, event: Event, key: SourceKey, is_unreached: bool, config: &Config, now: Now) -> Event {
        let missing_for = self.missing_for(key, now.monotonic);
        let is_missing = missing_for.is_some_and(|missing| missing >= PATIENCE);
        let recently = key.lifetime(config).saturating_mul(2).max(PATIENCE);
        let is_spare = self.read_elsewhere.iter_mut().find(|read| read.key == key).is_some_and(|read| {
            read.failures = read.failures.saturating_add(1);
            now.monotonic.saturating_sub(read.seen) <= recently || read.failures <= FAILURES_AFTER_A_STOP
        });
        let is_early = missing_for.is_some() && now.monotonic.saturating_sub(self.begun) < PATIENCE;
        let is_excused = is_unreached && (is_spare || is_early);
        match event {
            Event::KeyringFailed { problem, .. } if is_excused => {
                self.our_keys.forget_problem();
                self.unreached("signing keys".to_string(), problem, key)
            }
            Event::IssuerKeysFailed { issuer, problem, .. } if is_excused => {
                self.unreached(format!("keys of issuer={issuer}"), problem, key)
            }
            Event::KeyringFailed { problem, repeated, .. } => {
                Event::KeyringFailed { problem, repeated, missing: is_missing }
            }
            Event::IssuerKeysFailed { issuer, cause, problem, .. } => {
                Event::IssuerKeysFailed { issuer, cause, problem, missing: is_missing }
            }
            event => event,
        }
    }

    fn missing_for(&self, key: SourceKey, now: Monotonic) -> Option<Duration> {
        match key {
            SourceKey::Keyring => self.our_keys.missing_for(self.begun, now),
            SourceKey::Jwks(index) => self.key_caches.get(index)?.missing_for(self.begun, now),
        }
    }

    fn unreached(&mut self, what: String, problem: String, key: SourceKey) -> Event {
        let repeated = self.out_of_reach.contains(&key);
        if !repeated {
            self.out_of_reach.push(key);
        }
        Event::OutOfReach { what, problem, repeated }
    }

    /// When something is due next, if nothing happens before.
    pub(crate) fn next_poll(&self, config: &Config) -> Monotonic {
        let next = self.our_keys.next_poll();
        if !config.serve.tokens {
            return next;
        }
        self.key_caches.iter().fold(next, |next, cache| next.min(cache.next_poll()))
    }

    fn jwks_fetched(
        &mut self,
        index: usize,
        attempt: u64,
        answer: Answer<'_>,
        config: &Config,
        now: Now,
        random: u32,
    ) -> Option<Event> {
        let cache = self.key_caches.get_mut(index)?;
        let trusted = config.trusted_issuers.get(index)?;
        let issuer = trusted.name.clone();
        match usable_keys(answer, trusted) {
            Ok(keys) => {
                let kids: Vec<String> = keys.kids().map(ToString::to_string).collect();
                let refused = keys.refused().to_vec();
                let changed = match cache.source().state(now.monotonic) {
                    State::Ready(before) => !before.is_equal(&keys),
                    _ => true,
                };
                if !cache.source().succeed(attempt, keys, now.monotonic, random) {
                    return None;
                }
                if let (Some(last), Answer::Response { date, .. }) = (self.last_fetches.get_mut(index), answer) {
                    let usable_until = now.unix.saturating_add(trusted.jwks.usable_for().as_secs());
                    *last = Some(LastFetch { at: now.unix, server_time: date, usable_until, keys: kids.len() });
                }
                Some(Event::IssuerKeysFetched { issuer, kids, refused, changed })
            }
            Err((cause, problem)) => {
                let failed = cache.source().fail(attempt, now.monotonic, random);
                failed.then_some(Event::IssuerKeysFailed { issuer, cause, problem, missing: false })
            }
        }
    }
}

/// The key set of an answer. One in which the issuer has no key that it may use is as good as none: it would refuse every token.
fn usable_keys(answer: Answer<'_>, trusted: &TrustedIssuer) -> Result<KeySet, (FetchFailure, String)> {
    let document = answer.document().map_err(|(cause, problem)| match &trusted.jwks {
        JwksFrom::EnvoyCluster(fetch) => (cause, with_counters(problem, fetch)),
        JwksFrom::Inline(_) => (cause, problem),
    })?;
    let keys = KeySet::parse(document).map_err(|problem| (FetchFailure::Document, problem))?;
    if keys.has_key_for(&trusted.algorithms) {
        return Ok(keys);
    }
    let mut problem = "a key set without a usable key".to_string();
    for RefusedKey { kid, why } in keys.refused().iter().take(MAX_NAMED) {
        problem.push_str(&format!("; kid={} ({why})", Quoted(kid.as_deref().unwrap_or(""))));
    }
    for kid in keys.kids().take(MAX_NAMED) {
        problem.push_str(&format!("; kid={} (not of the issuer's algorithms)", Quoted(kid)));
    }
    Err((FetchFailure::NoUsableKey, problem))
}

/// Where Envoy hides why a connection failed, the counters that tell.
fn with_counters(problem: String, fetch: &JwksFetch) -> String {
    if !problem.contains("remote connection failure") || problem.contains("transport failure reason") {
        return problem;
    }
    let cluster = &fetch.cluster;
    format!(
        "{problem}; the one of Envoy's counters that goes on rising tells why: cluster.{cluster}.ssl.fail_verify_error (CA or expiry), \
         cluster.{cluster}.ssl.fail_verify_san (name), cluster.{cluster}.ssl.connection_error (no TLS), \
         cluster.{cluster}.upstream_cx_connect_fail alone (no connection); if {cluster} leads to an internal listener, those of the \
         cluster behind it"
    )
}

impl SourceKey {
    /// How long a fetch of it may take.
    pub(crate) fn timeout(self, config: &Config) -> Duration {
        self.jwks(config).map_or(our_keys::TIMEOUT, |fetch| fetch.timeout)
    }

    /// After which it is read again.
    fn lifetime(self, config: &Config) -> Duration {
        self.jwks(config).map_or(Duration::ZERO, |fetch| fetch.lifetime)
    }

    fn jwks(self, config: &Config) -> Option<&JwksFetch> {
        let Self::Jwks(index) = self else { return None };
        match config.trusted_issuers.get(index).map(|issuer| &issuer.jwks) {
            Some(JwksFrom::EnvoyCluster(fetch)) => Some(fetch),
            _ => None,
        }
    }
}
