//! Who may have what, for how long.

use alloc::format;

use crate::claims::Grant;
use crate::config::Config;
use crate::error::Rejection;
use crate::text::Text;
use crate::token::SubjectToken;
use crate::trusted_issuer::TrustedIssuer;

/// The place in the configuration of the audience asked for, or of the first one where none was. It is known before anything
/// is of the subject.
///
/// # Errors
/// [`Rejection::AudienceNotAllowed`] for an audience that is not configured.
pub fn audience(config: &Config, asked: Option<&[u8]>) -> Result<usize, Rejection> {
    let place = match asked {
        None => (!config.audiences.is_empty()).then_some(0),
        Some(asked) => config.audiences.iter().position(|configured| configured.as_bytes() == asked),
    };
    place.ok_or(Rejection::AudienceNotAllowed)
}

/// Grants the audience in that place to a subject of this trusted issuer, until the subject token expires or for `ttl`, whichever
/// is sooner. The issuer's prefix keeps the subjects of its cluster apart from those of others.
///
/// # Errors
/// [`Rejection::AudienceNotAllowed`] where there is none.
pub fn allow(
    config: &Config,
    issuer: &TrustedIssuer,
    subject: &SubjectToken,
    audience: usize,
    now: u64,
) -> Result<Grant, Rejection> {
    let audience = config.audiences.get(audience).ok_or(Rejection::AudienceNotAllowed)?.clone();
    let sub = match issuer.subject_prefix.as_str() {
        "" => subject.sub().clone(),
        prefix => Text::shared(format!("{prefix}{}", subject.sub())),
    };
    Ok(Grant { audience, sub, exp: subject.exp().min(now.saturating_add(config.ttl.as_secs())) })
}
