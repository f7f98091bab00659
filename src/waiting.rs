//! Requests that wait, for something to be fetched or for their own body: bounded in number and in time, answered in the
//! order they came.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::clock::Monotonic;
use crate::http::Request;
use crate::source::SourceKey;

/// Most requests that wait.
pub const MAX_WAITING: usize = 1000;
/// Most of them that wait for their own body. Whoever does not send it holds a place for seconds, by a token that nobody has verified:
/// the places of those who wait for keys or for their turn are not theirs to take.
pub const MAX_BODIES: usize = 250;

/// How a host calls a request of its own; any number it does not use twice at a time.
pub type StreamId = u32;

/// A request that waits.
#[derive(Debug)]
pub struct Waiting {
    /// The host's name for it
    pub stream: StreamId,
    /// To be handled again
    pub request: Request,
    /// What it waits for
    pub waits_for: WaitsFor,
    /// When it is answered in any case
    pub until: Monotonic,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// Something to be fetched
    Source(SourceKey),
    /// The rest of itself
    Body,
    /// Its turn: signatures have taken all the time that they may for now
    Turn,
}

impl From<SourceKey> for WaitsFor {
    fn from(key: SourceKey) -> Self {
        Self::Source(key)
    }
}

/// The queue of them.
#[derive(Debug, Default)]
pub struct WaitingRoom {
    queue: VecDeque<Waiting>,
}

impl WaitingRoom {
    /// Takes a request in.
    ///
    /// # Errors
    /// The request, where the room is full.
    pub fn enter(&mut self, waiting: Waiting) -> Result<(), Box<Waiting>> {
        let is_body = |waiting: &Waiting| waiting.waits_for == WaitsFor::Body;
        let is_full = self.queue.len() >= MAX_WAITING
            || is_body(&waiting) && self.queue.iter().filter(|each| is_body(each)).count() >= MAX_BODIES;
        if is_full {
            return Err(Box::new(waiting));
        }
        self.queue.push_back(waiting);
        Ok(())
    }

    /// Takes the first one out whose time is up or whose source is ready, and that needs no signature unless there is time for
    /// one; with its place in the queue.
    pub fn leave(
        &mut self,
        now: Monotonic,
        may_sign: bool,
        is_ready: impl Fn(SourceKey) -> bool,
    ) -> Option<(usize, Waiting)> {
        let place = self.queue.iter().position(|waiting| waiting.may_leave(now, may_sign, &is_ready))?;
        Some((place, self.queue.remove(place)?))
    }

    /// Takes one back in that has to wait for something else now, where it was.
    pub fn stay(&mut self, place: usize, waiting: Waiting) {
        self.queue.insert(place.min(self.queue.len()), waiting);
    }

    /// Whether any may leave.
    pub fn any_ready(&self, now: Monotonic, may_sign: bool, is_ready: impl Fn(SourceKey) -> bool) -> bool {
        self.queue.iter().any(|waiting| waiting.may_leave(now, may_sign, &is_ready))
    }

    /// How many would have signatures now, if there were time.
    pub fn in_line(&self, now: Monotonic, is_ready: impl Fn(SourceKey) -> bool) -> usize {
        let waits =
            |waiting: &&Waiting| waiting.may_leave(now, true, &is_ready) && !waiting.may_leave(now, false, &is_ready);
        self.queue.iter().filter(waits).count()
    }

    /// Takes out a request whose body has come, or whose client has gone.
    pub fn take(&mut self, stream: StreamId) -> Option<Request> {
        let index = self.queue.iter().position(|waiting| waiting.stream == stream)?;
        self.queue.remove(index).map(|waiting| waiting.request)
    }

    /// When the first of them is answered in any case.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.queue.iter().map(|waiting| waiting.until).min()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }
}

impl Waiting {
    fn may_leave(&self, now: Monotonic, may_sign: bool, is_ready: impl Fn(SourceKey) -> bool) -> bool {
        match self.waits_for {
            WaitsFor::Source(key) if is_ready(key) => may_sign || !self.request.wants_token(),
            WaitsFor::Source(_) | WaitsFor::Body => self.until <= now,
            WaitsFor::Turn => may_sign || self.until <= now,
        }
    }
}
