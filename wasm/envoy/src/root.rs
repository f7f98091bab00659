//! The root context: configuration, callouts, and the answers to requests that waited.

use std::rc::Rc;

use jwt_reissuer::clock::parse_http_date;
use jwt_reissuer::sorted::Sorted;
use jwt_reissuer::{Answer, Config, Fetch, FetchId, Reissuer};
use zeroize::Zeroizing;

use crate::crypto;
use crate::filter::{AT_ONCE, Filter, now};
use crate::hostcalls::{self, Buffer, Failed, LogLevel, Map};
use crate::random;
use crate::ticks::Ticks;

/// Waiting requests answered with a signature on one tick.
const SLICE: usize = 4;

/// The context that Envoy configures; without a configuration it passes everything.
#[derive(Default)]
pub(crate) struct Root {
    filter: Option<Rc<Filter>>,
    /// Of configurations before, as long as requests of theirs wait: nothing is fetched for them any more
    draining: Vec<Rc<Filter>>,
    /// Callouts in flight, by Envoy's token
    callouts: Sorted<u32, FetchId>,
    ticks: Ticks,
}

impl Root {
    /// False refuses this configuration, and Envoy goes on with the one before. What may pass, such as an API server that
    /// does not answer, is no reason for it.
    /// `others` are of this VM, and have read keys that this one may go on with.
    pub(crate) fn on_configure(&mut self, size: usize, others: &[Rc<Filter>]) -> bool {
        match self.configure(size, others) {
            Ok(filter) => {
                self.draining.extend(self.filter.replace(Rc::new(filter)));
                // Their answers are none to what this filter fetches, though their numbers may be the same.
                self.callouts.clear();
                // Not here: a worker has no internal listeners yet, and Envoy 1.40 can crash on a callout to one.
                self.ticks.every(AT_ONCE);
                true
            }
            Err(why) => {
                hostcalls::log(LogLevel::Critical, &format!("jwt-reissuer: configuration refused: {why}"));
                false
            }
        }
    }

    pub(crate) fn on_tick(&mut self) {
        self.work();
    }

    /// A callout came to its end. One that this context did not send, or that was answered before, is none of its own.
    pub(crate) fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize) {
        let (Some(filter), Some(id)) = (self.filter.clone(), self.callouts.remove(&token)) else { return };
        let body;
        let answer = if headers == 0 {
            Answer::Failed("no response")
        } else {
            let status = hostcalls::header(Map::CalloutResponseHeaders, ":status")
                .ok()
                .flatten()
                .and_then(|status| std::str::from_utf8(&status).ok()?.parse().ok())
                .unwrap_or(0);
            // One byte more than is taken shows that there is more.
            let size = body_size.min(id.max_bytes().saturating_add(1));
            // It may be our signing key.
            body = Zeroizing::new(hostcalls::buffer(Buffer::CalloutResponseBody, size).unwrap_or_default());
            let date = hostcalls::header(Map::CalloutResponseHeaders, "date").ok().flatten();
            let date = date.and_then(|date| parse_http_date(&date));
            Answer::Response { status, date, body: &body }
        };
        filter.fetched(id, answer);
        self.work();
    }

    /// What serves the requests that come now.
    pub(crate) fn filter(&self) -> Option<Rc<Filter>> {
        self.filter.clone()
    }

    /// Envoy has done with this configuration. What it measured is nobody's any more; its successor writes its own.
    pub(crate) fn on_delete(self) {
        self.filter.iter().chain(&self.draining).for_each(|filter| filter.end());
    }

    fn configure(&self, size: usize, others: &[Rc<Filter>]) -> Result<Filter, String> {
        let text = hostcalls::buffer(Buffer::PluginConfiguration, size).ok_or("cannot be read")?;
        if text.is_empty() {
            return Err("is empty".into());
        }
        if text.first() == Some(&b'\n') && text.trim_ascii_start().first() != Some(&b'{') {
            // A Struct comes as protobuf. Its first byte is the tag of its first field, and looks like an empty line.
            return Err("is not JSON: give it as google.protobuf.StringValue, not as Struct".into());
        }
        let config = Config::from_json(&text, &|name| std::env::var(name).ok()).map_err(|error| error.to_string())?;
        let variable = std::env::var(crypto::VARIABLE).ok();
        let (crypto, unknown) = crypto::chosen(variable.as_deref());
        if unknown {
            let problem = format!("environment variable {}: must be software, or not be set", crypto::VARIABLE);
            hostcalls::log(LogLevel::Error, &format!("jwt-reissuer: {problem}; it is ignored"));
        }
        // Nothing around the configuration refuses it: at a restart, Envoy would serve nobody.
        let (seed, problem) = match random::seed(getrandom::fill) {
            Ok(seed) => (seed, None),
            Err(problem) => (Zeroizing::new([0; 32]), Some(problem)),
        };
        let reissuer = Reissuer::new(config, Box::new(crypto.clone()), *seed, now());
        let mut reissuer = reissuer.map_err(|error| error.to_string())?;
        if let Some(problem) = problem {
            reissuer.without_randomness(problem);
        }
        for other in self.filter.iter().chain(others) {
            reissuer.inherit(&other.reissuer.borrow(), now());
        }
        hostcalls::log(LogLevel::Info, &crypto.describe());
        Ok(Filter::new(reissuer, &crypto, self.ticks.clone()))
    }

    /// Everything that is due: fetches, a slice of the waiting requests, logs and counters, the next tick.
    fn work(&mut self) {
        let Some(filter) = self.filter.clone() else { return };
        loop {
            let fetch = filter.reissuer.borrow_mut().poll_fetch(now());
            let Some(fetch) = fetch else { break };
            match dispatch(&fetch) {
                Ok(token) => {
                    self.callouts.insert(token, fetch.id);
                }
                Err(why) => {
                    filter.fetched(fetch.id, Answer::Failed(&why));
                }
            }
        }
        filter.answer_waiting(SLICE);
        self.draining.iter().for_each(|filter| filter.answer_waiting(SLICE));
        self.draining.iter().for_each(|filter| filter.measure());
        self.draining.retain(|before| {
            let waits = before.reissuer.borrow().waiting() > 0;
            if !waits {
                before.end();
                filter.outdate();
            }
            waits
        });
        filter.observe(now());
        filter.tell();
        filter.measure();
        let mut next = filter.reissuer.borrow().next_tick(now());
        for filter in &self.draining {
            filter.observe(now());
            filter.tell();
            next = next.min(filter.reissuer.borrow().next_tick(now()));
        }
        self.ticks.every(next);
    }
}

/// Sends a callout, and gives its token.
fn dispatch(fetch: &Fetch) -> Result<u32, String> {
    let headers = [
        (":method", "GET"),
        (":authority", fetch.authority.as_str()),
        (":path", fetch.path.as_str()),
        ("accept", fetch.accept),
    ];
    hostcalls::http_call(&fetch.cluster, &headers, fetch.timeout).map_err(|why| {
        let hint = match why {
            Failed::BAD_ARGUMENT => ": Envoy has no such cluster",
            Failed::INTERNAL_FAILURE => {
                ": the cluster has no host, as when its name does not resolve, or failed the request at once"
            }
            _ => "",
        };
        format!("callout to cluster {} not sent: {why}{hint}", fetch.cluster)
    })
}
