//! What happened, for the operator: each event has one log line, and a counter or two.
//!
//! Lines are `key=value` pairs. They hold no token and no key: a token is named by its SHA-256, and what a stranger wrote
//! is quoted and escaped.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::error::{Quoted, Rejection};
use crate::fingerprint::Fingerprint;
use crate::jwks::RefusedKey;
use crate::succession::Gap;
use crate::text::Text;
use crate::timetable;

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Routine
    Debug,
    /// What an auditor reads
    Info,
    /// Something is wrong and may pass
    Warn,
    /// Something is wrong and somebody must act
    Error,
}

/// Why a fetch brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFailure {
    /// No connection, no TLS, or one that broke
    Unreachable,
    /// No answer in time
    TimedOut,
    /// Another status than 200
    Status,
    /// Not a key set
    Document,
    /// A key set without a key that the trusted issuer may use
    NoUsableKey,
}

/// A token of ours, and what it was issued for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Name of the trusted issuer
    pub issuer: Text,
    /// `sub` of ours: the subject token's, after the prefix of its cluster
    pub sub: Text,
    /// `aud` of ours
    pub audience: Text,
    /// `exp` of ours
    pub exp: u64,
    /// `jti` of ours
    pub jti: Text,
    /// `jti` of the subject token
    pub subject_jti: Option<Text>,
    /// The subject token
    pub token: Fingerprint,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A token was issued, or given again.
    Issued {
        /// Which, to whom
        issue: Arc<Issue>,
        /// Whether it was given for the same subject token before
        repeated: bool,
    },
    /// A request was refused.
    Rejected {
        /// Why
        rejection: Rejection,
        /// What it carried
        token: Option<Fingerprint>,
    },
    /// A document was served, or found unchanged.
    DocumentServed,
    /// An issuer's key set was fetched.
    IssuerKeysFetched {
        /// Name of the trusted issuer
        issuer: Text,
        /// Ids of the usable keys
        kids: Vec<String>,
        /// Keys that were left out
        refused: Vec<RefusedKey>,
        /// Whether the ids differ from before
        changed: bool,
    },
    /// An issuer's key set could not be fetched; the last good one stays.
    IssuerKeysFailed {
        /// Name of the trusted issuer
        issuer: Text,
        /// Which kind of thing went wrong
        cause: FetchFailure,
        /// What went wrong
        problem: String,
        /// Whether there have been no usable keys for a minute
        missing: bool,
    },
    /// Something could not be reached that may come within a minute of the start, or that only other VMs of the host reach.
    OutOfReach {
        /// What
        what: String,
        /// What went wrong
        problem: String,
        /// Whether it was logged before
        repeated: bool,
    },
    /// Our keys were loaded.
    KeyringLoaded {
        /// Ids of the published keys, the signing one first
        kids: Vec<String>,
        /// When that changes, if it does; seconds since 1970
        next: Option<u64>,
    },
    /// A moment of the keyring's timetable has come: a key is published, signs or goes.
    KeyringTurned {
        /// Ids of the published keys, the signing one first
        kids: Vec<String>,
        /// When that changes again, if it does; seconds since 1970
        next: Option<u64>,
    },
    /// Our keys were asked for and are what they were.
    KeyringUnchanged {
        /// Whether reading them had failed before
        recovered: bool,
    },
    /// Our keys could not be loaded; the last good ones stay.
    KeyringFailed {
        /// What went wrong
        problem: String,
        /// Whether it is what went wrong the last time
        repeated: bool,
        /// Whether there have been no usable keys for a minute
        missing: bool,
    },
    /// Verifiers refuse valid tokens: a key left the key set early, or signs before they could read it.
    KeyringGap {
        /// Which key, and how
        gap: Gap,
    },
    /// A signature that we made did not verify: nothing is signed any more until restart.
    SigningLatched,
}

impl FetchFailure {
    /// How its counter is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timeout",
            Self::Status => "status",
            Self::Document => "document",
            Self::NoUsableKey => "no_usable_key",
        }
    }
}

impl Event {
    /// The counters it adds one to.
    pub fn counters(&self) -> impl Iterator<Item = Cow<'static, str>> {
        let mut missing = None;
        let (name, kind): (Cow<'static, str>, _) = match self {
            Self::Issued { repeated, .. } => {
                ("jwt_reissuer.issued".into(), repeated.then(|| "jwt_reissuer.issued_again".into()))
            }
            Self::Rejected { rejection, .. } => (format!("jwt_reissuer.rejected.{}", rejection.reason()).into(), None),
            Self::DocumentServed => ("jwt_reissuer.documents_served".into(), None),
            Self::IssuerKeysFetched { issuer, .. } => (format!("jwt_reissuer.jwks.{issuer}.fetched").into(), None),
            Self::IssuerKeysFailed { issuer, cause, missing: is_missing, .. } => {
                missing = is_missing.then(|| format!("jwt_reissuer.jwks.{issuer}.missing").into());
                let name = format!("jwt_reissuer.jwks.{issuer}.failed");
                let kind = format!("{name}.{}", cause.name());
                (name.into(), Some(kind.into()))
            }
            Self::OutOfReach { .. } => ("jwt_reissuer.out_of_reach_while_idle".into(), None),
            Self::KeyringLoaded { .. } => ("jwt_reissuer.keyring.loaded".into(), None),
            Self::KeyringTurned { .. } => ("jwt_reissuer.keyring.turned".into(), None),
            Self::KeyringUnchanged { .. } => ("jwt_reissuer.keyring.unchanged".into(), None),
            Self::KeyringFailed { missing, .. } => {
                ("jwt_reissuer.keyring.failed".into(), missing.then(|| "jwt_reissuer.keyring.missing".into()))
            }
            Self::KeyringGap { gap: Gap::Withdrawn { .. } } => ("jwt_reissuer.keyring.withdrawn".into(), None),
            Self::KeyringGap { gap: Gap::SignsUnpublished { .. } } => {
                ("jwt_reissuer.keyring.signs_unpublished".into(), None)
            }
            Self::SigningLatched => ("jwt_reissuer.signing_latched".into(), None),
        };
        [Some(name), kind, missing].into_iter().flatten()
    }

    /// How loud its line is.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::DocumentServed | Self::KeyringUnchanged { recovered: false } => Level::Debug,
            Self::KeyringUnchanged { recovered: true } => Level::Info,
            Self::KeyringFailed { repeated, .. } => {
                if *repeated {
                    Level::Debug
                } else {
                    Level::Error
                }
            }
            Self::OutOfReach { repeated, .. } => {
                if *repeated {
                    Level::Debug
                } else {
                    Level::Info
                }
            }
            Self::IssuerKeysFetched { changed, .. } => {
                if *changed {
                    Level::Info
                } else {
                    Level::Debug
                }
            }
            Self::Issued { .. } | Self::KeyringLoaded { .. } | Self::KeyringTurned { .. } => Level::Info,
            Self::Rejected { rejection, .. } => {
                if rejection.status() >= 500 {
                    Level::Warn
                } else {
                    Level::Info
                }
            }
            Self::IssuerKeysFailed { missing: false, .. } => Level::Warn,
            Self::IssuerKeysFailed { missing: true, .. } | Self::KeyringGap { .. } | Self::SigningLatched => {
                Level::Error
            }
        }
    }
}

impl Issue {
    /// Bytes of its texts.
    pub(crate) fn bytes(&self) -> usize {
        let texts = [&self.issuer, &self.sub, &self.audience, &self.jti].into_iter().chain(&self.subject_jti);
        texts.fold(0, |bytes, text| bytes.saturating_add(text.len()))
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, sub, audience, exp, jti, subject_jti, token } = self;
        write!(f, "issuer={issuer} sub={sub} aud={} exp={exp} jti={jti}", Quoted(audience))?;
        if let Some(subject_jti) = subject_jti {
            write!(f, " subject_jti={}", Quoted(subject_jti))?;
        }
        write!(f, " token_sha256={token}")
    }
}

/// The log line.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issued { issue, repeated } => write!(f, "issued{} {issue}", if *repeated { " again" } else { "" }),
            Self::Rejected { rejection, token } => {
                write!(f, "rejected status={} reason={rejection}", rejection.status())?;
                token.map_or(Ok(()), |token| write!(f, " token_sha256={token}"))
            }
            Self::DocumentServed => f.write_str("document served"),
            Self::IssuerKeysFetched { issuer, kids, refused, .. } => {
                write!(f, "keys of issuer={issuer} fetched kids={}", Kids(kids))?;
                for RefusedKey { kid, why } in refused {
                    write!(f, " left_out={} ({why})", Quoted(kid.as_deref().unwrap_or("")))?;
                }
                Ok(())
            }
            Self::IssuerKeysFailed { issuer, problem, .. } => {
                write!(f, "keys of issuer={issuer} not fetched: {problem}")
            }
            Self::OutOfReach { what, problem, .. } => {
                write!(f, "{what} not reached yet by this VM, which has served no request: {problem}")
            }
            Self::KeyringLoaded { kids, next } => {
                write!(f, "signing keys loaded kids={}{}", Kids(kids), NextChange(*next))
            }
            Self::KeyringTurned { kids, next } => {
                write!(f, "signing keys changed by their timetable kids={}{}", Kids(kids), NextChange(*next))
            }
            Self::KeyringUnchanged { recovered: false } => f.write_str("signing keys unchanged"),
            Self::KeyringUnchanged { recovered: true } => f.write_str("signing keys read again, unchanged"),
            Self::KeyringFailed { problem, .. } => write!(f, "signing keys not loaded: {problem}"),
            Self::KeyringGap { gap } => write!(f, "{gap}"),
            Self::SigningLatched => {
                f.write_str("a signature that was made did not verify; signing is off until restart")
            }
        }
    }
}

/// When the keys change next, if they do.
struct NextChange(Option<u64>);

impl fmt::Display for NextChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |next| write!(f, " next_change={}", timetable::text_of(next)))
    }
}

struct Kids<'a>(&'a [String]);

impl fmt::Display for Kids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, kid) in self.0.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { "," }, Quoted(kid))?;
        }
        f.write_str("]")
    }
}
