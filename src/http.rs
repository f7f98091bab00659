//! Requests: the header fields, the body and the connection that decide about one.

use alloc::vec::Vec;
use core::fmt;

use crate::error::Rejection;

pub use crate::form::Asked;
pub use crate::response::Response;
pub use crate::routes::{Endpoint, Method, Route, Routes, Serve};

/// Most bytes of a body that is read, or that a request may announce.
pub const MAX_BODY: usize = 64 * 1024;
/// Most bytes that are kept of a header field which holds no token.
const MAX_FIELD: usize = 1024;
/// Most bytes that are kept of all such fields together, beside the beginning of each.
const MAX_FIELDS: usize = 4 * MAX_FIELD;
/// The beginning of a field: enough to tell what kind of body a field announces.
const FIELD_BEGINNING: usize = 64;

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

impl Connection {
    /// A connection that TLS protects.
    pub const TLS: Self = Self { tls: true };
    /// A connection in clear text.
    pub const PLAIN: Self = Self { tls: false };
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

/// Header values may hold a token, so they are not shown.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("route", &self.route).finish_non_exhaustive()
    }
}
