//! The decisions. Facts go in by `handle*`, work comes out by `poll*`; nothing here waits, reads a clock or does I/O.

mod reissue;
mod verify;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use chacha20::rand_core::{Rng as _, SeedableRng as _};

use crate::budget::Budget;
use crate::clock::{Monotonic, Now};
use crate::config::{Config, ConfigError};
use crate::crypto::{Crypto, Rng};
use crate::discovery::{Document, Documents};
use crate::error::Rejection;
use crate::event::Event;
use crate::fetch::{Answer, Fetch, FetchId};
use crate::fingerprint::Fingerprint;
use crate::http::{self, Body, Endpoint, Method, Request, Response, Route, Routes};
use crate::loaded::Loaded;
use crate::metrics::{self, Gauge};
use crate::repeats::Repeats;
use crate::source::{SourceKey, State};
use crate::sources::{PATIENCE as PATIENCE_WITHOUT_KEYS, Sources};
use crate::waiting::{StreamId, Waiting, WaitingRoom, WaitsFor};

/// Most events that are kept for [`Reissuer::poll_event`]; the oldest goes first.
const MAX_EVENTS: usize = 256;
/// How much longer than the fetch it waits for a request is kept.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long the body of a request is waited for. A host may be unable to give it at all.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// Most requests that one call of [`Reissuer::poll_waiting`] handles in vain, each of which parses a token.
const HANDLED_AT_ONCE: usize = 8;
/// How often it is told that nothing can be signed although there is a keyring.
const INABILITY_INTERVAL: Duration = Duration::from_secs(5);
/// The longest time between two ticks of a host.
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// One filter's state: its configuration, its keys and the keys it trusts.
pub struct Reissuer {
    config: Config,
    crypto: Box<dyn Crypto>,
    rng: Rng,
    sources: Sources,
    repeats: Repeats,
    budget: Budget,
    waiting: WaitingRoom,
    events: VecDeque<Event>,
    /// A signature did not verify: the signer is not trusted again as long as there is this VM.
    signing_latched: bool,
    /// Why the host has no random numbers, if it has none: without them nothing may be signed
    no_randomness: Option<String>,
    /// Since when nothing can be signed although there is a keyring, and when that was last told
    unable: Option<(Monotonic, Option<Monotonic>)>,
    /// Whether there has been a request of ours
    asked: bool,
}

/// What the host is to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Let it pass; it is not ours.
    Pass,
    /// Send this.
    Respond(Response),
    /// Give it to [`Reissuer::await_body`], and handle it again with its body, up to so many bytes of it.
    NeedBody {
        /// Most bytes worth reading
        limit: usize,
    },
    /// Give it to [`Reissuer::wait`]; it is answered by [`Reissuer::poll_waiting`].
    Defer(WaitsFor),
}

/// Why a request is not answered yet, or not by us.
enum Stop {
    Pass,
    NeedBody,
    Wait(WaitsFor),
    /// What was presented, where its SHA-256 is known already
    Reject(Rejection, Option<Fingerprint>),
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Reject(rejection, None)
    }
}

impl Reissuer {
    /// A filter of this configuration. `seed` must come from a cryptographic random source and be used for nothing else.
    ///
    /// # Errors
    /// [`ConfigError`] where keys that are written in the configuration are not usable.
    pub fn new(config: Config, crypto: Box<dyn Crypto>, seed: [u8; 32], now: Now) -> Result<Self, ConfigError> {
        let mut rng = Rng::from_seed(seed);
        let (sources, events) = Sources::new(&config, &*crypto, &mut rng, now)?;
        let budget = Budget::new(config.worker_percent.into());
        Ok(Self {
            config,
            crypto,
            rng,
            sources,
            repeats: Repeats::default(),
            budget,
            waiting: WaitingRoom::default(),
            events: events.into(),
            signing_latched: false,
            no_randomness: None,
            unable: None,
            asked: false,
        })
    }

    /// Goes on with the keys that another one has read, ours and those of trusted issuers, by the same monotonic clock: a
    /// changed configuration must not refuse what the one before would have taken, only because an API server does not answer
    /// just now, or because what the secret holds now is no use. A signer that is not trusted any more is not trusted then.
    pub fn inherit(&mut self, before: &Self, now: Now) {
        self.signing_latched |= before.signing_latched;
        self.budget.inherit(&before.budget);
        let Self { sources, config, crypto, rng, .. } = self;
        let events = sources.inherit(config, &before.sources, &before.config, &**crypto, rng, now);
        events.into_iter().for_each(|event| self.note(event));
    }

    /// Takes note that the host's source of random numbers is broken: documents are served, and token requests answered 503.
    pub fn without_randomness(&mut self, problem: String) {
        self.no_randomness = Some(problem);
    }

    /// Why nothing can be signed although there is a keyring.
    fn inability(&self, now: Now) -> Option<String> {
        if !self.config.serve.tokens {
            return None;
        }
        if let Some(problem) = &self.no_randomness {
            return Some(problem.clone());
        }
        let State::Ready(loaded) = self.sources.keyring(now.monotonic) else { return None };
        let is_able = loaded.keyring.signing(now.unix).is_some();
        (!is_able).then(|| "no key signs yet by the clock of this gateway".to_string())
    }

    /// Tells of an inability at once, and again as long as it goes on, so that an alert sees it.
    fn note_inability(&mut self, now: Now) {
        let Some(problem) = self.inability(now) else {
            self.unable = None;
            return;
        };
        let (since, told) = self.unable.unwrap_or((now.monotonic, None));
        if told.is_some_and(|told| now.monotonic.saturating_sub(told) < INABILITY_INTERVAL) {
            return;
        }
        self.unable = Some((since, Some(now.monotonic)));
        let missing = now.monotonic.saturating_sub(since) >= PATIENCE_WITHOUT_KEYS;
        self.note(Event::KeyringFailed { problem, repeated: told.is_some(), missing });
    }

    /// The route table, for [`Route::of`].
    #[must_use]
    pub const fn routes(&self) -> &Routes {
        &self.config.routes
    }

    /// Decides on a request.
    pub fn handle(&mut self, request: &Request, now: Now) -> Outcome {
        self.asked |= !matches!(request.route, Route::NotOurs);
        match self.answer(request, now, None) {
            Ok(response) => Outcome::Respond(response),
            Err(Stop::Pass) => Outcome::Pass,
            Err(Stop::NeedBody) => Outcome::NeedBody { limit: http::MAX_BODY },
            Err(Stop::Wait(key)) => Outcome::Defer(key),
            Err(Stop::Reject(rejection, token)) => Outcome::Respond(self.refuse(rejection, token, request)),
        }
    }

    /// Whether signatures were checked or made since the last [`Reissuer::settle`].
    #[must_use]
    pub const fn has_worked(&self) -> bool {
        self.budget.is_at_work()
    }

    /// Takes note of how long that took, from the time that [`Reissuer::handle`] or [`Reissuer::poll_waiting`] was given to this
    /// one. A host that never says so lets signatures take all of a worker's time.
    pub fn settle(&mut self, now: Now) {
        self.budget.end(now.monotonic);
    }

    /// Keeps a deferred request until what it waits for has come, for a little longer than one fetch may take; or until its turn, for
    /// half a second.
    ///
    /// # Errors
    /// The answer to send at once, where too many wait.
    pub fn wait(
        &mut self,
        stream: StreamId,
        mut request: Request,
        waits_for: impl Into<WaitsFor>,
        now: Now,
    ) -> Result<(), Response> {
        let waits_for = waits_for.into();
        // What was read has been judged before anything was waited for, and would be kept a thousand times.
        if matches!(request.body, Body::Read(_)) {
            request.body = Body::None;
        }
        let timeout = match waits_for {
            WaitsFor::Source(key) => key.timeout(&self.config),
            WaitsFor::Body | WaitsFor::Turn => Duration::ZERO,
        };
        let until = now.monotonic.saturating_add(timeout).saturating_add(PATIENCE);
        self.keep_waiting(Waiting { stream, request, waits_for, until })
    }

    /// Keeps a request until its body has come, but not for ever.
    ///
    /// # Errors
    /// The answer to send at once, where too many wait.
    pub fn await_body(&mut self, stream: StreamId, request: Request, now: Now) -> Result<(), Response> {
        let until = now.monotonic.saturating_add(BODY_PATIENCE);
        self.keep_waiting(Waiting { stream, request, waits_for: WaitsFor::Body, until })
    }

    /// Gives a waiting request back: its body has come, or its client has gone. `None` if it was answered meanwhile.
    pub fn take(&mut self, stream: StreamId) -> Option<Request> {
        self.waiting.take(stream)
    }

    /// Answers one waiting request, if one can be answered now. The host calls it a few times a callback: each answer may
    /// cost a signature, and a gateway's worker has others to serve. `None` does not mean that all are answered:
    /// [`Reissuer::next_tick`] says when to call it again.
    pub fn poll_waiting(&mut self, now: Now) -> Option<(StreamId, Response)> {
        let may_sign = self.budget.free_in(now.monotonic).is_zero();
        for _ in 0..HANDLED_AT_ONCE {
            let (place, Waiting { stream, request, waits_for, until }) = {
                let Self { waiting, sources, .. } = self;
                waiting.leave(now.monotonic, may_sign, |key| !sources.is_pending(key, now.monotonic))?
            };
            if waits_for == WaitsFor::Body {
                return Some((stream, self.reject(Rejection::BodyNotRead, &request)));
            }
            if waits_for == WaitsFor::Turn && !may_sign {
                return Some((stream, self.reject(Rejection::OverBudget { retry_after: 1 }, &request)));
            }
            let response = match self.answer(&request, now, Some(waits_for)) {
                Ok(response) => response,
                Err(Stop::Reject(rejection, token)) => self.refuse(rejection, token, &request),
                Err(Stop::Wait(key)) if until > now.monotonic => {
                    self.waiting.stay(place, Waiting { stream, request, waits_for: key, until });
                    continue;
                }
                Err(Stop::Wait(WaitsFor::Source(SourceKey::Jwks(_)))) => {
                    self.reject(Rejection::IssuerKeysUnavailable { retry_after: 1 }, &request)
                }
                Err(Stop::Wait(WaitsFor::Source(SourceKey::Keyring))) => {
                    self.reject(Rejection::SigningKeysUnavailable { retry_after: 1 }, &request)
                }
                // A request that waited was ours and had been read, and has its turn.
                Err(Stop::Pass | Stop::NeedBody | Stop::Wait(WaitsFor::Body | WaitsFor::Turn)) => {
                    self.reject(Rejection::NotFound, &request)
                }
            };
            return Some((stream, response));
        }
        None
    }

    /// A fetch that is due, if any.
    pub fn poll_fetch(&mut self, now: Now) -> Option<Fetch> {
        let Self { sources, config, crypto, rng, .. } = self;
        let events = sources.turn(config, &**crypto, rng, now);
        events.into_iter().for_each(|event| self.note(event));
        self.note_inability(now);
        let random = self.rng.next_u32();
        self.sources.poll(&self.config, now.monotonic, random)
    }

    /// Takes note that another VM of this host has read an entry, in seconds since 1970; 0 is never. The VM of Envoy's main thread
    /// serves no request and reaches less than others: it raises no alarm about an entry that others read.
    pub fn read_elsewhere(&mut self, key: SourceKey, at: u64, now: Now) {
        self.sources.read_elsewhere(key, at, now.monotonic);
    }

    /// The name of the gauge that tells when any VM last read an entry.
    #[must_use]
    pub fn last_success(&self, key: SourceKey) -> String {
        match key {
            SourceKey::Keyring => metrics::KEYRING_LAST_SUCCESS.to_string(),
            SourceKey::Jwks(index) => {
                let name = self.config.trusted_issuers.get(index).map_or("", |issuer| &issuer.name);
                metrics::jwks_last_success(name)
            }
        }
    }

    /// Takes what came of a fetch. A document is used whole or not at all; an answer that nobody waits for is ignored.
    pub fn handle_fetched(&mut self, id: FetchId, answer: Answer<'_>, now: Now) {
        let Self { sources, config, crypto, rng, asked, .. } = self;
        let events = sources.fetched(id, answer, config, &**crypto, rng, now, *asked);
        events.into_iter().for_each(|event| self.note(event));
    }

    /// Something that happened, for logs and metrics.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What there is to measure.
    #[must_use]
    pub fn gauges(&self, now: Now) -> Vec<Gauge> {
        self.sources.gauges(&self.config, now)
    }

    /// Counters that are to be there, at 0, from the beginning.
    #[must_use]
    pub fn counters(&self) -> Vec<String> {
        metrics::counters(&self.config)
    }

    /// How long the host may leave this alone, if nothing else happens: then something is due.
    #[must_use]
    pub fn next_tick(&self, now: Now) -> Duration {
        let is_ready = |key| !self.sources.is_pending(key, now.monotonic);
        if self.waiting.any_ready(now.monotonic, false, is_ready) {
            return Duration::ZERO;
        }
        if self.waiting.any_ready(now.monotonic, true, is_ready) {
            return self.budget.free_in(now.monotonic).min(LONGEST_TICK);
        }
        let next = self.waiting.next_deadline().unwrap_or(Duration::MAX).min(self.sources.next_poll(&self.config));
        next.saturating_sub(now.monotonic).min(LONGEST_TICK)
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn answer(&mut self, request: &Request, now: Now, waited: Option<WaitsFor>) -> Result<Response, Stop> {
        match &request.route {
            Route::NotOurs => Err(Stop::Pass),
            Route::Refused(rejection) => Err(rejection.clone().into()),
            Route::Ours { endpoint: endpoint @ (Endpoint::Reissue | Endpoint::Token), .. } => {
                self.reissue(*endpoint, request, now, waited)
            }
            Route::Ours { endpoint: Endpoint::Discovery, method, .. } => {
                self.document(|documents| &documents.discovery, *method, request, now, waited)
            }
            Route::Ours { endpoint: Endpoint::Jwks, method, .. } => {
                self.document(|documents| &documents.jwks, *method, request, now, waited)
            }
        }
    }

    fn document(
        &mut self,
        which: fn(&Documents) -> &Document,
        method: Method,
        request: &Request,
        now: Now,
        waited: Option<WaitsFor>,
    ) -> Result<Response, Stop> {
        let loaded = self.loaded(now, waited)?;
        let documents = loaded.documents(now.unix).ok_or(Rejection::SigningKeysUnavailable { retry_after: 1 })?;
        self.note(Event::DocumentServed);
        Ok(which(documents).respond(method, request))
    }

    fn loaded(&self, now: Now, waited: Option<WaitsFor>) -> Result<Arc<Loaded>, Stop> {
        match self.sources.keyring(now.monotonic) {
            State::Ready(loaded) => Ok(Arc::clone(loaded)),
            State::Pending if waited != Some(SourceKey::Keyring.into()) => Err(Stop::Wait(SourceKey::Keyring.into())),
            State::Pending => Err(Rejection::SigningKeysUnavailable { retry_after: 1 }.into()),
            State::Failed { retry_in } => {
                let retry_after = retry_in.as_secs().saturating_add(1);
                Err(Rejection::SigningKeysUnavailable { retry_after }.into())
            }
        }
    }

    fn keep_waiting(&mut self, waiting: Waiting) -> Result<(), Response> {
        self.waiting.enter(waiting).map_err(|refused| self.reject(Rejection::TooManyWaiting, &refused.request))
    }

    fn reject(&mut self, rejection: Rejection, request: &Request) -> Response {
        self.refuse(rejection, None, request)
    }

    fn refuse(&mut self, rejection: Rejection, token: Option<Fingerprint>, request: &Request) -> Response {
        let response = rejection.to_response();
        let token =
            token.or_else(|| if request.wants_token() { request.bearer().ok().map(Fingerprint::of) } else { None });
        self.note(Event::Rejected { rejection, token });
        response
    }

    fn note(&mut self, event: Event) {
        if matches!(event, Event::KeyringLoaded { .. } | Event::KeyringTurned { .. }) {
            self.repeats.forget_issued();
        }
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
