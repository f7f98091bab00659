//! The route table: which requests are ours, by method, authority and path alone.
//!
//! The route is decided first: requests to other hosts pass through this filter too, and must cost almost nothing.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::error::Rejection;
use crate::form::Asked;
use crate::issuer::Issuer;
use crate::path;

/// The endpoints that we answer.
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

/// The route of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A request for another host or application: it passes untouched.
    NotOurs,
    /// Ours, and to be refused whatever else it holds.
    Refused(Rejection),
    /// Ours, to be answered.
    Ours {
        /// Which
        endpoint: Endpoint,
        /// How
        method: Method,
        /// The audience that its query asks for, at an endpoint that answers with a token
        asked: Asked,
    },
}

/// The endpoints that a filter answers.
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

impl Route {
    /// The route of a request, by method, authority and path alone. Paths are compared exactly, before `?`; hosts in
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
            // Even on a shared host: a token must not go on to an application because this gateway is the public one.
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

    /// Whether requests to our hosts may be an application's.
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
