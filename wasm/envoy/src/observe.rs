//! Events of the core as Envoy's log lines and counters, and its gauges.

use std::time::Duration;

use jwt_reissuer::event::{Event, Level};
use jwt_reissuer::fingerprint::Fingerprint;
use jwt_reissuer::metrics::Gauge;
use jwt_reissuer::sorted::Sorted;
use jwt_reissuer::{Now, Reissuer};

use crate::crypto::HostCrypto;
use crate::hostcalls::{self, LogLevel, Metric};

/// How many requests wait, in all workers together
const WAITING: &str = "jwt_reissuer.waiting";
/// Most lines in a second of a worker of what anybody can cause as often as they like: refusals that are the caller's fault, so many
/// for each reason, lest one hide another; and tokens that are given again, of which each has one line. They must not fill a disk,
/// nor take the worker's time. All are counted.
const LINES_A_SECOND: u32 = 20;
/// Most tokens given again that have their line in a second.
const FEW_TOKENS: usize = 50;
/// Between two times that gauges are written: a reader sees no more.
const GAUGE_INTERVAL: Duration = Duration::from_millis(500);
/// How often in [`COUNT_INTERVAL`] counters are added to at once. Where more happens, calls into Envoy would take longer than what they
/// count, so that what is left is added when that time is over.
const COUNTED_AT_ONCE: u32 = 8;
pub(crate) const COUNT_INTERVAL: Duration = Duration::from_millis(50);

/// The metrics defined so far, by name, and what was told of them.
#[derive(Debug)]
pub(crate) struct Observer {
    counters: Sorted<String, Counter>,
    gauges: Sorted<String, u32>,
    /// Whether Envoy has still to be told of what was counted
    is_behind: bool,
    /// How often it was told since then
    told: u32,
    since: Duration,
    /// The lowest level that Envoy writes lines of, as it said on the last tick
    lowest: LogLevel,
    /// When gauges were last written, by the monotonic clock
    written: Option<Duration>,
    /// Refusals by callers' fault in the second that began then, by reason
    refused: Sorted<&'static str, u32>,
    /// Tokens that were given again in it, and how often without a line
    given_again: Sorted<Fingerprint, ()>,
    given_silently: u32,
    second: Duration,
    /// Whose crypto is used: that never changes
    crypto: Vec<Gauge>,
    /// How many were said to wait here
    waiting: i64,
}

#[derive(Debug)]
struct Counter {
    id: u32,
    /// What Envoy has still to be told of
    more: i64,
}

impl Default for Observer {
    fn default() -> Self {
        Self {
            counters: Sorted::new(),
            gauges: Sorted::new(),
            is_behind: false,
            told: 0,
            since: Duration::ZERO,
            lowest: LogLevel::Info,
            written: None,
            refused: Sorted::new(),
            given_again: Sorted::new(),
            given_silently: 0,
            second: Duration::ZERO,
            crypto: Vec::new(),
            waiting: 0,
        }
    }
}

impl Observer {
    /// Defines what is to be there before anything has happened.
    pub(crate) fn begin(&mut self, reissuer: &Reissuer, crypto: &HostCrypto) {
        self.crypto = [("host_signs", crypto.host_signs()), ("host_verifies", crypto.host_verifies())]
            .map(|(what, is_so)| Gauge { name: format!("jwt_reissuer.crypto.{what}").into(), value: is_so.into() })
            .into();
        self.lowest = hostcalls::lowest_level();
        for name in reissuer.counters() {
            self.counter(&name);
        }
        self.gauge(WAITING);
    }

    /// Logs and counts one event.
    pub(crate) fn observe(&mut self, event: &Event, now: Now) {
        let level = match event.level() {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        if self.is_worth_a_line(event, now) && level >= self.lowest {
            hostcalls::log(level, &event.to_string());
        }
        for name in event.counters() {
            if let Some(counter) = self.counter(&name) {
                counter.more = counter.more.saturating_add(1);
                self.is_behind = true;
            }
        }
    }

    /// Adds to Envoy's counters what was counted, if there is little of that. False if it is to be done on a tick.
    pub(crate) fn tell_unless_busy(&mut self, now: Now) -> bool {
        if now.monotonic.saturating_sub(self.since) >= COUNT_INTERVAL {
            (self.since, self.told) = (now.monotonic, 0);
        }
        if self.is_behind && self.told < COUNTED_AT_ONCE {
            self.tell();
        }
        !self.is_behind
    }

    /// Adds to Envoy's counters what was counted.
    pub(crate) fn tell(&mut self) {
        if !core::mem::take(&mut self.is_behind) {
            return;
        }
        self.told = self.told.saturating_add(1);
        for counter in self.counters.values_mut().filter(|counter| counter.more > 0) {
            if hostcalls::add(counter.id, counter.more) {
                counter.more = 0;
            } else {
                // The next time, or the one after that.
                self.is_behind = true;
            }
        }
    }

    fn counter(&mut self, name: &str) -> Option<&mut Counter> {
        find(&mut self.counters, Metric::Counter, name, |id| Counter { id, more: 0 })
    }

    fn gauge(&mut self, name: &str) -> Option<u32> {
        find(&mut self.gauges, Metric::Gauge, name, |id| id).copied()
    }

    /// The value of a gauge, which another VM may have written.
    pub(crate) fn value_of(&mut self, gauge: &str) -> Option<u64> {
        self.gauge(gauge).and_then(hostcalls::value)
    }

    /// Whether an event is none of those that come as often as somebody likes, or one of the few of its second.
    fn is_worth_a_line(&mut self, event: &Event, now: Now) -> bool {
        self.turn(now);
        match event {
            Event::Rejected { rejection, .. } if event.level() == Level::Info => {
                let before = self.refused.get(&rejection.reason()).copied().unwrap_or_default();
                self.refused.insert(rejection.reason(), before.saturating_add(1));
                before < LINES_A_SECOND
            }
            Event::Issued { issue, repeated: true } => {
                let is_first =
                    self.given_again.len() < FEW_TOKENS && self.given_again.insert(issue.token, ()).is_none();
                self.given_silently = self.given_silently.saturating_add(u32::from(!is_first));
                is_first
            }
            _ => true,
        }
    }

    /// Ends a second, and says how many of it have no line.
    fn turn(&mut self, now: Now) {
        if now.monotonic.saturating_sub(self.second) < Duration::from_secs(1) {
            return;
        }
        self.second = now.monotonic;
        let mut lines = Vec::new();
        for (reason, count) in self.refused.iter() {
            let silent = count.saturating_sub(LINES_A_SECOND);
            if silent > 0 {
                lines.push(format!(
                    "rejected reason={reason} {silent} more times within a second, each of them counted"
                ));
            }
        }
        if self.given_silently > 0 {
            let silent = self.given_silently;
            lines.push(format!("issued again {silent} more times within a second, each of them counted"));
        }
        self.refused.clear();
        self.given_again.clear();
        self.given_silently = 0;
        if LogLevel::Info >= self.lowest {
            lines.iter().for_each(|line| hostcalls::log(LogLevel::Info, line));
        }
    }

    /// The gauges are to be written at once.
    pub(crate) fn outdate(&mut self) {
        self.written = None;
    }

    /// Writes the gauges, if it is time to.
    pub(crate) fn measure(&mut self, reissuer: &Reissuer, now: Now) {
        self.lowest = hostcalls::lowest_level();
        let waiting = i64::try_from(reissuer.waiting()).unwrap_or(i64::MAX);
        let more = waiting.saturating_sub(self.waiting);
        // Added to, not set: every worker has requests of its own that wait.
        if more != 0
            && let Some(gauge) = self.gauge(WAITING)
            && hostcalls::add(gauge, more)
        {
            self.waiting = waiting;
        }
        if self.written.is_some_and(|written| now.monotonic.saturating_sub(written) < GAUGE_INTERVAL) {
            return;
        }
        self.written = Some(now.monotonic);
        self.turn(now);
        for gauge in reissuer.gauges(now).iter().chain(&self.crypto) {
            if let Some(id) = find(&mut self.gauges, Metric::Gauge, &gauge.name, |id| id) {
                hostcalls::record(*id, gauge.value);
            }
        }
    }

    /// Takes back what was measured: Envoy keeps a gauge for ever, and of an issuer that is not trusted any more it would
    /// say for ever when its keys were last read.
    pub(crate) fn end(&mut self) {
        self.tell();
        for (name, gauge) in self.gauges.iter() {
            if name == WAITING {
                if self.waiting != 0 {
                    hostcalls::add(*gauge, self.waiting.saturating_neg());
                }
            } else {
                hostcalls::record(*gauge, 0);
            }
        }
        *self = Self::default();
    }
}

/// What is kept of a metric, which is defined when it is first asked for.
fn find<'a, T>(known: &'a mut Sorted<String, T>, kind: Metric, name: &str, new: fn(u32) -> T) -> Option<&'a mut T> {
    if known.get(name).is_none() {
        known.insert(name.to_owned(), new(hostcalls::define(kind, name)?));
    }
    known.get_mut(name)
}
