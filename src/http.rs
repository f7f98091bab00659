//! Requests and the route table.
//!
//! The route is decided first, from method, authority and path alone: everybody else's requests pass through this filter
//! too and must pay almost nothing for it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::error::Rejection;
use crate::issuer::Issuer;
use crate::path;

pub use crate::form::Asked;
pub use crate::response::Response;

/// Most bytes of a body that is read, or that a request may announce.
pub const MAX_BODY: usize = 64 * 1024;
/// Most bytes that are kept of a header field which holds no token.
const MAX_FIELD: usize = 1024;
/// Most bytes that are kept of all such fields together, beside the beginning of each.
const MAX_FIELDS: usize = 4 * MAX_FIELD;
/// The beginning of a field: enough to tell what kind of body a field announces.
const FIELD_BEGINNING: usize = 64;

/// What we answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /reissue`
    Reissue,
    /// `POST /token`
    Token,
    /// `GET <issuer path>/.well-known/openid-configuration`
    Discovery,
    /// `GET <issuer path>/openid/v1/jwks`
    Jwks,
}

/// What a request is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Somebody else's: it passes untouched.
    NotOurs,
    /// Ours, and to be refused whatever else it holds.
    Refused(Rejection),
    /// Ours, to be answered.
    Ours {
        /// Which
        endpoint: Endpoint,
        /// How
        method: Method,
        /// What its query asks for, of an endpoint that answers with a token
        asked: Asked,
    },
}

/// What a filter answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serve {
    /// The discovery document and the key set
    pub documents: bool,
    /// The token endpoints
    pub tokens: bool,
}

/// The methods that are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`: as GET, without the body
    Head,
    /// `OPTIONS`: the CORS preflight
    Options,
    /// `POST`
    Post,
}

/// The route table of one configuration: on which hosts which exact paths are ours.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Lower case, without port
    hosts: Vec<String>,
    shared_host: bool,
    serve: Serve,
    discovery_path: String,
    jwks_path: String,
    /// All four paths in lower case, where a shared host passes what is none of them
    folded: Vec<Vec<u8>>,
}

/// The connection that a request came by, as the host knows it. Header fields say nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Whether TLS protects it up to this host; QUIC always does (RFC 9001)
    pub tls: bool,
}

/// A request on a route of ours, with the headers that matter.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// As [`Route::of`] found it
    pub route: Route,
    /// How it came here
    pub connection: Connection,
    /// Names in lower case, values as they came; in the order they came
    headers: Vec<(&'static str, Vec<u8>)>,
    /// Its body
    pub body: Body,
}

/// The body of a request.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// There is one, and it has not been read.
    Unread,
    /// All of it.
    Read(Vec<u8>),
    /// It has more bytes than [`Outcome::NeedBody`](crate::Outcome::NeedBody) asked for at most.
    TooLarge,
}

/// A header field of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// Not there
    Absent,
    /// There once
    One(&'a [u8]),
    /// There more than once
    Several,
}

impl Route {
    /// What a request is to us, by method, authority and path alone. Paths are compared exactly, before `?`; hosts in
    /// lower case and without port.
    #[must_use]
    pub fn of(routes: &Routes, method: &[u8], authority: &[u8], path: &[u8]) -> Self {
        if !routes.is_our_host(authority) {
            return Self::NotOurs;
        }
        let (path, query) = split_query(path);
        let Some(endpoint) = routes.endpoint(path) else {
            // Another spelling of a path of ours carries a token, and the application behind a shared host would get it.
            let passes = routes.shared_host && !routes.resembles_ours(path);
            return if passes { Self::NotOurs } else { Self::Refused(Rejection::NotFound) };
        };
        if !routes.serves(endpoint) {
            // Even on a shared host: a token must not go on to somebody else because this gateway is the public one.
            return Self::Refused(Rejection::NotFound);
        }
        match endpoint.method(method) {
            Some(method) => {
                let asked = query.filter(|_| endpoint.is_token()).map_or(Asked::Nothing, Asked::by);
                Self::Ours { endpoint, method, asked }
            }
            None => Self::Refused(Rejection::MethodNotAllowed { allow: endpoint.allow() }),
        }
    }
}

impl Connection {
    /// A connection that TLS protects.
    pub const TLS: Self = Self { tls: true };
    /// A connection in clear text.
    pub const PLAIN: Self = Self { tls: false };
}

impl Endpoint {
    /// Whether it answers with a token.
    #[must_use]
    pub const fn is_token(self) -> bool {
        matches!(self, Self::Reissue | Self::Token)
    }

    const fn allow(self) -> &'static str {
        if self.is_token() { "POST" } else { "GET, HEAD, OPTIONS" }
    }

    fn method(self, name: &[u8]) -> Option<Method> {
        match (name, self.is_token()) {
            (b"POST", true) => Some(Method::Post),
            (b"GET", false) => Some(Method::Get),
            (b"HEAD", false) => Some(Method::Head),
            (b"OPTIONS", false) => Some(Method::Options),
            _ => None,
        }
    }
}

impl Serve {
    /// From the names of the configuration; the error says what is wrong with them.
    pub(crate) fn from_names(names: &[&str]) -> Result<Self, &'static str> {
        let mut serve = Self { documents: false, tokens: false };
        for name in names {
            let part = match *name {
                "documents" => &mut serve.documents,
                "tokens" => &mut serve.tokens,
                _ => return Err("takes \"documents\" and \"tokens\""),
            };
            if core::mem::replace(part, true) {
                return Err("names one twice");
            }
        }
        if names.is_empty() { Err("must not be empty") } else { Ok(serve) }
    }
}

impl Routes {
    /// The table for an issuer, further hosts and what is served.
    #[must_use]
    pub fn new(issuer: &Issuer, extra_hosts: &[String], shared_host: bool, serve: Serve) -> Self {
        let mut hosts = Vec::from([issuer.host().to_string()]);
        hosts.extend(extra_hosts.iter().cloned());
        let discovery_path = format!("{}/.well-known/openid-configuration", issuer.path());
        let jwks_path = format!("{}/openid/v1/jwks", issuer.path());
        let paths = ["/reissue", "/token", &discovery_path, &jwks_path];
        let folded = paths.map(|path| path.to_ascii_lowercase().into_bytes()).into();
        Self { hosts, shared_host, serve, discovery_path, jwks_path, folded }
    }

    /// Whether an authority is one of ours: a host need look no further at a request where it is not.
    #[must_use]
    pub fn is_our_host(&self, authority: &[u8]) -> bool {
        let host = host_of(authority);
        self.hosts.iter().any(|ours| ours.as_bytes().eq_ignore_ascii_case(host))
    }

    /// Whether requests to our hosts may be somebody else's.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.shared_host
    }

    /// Whether a path, with its query, is one of ours on our hosts, or may be read as one.
    #[must_use]
    pub fn concerns(&self, path: &[u8]) -> bool {
        let (path, _) = split_query(path);
        self.endpoint(path).is_some() || self.resembles_ours(path)
    }

    fn resembles_ours(&self, path: &[u8]) -> bool {
        let ours: Vec<&[u8]> = self.folded.iter().map(Vec::as_slice).collect();
        path::may_be_read_as(path, &ours)
    }

    fn endpoint(&self, path: &[u8]) -> Option<Endpoint> {
        match path {
            b"/reissue" => Some(Endpoint::Reissue),
            b"/token" => Some(Endpoint::Token),
            path if path == self.discovery_path.as_bytes() => Some(Endpoint::Discovery),
            path if path == self.jwks_path.as_bytes() => Some(Endpoint::Jwks),
            _ => None,
        }
    }

    const fn serves(&self, endpoint: Endpoint) -> bool {
        if endpoint.is_token() { self.serve.tokens } else { self.serve.documents }
    }
}

impl Request {
    /// The header fields a request is judged by; a host need not copy others.
    pub const HEADERS: [&'static str; 5] =
        ["authorization", "accept", "content-type", "content-length", "if-none-match"];

    /// A request from all its headers, of which only those of [`Request::HEADERS`] are kept.
    pub fn new<T: AsRef<[u8]>>(
        route: Route,
        connection: Connection,
        headers: impl IntoIterator<Item = (T, T)>,
        body: Body,
    ) -> Self {
        let mut room = MAX_FIELDS;
        let kept = headers.into_iter().filter_map(|(name, value)| {
            let (name, mut value) = (name.as_ref(), value.as_ref());
            let name = Self::HEADERS.into_iter().find(|kept| name.eq_ignore_ascii_case(kept.as_bytes()))?;
            // A request may wait, and a thousand of them: of what is no token, only so much as anybody means is kept.
            if name != "authorization" {
                let most = MAX_FIELD.min(room).max(FIELD_BEGINNING);
                value = value.get(..most).unwrap_or(value);
                room = room.saturating_sub(value.len());
            }
            Some((name, value.to_vec()))
        });
        Self { route, connection, headers: kept.collect(), body }
    }

    /// Whether it is one for a token.
    #[must_use]
    pub fn wants_token(&self) -> bool {
        matches!(&self.route, Route::Ours { endpoint, .. } if endpoint.is_token())
    }

    /// The field of that name, of those in [`Request::HEADERS`].
    #[must_use]
    pub fn field(&self, name: &str) -> Field<'_> {
        let mut values = self.headers.iter().filter(|(header, _)| *header == name);
        match (values.next(), values.next()) {
            (None, _) => Field::Absent,
            (Some((_, value)), None) => Field::One(value),
            (Some(_), Some(_)) => Field::Several,
        }
    }

    /// The token of the `Authorization` header (RFC 6750 section 2.1). Its characters are not looked at yet.
    ///
    /// # Errors
    /// [`Rejection`] without a token, with another scheme, or with more than one.
    pub fn bearer(&self) -> Result<&[u8], Rejection> {
        let value = match self.field("authorization") {
            Field::Absent => return Err(Rejection::NoToken),
            Field::Several => return Err(Rejection::Ambiguous("two Authorization headers")),
            Field::One(value) => value,
        };
        // Proxies join two headers of one name by a comma, which is in no token.
        if value.contains(&b',') {
            return Err(Rejection::Ambiguous("two Authorization headers"));
        }
        let scheme_end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, rest) = value.split_at_checked(scheme_end).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            return Err(Rejection::NotBearer);
        }
        // RFC 9110 section 11.4: one space or more
        Ok(rest.trim_ascii_start())
    }

    /// Refuses what the headers say of the body, before anything else is done for this request.
    ///
    /// # Errors
    /// [`Rejection`] for a body that is too large, of a kind not taken, or that may hold a second token.
    pub fn check_body(&self, endpoint: Endpoint) -> Result<(), Rejection> {
        let length = self.content_length()?;
        if length.is_some_and(|length| length > MAX_BODY) || self.body == Body::TooLarge {
            return Err(Rejection::BodyTooLarge);
        }
        if self.is_grpc() {
            return Err(Rejection::UnsupportedMediaType);
        }
        let has_body = self.body != Body::None && length != Some(0);
        let has_type = self.field("content-type") != Field::Absent;
        if endpoint == Endpoint::Token && has_body && has_type && self.field("authorization") == Field::Absent {
            return Err(Rejection::UnsupportedMediaType);
        }
        Ok(())
    }

    /// The announced length (RFC 9110 section 8.6: digits alone). What is no length, or does not fit, counts as too large.
    fn content_length(&self) -> Result<Option<usize>, Rejection> {
        match self.field("content-length") {
            Field::Absent => Ok(None),
            Field::Several => Err(Rejection::Ambiguous("two Content-Length headers")),
            Field::One(value) if value.iter().all(u8::is_ascii_digit) => {
                let text = core::str::from_utf8(value).ok();
                Ok(Some(text.and_then(|text| text.parse().ok()).unwrap_or(usize::MAX)))
            }
            Field::One(_) => Ok(Some(usize::MAX)),
        }
    }

    /// Whether a proxy takes this for gRPC, and so turns our answer into one: status 200, the body in a header.
    fn is_grpc(&self) -> bool {
        let mut kinds =
            self.headers.iter().filter(|(name, _)| *name == "content-type").map(|(_, kind)| kind.trim_ascii_start());
        kinds.any(|kind| {
            kind.get(..b"application/grpc".len()).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
        })
    }

    /// Whether there is a body that says it is a form.
    #[must_use]
    pub fn has_form(&self) -> bool {
        let Field::One(kind) = self.field("content-type") else { return false };
        let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        self.body != Body::None
            && self.content_length() != Ok(Some(0))
            && essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    }

    /// The audience asked for in the query.
    ///
    /// # Errors
    /// [`Rejection::Ambiguous`] where it is asked for twice: what we issue has one audience.
    pub fn audience(&self) -> Result<Option<&[u8]>, Rejection> {
        match &self.route {
            Route::Ours { asked: Asked::Several, .. } => Err(Rejection::Ambiguous("audience is given twice")),
            Route::Ours { asked: Asked::For(audience), .. } => Ok(Some(audience)),
            _ => Ok(None),
        }
    }

    /// Whether the answer is wanted as JSON: `Accept` names `application/json` and does not give it weight 0.
    #[must_use]
    pub fn wants_json(&self) -> bool {
        let Field::One(accept) = self.field("accept") else { return false };
        accept.split(|byte| *byte == b',').any(|range| {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let is_json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case(b"application/json"));
            is_json && !parts.any(|part| matches!(part, b"q=0" | b"q=0.0" | b"q=0.00" | b"q=0.000"))
        })
    }
}

fn split_query(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == b'?') {
        Some(mark) => (path.get(..mark).unwrap_or_default(), path.get(mark.saturating_add(1)..)),
        None => (path, None),
    }
}

/// The host of an authority: without port, and without the root's dot, by which the same host can be named.
fn host_of(authority: &[u8]) -> &[u8] {
    let host = match authority.iter().rposition(|byte| *byte == b':') {
        Some(colon) if authority.last() != Some(&b']') => authority.get(..colon).unwrap_or_default(),
        _ => authority,
    };
    host.strip_suffix(b".").unwrap_or(host)
}

/// Header values may hold a token, so they are not shown.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("route", &self.route).finish_non_exhaustive()
    }
}
