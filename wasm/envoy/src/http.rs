//! The context of one request.

use std::rc::Rc;

use jwt_reissuer::Outcome;
use jwt_reissuer::http::{Body, Request, Response, Route};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::hostcalls::{self, Buffer, Map};
use crate::root::{AT_ONCE, Filter};

/// One request.
pub(crate) struct Http {
    id: u32,
    filter: Option<Rc<Filter>>,
    state: State,
}

enum State {
    /// Not ours: everything of it passes.
    Passing,
    /// Its body is being read.
    Reading { request: Request, limit: usize },
    /// The root context will answer it.
    Waiting,
    /// It has its answer.
    Answered,
}

impl Http {
    pub(crate) const fn new(id: u32, filter: Option<Rc<Filter>>) -> Self {
        Self { id, filter, state: State::Passing }
    }

    fn decide(&mut self, filter: &Filter, request: Request) -> Action {
        let now = filter.now();
        let outcome = filter.reissuer.borrow_mut().handle(&request, now);
        self.state = match outcome {
            Outcome::Pass => State::Passing,
            Outcome::Respond(response) => {
                send(&response);
                State::Answered
            }
            Outcome::NeedBody { limit } => State::Reading { request, limit },
            Outcome::Defer(key) => {
                let full = filter.reissuer.borrow_mut().wait(self.id, request, key, now);
                match full {
                    Ok(()) => {
                        hostcalls::set_tick_period(AT_ONCE);
                        State::Waiting
                    }
                    Err(response) => {
                        send(&response);
                        State::Answered
                    }
                }
            }
        };
        filter.observe();
        self.action()
    }

    /// The body has come to its end, or beyond what is read of it.
    fn body_read(&mut self, buffered: usize) -> Action {
        match (self.filter.clone(), std::mem::replace(&mut self.state, State::Answered)) {
            (Some(filter), State::Reading { mut request, limit }) => {
                request.body = if buffered > limit {
                    Body::TooLarge
                } else {
                    Body::Read(hostcalls::buffer(Buffer::RequestBody, limit).unwrap_or_default())
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

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let Some(filter) = self.filter.clone() else { return Action::Continue };
        let authority = hostcalls::header(Map::RequestHeaders, ":authority").unwrap_or_default();
        let route = {
            let reissuer = filter.reissuer.borrow();
            // Everybody else's requests end here, after a single call.
            if !reissuer.routes().is_our_host(&authority) {
                return Action::Continue;
            }
            let method = hostcalls::header(Map::RequestHeaders, ":method").unwrap_or_default();
            let path = hostcalls::header(Map::RequestHeaders, ":path").unwrap_or_default();
            Route::of(reissuer.routes(), &method, &authority, &path)
        };
        if route == Route::NotOurs {
            return Action::Continue;
        }
        // Without headers there is no token: the answer is a refusal.
        let headers = hostcalls::headers(Map::RequestHeaders).unwrap_or_default();
        let body = if end_of_stream { Body::None } else { Body::Unread };
        self.decide(&filter, Request::new(route, headers, body))
    }

    fn on_http_request_body(&mut self, buffered: usize, end_of_stream: bool) -> Action {
        match self.state {
            State::Reading { limit, .. } if end_of_stream || buffered > limit => self.body_read(buffered),
            _ => self.action(),
        }
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        // Trailers end a body whose last part did not say so. What was buffered is all of it: more than the limit would
        // have been seen before.
        self.body_read(0)
    }
}

impl Context for Http {
    fn on_done(&mut self) -> bool {
        if let (State::Waiting, Some(filter)) = (&self.state, &self.filter) {
            filter.reissuer.borrow_mut().forget(self.id);
        }
        true
    }
}

/// Answers the stream that is current.
pub(crate) fn send(response: &Response) {
    let headers: Vec<(&str, &str)> = response.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    hostcalls::send_response(response.status, &headers, &response.body);
}
