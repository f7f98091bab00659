//! What verifiers read: the discovery document (OpenID Connect Discovery section 3) and the key set (RFC 7517 section 5).
//!
//! Both are made once for a configuration and each phase of a keyring, and served as they are.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::claims::{ClaimRule, REGISTERED};
use crate::config::Config;
use crate::http::{Field, Method, Request};
use crate::issuer::Issuer;
use crate::json::{Json, Object};
use crate::keyring::Keyring;
use crate::response::Response;
use crate::timetable::Phase;

/// The two documents, ready to be served.
#[derive(Clone, Debug)]
pub struct Documents {
    /// The discovery document
    pub discovery: Document,
    /// The key set
    pub jwks: Document,
}

/// A document, ready to be served.
#[derive(Clone, Debug)]
pub struct Document {
    etag: String,
    /// The answer with it, ready to be sent
    whole: Response,
    /// The answer to who has it already
    unchanged: Response,
}

/// The members of the discovery document that a verifier of our tokens needs, and none that we would not keep.
struct ProviderMetadata<'a> {
    issuer: &'a Issuer,
    algorithms: Vec<&'static str>,
    claims: Vec<&'a str>,
}

impl Documents {
    /// The documents of a configuration in a phase of its keyring.
    #[must_use]
    pub fn new(config: &Config, keyring: &Keyring, phase: &Phase) -> Self {
        let mut algorithms = Vec::new();
        for (_, key) in keyring.published(phase) {
            if !algorithms.contains(&key.algorithm().name()) {
                algorithms.push(key.algorithm().name());
            }
        }
        let mut claims = Vec::from(REGISTERED);
        claims.extend(config.claims.iter().map(|rule| match rule {
            ClaimRule::Copy(name) | ClaimRule::Set(name, _) => name.as_str(),
        }));
        let metadata = ProviderMetadata { issuer: &config.issuer, algorithms, claims };
        let keys = keyring.published(phase).map(|(kid, key)| Json::Object(key.to_jwk(kid)));
        let jwks = Object::from([("keys", Json::Array(keys.collect()))]);
        Self {
            discovery: Document::new(&metadata.to_object(), "application/json", config.documents_max_age),
            jwks: Document::new(&jwks, "application/jwk-set+json", config.documents_max_age),
        }
    }
}

impl ProviderMetadata<'_> {
    fn to_object(&self) -> Object {
        let list = |items: &[&str]| Json::Array(items.iter().map(|item| Json::from(*item)).collect());
        Object::from([
            ("issuer", self.issuer.as_str().into()),
            ("jwks_uri", format!("{}/openid/v1/jwks", self.issuer.as_str()).as_str().into()),
            ("response_types_supported", list(&["id_token"])),
            ("subject_types_supported", list(&["public"])),
            ("id_token_signing_alg_values_supported", list(&self.algorithms)),
            ("claims_supported", list(&self.claims)),
        ])
    }
}

impl Document {
    fn new(content: &Object, content_type: &'static str, max_age: Duration) -> Self {
        let body = content.to_text().into_bytes();
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(&body));
        let etag = format!("\"{digest}\"");
        let unchanged = Response::new(304)
            .header("cache-control", format!("public, max-age={}", max_age.as_secs()))
            .header("etag", etag.clone())
            .header("access-control-allow-origin", "*");
        let whole = Response { status: 200, ..unchanged.clone() }.header("content-type", content_type).body(body);
        Self { etag, whole, unchanged }
    }

    /// Answers GET, HEAD and the CORS preflight. The body of HEAD is left to the host to drop, so that its length stays.
    #[must_use]
    pub fn respond(&self, method: Method, request: &Request) -> Response {
        if method == Method::Options {
            return Response::new(204)
                .header("access-control-allow-origin", "*")
                .header("access-control-allow-methods", "GET, HEAD, OPTIONS")
                .header("access-control-allow-headers", "if-none-match")
                .header("access-control-max-age", "86400");
        }
        let known = matches!(request.field("if-none-match"), Field::One(tags) if self.is_tagged(tags));
        if known { self.unchanged.clone() } else { self.whole.clone() }
    }

    /// RFC 9110 section 13.1.2, by the weak comparison.
    fn is_tagged(&self, tags: &[u8]) -> bool {
        tags.split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == self.etag.as_bytes())
    }
}
