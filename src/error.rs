//! Every way to refuse a request, and the one place where a refusal becomes a response.
//!
//! A client learns the status and, for everything about a token, one constant body: who probes cannot tell an unknown
//! key from a bad signature. The operator learns the reason, from a counter named by [`Rejection::reason`] and from the
//! log line, which is the [`Display`](core::fmt::Display) of the rejection.

use alloc::format;
use alloc::string::String;
use core::fmt;

use crate::json::{Json, Object};
use crate::response::Response;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    // ---- the shape of the request
    /// On a host that is ours, a path that is not.
    NotFound,
    /// The method is not one of these.
    MethodNotAllowed {
        /// Value of the `Allow` header
        allow: &'static str,
    },
    /// The request announces a body, or sent one, of more bytes than are taken.
    BodyTooLarge,
    /// A body of a kind that is not taken here, and no token in the `Authorization` header; or gRPC, whose answers would carry
    /// the token in a header and always have status 200.
    UnsupportedMediaType,
    /// The body did not come, or the host could not give it.
    BodyNotRead,
    /// The token, or the wish, is given more than once; says how.
    Ambiguous(&'static str),
    /// A request for a token over a connection without TLS.
    PlainHttp {
        /// Whether a credential came with it, which is exposed
        exposed: bool,
    },

    // ---- the token
    /// No `Authorization` header.
    NoToken,
    /// An `Authorization` header of another scheme than Bearer.
    NotBearer,
    /// More bytes than are taken.
    TokenTooLarge,
    /// Not a JWS in compact form, strictly; says what is off.
    Malformed(&'static str),
    /// A JOSE header member that we refuse to obey or to ignore.
    HeaderMember(&'static str),
    /// `typ` is there and not `JWT`.
    WrongType,
    /// `alg` is absent, not a string, or none of the issuer's algorithms.
    UnsupportedAlgorithm,
    /// `alg` is not the algorithm of the key that `kid` names.
    AlgorithmOfAnotherKey,
    /// `kid` is absent, not a string, empty or over 1,024 bytes.
    NoKeyId,
    /// A registered claim that is absent or not what it must be.
    InvalidClaim {
        /// Its name
        claim: &'static str,
    },
    /// `iss` is none of the trusted issuers.
    UnknownIssuer,
    /// `aud` holds none of the issuer's configured audiences.
    WrongAudience,
    /// `exp` has passed.
    Expired {
        /// Unix seconds
        exp: u64,
        /// Unix seconds
        now: u64,
    },
    /// `nbf` is further ahead than the leeway.
    NotYetValid {
        /// Unix seconds
        nbf: u64,
        /// Unix seconds
        now: u64,
    },
    /// `iat` is further ahead than the leeway.
    IssuedInTheFuture {
        /// Unix seconds
        iat: u64,
        /// Unix seconds
        now: u64,
    },
    /// Issued longer ago than `max_token_age`.
    TooOld {
        /// Unix seconds
        iat: u64,
        /// Unix seconds
        now: u64,
    },
    /// No key of that id in the issuer's key set.
    UnknownKey {
        /// As the token has it
        kid: String,
    },
    /// The signature is not the key's.
    BadSignature,
    /// Two trusted issuers of this `iss` publish the key that verifies it, so that nothing tells which cluster issued it.
    AmbiguousIssuer {
        /// As the token has it
        kid: String,
    },

    // ---- policy, on a verified token
    /// The audience asked for is not one that may be had.
    AudienceNotAllowed,

    // ---- us
    /// The signer failed, or what it made did not verify; nothing was released.
    SigningFailed,
    /// A signature failed its check earlier; nothing is signed until restart.
    SigningLatched,
    /// There are no usable keys of the issuer now.
    IssuerKeysUnavailable {
        /// Seconds until asking again makes sense
        retry_after: u64,
    },
    /// Our own keys are not loaded.
    SigningKeysUnavailable {
        /// Seconds until asking again makes sense
        retry_after: u64,
    },
    /// As many requests wait for keys as may.
    TooManyWaiting,
    /// Signatures have taken as much of this worker's time as they may.
    OverBudget {
        /// Seconds until asking again makes sense
        retry_after: u64,
    },
    /// There is little of that time left, and this subject has had more than its part of it.
    SubjectOverBudget {
        /// Who it says it is; its signature is not checked
        sub: String,
    },
}

/// What kind of problem it is, by status, RFC 6750 error code and text for the client.
struct Problem {
    status: u16,
    title: &'static str,
    /// RFC 6750 section 3.1, in `WWW-Authenticate` and as member `error` of the body
    error: Option<&'static str>,
    detail: Option<&'static str>,
}

impl Rejection {
    /// The name of the reason, as in the counters: lower case and underscores.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::BodyTooLarge => "body_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::BodyNotRead => "body_not_read",
            Self::Ambiguous(_) => "ambiguous",
            Self::PlainHttp { exposed: true } => "plain_http",
            Self::PlainHttp { exposed: false } => "plain_http_without_token",
            Self::NoToken => "no_token",
            Self::NotBearer => "not_bearer",
            Self::TokenTooLarge => "token_too_large",
            Self::Malformed(_) => "malformed",
            Self::HeaderMember(_) => "header_member",
            Self::WrongType => "wrong_type",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::AlgorithmOfAnotherKey => "algorithm_of_another_key",
            Self::NoKeyId => "no_key_id",
            Self::InvalidClaim { .. } => "invalid_claim",
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::IssuedInTheFuture { .. } => "issued_in_the_future",
            Self::TooOld { .. } => "too_old",
            Self::UnknownKey { .. } => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::AmbiguousIssuer { .. } => "ambiguous_issuer",
            Self::AudienceNotAllowed => "audience_not_allowed",
            Self::SigningFailed => "signing_failed",
            Self::SigningLatched => "signing_latched",
            Self::IssuerKeysUnavailable { .. } => "issuer_keys_unavailable",
            Self::SigningKeysUnavailable { .. } => "signing_keys_unavailable",
            Self::TooManyWaiting => "too_many_waiting",
            Self::OverBudget { .. } => "over_budget",
            Self::SubjectOverBudget { .. } => "subject_over_budget",
        }
    }

    /// The HTTP status the client gets.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.problem().status
    }

    /// What the client gets.
    #[must_use]
    pub fn to_response(&self) -> Response {
        let problem = self.problem();
        let mut body =
            Object::from([("title", problem.title.into()), ("status", Json::from(u64::from(problem.status)))]);
        if let Some(error) = problem.error {
            body.set("error", error.into());
        }
        if let Some(detail) = problem.detail {
            body.set("detail", detail.into());
        }
        let mut response = Response::new(problem.status)
            // RFC 9457
            .header("content-type", "application/problem+json")
            .header("cache-control", "no-store")
            .body(body.to_text().into_bytes());
        // RFC 6750 section 3: the code is left out where no authentication was tried.
        if problem.status == 401 {
            let challenge = problem.error.map_or_else(|| "Bearer".into(), |error| format!("Bearer error=\"{error}\""));
            response = response.header("www-authenticate", challenge);
        }
        match self {
            Self::MethodNotAllowed { allow } => response.header("allow", *allow),
            Self::IssuerKeysUnavailable { retry_after }
            | Self::SigningKeysUnavailable { retry_after }
            | Self::OverBudget { retry_after } => response.header("retry-after", format!("{retry_after}")),
            Self::TooManyWaiting | Self::SubjectOverBudget { .. } => response.header("retry-after", "1"),
            _ => response,
        }
    }

    const fn problem(&self) -> Problem {
        match self {
            Self::NotFound => Problem { status: 404, title: "Not Found", error: None, detail: None },
            Self::MethodNotAllowed { .. } => {
                Problem { status: 405, title: "Method Not Allowed", error: None, detail: None }
            }
            Self::BodyTooLarge => Problem {
                status: 413,
                title: "Content Too Large",
                error: None,
                detail: Some("send the token in the Authorization header and no body"),
            },
            Self::BodyNotRead => Problem {
                status: 408,
                title: "Request Timeout",
                error: None,
                detail: Some("send the token in the Authorization header and no body"),
            },
            Self::UnsupportedMediaType => Problem {
                status: 415,
                title: "Unsupported Media Type",
                error: None,
                detail: Some("send the token as Authorization: Bearer, not in the body"),
            },
            Self::Ambiguous(detail) => {
                Problem { status: 400, title: "Bad Request", error: Some("invalid_request"), detail: Some(detail) }
            }
            Self::PlainHttp { .. } => Problem {
                status: 403,
                title: "Forbidden",
                error: None,
                detail: Some(
                    "this connection is not TLS: a token sent over it is exposed, so have it replaced and use https; \
                     only where a proxy in front of this gateway ends TLS, its operator sets allow_plain_http",
                ),
            },
            Self::NoToken | Self::NotBearer => Problem {
                status: 401,
                title: "Unauthorized",
                error: None,
                detail: Some("send the service-account token as Authorization: Bearer"),
            },
            Self::TokenTooLarge
            | Self::Malformed(_)
            | Self::HeaderMember(_)
            | Self::WrongType
            | Self::UnsupportedAlgorithm
            | Self::AlgorithmOfAnotherKey
            | Self::NoKeyId
            | Self::InvalidClaim { .. }
            | Self::UnknownIssuer
            | Self::WrongAudience
            | Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::IssuedInTheFuture { .. }
            | Self::TooOld { .. }
            | Self::UnknownKey { .. }
            | Self::BadSignature
            | Self::AmbiguousIssuer { .. } => {
                Problem { status: 401, title: "Unauthorized", error: Some("invalid_token"), detail: None }
            }
            Self::AudienceNotAllowed => Problem {
                status: 403,
                title: "Forbidden",
                // RFC 8693 section 2.2.2
                error: Some("invalid_target"),
                detail: Some("the audience asked for is not one that may be had here"),
            },
            Self::SigningFailed | Self::SigningLatched => {
                Problem { status: 500, title: "Internal Server Error", error: None, detail: None }
            }
            Self::IssuerKeysUnavailable { .. } | Self::SigningKeysUnavailable { .. } | Self::TooManyWaiting => {
                Problem { status: 503, title: "Service Unavailable", error: None, detail: None }
            }
            // RFC 6585 section 4
            Self::OverBudget { .. } | Self::SubjectOverBudget { .. } => Problem {
                status: 429,
                title: "Too Many Requests",
                error: None,
                detail: Some("more tokens are asked for than this gateway may sign; come again"),
            },
        }
    }
}

/// The log line: the reason with its data. What a client wrote is quoted and escaped, and cut where it is long.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())?;
        match self {
            Self::Ambiguous(what) | Self::Malformed(what) | Self::HeaderMember(what) => write!(f, " ({what})"),
            Self::InvalidClaim { claim } => write!(f, " ({claim})"),
            Self::Expired { exp, now } => write!(f, " (exp {exp}, now {now})"),
            Self::NotYetValid { nbf, now } => write!(f, " (nbf {nbf}, now {now})"),
            Self::IssuedInTheFuture { iat, now } | Self::TooOld { iat, now } => write!(f, " (iat {iat}, now {now})"),
            Self::PlainHttp { .. } => f.write_str(" (the connection is not TLS, and allow_plain_http is not set)"),
            Self::UnknownKey { kid } => write!(f, " (kid {})", Quoted(kid)),
            Self::AmbiguousIssuer { kid } => {
                write!(f, " (two trusted issuers with this iss publish the key with kid {})", Quoted(kid))
            }
            Self::SubjectOverBudget { sub } => write!(f, " (sub {})", Quoted(sub)),
            _ => Ok(()),
        }
    }
}

impl core::error::Error for Rejection {}

/// Text of a stranger for a log line: quoted, control and non-ASCII characters escaped, 256 characters at most.
pub(crate) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        // Nearly all of what is quoted needs no escapes.
        if self.0.len() <= 256 && self.0.bytes().all(|byte| matches!(byte, b' '..=b'~') && !b"\"'\\".contains(&byte)) {
            f.write_str(self.0)?;
            return f.write_str("\"");
        }
        for character in self.0.chars().take(256) {
            write!(f, "{}", character.escape_default())?;
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    #[test]
    fn everything_about_a_token_is_one_constant_answer() {
        let about_the_token = vec![
            Rejection::TokenTooLarge,
            Rejection::Malformed("x"),
            Rejection::HeaderMember("crit"),
            Rejection::WrongType,
            Rejection::UnsupportedAlgorithm,
            Rejection::AlgorithmOfAnotherKey,
            Rejection::NoKeyId,
            Rejection::InvalidClaim { claim: "exp" },
            Rejection::UnknownIssuer,
            Rejection::WrongAudience,
            Rejection::Expired { exp: 1, now: 2 },
            Rejection::NotYetValid { nbf: 2, now: 1 },
            Rejection::IssuedInTheFuture { iat: 2, now: 1 },
            Rejection::TooOld { iat: 1, now: 2 },
            Rejection::UnknownKey { kid: "k".into() },
            Rejection::AmbiguousIssuer { kid: "k".into() },
        ];
        let answer = Rejection::BadSignature.to_response();
        assert_eq!(answer.status, 401);
        assert_eq!(answer.get("www-authenticate"), Some("Bearer error=\"invalid_token\""));
        for rejection in about_the_token {
            assert_eq!(rejection.to_response(), answer, "{rejection}");
        }
    }

    #[test]
    fn a_request_without_a_token_gets_a_challenge_without_an_error_code() {
        assert_eq!(Rejection::NoToken.to_response().get("www-authenticate"), Some("Bearer"));
    }

    #[test]
    fn what_a_client_wrote_cannot_break_a_log_line() {
        let line = Rejection::UnknownKey { kid: "a\r\nforged \"line\" \u{202e}".into() }.to_string();
        assert_eq!(line, r#"unknown_key (kid "a\r\nforged \"line\" \u{202e}")"#);
    }
}
