//! What the root context and the requests of one configuration share.

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jwt_reissuer::http::Response;
use jwt_reissuer::{Answer, FetchId, Now, Reissuer};

use crate::crypto::HostCrypto;
use crate::hostcalls::{self, LogLevel};
use crate::observe::{COUNT_INTERVAL, Observer};
use crate::ticks::Ticks;

/// How soon the root context is to look again when a request has given it something to do: a request cannot send a callout
/// that outlives it.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(1);

/// So many requests of ours without one of somebody else are taken for a sign that nobody else's come.
const OURS_IN_A_ROW: u32 = 8;

/// One configuration at work.
pub(crate) struct Filter {
    pub(crate) reissuer: RefCell<Reissuer>,
    observer: RefCell<Observer>,
    pub(crate) ticks: Ticks,
    /// Requests of ours since the last one of somebody else
    ours: Cell<u32>,
}

impl Filter {
    pub(crate) fn new(reissuer: Reissuer, crypto: &HostCrypto, ticks: Ticks) -> Self {
        let mut observer = Observer::default();
        observer.begin(&reissuer, crypto);
        Self { reissuer: RefCell::new(reissuer), observer: RefCell::new(observer), ticks, ours: Cell::new(0) }
    }

    /// Takes note of whether a request was ours.
    pub(crate) fn saw(&self, is_ours: bool) {
        self.ours.set(if is_ours { self.ours.get().saturating_add(1) } else { 0 });
    }

    /// Whether the next request is ours too, so far as one can tell.
    pub(crate) fn expects_ours(&self) -> bool {
        self.ours.get() >= OURS_IN_A_ROW
    }

    /// Logs and counts what happened.
    pub(crate) fn observe(&self, now: Now) {
        loop {
            let event = self.reissuer.borrow_mut().poll_event();
            let Some(event) = event else { break };
            self.observer.borrow_mut().observe(&event, now);
        }
        if !self.observer.borrow_mut().tell_unless_busy(now) {
            self.ticks.within(COUNT_INTERVAL);
        }
    }

    /// Adds to Envoy's counters what was counted.
    pub(crate) fn tell(&self) {
        self.observer.borrow_mut().tell();
    }

    /// Says how long signatures took, if there were any.
    pub(crate) fn settle(&self) -> bool {
        let mut reissuer = self.reissuer.borrow_mut();
        let has_worked = reissuer.has_worked();
        if has_worked {
            reissuer.settle(now());
        }
        has_worked
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.reissuer.borrow().waiting() > 0
    }

    /// Answers some of the requests that wait, if there are any that can be answered now: so many with a signature, each of which may
    /// take ten milliseconds where Envoy has none of its own, and four times as many in all. The worker serves nobody else meanwhile.
    pub(crate) fn answer_waiting(&self, signatures: usize) {
        let mut made = 0;
        for _ in 0..signatures.saturating_mul(4) {
            let answered = self.reissuer.borrow_mut().poll_waiting(now());
            made = usize::from(self.settle()).saturating_add(made);
            let Some((stream, response)) = answered else { break };
            // A stream that is gone was forgotten when it went; should Envoy know better, there is nobody to answer.
            if hostcalls::set_effective_context(stream) {
                send(&response);
            }
            if made >= signatures {
                break;
            }
        }
    }

    /// Takes what came of a fetch.
    pub(crate) fn fetched(&self, id: FetchId, answer: Answer<'_>) {
        if !matches!(answer, Answer::Response { status: 200, .. }) {
            // The VM of Envoy's main thread reaches no internal listener, and nothing tells it from those of workers.
            let gauge = self.reissuer.borrow().last_success(id.key);
            if let Some(at) = self.observer.borrow_mut().value_of(&gauge) {
                self.reissuer.borrow_mut().read_elsewhere(id.key, at, now());
            }
        }
        self.reissuer.borrow_mut().handle_fetched(id, answer, now());
        self.outdate();
    }

    /// The gauges are to be written at once.
    pub(crate) fn outdate(&self) {
        self.observer.borrow_mut().outdate();
    }

    /// Writes the gauges.
    pub(crate) fn measure(&self) {
        self.observer.borrow_mut().measure(&self.reissuer.borrow(), now());
    }

    /// Tells the last of what happened, and takes back what it measured.
    pub(crate) fn end(&self) {
        self.observe(now());
        self.observer.borrow_mut().end();
    }
}

/// Both clocks. The monotonic one is the VM's: keys go from one configuration to the next with the times they were read at.
pub(crate) fn now() -> Now {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    Now { unix: unix(), monotonic: STARTED.get_or_init(Instant::now).elapsed() }
}

/// Seconds since 1970. A clock before that is one at 1970: every token is issued in its future.
fn unix() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Envoy gives nanoseconds without a sign, by which such a clock looks like one of the 26th century.
    if i64::try_from(since.as_nanos()).is_ok() { since.as_secs() } else { 0 }
}

/// Answers the stream that is current.
pub(crate) fn send(response: &Response) {
    let headers: Vec<(&str, &str)> = response.headers.iter().map(|(name, value)| (*name, value.as_ref())).collect();
    if !hostcalls::send_response(response.status, &headers, &response.body) {
        hostcalls::log(
            LogLevel::Warn,
            &format!("jwt-reissuer: an answer with status {} could not be sent", response.status),
        );
    }
}
