//! The reference judge: jwt-simple, which shares no parser and no claim check with the core.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::*;
use serde_json::Value;

/// Verifies a token by a JWK at `now`, with `leeway` in seconds for all but `exp`. Gives its claims.
pub fn verify(
    token: &str,
    jwk: &Value,
    issuer: &str,
    audiences: &[&str],
    now: u64,
    leeway: u64,
) -> Result<Value, String> {
    let audiences: HashSet<String> = audiences.iter().map(ToString::to_string).collect();
    let options = VerificationOptions {
        allowed_issuers: Some(HashSet::from([issuer.to_string()])),
        allowed_audiences: Some(audiences),
        artificial_time: Some(UnixTimeStamp::from_secs(now)),
        time_tolerance: Some(Duration::from_secs(leeway)),
        max_validity: None,
        max_token_length: None,
        max_header_length: None,
        ..VerificationOptions::default()
    };
    let member = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap_or_default()).map_err(|e| e.to_string());
    let point = || -> Result<Vec<u8>, String> { Ok([vec![4], member("x")?, member("y")?].concat()) };
    let verified = match jwk["alg"].as_str() {
        Some("RS256") => RS256PublicKey::from_components(&member("n")?, &member("e")?)
            .and_then(|key| key.verify_token::<Value>(token, Some(options))),
        Some("ES256") => {
            ES256PublicKey::from_bytes(&point()?).and_then(|key| key.verify_token::<Value>(token, Some(options)))
        }
        Some("ES384") => {
            ES384PublicKey::from_bytes(&point()?).and_then(|key| key.verify_token::<Value>(token, Some(options)))
        }
        other => return Err(format!("alg of the key: {other:?}")),
    };
    let claims =
        serde_json::to_value(verified.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    match claims["exp"].as_u64() {
        Some(exp) if exp > now => Ok(claims),
        exp => Err(format!("exp {exp:?} at {now}")),
    }
}

/// Whether jwt-simple can say anything of a subject token: it wants types for members that nobody else looks at, and its
/// clock ends in 2106.
pub fn can_judge(header: &Value, claims: &Value) -> bool {
    let text = |value: &Value| value.is_null() || value.is_string();
    let time = |value: &Value| value.is_null() || value.as_u64().is_some_and(|time| time <= u64::from(u32::MAX));
    text(&header["x5t"])
        && text(&header["x5t#S256"])
        && text(&claims["nonce"])
        && header["salt"].is_null()
        && ["exp", "iat", "nbf"].iter().all(|name| time(&claims[*name]))
}
