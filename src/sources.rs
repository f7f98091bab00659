//! All that is fetched from elsewhere: our keyring, and the key set of every trusted issuer.
//!
//! Each is a [`Source`] under a [`SourceKey`]. This is where one says what to fetch and what is made of the answer.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use chacha20::rand_core::Rng as _;

use crate::clock::{Monotonic, Now};
use crate::config::{Config, KeysFrom};
use crate::crypto::{Crypto, Rng, VerifyingKey};
use crate::event::{Event, FetchFailure};
use crate::fetch::{Answer, Fetch, FetchId};
use crate::jwks::{KeyCache, KeySet};
use crate::loaded::Loaded;
use crate::metrics::{Gauge, LastFetch};
use crate::settings::ConfigError;
use crate::source::{Freshness, Source, SourceKey, State};
use crate::trusted_issuer::JwksFrom;

/// What it means when the hop to our keyring gives nothing.
const NO_KEY: &str = "the file with the signing key may be missing, empty or of more than one line, as a PEM is";

/// Our keyring is behind a hop that does not leave the process, so it is asked for often: that is what makes a rotation
/// seen within seconds.
const KEYRING: Freshness = Freshness {
    lifetime: Duration::from_secs(5),
    refresh_ahead: Duration::ZERO,
    stale_limit: None,
    timeout: Duration::from_secs(2),
    longest_backoff: Duration::from_secs(5),
};

/// The entries, and what they hold.
pub(crate) struct Sources {
    keyring: Source<Arc<Loaded>>,
    /// When the keyring was last read, by the wall clock
    keyring_read: u64,
    /// In the order of `config.trusted_issuers`
    key_caches: Vec<KeyCache>,
    /// Likewise
    last_fetches: Vec<Option<LastFetch>>,
    /// What was wrong with the keyring when it was last fetched
    keyring_problem: Option<String>,
    /// The phase of the keyring that was last said to have begun
    phase: usize,
    /// What could not be reached before anybody asked, and was said to be so
    out_of_reach: Vec<SourceKey>,
}

impl Sources {
    /// Empty entries to be fetched, and full ones where the configuration gives the content; then with what to say of it.
    pub(crate) fn new(
        config: &Config,
        crypto: &dyn Crypto,
        rng: &mut Rng,
        unix: u64,
    ) -> Result<(Self, Option<Event>), ConfigError> {
        let (mut event, mut phase) = (None, 0);
        let keyring = match &config.keys_from {
            KeysFrom::EnvoyCluster(_) => Source::new(KEYRING),
            KeysFrom::Given { member, document } => {
                let loaded = Loaded::parse(document, config, crypto, rng, unix)
                    .map_err(|problem| ConfigError::new(*member, problem))?;
                phase = loaded.keyring.timetable().place(unix);
                event = Some(Event::KeyringLoaded { kids: loaded.kids(unix), next: loaded.next_change(unix) });
                Source::constant(Arc::new(loaded))
            }
        };
        let key_caches = config.trusted_issuers.iter().map(|issuer| match &issuer.jwks {
            JwksFrom::EnvoyCluster(fetch) => KeyCache::fetched(fetch),
            JwksFrom::Inline(keys) => KeyCache::constant(keys.clone()),
        });
        let key_caches = key_caches.collect();
        let last_fetches = config.trusted_issuers.iter().map(|_| None).collect();
        let sources = Self {
            keyring,
            keyring_read: unix,
            key_caches,
            last_fetches,
            keyring_problem: None,
            phase,
            out_of_reach: Vec::new(),
        };
        Ok((sources, event))
    }

    /// Our keys.
    pub(crate) fn keyring(&self, now: Monotonic) -> State<'_, Arc<Loaded>> {
        self.keyring.state(now)
    }

    /// What there is to say when a moment of the keyring's timetable has come.
    pub(crate) fn turn(&mut self, now: Now) -> Option<Event> {
        let State::Ready(loaded) = self.keyring.state(now.monotonic) else { return None };
        let place = loaded.keyring.timetable().place(now.unix);
        if core::mem::replace(&mut self.phase, place) == place {
            return None;
        }
        Some(Event::KeyringTurned { kids: loaded.kids(now.unix), next: loaded.next_change(now.unix) })
    }

    /// Goes on with our keyring, if it does under this configuration too, and with the key sets that another one has read
    /// from the same places. Says what there is to say of the keyring.
    pub(crate) fn inherit(
        &mut self,
        config: &Config,
        before: &Self,
        config_before: &Config,
        crypto: &dyn Crypto,
        rng: &mut Rng,
        now: Now,
    ) -> Option<Event> {
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
        if config.keys_from != config_before.keys_from {
            return None;
        }
        let own = match self.keyring.state(now.monotonic) {
            State::Ready(own) => Some(Arc::clone(own)),
            _ => None,
        };
        let mut event = None;
        self.keyring.inherit(&before.keyring, |loaded| {
            // Of several that hand over the same document, it is opened and tried once.
            if let Some(own) = own.filter(|own| own.is_like(loaded)) {
                return Some(own);
            }
            match loaded.under(config, crypto, rng, now.unix) {
                Ok(loaded) => {
                    let (kids, next) = (loaded.kids(now.unix), loaded.next_change(now.unix));
                    event = Some(Event::KeyringLoaded { kids, next });
                    Some(Arc::new(loaded))
                }
                Err(problem) => {
                    let problem = format!("what was in use is none for this configuration: {problem}");
                    event = Some(Event::KeyringFailed { problem, repeated: false });
                    None
                }
            }
        });
        if let State::Ready(loaded) = self.keyring.state(now.monotonic) {
            self.keyring_read = before.keyring_read;
            self.phase = loaded.keyring.timetable().place(now.unix);
        }
        event
    }

    /// What there is to measure.
    pub(crate) fn gauges(&self, config: &Config, now: Now) -> Vec<Gauge> {
        let mut gauges = Vec::new();
        if let State::Ready(loaded) = self.keyring.state(now.monotonic) {
            loaded.gauges(self.keyring_read, now.unix).gauges(&mut gauges);
        }
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

    /// The key of that id, of the trusted issuer in that place.
    pub(crate) fn key_of(&self, index: usize, kid: &str, now: Monotonic) -> Option<&VerifyingKey> {
        self.key_caches.get(index)?.key(kid, now)
    }

    /// Whether a fetch is in flight or due that somebody may wait for.
    pub(crate) fn is_pending(&self, key: SourceKey, now: Monotonic) -> bool {
        match key {
            SourceKey::Keyring => self.keyring.is_pending(now) && !matches!(self.keyring.state(now), State::Ready(_)),
            SourceKey::Jwks(index) => self.key_caches.get(index).is_some_and(|cache| cache.is_pending(now)),
        }
    }

    /// A fetch that is due, if any.
    pub(crate) fn poll(&mut self, config: &Config, now: Monotonic, random: u32) -> Option<Fetch> {
        if let KeysFrom::EnvoyCluster(cluster) = &config.keys_from
            && let Some(attempt) = self.keyring.poll(now, random)
        {
            return Some(Fetch {
                id: FetchId::new(SourceKey::Keyring, attempt),
                cluster: cluster.clone(),
                authority: "signing-keys".to_string(),
                path: "/".to_string(),
                accept: "*/*",
                timeout: KEYRING.timeout,
            });
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

    /// Takes what came of a fetch, and says what there is to say of it: nothing of one that nobody waits for. `asked` is
    /// whether anybody has asked for anything yet: a VM that serves nobody may be one that can reach nothing.
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
    ) -> Option<Event> {
        let event = match id.key {
            SourceKey::Keyring => self.keyring_fetched(id.attempt(), answer, config, crypto, rng, now),
            SourceKey::Jwks(index) => self.jwks_fetched(index, id.attempt(), answer, config, now, rng.next_u32()),
        }?;
        let out_of_reach = matches!(answer, Answer::Response { status: 503, .. });
        match event {
            Event::KeyringFailed { problem, .. } if out_of_reach && !asked => {
                // Not said to have failed, so the next time is the first.
                self.keyring_problem = None;
                Some(self.idle("signing keys", problem, id.key))
            }
            Event::IssuerKeysFailed { issuer, problem, .. } if out_of_reach && !asked => {
                Some(self.idle(&format!("keys of issuer={issuer}"), problem, id.key))
            }
            event => Some(event),
        }
    }

    fn idle(&mut self, what: &str, problem: String, key: SourceKey) -> Event {
        let repeated = self.out_of_reach.contains(&key);
        if !repeated {
            self.out_of_reach.push(key);
        }
        Event::OutOfReach { what: what.to_string(), problem, repeated }
    }

    /// When something is due next, if nothing happens before.
    pub(crate) fn next_poll(&self, config: &Config) -> Monotonic {
        let mut next = Duration::MAX;
        if matches!(config.keys_from, KeysFrom::EnvoyCluster(_)) {
            next = self.keyring.next_poll();
        }
        if config.serve.tokens {
            next = self.key_caches.iter().fold(next, |next, cache| next.min(cache.next_poll()));
        }
        next
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
        let parsed = answer
            .document()
            .and_then(|document| KeySet::parse(document).map_err(|problem| (FetchFailure::Document, problem)));
        match parsed {
            Ok(keys) => {
                let kids: Vec<String> = keys.kids().map(ToString::to_string).collect();
                let refused = keys.refused().to_vec();
                let before = match cache.source().state(now.monotonic) {
                    State::Ready(before) => before.kids().map(ToString::to_string).collect(),
                    _ => Vec::new(),
                };
                let changed = before != kids;
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
                failed.then_some(Event::IssuerKeysFailed { issuer, cause, problem })
            }
        }
    }

    fn keyring_fetched(
        &mut self,
        attempt: u64,
        answer: Answer<'_>,
        config: &Config,
        crypto: &dyn Crypto,
        rng: &mut Rng,
        now: Now,
    ) -> Option<Event> {
        let random = rng.next_u32();
        let current = match self.keyring.state(now.monotonic) {
            State::Ready(loaded) => Some(Arc::clone(loaded)),
            _ => None,
        };
        let document = answer.document().map_err(|(_, problem)| format!("{problem}; {NO_KEY}"));
        let loaded = document.and_then(|document| match current {
            Some(current) if current.is_of(document) => Ok((current, false)),
            _ => Loaded::parse(document, config, crypto, rng, now.unix).map(|loaded| (Arc::new(loaded), true)),
        });
        match loaded {
            Ok((loaded, changed)) => {
                let (kids, next) = (loaded.kids(now.unix), loaded.next_change(now.unix));
                let place = loaded.keyring.timetable().place(now.unix);
                if !self.keyring.succeed(attempt, loaded, now.monotonic, random) {
                    return None;
                }
                self.keyring_problem = None;
                self.keyring_read = now.unix;
                if !changed {
                    return Some(Event::KeyringUnchanged);
                }
                self.phase = place;
                Some(Event::KeyringLoaded { kids, next })
            }
            Err(problem) => {
                if !self.keyring.fail(attempt, now.monotonic, random) {
                    return None;
                }
                let repeated = self.keyring_problem.as_ref() == Some(&problem);
                self.keyring_problem = Some(problem.clone());
                Some(Event::KeyringFailed { problem, repeated })
            }
        }
    }
}

impl SourceKey {
    /// How long a fetch of it may take.
    pub(crate) fn timeout(self, config: &Config) -> Duration {
        match self {
            Self::Keyring => KEYRING.timeout,
            Self::Jwks(index) => match config.trusted_issuers.get(index).map(|issuer| &issuer.jwks) {
                Some(JwksFrom::EnvoyCluster(fetch)) => fetch.timeout,
                _ => Duration::ZERO,
            },
        }
    }
}
