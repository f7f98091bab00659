//! The JOSE header of a token (RFC 7515 section 4), and how a segment of a token is read.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::crypto::Algorithm;
use crate::error::Rejection;
use crate::json::Json;
use crate::text::Text;

/// Most bytes of a decoded JOSE header.
pub(crate) const MAX_HEADER: usize = 2048;
/// Most bytes of a `kid`, as kube-apiserver has it.
const MAX_KID: usize = 1024;

/// JOSE header members that we neither obey nor ignore: each has been a way to choose the key or to change what is
/// signed (RFC 7515 section 4.1, RFC 7516, RFC 7797).
const REFUSED_MEMBERS: [&str; 9] = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "cty"];

/// The JOSE header members that decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoseHeader {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Text,
}

impl JoseHeader {
    pub(crate) fn parse(text: Vec<u8>) -> Result<Self, Rejection> {
        let Some(Json::Object(header)) = parse_shared(text) else {
            return Err(Rejection::Malformed("the JOSE header is not a strict JSON object"));
        };
        if let Some(member) = REFUSED_MEMBERS.into_iter().find(|member| header.get(member).is_some()) {
            return Err(Rejection::HeaderMember(member));
        }
        let algorithm = header
            .get("alg")
            .and_then(Json::as_str)
            .and_then(Algorithm::from_name)
            .ok_or(Rejection::UnsupportedAlgorithm)?;
        match header.get("typ") {
            None => {}
            // RFC 7519 section 5.1
            Some(Json::String(kind)) if kind.eq_ignore_ascii_case("JWT") => {}
            Some(_) => return Err(Rejection::WrongType),
        }
        match header.get("kid") {
            Some(Json::String(kid)) if !kid.is_empty() && kid.len() <= MAX_KID => {
                Ok(Self { algorithm, kid: kid.clone() })
            }
            _ => Err(Rejection::NoKeyId),
        }
    }
}

/// Canonical base64url without padding (RFC 7515 section 2): one text for one value.
pub(crate) fn decode(segment: &[u8]) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| Rejection::Malformed("a segment is not canonical base64url"))
}

pub(crate) fn parse_shared(text: Vec<u8>) -> Option<Json> {
    Json::parse_shared(&Arc::new(String::from_utf8(text).ok()?)).ok()
}
