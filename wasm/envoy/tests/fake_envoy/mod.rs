//! An Envoy of one worker, as a filter sees it: this module calls what the filter exports, `imports` is what it calls.
//!
//! All state is the thread's own, as the filter's is. Numbers of contexts, callouts and metrics never come back in a
//! thread, so that any number of VMs can be started in one.
#![allow(
    dead_code,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "shared by test programs, each of which uses a part"
)]

#[allow(unsafe_code)]
mod exports;
pub mod foreign;
#[allow(unsafe_code)]
mod imports;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub const OK: u32 = 0;
pub const NOT_FOUND: u32 = 1;
pub const BAD_ARGUMENT: u32 = 2;
pub const INTERNAL_FAILURE: u32 = 10;

pub const INFO: u32 = 2;
pub const ERROR: u32 = 4;
pub const CRITICAL: u32 = 5;

pub const OUR_HOST: &str = "reissuer.example.com";

pub type Headers = Vec<(String, Vec<u8>)>;

/// What the filter says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Continue,
    Pause,
}

/// An answer that the filter gave to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalResponse {
    pub status: u32,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// A callout that the filter sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callout {
    /// The context it was sent from
    pub context: u32,
    pub cluster: String,
    pub headers: Vec<(String, String)>,
    pub timeout: u32,
    pub token: u32,
}

/// What a callout brings.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    headers: Headers,
    body: Vec<u8>,
}

/// Everything that this Envoy knows of the filter.
#[derive(Debug, Default)]
pub struct State {
    /// The last number given to anything
    number: u32,
    effective_context: u32,
    configuration: Vec<u8>,
    /// Requests that are there, by context
    streams: BTreeMap<u32, Received>,
    roots: BTreeSet<u32>,
    /// The answer that a callback is about
    answer: Option<Answer>,
    /// What a hostcall returns instead of doing anything
    failing: BTreeMap<&'static str, u32>,
    /// The header field that cannot be read
    pub unreadable: Option<&'static str>,
    /// Bytes that are missing of each buffer
    pub short_of: usize,
    pub log_level: u32,
    /// Functions beyond the ABI, by name
    pub foreign: BTreeMap<&'static str, foreign::Function>,

    /// How often each of them was called
    pub foreign_calls: BTreeMap<String, usize>,
    /// Hostcalls in their order
    pub calls: Vec<&'static str>,
    /// Most bytes that were asked for of each callout's body
    pub asked_bytes: Vec<usize>,
    pub tick_period: Option<u32>,
    pub logs: Vec<(u32, String)>,
    pub callouts: Vec<Callout>,
    /// Contexts and answers in their order
    pub responses: Vec<(u32, LocalResponse)>,
    /// Names of the metrics that were defined, by id
    pub defined: BTreeMap<u32, String>,
    pub counters: BTreeMap<String, i64>,
    pub gauges: BTreeMap<String, u64>,
    /// What no filter should do to an Envoy
    faults: Vec<String>,
}

#[derive(Debug, Default)]
struct Received {
    headers: Headers,
    body: Vec<u8>,
    /// `None`: the connection is in clear text
    tls_version: Option<&'static str>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Looks at the state, or changes it. `act` must not call the filter.
pub fn with<T>(act: impl FnOnce(&mut State) -> T) -> T {
    STATE.with(|state| act(&mut state.borrow_mut()))
}

impl State {
    fn number(&mut self) -> u32 {
        self.number += 1;
        self.number
    }
}

/// A VM with one root context.
#[derive(Debug)]
pub struct Envoy {
    pub root: u32,
}

impl Envoy {
    /// A fresh VM in an Envoy of today; nothing is left of the one before.
    pub fn start() -> Self {
        Self::start_with(&foreign::SIGNS_AND_VERIFIES)
    }

    /// A fresh VM in an Envoy that has these functions beyond the ABI.
    pub fn start_with(functions: &[(&'static str, foreign::Function)]) -> Self {
        let foreign = functions.iter().copied().collect();
        with(|state| *state = State { number: state.number, foreign, ..State::default() });
        Self { root: new_root() }
    }

    /// A VM that has taken this configuration.
    pub fn with(configuration: &str) -> Self {
        let envoy = Self::start();
        assert!(envoy.configure(configuration), "{:?}", with(|state| state.logs.clone()));
        envoy
    }

    /// The root context that a changed configuration gets beside the one that runs; true if it took it. One that did not
    /// goes away.
    pub fn update(&mut self, configuration: impl AsRef<[u8]>) -> bool {
        let updated = Self { root: new_root() };
        let taken = updated.configure(configuration);
        if taken {
            self.root = updated.root;
        } else {
            updated.close();
        }
        taken
    }

    pub fn configure(&self, configuration: impl AsRef<[u8]>) -> bool {
        let size = configuration.as_ref().len();
        with(|state| state.configuration = configuration.as_ref().to_vec());
        enter(self.root);
        exports::on_configure(self.root, size)
    }

    /// The root context goes away.
    pub fn close(&self) {
        close(self.root);
    }

    pub fn tick(&self) {
        enter(self.root);
        exports::on_tick(self.root);
    }

    /// Ticks for as long as the filter wants to be called at once.
    pub fn tick_until_idle(&self) {
        for _ in 0..1000 {
            self.tick();
            if with(|state| state.tick_period) != Some(1) {
                return;
            }
        }
        panic!("the filter has no rest");
    }

    /// Ticks until something has come, as Envoy does while its time passes.
    pub fn tick_until(&self, has_come: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !has_come() {
            assert!(Instant::now() < until, "{} answers", answers().len());
            self.tick();
        }
    }

    /// Headers come in, of a request without a body.
    pub fn send(&self, request: &Request) -> Stream {
        self.receive(request, true)
    }

    /// Headers come in, and a body will follow.
    pub fn send_with_body(&self, request: &Request) -> Stream {
        self.receive(request, false)
    }

    fn receive(&self, request: &Request, end_of_stream: bool) -> Stream {
        let id = with(|state| {
            let id = state.number();
            let received =
                Received { headers: request.headers.clone(), body: Vec::new(), tls_version: request.tls_version };
            state.streams.insert(id, received);
            id
        });
        enter(id);
        exports::on_context_create(id, self.root);
        let action = exports::on_request_headers(id, request.headers.len(), end_of_stream);
        Stream { id, action }
    }

    /// The last callout to a cluster is answered.
    pub fn answer(&self, cluster: &str, answer: Answer) {
        let callouts = with(|state| state.callouts.clone());
        let callout = callouts.iter().rfind(|callout| callout.cluster == cluster).expect("no callout to that cluster");
        self.answer_token(callout.token, answer);
    }

    /// A callout is answered, or said to be.
    pub fn answer_token(&self, token: u32, answer: Answer) {
        let (headers, body_size) = (answer.headers.len(), answer.body.len());
        with(|state| state.answer = Some(answer));
        enter(self.root);
        exports::on_http_call_response(self.root, token, headers, body_size);
        with(|state| state.answer = None);
    }

    pub fn fail(&self, hostcall: &'static str, status: u32) {
        with(|state| state.failing.insert(hostcall, status));
    }

    /// No hostcall fails any more.
    pub fn heal(&self) {
        with(|state| state.failing.clear());
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(with(|state| std::mem::take(&mut state.faults)), Vec::<String>::new());
        }
    }
}

/// A request that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    pub id: u32,
    /// What was said of its headers
    pub action: Action,
}

impl Stream {
    /// A part of its body comes in, and is kept with those before.
    pub fn body(self, part: impl AsRef<[u8]>, end_of_stream: bool) -> Action {
        enter(self.id);
        let size = with(|state| {
            let body = &mut state.streams.get_mut(&self.id).expect("closed").body;
            body.extend(part.as_ref());
            body.len()
        });
        exports::on_request_body(self.id, size, end_of_stream)
    }

    pub fn trailers(self) -> Action {
        enter(self.id);
        exports::on_request_trailers(self.id, 1)
    }

    /// The client goes away, or has had its answer.
    pub fn close(self) {
        close(self.id);
        with(|state| state.streams.remove(&self.id));
    }

    /// Envoy has it no more, and has not said so.
    pub fn vanish(self) {
        with(|state| state.streams.remove(&self.id));
    }

    /// Its answer, if there is one yet.
    pub fn answer(self) -> Option<LocalResponse> {
        with(|state| state.responses.iter().find(|(id, _)| *id == self.id).map(|(_, response)| response.clone()))
    }

    pub fn status(self) -> Option<u32> {
        self.answer().map(|answer| answer.status)
    }
}

impl LocalResponse {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

impl Answer {
    pub fn of(status: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        let headers = vec![(":status".to_owned(), status.as_ref().to_vec())];
        Self { headers, body: body.as_ref().to_vec() }
    }

    /// As when the connection broke.
    pub fn none() -> Self {
        Self::default()
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self
    }
}

/// The headers of a request to come.
#[derive(Clone, Debug)]
pub struct Request {
    headers: Headers,
    tls_version: Option<&'static str>,
}

impl Request {
    pub fn new(method: &str, path: impl AsRef<[u8]>) -> Self {
        let request = Self { headers: Vec::new(), tls_version: Some("TLSv1.3") };
        request.header(":method", method).header(":authority", OUR_HOST).header(":path", path)
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn discovery() -> Self {
        Self::get("/.well-known/openid-configuration")
    }

    pub fn reissue(token: &str) -> Self {
        Self::new("POST", "/reissue").header("authorization", format!("Bearer {token}"))
    }

    /// A form beside a token, as it is read where `read_forms` is set.
    pub fn form(token: &str) -> Self {
        let request = Self::new("POST", "/token").header("authorization", format!("Bearer {token}"));
        request.header("content-type", "application/x-www-form-urlencoded")
    }

    /// Over a connection of this version of TLS, or in clear text.
    pub fn over(mut self, tls_version: Option<&'static str>) -> Self {
        self.tls_version = tls_version;
        self
    }

    /// With this header, in the place of one of the same name.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self
    }
}

fn enter(context: u32) {
    with(|state| state.effective_context = context);
}

fn new_root() -> u32 {
    let root = with(|state| {
        let root = state.number();
        state.roots.insert(root);
        root
    });
    enter(root);
    exports::on_context_create(root, 0);
    root
}

fn close(context: u32) {
    enter(context);
    exports::on_delete(context);
    with(|state| state.roots.remove(&context));
}

/// The value of a gauge; `None`: nobody has defined it.
pub fn gauge(name: &str) -> Option<u64> {
    with(|state| state.gauges.get(name).copied())
}

/// How often each counter was counted up.
pub fn count(counter: &str) -> i64 {
    with(|state| state.counters.get(counter).copied().unwrap_or(0))
}

/// Contexts and statuses of all answers so far, in their order.
pub fn answers() -> Vec<(u32, u32)> {
    with(|state| state.responses.iter().map(|(context, response)| (*context, response.status)).collect())
}

/// All log lines so far.
pub fn log_lines() -> Vec<String> {
    with(|state| state.logs.iter().map(|(_, line)| line.clone()).collect())
}
