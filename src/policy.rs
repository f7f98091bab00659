//! Who may have what, for how long.

use crate::claims::Grant;
use crate::config::Config;
use crate::error::Rejection;
use crate::token::SubjectToken;

/// Grants the audience asked for, or the first of the configured ones where none was, until the subject token expires
/// or for `ttl`, whichever is sooner.
///
/// # Errors
/// [`Rejection::AudienceNotAllowed`] for an audience that is not configured.
pub fn allow(config: &Config, subject: &SubjectToken, audience: Option<&[u8]>, now: u64) -> Result<Grant, Rejection> {
    let mut configured = config.audiences.iter();
    let granted = match audience {
        None => configured.next(),
        Some(asked) => configured.find(|configured| configured.as_bytes() == asked),
    };
    let audience = granted.ok_or(Rejection::AudienceNotAllowed)?.clone();
    Ok(Grant { audience, exp: subject.exp().min(now.saturating_add(config.ttl.as_secs())) })
}
