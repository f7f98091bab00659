//! The life of a token, as types: [`PresentedToken`] (as it came) -> [`UnverifiedToken`] (parsed) -> [`PlausibleToken`] (its
//! claims would do) -> [`SubjectToken`] (its signature was verified) -> [`IssuedToken`] (ours).
//!
//! Only [`PlausibleToken::verify`] makes a subject token, and only a subject token can be given claims of ours, so that
//! reissuing an unverified token does not compile. What costs little is checked first: garbage, wrong claims and expired
//! tokens never reach the signature check.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::clock::Now;
use crate::crypto::{Algorithm, Crypto, VerifyingKey};
use crate::error::Rejection;
use crate::fingerprint::Fingerprint;
use crate::http::{Request, Response};
use crate::jose_header::{JoseHeader, MAX_HEADER, decode, parse_shared};
use crate::json::{Json, Object};
use crate::subject::SubjectClaims;
use crate::text::Text;
use crate::trusted_issuer::TrustedIssuer;
use crate::validity::Times;

const DOT: u8 = 1;
/// Neither that, nor of base64url
const OTHER: u8 = 2;
/// What each byte is to a token. Looked up, and not compared: every token is gone through by it, and what comes next in one is for no
/// processor to foresee.
const KINDS: [u8; 256] = kinds();

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "whatever is wrong here does not compile")]
const fn kinds() -> [u8; 256] {
    let mut kinds = [OTHER; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            kinds[byte as usize] = 0;
        }
        byte += 1;
    }
    kinds[b'.' as usize] = DOT;
    kinds
}

/// A token as it came, not too long, with its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PresentedToken<'a> {
    text: &'a [u8],
    sha256: Fingerprint,
}

/// A JWS in compact form (RFC 7515 section 7.1), strictly parsed. Nothing in it is to be believed.
#[derive(Clone, PartialEq)]
pub struct UnverifiedToken<'a> {
    sha256: Fingerprint,
    header: JoseHeader,
    claims: Object,
    signing_input: &'a [u8],
    signature: Vec<u8>,
}

/// A token whose claims would do at this time, if its signature were good: for some trusted issuers of its `iss`.
#[derive(Clone, PartialEq)]
pub struct PlausibleToken<'a> {
    token: UnverifiedToken<'a>,
    subject: SubjectClaims,
    /// Their places in the configuration
    issuers: Vec<usize>,
}

/// A token whose claims and signature were verified: what an issued token may be made from.
#[derive(Clone, PartialEq)]
pub struct SubjectToken {
    subject: SubjectClaims,
    claims: Object,
    proof: Proof,
}

/// That a token was verified, and by which key. Only a signature check makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof {
    token: Fingerprint,
    /// Its `SubjectPublicKeyInfo`
    key: Arc<[u8]>,
}

impl<'a> PresentedToken<'a> {
    /// Takes a token of at most `max_bytes`.
    ///
    /// # Errors
    /// [`Rejection::TokenTooLarge`]
    pub fn new(text: &'a [u8], max_bytes: usize) -> Result<Self, Rejection> {
        if text.len() > max_bytes {
            return Err(Rejection::TokenTooLarge);
        }
        Ok(Self { text, sha256: Fingerprint::of(text) })
    }

    /// The SHA-256 of all of it.
    #[must_use]
    pub const fn sha256(&self) -> Fingerprint {
        self.sha256
    }
}

impl<'a> UnverifiedToken<'a> {
    /// Parses a token of at most `max_bytes`.
    ///
    /// # Errors
    /// [`Rejection::TokenTooLarge`], or as [`UnverifiedToken::of`].
    pub fn parse(token: &'a [u8], max_bytes: usize) -> Result<Self, Rejection> {
        Self::of(&PresentedToken::new(token, max_bytes)?)
    }

    /// Parses a token.
    ///
    /// # Errors
    /// [`Rejection`] for anything that is not exactly three non-empty segments of canonical base64url, a JOSE header
    /// with an algorithm we know and a `kid`, and a JSON object.
    pub fn of(presented: &PresentedToken<'a>) -> Result<Self, Rejection> {
        let token = presented.text;
        // Characters and dots come before anything is split or kept.
        let (mut seen, mut dots) = (0, 0_usize);
        for byte in token {
            let kind = KINDS.get(usize::from(*byte)).copied().unwrap_or(OTHER);
            seen |= kind;
            dots = dots.wrapping_add(usize::from(kind & DOT));
        }
        if seen & OTHER != 0 {
            return Err(Rejection::Malformed("a character that is in no token"));
        }
        if dots != 2 {
            return Err(Rejection::Malformed("not three segments"));
        }
        let mut segments = token.split(|byte| *byte == b'.');
        let (Some(header), Some(claims), Some(signature)) = (segments.next(), segments.next(), segments.next()) else {
            return Err(Rejection::Malformed("not three segments"));
        };
        if header.is_empty() || claims.is_empty() || signature.is_empty() {
            return Err(Rejection::Malformed("an empty segment"));
        }
        let signing_input_length = header.len().saturating_add(1).saturating_add(claims.len());
        let signing_input = token.get(..signing_input_length).unwrap_or_default();

        if header.len() > MAX_HEADER.saturating_mul(4).div_ceil(3) {
            return Err(Rejection::Malformed("the JOSE header is too large"));
        }
        let header = JoseHeader::parse(decode(header)?)?;
        let claims = match parse_shared(decode(claims)?) {
            Some(Json::Object(claims)) => claims,
            Some(_) => return Err(Rejection::Malformed("the claims are not an object")),
            None => return Err(Rejection::Malformed("the claims are not strict JSON")),
        };
        Ok(Self { sha256: presented.sha256, header, claims, signing_input, signature: decode(signature)? })
    }

    /// The issuer it claims.
    ///
    /// # Errors
    /// [`Rejection::InvalidClaim`] where `iss` is absent or not a string.
    pub fn claimed_issuer(&self) -> Result<&str, Rejection> {
        self.claims.get("iss").and_then(Json::as_str).ok_or(Rejection::InvalidClaim { claim: "iss" })
    }

    /// Checks everything that can be checked without a key, against one trusted issuer, at `now` (Unix seconds).
    ///
    /// # Errors
    /// [`Rejection`] naming the first claim that will not do. `exp`, `iat`, `aud` and `sub` are required.
    pub fn examine(self, issuer: &TrustedIssuer, now: u64) -> Result<PlausibleToken<'a>, Rejection> {
        self.examine_by([(0, issuer)], now)
    }

    /// Checks everything that can be checked without a key, against trusted issuers with their places in the configuration. Those
    /// that would take it are its [`PlausibleToken::issuers`]: several clusters may have one `iss`.
    ///
    /// # Errors
    /// [`Rejection`] of the first issuer with its `iss`, where none would take it.
    pub(crate) fn examine_by<'i>(
        self,
        issuers: impl IntoIterator<Item = (usize, &'i TrustedIssuer)>,
        now: u64,
    ) -> Result<PlausibleToken<'a>, Rejection> {
        let claimed = self.claimed_issuer()?;
        let mut would_take = Vec::with_capacity(1);
        let (mut subject, mut refused) = (None, None);
        for (place, issuer) in issuers.into_iter().filter(|(_, issuer)| issuer.issuer == claimed) {
            let examined = if issuer.algorithms.contains(&self.header.algorithm) {
                SubjectClaims::of(&self.claims, issuer, now)
            } else {
                Err(Rejection::UnsupportedAlgorithm)
            };
            match examined {
                Ok(claims) => {
                    would_take.push(place);
                    subject = Some(claims);
                }
                Err(rejection) => refused = refused.or(Some(rejection)),
            }
        }
        match subject {
            Some(subject) => Ok(PlausibleToken { token: self, subject, issuers: would_take }),
            None => Err(refused.unwrap_or(Rejection::UnknownIssuer)),
        }
    }
}

impl PlausibleToken<'_> {
    /// The id of the key it says it was signed with.
    #[must_use]
    pub const fn kid(&self) -> &Text {
        &self.token.header.kid
    }

    /// The trusted issuers that would take it, by their places in the configuration. The key that verifies it decides between them.
    pub(crate) fn issuers(&self) -> &[usize] {
        &self.issuers
    }

    /// Its `alg`, which these issuers may use.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.token.header.algorithm
    }

    /// The SHA-256 of all of it.
    pub(crate) const fn sha256(&self) -> Fingerprint {
        self.token.sha256
    }

    /// Its `sub`, which is not to be believed yet.
    pub(crate) fn claimed_subject(&self) -> &str {
        &self.subject.sub
    }

    /// Checks what can be seen of the signature without any crypto.
    ///
    /// # Errors
    /// [`Rejection`] where the key is not one for the token's `alg`, or makes signatures of another length.
    pub fn check_signature_form(&self, key: &VerifyingKey) -> Result<(), Rejection> {
        if key.algorithm() != self.token.header.algorithm {
            return Err(Rejection::AlgorithmOfAnotherKey);
        }
        if self.token.signature.len() != key.signature_length() {
            return Err(Rejection::BadSignature);
        }
        Ok(())
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// As [`PlausibleToken::check_signature_form`], and [`Rejection::BadSignature`] where the key did not sign it.
    pub fn verify(self, key: &VerifyingKey, crypto: &dyn Crypto) -> Result<SubjectToken, Rejection> {
        self.verify_unless(None, key, crypto)
    }

    /// Checks the signature, without crypto where this very token was verified by this very key before.
    ///
    /// # Errors
    /// As [`PlausibleToken::verify`].
    pub fn verify_unless(
        self,
        known: Option<&Proof>,
        key: &VerifyingKey,
        crypto: &dyn Crypto,
    ) -> Result<SubjectToken, Rejection> {
        let proof = self.prove(known, key, crypto)?;
        self.proven(proof)
    }

    /// Checks the signature as [`PlausibleToken::verify_unless`] does, and gives the proof alone: another key may be the right one.
    pub(crate) fn prove(
        &self,
        known: Option<&Proof>,
        key: &VerifyingKey,
        crypto: &dyn Crypto,
    ) -> Result<Proof, Rejection> {
        self.check_signature_form(key)?;
        let token = &self.token;
        if let Some(proof) = known.filter(|proof| proof.is_of(token.sha256, key)) {
            return Ok(proof.clone());
        }
        crypto.verify(key, token.signing_input, &token.signature).map_err(|_| Rejection::BadSignature)?;
        Ok(Proof { token: token.sha256, key: key.shared_spki() })
    }

    /// The verified token, by a proof of this one.
    pub(crate) fn proven(self, proof: Proof) -> Result<SubjectToken, Rejection> {
        let Self { token, subject, .. } = self;
        if proof.token != token.sha256 {
            return Err(Rejection::BadSignature);
        }
        Ok(SubjectToken { subject, claims: token.claims, proof })
    }
}

impl Proof {
    /// Whether it is that this key has verified the token of this SHA-256.
    pub(crate) fn is_of(&self, token: Fingerprint, key: &VerifyingKey) -> bool {
        self.token == token && *self.key == *key.spki_der()
    }

    /// The `SubjectPublicKeyInfo` of the key that verified it.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The SHA-256 of the token.
    pub(crate) const fn token(&self) -> Fingerprint {
        self.token
    }
}

#[cfg(test)]
impl SubjectToken {
    /// One that nobody signed, for tests of what is remembered.
    pub(crate) fn for_tests(text: &[u8], exp: u64) -> Self {
        let subject = SubjectClaims { sub: Text::fixed("sub"), times: Times { exp, nbf: 0, iat: 0 }, jti: None };
        let proof = Proof { token: Fingerprint::of(text), key: Arc::from([]) };
        Self { subject, claims: Object::default(), proof }
    }
}

impl SubjectToken {
    /// Its `sub`, `system:serviceaccount:<namespace>:<name>`.
    #[must_use]
    pub const fn sub(&self) -> &Text {
        &self.subject.sub
    }

    /// Its `exp`, Unix seconds.
    #[must_use]
    pub const fn exp(&self) -> u64 {
        self.subject.times.exp
    }

    /// When it is good.
    pub(crate) const fn times(&self) -> Times {
        self.subject.times
    }

    /// That it was verified, and by which key.
    #[must_use]
    pub const fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Its `jti`, where it has one.
    #[must_use]
    pub const fn jti(&self) -> Option<&Text> {
        self.subject.jti.as_ref()
    }

    /// A claim of it with its name, as it came.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&(Text, Json)> {
        self.claims.member(name)
    }
}

/// No token is shown by these: only what an audit line may hold.
impl fmt::Debug for PresentedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedToken").field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").field("token", &self.token).finish_non_exhaustive()
    }
}

impl fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedToken").field("header", &self.header).finish_non_exhaustive()
    }
}

impl fmt::Debug for PlausibleToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlausibleToken").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl fmt::Debug for SubjectToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectToken").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// A signed token of ours, its signature checked with the public key.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The JWS in compact form
    pub text: Arc<str>,
    /// `exp`, Unix seconds
    pub exp: u64,
}

impl IssuedToken {
    /// RFC 6749 section 5.1 and RFC 8693 section 2.2.1 where JSON is wanted; else the token and nothing else, not even a
    /// newline, so that `curl -o` makes a file that SDKs read.
    pub(crate) fn respond(self, request: &Request, now: Now) -> Response {
        let response = Response::new(200).header("cache-control", "no-store");
        if !request.wants_json() {
            return response.header("content-type", "text/plain").body(self.text);
        }
        let object = Object::from([
            ("access_token", (&*self.text).into()),
            ("issued_token_type", "urn:ietf:params:oauth:token-type:jwt".into()),
            ("token_type", "N_A".into()),
            ("expires_in", self.exp.saturating_sub(now.unix).into()),
        ]);
        response.header("content-type", "application/json").body(object.to_text().into_bytes())
    }
}
