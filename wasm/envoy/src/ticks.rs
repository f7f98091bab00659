//! When the root context is to be called next.
//!
//! Envoy begins to wait anew each time that it is told a period, so that requests which come in close order, each of which asks to be
//! seen to at once, would put that off as long as they come. So it is told only what is sooner than what it knows.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::hostcalls;

/// The ticks of one root context, which all of its configurations share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticks(Rc<Cell<Option<Duration>>>);

impl Ticks {
    /// No later than in so much time.
    pub(crate) fn within(&self, period: Duration) {
        if self.0.get().is_none_or(|known| period < known) {
            self.every(period);
        }
    }

    /// At this interval, until something is to be sooner.
    pub(crate) fn every(&self, period: Duration) {
        // What Envoy did not take is asked for again.
        self.0.set(hostcalls::set_tick_period(period).then_some(period));
    }
}
