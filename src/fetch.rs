//! A fetch for the host to make, and what came of it.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use crate::error::Quoted;
use crate::event::FetchFailure;
use crate::jwks;
use crate::keyring;
use crate::source::SourceKey;

/// A fetch for the host to make: `GET` by way of an Envoy cluster. Its outcome goes to [`Reissuer::handle_fetched`](crate::Reissuer::handle_fetched).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// To be given back with the answer
    pub id: FetchId,
    /// The Envoy cluster
    pub cluster: String,
    /// `:authority`
    pub authority: String,
    /// `:path`
    pub path: String,
    /// `accept`
    pub accept: &'static str,
    /// After which it has failed
    pub timeout: Duration,
}

/// Which fetch an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchId {
    /// What was fetched
    pub key: SourceKey,
    attempt: u64,
}

impl FetchId {
    /// A body of more bytes is refused: reading one byte more than this is enough to see it.
    #[must_use]
    pub const fn max_bytes(&self) -> usize {
        match self.key {
            SourceKey::Keyring => keyring::MAX_DOCUMENT,
            SourceKey::Jwks(_) => jwks::MAX_DOCUMENT,
        }
    }
}

/// What came of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A response. A proxy's own 503 and 504 look like one too.
    Response {
        /// HTTP status; 0 where it could not be read
        status: u16,
        /// When it was made, by its `Date` header; seconds since 1970
        date: Option<u64>,
        /// Its body, or as much as was asked for
        body: &'a [u8],
    },
    /// It could not be sent, or no response came; says why.
    Failed(&'a str),
}

impl FetchId {
    pub(crate) const fn new(key: SourceKey, attempt: u64) -> Self {
        Self { key, attempt }
    }

    pub(crate) const fn attempt(&self) -> u64 {
        self.attempt
    }
}

impl<'a> Answer<'a> {
    /// The document that came, or why there is none.
    pub(crate) fn document(self) -> Result<&'a [u8], (FetchFailure, String)> {
        // Envoy's own words where it is Envoy that answers: they say whether the connection, the certificate or the name was
        // the matter. Of anybody else's body nothing is shown.
        const UNREACHABLE: [&[u8]; 2] = [b"upstream connect error", b"no healthy upstream"];
        const TIMED_OUT: &[u8] = b"upstream request timeout";
        match self {
            Answer::Response { status: 200, body, .. } => Ok(body),
            Answer::Response { status, body, .. } => {
                let cause = if UNREACHABLE.iter().any(|words| body.starts_with(words)) {
                    FetchFailure::Unreachable
                } else if body.starts_with(TIMED_OUT) {
                    FetchFailure::TimedOut
                } else {
                    return Err((FetchFailure::Status, format!("status {status}")));
                };
                Err((cause, format!("status {status} {}", Quoted(&String::from_utf8_lossy(body)))))
            }
            Answer::Failed(why) => Err((FetchFailure::Unreachable, why.to_string())),
        }
    }
}
