//! The context of one request.

use std::rc::Rc;

use jwt_reissuer::Outcome;
use jwt_reissuer::http::{Body, Connection, Request, Response, Route};

use crate::filter::{AT_ONCE, Filter, now, send};
use crate::hostcalls::{self, Buffer, Failed, LogLevel, Map};

/// What Envoy is to do with a request, by the numbers of the proxy-wasm ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Action {
    Continue = 0,
    Pause = 1,
}

/// One request.
pub(crate) struct Http {
    id: u32,
    filter: Option<Rc<Filter>>,
    state: State,
}

enum State {
    /// Not ours: everything of it passes.
    Passing,
    /// The reissuer keeps it until its body has come; so many bytes of it are there.
    Reading { limit: usize, buffered: usize },
    /// The root context will answer it.
    Waiting,
    /// It has its answer.
    Answered,
}

impl Http {
    pub(crate) const fn new(id: u32, filter: Option<Rc<Filter>>) -> Self {
        Self { id, filter, state: State::Passing }
    }

    pub(crate) fn on_request_headers(&mut self, end_of_stream: bool) -> Action {
        let Some(filter) = self.filter.clone() else {
            // Whose it is cannot be told without a configuration.
            send(&Response::new(503));
            self.state = State::Answered;
            return Action::Pause;
        };
        let request = request(&filter, end_of_stream);
        filter.saw(matches!(request, Ok(Some(_))));
        let request = match request {
            Ok(None) => return Action::Continue,
            Ok(Some(request)) => request,
            Err(why) => {
                // Whose it is cannot be told, and it may carry a token for us.
                hostcalls::log(
                    LogLevel::Error,
                    &format!("jwt-reissuer: the host did not say what is asked for: {why}"),
                );
                send(&Response::new(500));
                self.state = State::Answered;
                return Action::Pause;
            }
        };
        self.decide(&filter, request)
    }

    pub(crate) fn on_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let State::Reading { limit, buffered, .. } = &mut self.state else { return self.action() };
        *buffered = size;
        if end_of_stream || size > *limit { self.body_read() } else { Action::Pause }
    }

    pub(crate) fn on_request_trailers(&mut self) -> Action {
        // Trailers end a body whose last part did not say so.
        self.body_read()
    }

    /// It is over. There is no other callback at a request's end: each would cost everybody's.
    pub(crate) fn on_delete(self) {
        if let (State::Waiting | State::Reading { .. }, Some(filter)) = (&self.state, &self.filter) {
            filter.reissuer.borrow_mut().take(self.id);
        }
    }

    fn decide(&mut self, filter: &Filter, request: Request) -> Action {
        let now = now();
        let outcome = filter.reissuer.borrow_mut().handle(&request, now);
        filter.settle();
        self.state = match outcome {
            Outcome::Pass => State::Passing,
            Outcome::Respond(response) => {
                send(&response);
                State::Answered
            }
            Outcome::NeedBody { limit } => {
                let kept = filter.reissuer.borrow_mut().await_body(self.id, request, now);
                waiting(filter, kept, State::Reading { limit, buffered: 0 })
            }
            Outcome::Defer(key) => {
                let kept = filter.reissuer.borrow_mut().wait(self.id, request, key, now);
                waiting(filter, kept, State::Waiting)
            }
        };
        if filter.has_waiting() {
            // Envoy's ticks are as coarse as the kernel's timers, four milliseconds or ten: where some wait, each that comes lets the
            // first of them have its turn, if it is time. This one has its own answer already, if it has one.
            filter.answer_waiting(1);
        }
        filter.observe(now);
        self.action()
    }

    /// The body has come to its end, or beyond what is read of it.
    fn body_read(&mut self) -> Action {
        match (self.filter.clone(), std::mem::replace(&mut self.state, State::Answered)) {
            (Some(filter), State::Reading { limit, buffered }) => {
                let request = filter.reissuer.borrow_mut().take(self.id);
                // It was waited for too long, and has its answer.
                let Some(mut request) = request else { return self.action() };
                request.body = if buffered > limit {
                    Body::TooLarge
                } else {
                    // A body that is not there as a whole may hold anything, so it is refused like one that is too large.
                    request_body(buffered).map_or(Body::TooLarge, Body::Read)
                };
                self.decide(&filter, request)
            }
            (_, state) => {
                self.state = state;
                self.action()
            }
        }
    }

    const fn action(&self) -> Action {
        match self.state {
            State::Passing => Action::Continue,
            State::Reading { .. } | State::Waiting | State::Answered => Action::Pause,
        }
    }
}

/// The state of a request that the reissuer keeps, or has refused to.
fn waiting(filter: &Filter, kept: Result<(), Response>, state: State) -> State {
    match kept {
        Ok(()) => {
            filter.ticks.within(AT_ONCE);
            state
        }
        Err(response) => {
            send(&response);
            State::Answered
        }
    }
}

/// The current request, if it is one to us.
fn request(filter: &Filter, end_of_stream: bool) -> Result<Option<Request>, Failed> {
    let read = |name| Ok(hostcalls::header(Map::RequestHeaders, name)?.unwrap_or_default());
    let reissuer = filter.reissuer.borrow();
    let routes = reissuer.routes();
    // Everybody else's requests end here, after a single call, or on a shared host after two. Where nobody else's come, as on a
    // virtual host of our own, the call would be for nothing.
    let is_ours =
        || Ok(routes.is_our_host(&read(":authority")?) && (!routes.is_shared() || routes.concerns(&read(":path")?)));
    if !filter.expects_ours() && !is_ours()? {
        return Ok(None);
    }
    let headers = hostcalls::headers(Map::RequestHeaders)?;
    let headers = headers.pairs().ok_or(Failed::SERIALIZATION)?;
    #[cfg(feature = "trap")]
    crate::trap::if_asked(&headers);
    // Envoy gives each of them once.
    let pseudo =
        |name: &[u8]| headers.iter().find(|(header, _)| *header == name).map(|(_, value)| *value).unwrap_or_default();
    let route = Route::of(routes, pseudo(b":method"), pseudo(b":authority"), pseudo(b":path"));
    if route == Route::NotOurs {
        return Ok(None);
    }
    let body = if end_of_stream { Body::None } else { Body::Unread };
    let asks_for_token = matches!(&route, Route::Ours { endpoint, .. } if endpoint.is_token());
    let connection = if asks_for_token { connection() } else { Connection::PLAIN };
    Ok(Some(Request::new(route, connection, headers, body)))
}

/// The connection of the current request. Envoy has the version for TLS over TCP and for QUIC. It has none for a connection in clear
/// text, whatever `x-forwarded-proto` says, nor for one that came by an internal listener.
fn connection() -> Connection {
    let version = hostcalls::property(&["connection", "tls_version"]);
    Connection { tls: version.is_some_and(|version| version.starts_with(b"TLSv1")) }
}

/// All of the current request's body, if that is what Envoy gives. Of none at all it has no buffer.
fn request_body(size: usize) -> Option<Vec<u8>> {
    if size == 0 {
        return Some(Vec::new());
    }
    hostcalls::buffer(Buffer::RequestBody, size).filter(|body| body.len() == size)
}
