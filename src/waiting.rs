//! Requests that wait for something to be fetched: bounded in number and in time, answered in the order they came.

use alloc::collections::VecDeque;

use crate::http::Request;
use crate::source::{Monotonic, SourceKey};

/// Most requests that wait.
pub const MAX_WAITING: usize = 1000;

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
    pub key: SourceKey,
    /// When it is answered in any case
    pub until: Monotonic,
}

/// The queue of them.
#[derive(Debug, Default)]
pub struct WaitingRoom {
    queue: VecDeque<Waiting>,
}

impl WaitingRoom {
    /// Takes a request in, unless the room is full.
    pub fn enter(&mut self, waiting: Waiting) -> bool {
        let has_room = self.queue.len() < MAX_WAITING;
        if has_room {
            self.queue.push_back(waiting);
        }
        has_room
    }

    /// Takes the first one out whose time is up or whose key is ready.
    pub fn leave(&mut self, now: Monotonic, is_ready: impl Fn(SourceKey) -> bool) -> Option<Waiting> {
        let index = self.queue.iter().position(|waiting| waiting.until <= now || is_ready(waiting.key))?;
        self.queue.remove(index)
    }

    /// Whether any may leave.
    pub fn any_ready(&self, now: Monotonic, is_ready: impl Fn(SourceKey) -> bool) -> bool {
        self.queue.iter().any(|waiting| waiting.until <= now || is_ready(waiting.key))
    }

    /// Drops a request whose client has gone.
    pub fn forget(&mut self, stream: StreamId) {
        self.queue.retain(|waiting| waiting.stream != stream);
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
