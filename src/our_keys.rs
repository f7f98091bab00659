//! Our own keyring: read from its place, kept, read again, and watched for gaps.
//!
//! A keyring that cannot be read is no reason to refuse a configuration. Keys of the configuration before go on, or our routes
//! answer 503, and every attempt that fails is counted so that an alert fires.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use chacha20::rand_core::Rng as _;

use crate::clock::{Monotonic, Now};
use crate::config::{Config, KeysFrom, NO_SUCH_VARIABLE};
use crate::crypto::{Crypto, Rng};
use crate::event::Event;
use crate::fetch::{Answer, Fetch, FetchId};
use crate::loaded::{LoadError, Loaded};
use crate::metrics::Gauge;
use crate::settings::ConfigError;
use crate::source::{Freshness, Source, SourceKey, State};
use crate::succession::{Gap, Succession};

/// The likely cause of an answer without a keyring.
const NO_KEY: &str = "the file with the signing key may be missing, empty or of more than one line, as a PEM is; or the internal \
     listener that the cluster leads to does not exist";
/// Most gaps that are kept for gauges; the oldest goes first.
const MAX_GAPS: usize = 16;

/// Our keyring is behind a hop that does not leave the process, so it is asked for often: that is what makes a rotation
/// seen within seconds. An environment variable is read again as often, because the times in a keyring come and go.
const KEYRING: Freshness = Freshness {
    lifetime: Duration::from_secs(5),
    refresh_ahead: Duration::ZERO,
    stale_limit: None,
    timeout: Duration::from_secs(2),
    longest_backoff: Duration::from_secs(5),
};

/// After which a fetch of the keyring has failed.
pub(crate) const TIMEOUT: Duration = KEYRING.timeout;

/// The keyring in use, and how it is kept.
pub(crate) struct OurKeys {
    source: Source<Arc<Loaded>>,
    /// When it was last read, by the wall clock
    read_at: u64,
    /// The fault that it had when it was last read
    problem: Option<String>,
    /// The phase that was last told to have begun
    phase: usize,
    succession: Succession,
    /// Whether that goes on from a configuration before
    has_inherited: bool,
    /// The gaps so far, each with the time at which it was found, in seconds since 1970
    gaps: Vec<(Gap, u64)>,
}

impl OurKeys {
    /// A keyring that is still to be fetched, or the one that the configuration gives; then with the events of reading it.
    ///
    /// # Errors
    /// [`ConfigError`] where a keyring that is written in the configuration is not usable.
    pub(crate) fn new(
        config: &Config,
        crypto: &dyn Crypto,
        rng: &mut Rng,
        now: Now,
    ) -> Result<(Self, Vec<Event>), ConfigError> {
        let mut keys = Self {
            source: Source::new(KEYRING),
            read_at: now.unix,
            problem: None,
            phase: 0,
            succession: Succession::default(),
            has_inherited: false,
            gaps: Vec::new(),
        };
        if let KeysFrom::Inline(document) = &config.keys_from {
            match Loaded::parse(document, config, crypto, rng, now.unix) {
                Ok(loaded) => {
                    let events = Vec::from([loaded.event(now.unix)]);
                    keys.phase = loaded.keyring.timetable().place(now.unix);
                    keys.source = Source::constant(Arc::new(loaded));
                    keys.gaps(config, now);
                    return Ok((keys, events));
                }
                // Its sealing key is not part of the configuration, and neither is the clock.
                Err(LoadError::Sealed(_)) => {}
                Err(LoadError::Refused(_)) if Loaded::parse(document, config, crypto, rng, u64::MAX).is_ok() => {}
                Err(LoadError::Refused(problem)) => {
                    return Err(ConfigError::new("signing_keys.from.dangerous_inline", problem));
                }
            }
        }
        let events = keys.read_given(config, crypto, rng, now);
        Ok((keys, events))
    }

    /// Our keys.
    pub(crate) fn state(&self, now: Monotonic) -> State<'_, Arc<Loaded>> {
        self.source.state(now)
    }

    /// Whether a read is in flight or due that a request may wait for.
    pub(crate) fn is_pending(&self, now: Monotonic) -> bool {
        self.source.is_pending(now) && !matches!(self.source.state(now), State::Ready(_))
    }

    /// When the next read is due or given up.
    pub(crate) fn next_poll(&self) -> Monotonic {
        self.source.next_poll()
    }

    /// The events of a moment of the keyring's timetable that has come.
    pub(crate) fn turn(&mut self, config: &Config, now: Now) -> Vec<Event> {
        let State::Ready(loaded) = self.source.state(now.monotonic) else { return Vec::new() };
        let place = loaded.keyring.timetable().place(now.unix);
        if core::mem::replace(&mut self.phase, place) == place {
            return Vec::new();
        }
        let (kids, next) = (loaded.kids(now.unix), loaded.next_change(now.unix));
        let mut events = Vec::from([Event::KeyringTurned { kids, next }]);
        events.extend(self.gaps(config, now));
        events
    }

    /// A fetch that is due, if the keyring is fetched.
    pub(crate) fn poll(&mut self, config: &Config, now: Monotonic, random: u32) -> Option<Fetch> {
        let KeysFrom::EnvoyCluster(cluster) = &config.keys_from else { return None };
        let attempt = self.source.poll(now, random)?;
        Some(Fetch {
            id: FetchId::new(SourceKey::Keyring, attempt),
            cluster: cluster.clone(),
            authority: "signing-keys".to_string(),
            path: "/".to_string(),
            accept: "*/*",
            timeout: KEYRING.timeout,
        })
    }

    /// Reads a keyring that is given with the configuration, if a read is due. One that failed may be usable later: its times come.
    pub(crate) fn read_given(&mut self, config: &Config, crypto: &dyn Crypto, rng: &mut Rng, now: Now) -> Vec<Event> {
        let document = match &config.keys_from {
            KeysFrom::EnvoyCluster(_) => return Vec::new(),
            KeysFrom::Environment { document: Some(document), .. } | KeysFrom::Inline(document) => {
                Ok(document.as_slice())
            }
            KeysFrom::Environment { variable, document: None } => {
                Err(format!("signing_keys.from.env: {variable} {NO_SUCH_VARIABLE}"))
            }
        };
        let Some(attempt) = self.source.poll(now.monotonic, rng.next_u32()) else { return Vec::new() };
        self.read(attempt, document, config, crypto, rng, now)
    }

    /// Takes what came of a fetch, and gives its events: none of a fetch that is not in flight.
    pub(crate) fn fetched(
        &mut self,
        attempt: u64,
        answer: Answer<'_>,
        config: &Config,
        crypto: &dyn Crypto,
        rng: &mut Rng,
        now: Now,
    ) -> Vec<Event> {
        let document = answer.document().map_err(|(_, problem)| format!("{problem}; {NO_KEY}"));
        self.read(attempt, document, config, crypto, rng, now)
    }

    fn read(
        &mut self,
        attempt: u64,
        document: Result<&[u8], String>,
        config: &Config,
        crypto: &dyn Crypto,
        rng: &mut Rng,
        now: Now,
    ) -> Vec<Event> {
        let random = rng.next_u32();
        let current = match self.source.state(now.monotonic) {
            State::Ready(loaded) => Some(Arc::clone(loaded)),
            _ => None,
        };
        let loaded = document.and_then(|document| match current {
            Some(current) if current.is_of(document) => Ok((current, false)),
            _ => Loaded::parse(document, config, crypto, rng, now.unix)
                .map(|loaded| (Arc::new(loaded), true))
                .map_err(|error| error.to_string()),
        });
        match loaded {
            Ok((loaded, changed)) => {
                let recovered = self.problem.is_some();
                let event = if changed { loaded.event(now.unix) } else { Event::KeyringUnchanged { recovered } };
                let place = loaded.keyring.timetable().place(now.unix);
                if !self.source.succeed(attempt, loaded, now.monotonic, random) {
                    return Vec::new();
                }
                self.problem = None;
                self.read_at = now.unix;
                let mut events = Vec::from([event]);
                if changed {
                    self.phase = place;
                    events.extend(self.gaps(config, now));
                }
                events
            }
            Err(problem) => {
                let landed = self.source.fail(attempt, now.monotonic, random);
                if landed { Vec::from([self.failed(problem)]) } else { Vec::new() }
            }
        }
    }

    fn failed(&mut self, problem: String) -> Event {
        let repeated = self.problem.as_ref() == Some(&problem);
        self.problem = Some(problem.clone());
        Event::KeyringFailed { problem, repeated, missing: false }
    }

    /// The failure was told in another way, so that the next one is told as the first.
    pub(crate) fn forget_problem(&mut self) {
        self.problem = None;
    }

    /// Goes on with the keyring of the configuration before, for the same issuer, until the place of this one gives a usable one.
    pub(crate) fn inherit(
        &mut self,
        config: &Config,
        before: &Self,
        crypto: &dyn Crypto,
        rng: &mut Rng,
        now: Now,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        if !core::mem::replace(&mut self.has_inherited, true) || before.succession.is_later(&self.succession) {
            // A keyring of this configuration's own is observed anew below, as the one that follows.
            self.succession = before.succession.clone();
        }
        before.gaps.iter().for_each(|(gap, at)| self.keep_gap(gap.clone(), *at));
        let own = match self.source.state(now.monotonic) {
            State::Ready(own) => Some(Arc::clone(own)),
            _ => None,
        };
        self.source.inherit(&before.source, |loaded| {
            // Of several that hand over the same document, it is tried once. One that this configuration gave itself counts more.
            if own.is_some() {
                return own;
            }
            match loaded.under(config, crypto, rng, now.unix) {
                Ok(loaded) => {
                    events.push(loaded.event(now.unix));
                    Some(Arc::new(loaded))
                }
                Err(problem) => {
                    let problem = format!("the previous keyring is not valid under this configuration: {problem}");
                    events.push(Event::KeyringFailed { problem, repeated: false, missing: false });
                    None
                }
            }
        });
        if let State::Ready(loaded) = self.source.state(now.monotonic) {
            self.phase = loaded.keyring.timetable().place(now.unix);
            if matches!(config.keys_from, KeysFrom::EnvoyCluster(_)) {
                self.read_at = before.read_at;
            }
        }
        events.extend(self.gaps(config, now));
        events
    }

    /// The gaps between what is published now and what was published before.
    fn gaps(&mut self, config: &Config, now: Now) -> Vec<Event> {
        let State::Ready(loaded) = self.source.state(now.monotonic) else { return Vec::new() };
        let found = self.succession.observe(&loaded.keyring, now.unix, config.documents_max_age);
        found.iter().for_each(|gap| self.keep_gap(gap.clone(), now.unix));
        found.into_iter().map(|gap| Event::KeyringGap { gap }).collect()
    }

    fn keep_gap(&mut self, gap: Gap, at: u64) {
        // One of each kind and key: their gauge has one value, which is the latest.
        if let Some((_, latest)) = self.gaps.iter_mut().find(|(known, _)| known.is_like(&gap)) {
            *latest = at.max(*latest);
            return;
        }
        self.gaps.push((gap, at));
        let oldest = self.gaps.iter().enumerate().min_by_key(|(_, (_, at))| *at).map(|(place, _)| place);
        if let Some(oldest) = oldest.filter(|_| self.gaps.len() > MAX_GAPS) {
            self.gaps.remove(oldest);
        }
    }

    /// How long there has been no usable keyring, if there is none; `begun` is when this configuration came into use.
    pub(crate) fn missing_for(&self, begun: Monotonic, now: Monotonic) -> Option<Duration> {
        self.source.missing_for(begun, now)
    }

    /// The gauges of the keyring.
    pub(crate) fn gauges(&self, now: Now, gauges: &mut Vec<Gauge>) {
        if let State::Ready(loaded) = self.source.state(now.monotonic) {
            loaded.gauges(self.read_at, now.unix).gauges(gauges);
        }
        gauges.extend(self.gaps.iter().map(|(gap, at)| Gauge::of_gap(gap, *at)));
    }
}
