//! When a token is good: `exp`, `nbf` and `iat` (RFC 7519 sections 4.1.4 to 4.1.6), and how old it may be.

use crate::error::Rejection;
use crate::json::Object;
use crate::trusted_issuer::TrustedIssuer;

/// The last second of the year 9999: nothing honest expires later, and every date library still knows it.
const MAX_TIME: u64 = 253_402_300_799;

/// When a token is good, Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) exp: u64,
    pub(crate) nbf: u64,
    pub(crate) iat: u64,
}

impl Times {
    /// Of the claims. `exp` and `iat` have to be there; a token without `nbf` is good from when it was issued.
    pub(crate) fn of(claims: &Object) -> Result<Self, Rejection> {
        let time = |claim: &'static str| match claims.get(claim) {
            None => Ok(None),
            // Present but not a time is refused, never taken for absent.
            Some(value) => match value.as_u64().filter(|time| *time <= MAX_TIME) {
                Some(time) => Ok(Some(time)),
                None => Err(Rejection::InvalidClaim { claim }),
            },
        };
        let exp = time("exp")?.ok_or(Rejection::InvalidClaim { claim: "exp" })?;
        let iat = time("iat")?.ok_or(Rejection::InvalidClaim { claim: "iat" })?;
        let nbf = time("nbf")?.unwrap_or(iat);
        Ok(Self { exp, nbf, iat })
    }

    /// `exp` without leeway; `nbf` and `iat` with it; age.
    pub(crate) fn check(self, issuer: &TrustedIssuer, now: u64) -> Result<(), Rejection> {
        let Self { exp, nbf, iat } = self;
        if exp <= now {
            return Err(Rejection::Expired { exp, now });
        }
        let latest = now.saturating_add(issuer.leeway.as_secs());
        if nbf > latest {
            return Err(Rejection::NotYetValid { nbf, now });
        }
        if iat > latest {
            return Err(Rejection::IssuedInTheFuture { iat, now });
        }
        if nbf >= exp {
            return Err(Rejection::InvalidClaim { claim: "nbf" });
        }
        if iat >= exp {
            return Err(Rejection::InvalidClaim { claim: "iat" });
        }
        if now.saturating_sub(iat) > issuer.max_token_age.as_secs() {
            return Err(Rejection::TooOld { iat, now });
        }
        Ok(())
    }
}
