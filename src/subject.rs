//! The claims of a subject token that decide about it: whom it is for and when, and that its subject is a service account.

use alloc::string::String;

use crate::error::Rejection;
use crate::json::{Json, Object};
use crate::text::Text;
use crate::trusted_issuer::TrustedIssuer;
use crate::validity::Times;

/// Most audiences of a token.
const MAX_AUDIENCES: usize = 16;
/// Most bytes of a `jti`.
const MAX_JTI: usize = 256;

/// The claims that were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubjectClaims {
    pub(crate) sub: Text,
    pub(crate) times: Times,
    pub(crate) jti: Option<Text>,
}

impl SubjectClaims {
    /// Of a token of this issuer, at `now` (Unix seconds). `exp`, `iat`, `aud` and `sub` are required.
    ///
    /// # Errors
    /// [`Rejection`] naming the first claim that will not do.
    pub(crate) fn of(claims: &Object, issuer: &TrustedIssuer, now: u64) -> Result<Self, Rejection> {
        check_audience(claims, &issuer.audiences)?;
        let times = Times::of(claims)?;
        times.check(issuer, now)?;
        let sub = service_account(claims)?;
        let jti = match claims.get("jti") {
            None => None,
            Some(Json::String(jti)) if jti.len() <= MAX_JTI => Some(jti.clone()),
            Some(_) => return Err(Rejection::InvalidClaim { claim: "jti" }),
        };
        Ok(Self { sub, times, jti })
    }
}

/// RFC 7519 section 4.1.3: a string or a list of strings, one of which is an audience of ours, compared exactly.
fn check_audience(claims: &Object, accepted: &[String]) -> Result<(), Rejection> {
    let invalid = Rejection::InvalidClaim { claim: "aud" };
    let is_ours = |audience: &str| accepted.iter().any(|ours| ours == audience);
    let found = match claims.get("aud") {
        Some(Json::String(audience)) => is_ours(audience),
        Some(Json::Array(audiences)) if audiences.len() <= MAX_AUDIENCES => {
            let mut found = false;
            for audience in audiences {
                found |= is_ours(audience.as_str().ok_or_else(|| invalid.clone())?);
            }
            found
        }
        _ => return Err(invalid),
    };
    if found { Ok(()) } else { Err(Rejection::WrongAudience) }
}

/// `sub` of a service account, in agreement with the `kubernetes.io` claim that every bound token has.
fn service_account(claims: &Object) -> Result<Text, Rejection> {
    let invalid = |claim| Rejection::InvalidClaim { claim };
    let Some(Json::String(sub)) = claims.get("sub") else { return Err(invalid("sub")) };
    let (namespace, name) = sub
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .filter(|(namespace, name)| is_dns_label(namespace) && is_dns_subdomain(name))
        .ok_or(invalid("sub"))?;

    let bound = claims.get("kubernetes.io").and_then(Json::as_object).ok_or(invalid("kubernetes.io"))?;
    let bound_namespace = bound.get("namespace").and_then(Json::as_str);
    let bound_name = bound
        .get("serviceaccount")
        .and_then(Json::as_object)
        .and_then(|account| account.get("name"))
        .and_then(Json::as_str);
    if bound_namespace != Some(namespace) || bound_name != Some(name) {
        return Err(invalid("kubernetes.io"));
    }
    Ok(sub.clone())
}

/// RFC 1123 label, as Kubernetes wants a namespace.
fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_label(text)
}

/// RFC 1123 subdomain, as Kubernetes wants the name of a service account: its labels may be longer than DNS has them.
fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
