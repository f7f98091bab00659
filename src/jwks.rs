//! A trusted issuer's keys: [`KeySet`] is one JWKS document (RFC 7517), [`KeyCache`] the one in use and its fetches.
//!
//! A document that is broken as a whole is refused, and the last good one stays. A key in it that is unusable, or that we
//! do not know, is left out alone, as RFC 7517 section 5 has it: tomorrow's algorithms must not take today's keys along.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Monotonic;
use crate::crypto::{Algorithm, KeyError, VerifyingKey};
use crate::json::{Json, Object};
use crate::source::{Freshness, Source, State};

/// Most bytes of a document.
pub const MAX_DOCUMENT: usize = 256 * 1024;
/// Most keys of a document.
pub const MAX_KEYS: usize = 64;
/// Most bytes of a `kid`.
const MAX_KID: usize = 1024;
/// The longest back-off while a set is in use.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// How much sooner than its lifetime ends a set is fetched again.
const REFRESH_AHEAD: Duration = Duration::from_secs(30);

/// The usable keys of one document. A `kid` names one key of each type (RFC 7517 section 4.5).
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<(String, VerifyingKey)>,
    refused: Vec<RefusedKey>,
}

/// A key that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedKey {
    /// Its `kid`, if it has one
    pub kid: Option<String>,
    /// Why
    pub why: KeyError,
}

/// The keys of one trusted issuer, and what keeps them fresh.
#[derive(Clone, Debug)]
pub struct KeyCache {
    source: Source<KeySet>,
}

/// How a key set is fetched and how long it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksFetch {
    /// The Envoy cluster
    pub cluster: String,
    /// The `Host` of the request
    pub authority: String,
    /// Its path
    pub path: String,
    /// After which it has failed
    pub timeout: Duration,
    /// After which the set is fetched again
    pub lifetime: Duration,
    /// After which a set that could not be fetched again is not used any more
    pub stale_limit: Duration,
}

/// Whether a key is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// It is; [`KeyCache::key`] gives it.
    Found,
    /// Not there now; a fetch that may bring it is in flight or due
    Pending,
    /// Not in the set
    Absent,
    /// There is no set
    Unavailable {
        /// Seconds until the next try
        retry_after: u64,
    },
}

impl KeySet {
    /// Parses a document.
    ///
    /// # Errors
    /// What is wrong with the document as a whole: too large, not strict JSON, no list `keys`, an empty or too long one.
    pub fn parse(document: &[u8]) -> Result<Self, String> {
        if document.len() > MAX_DOCUMENT {
            return Err("more than 256 KiB".to_string());
        }
        let json = Json::parse(document).map_err(|error| error.to_string())?;
        Self::from_json(&json).map_err(ToString::to_string)
    }

    /// Reads a document that is JSON already.
    ///
    /// # Errors
    /// As [`KeySet::parse`].
    pub fn from_json(json: &Json) -> Result<Self, &'static str> {
        let members = json.as_object().and_then(|document| document.get("keys")).and_then(Json::as_array);
        let members = members.ok_or("not an object with a list of keys")?;
        if members.is_empty() {
            return Err("no keys");
        }
        if members.len() > MAX_KEYS {
            return Err("more than 64 keys");
        }
        let mut set = Self::default();
        for member in members {
            match parse_jwk(member) {
                Ok((kid, key)) => set.keys.push((kid, key)),
                Err(refused) => set.refused.push(refused),
            }
        }
        set.merge_equal_keys();
        set.drop_shared_kids();
        Ok(set)
    }

    /// The key of that id for that algorithm. Where there is none for it, a key of that id for another one.
    #[must_use]
    pub fn get(&self, kid: &str, algorithm: Algorithm) -> Option<&VerifyingKey> {
        let named = || self.keys.iter().filter(|(name, _)| name == kid).map(|(_, key)| key);
        named().find(|key| key.algorithm() == algorithm).or_else(|| named().next())
    }

    /// Whether any key is one for any of these algorithms.
    #[must_use]
    pub fn has_key_for(&self, algorithms: &[Algorithm]) -> bool {
        self.keys.iter().any(|(_, key)| algorithms.contains(&key.algorithm()))
    }

    /// Whether both hold the same keys under the same ids, in whatever order.
    #[must_use]
    pub fn is_equal(&self, other: &Self) -> bool {
        let holds = |set: &Self, (kid, key): &(String, VerifyingKey)| {
            set.keys.iter().any(|(name, own)| name == kid && own.spki_der() == key.spki_der())
        };
        self.keys.len() == other.keys.len() && self.keys.iter().all(|key| holds(other, key))
    }

    /// The ids of the usable keys.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(kid, _)| kid.as_str())
    }

    /// The keys that were left out.
    #[must_use]
    pub fn refused(&self) -> &[RefusedKey] {
        &self.refused
    }

    /// One key that is listed twice under one id is one key: kube-apiserver lists a key once for each file that holds it.
    fn merge_equal_keys(&mut self) {
        let mut merged: Vec<(String, VerifyingKey)> = Vec::with_capacity(self.keys.len());
        for (kid, key) in self.keys.drain(..) {
            if !merged.iter().any(|(other, known)| *other == kid && known.spki_der() == key.spki_der()) {
                merged.push((kid, key));
            }
        }
        self.keys = merged;
    }

    /// Different keys of one id and one type cannot be told apart, so none of them is used.
    fn drop_shared_kids(&mut self) {
        let type_of = |key: &VerifyingKey| key.algorithm().key_type().0;
        let is_shared = |(kid, key): &(String, VerifyingKey)| {
            self.keys.iter().filter(|(other, other_key)| other == kid && type_of(other_key) == type_of(key)).count() > 1
        };
        let (shared, kept): (Vec<_>, Vec<_>) = self.keys.iter().cloned().partition(is_shared);
        self.keys = kept;
        let why = KeyError::Malformed("another key has the same kid");
        self.refused.extend(shared.into_iter().map(|(kid, _)| RefusedKey { kid: Some(kid), why: why.clone() }));
    }
}

impl KeyCache {
    /// A cache that is fetched.
    #[must_use]
    pub const fn fetched(fetch: &JwksFetch) -> Self {
        Self {
            source: Source::new(Freshness {
                lifetime: fetch.lifetime,
                refresh_ahead: REFRESH_AHEAD,
                stale_limit: Some(fetch.stale_limit),
                timeout: fetch.timeout,
                longest_backoff: LONGEST_BACKOFF,
            }),
        }
    }

    /// A set that never changes.
    #[must_use]
    pub fn constant(keys: KeySet) -> Self {
        Self { source: Source::constant(keys) }
    }

    /// The fetches of it.
    pub const fn source(&mut self) -> &mut Source<KeySet> {
        &mut self.source
    }

    /// Whether a fetch is in flight or due.
    #[must_use]
    pub fn is_pending(&self, now: Monotonic) -> bool {
        self.source.is_pending(now)
    }

    /// How long there has been no usable set, if there is none; `begun` is when the cache came into use.
    #[must_use]
    pub fn missing_for(&self, begun: Monotonic, now: Monotonic) -> Option<Duration> {
        self.source.missing_for(begun, now)
    }

    /// Goes on with the keys of a cache that is filled from the same place.
    pub fn inherit(&mut self, before: &Self) {
        self.source.inherit(&before.source, |keys| Some(keys.clone()));
    }

    /// When the next fetch is due or given up.
    #[must_use]
    pub fn next_poll(&self) -> Monotonic {
        self.source.next_poll()
    }

    /// Looks for a key. One that is not in the set may be new: that is worth a fetch, if there was none for this reason
    /// lately and the asker has not waited for one already.
    pub fn find(&mut self, kid: &str, algorithm: Algorithm, now: Monotonic, has_waited: bool) -> Find {
        match self.source.state(now) {
            State::Ready(keys) if keys.get(kid, algorithm).is_some() => return Find::Found,
            State::Ready(_) => {}
            State::Pending if has_waited => return Find::Unavailable { retry_after: 1 },
            State::Pending => return Find::Pending,
            State::Failed { retry_in } => {
                return Find::Unavailable { retry_after: retry_in.as_secs().saturating_add(1) };
            }
        }
        let worth_a_fetch = !has_waited && (self.source.demand(now) || self.source.is_pending(now));
        if worth_a_fetch { Find::Pending } else { Find::Absent }
    }

    /// Whether the set holds a key of that id with this `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn publishes(&self, kid: &str, spki: &[u8], now: Monotonic) -> bool {
        let State::Ready(keys) = self.source.state(now) else { return false };
        keys.keys.iter().any(|(name, key)| name == kid && key.spki_der() == spki)
    }

    /// The key of that id, as [`KeySet::get`] gives it.
    #[must_use]
    pub fn key(&self, kid: &str, algorithm: Algorithm, now: Monotonic) -> Option<&VerifyingKey> {
        if let State::Ready(keys) = self.source.state(now) { keys.get(kid, algorithm) } else { None }
    }
}

/// RFC 7517 section 4: a public key for signatures, with a `kid`.
fn parse_jwk(json: &Json) -> Result<(String, VerifyingKey), RefusedKey> {
    let Some(jwk) = json.as_object() else {
        return Err(RefusedKey { kid: None, why: KeyError::Malformed("a key that is not an object") });
    };
    let kid = jwk.get("kid").and_then(Json::as_str).filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID);
    let refuse = |why| RefusedKey { kid: kid.map(ToString::to_string), why };
    let Some(name) = kid else {
        return Err(refuse(KeyError::Malformed("kid absent, not a string, empty or over 1,024 bytes")));
    };
    let key = public_key(jwk).map_err(refuse)?;
    Ok((name.to_string(), key))
}

fn public_key(jwk: &Object) -> Result<VerifyingKey, KeyError> {
    // A private or symmetric member in a public document: somebody's secret is out, and the key with it.
    if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|member| jwk.get(member).is_some()) {
        return Err(KeyError::Malformed("holds private members"));
    }
    if jwk.get("use").is_some_and(|usage| usage.as_str() != Some("sig")) {
        return Err(KeyError::Malformed("use is not sig"));
    }
    if let Some(operations) = jwk.get("key_ops") {
        let verifies =
            operations.as_array().is_some_and(|list| list.iter().any(|item| item.as_str() == Some("verify")));
        if !verifies {
            return Err(KeyError::Malformed("key_ops does not hold verify"));
        }
    }
    let text = |name: &str| jwk.get(name).and_then(Json::as_str);
    let bytes = |name: &str| {
        // Twice the longest RSA modulus that is taken: nothing larger is worth decoding.
        let encoded = text(name).filter(|text| text.len() <= 4096).unwrap_or_default();
        URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| KeyError::Malformed("a member is not canonical base64url without padding"))
    };
    let key = match (text("kty"), text("crv")) {
        (Some("RSA"), None) => VerifyingKey::from_rsa(&bytes("n")?, &bytes("e")?)?,
        (Some("EC"), Some(curve)) => {
            let algorithm = Algorithm::ALL
                .into_iter()
                .find(|algorithm| algorithm.key_type() == ("EC", Some(curve)))
                .ok_or(KeyError::Malformed("a curve that is not taken"))?;
            VerifyingKey::from_ec(algorithm, &bytes("x")?, &bytes("y")?)?
        }
        _ => return Err(KeyError::Malformed("a key type that is not taken")),
    };
    match jwk.get("alg") {
        None => Ok(key),
        Some(alg) if alg.as_str() == Some(key.algorithm().name()) => Ok(key),
        Some(_) => Err(KeyError::WrongAlgorithm { key: key.algorithm() }),
    }
}
