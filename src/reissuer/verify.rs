//! Which cluster issued a token: the key that verifies it decides.
//!
//! Clusters that kubeadm sets up all have the same issuer, so `iss` names candidates and no more. A `kid` does not choose between
//! them either: any cluster can publish any `kid`. Each candidate is tried with its own key.

use alloc::string::ToString as _;

use super::{Reissuer, Stop};
use crate::clock::Now;
use crate::error::Rejection;
use crate::jwks::Find;
use crate::source::SourceKey;
use crate::token::{PlausibleToken, Proof};
use crate::waiting::WaitsFor;

/// The cluster that issued a token, and the proof of it.
pub(super) struct Verified {
    /// Place of the trusted issuer in the configuration
    pub(super) issuer: usize,
    pub(super) proof: Proof,
}

impl Reissuer {
    /// Checks that a candidate publishes a key which may have made the signature, so far as that is seen without crypto.
    ///
    /// # Errors
    /// A wait, where a candidate may publish the key soon, or why the key of none will do.
    pub(super) fn check_key_is_there(
        &mut self,
        token: &PlausibleToken<'_>,
        now: Now,
        waited: Option<WaitsFor>,
    ) -> Result<(), Stop> {
        let mut unfit = None;
        for issuer in token.issuers().iter().copied() {
            let key = self.sources.key_of(issuer, token.kid(), token.algorithm(), now.monotonic);
            match key.map(|key| token.check_signature_form(key)) {
                Some(Ok(())) => return Ok(()),
                Some(Err(rejection)) => unfit = Some(rejection),
                None => {}
            }
        }
        let unknown = || Rejection::UnknownKey { kid: token.kid().to_string() };
        Err(self.seek_key(token, now, waited).unwrap_or_else(|| unfit.unwrap_or_else(unknown).into()))
    }

    /// Checks the signature with the key of each candidate until one verifies it.
    ///
    /// # Errors
    /// A wait, where another candidate may publish the right key soon; [`Rejection::BadSignature`];
    /// [`Rejection::AmbiguousIssuer`].
    pub(super) fn verified(
        &mut self,
        token: &PlausibleToken<'_>,
        now: Now,
        waited: Option<WaitsFor>,
    ) -> Result<Verified, Stop> {
        for issuer in token.issuers().iter().copied() {
            let key = self.sources.key_of(issuer, token.kid(), token.algorithm(), now.monotonic);
            let known = self.repeats.proof(token.sha256());
            let Some(Ok(proof)) = key.map(|key| token.prove(known, key, &*self.crypto)) else { continue };
            if self.is_ambiguous(issuer, token.kid(), &proof, now) {
                return Err(Rejection::AmbiguousIssuer { kid: token.kid().to_string() }.into());
            }
            return Ok(Verified { issuer, proof });
        }
        Err(self.seek_key(token, now, waited).unwrap_or_else(|| Rejection::BadSignature.into()))
    }

    /// Whether another cluster with the same `iss` publishes the key that verified a token, under the same `kid`. Then nothing tells
    /// which of them issued it, and the pods of one could have the subjects of the other.
    pub(super) fn is_ambiguous(&self, issuer: usize, kid: &str, proof: &Proof, now: Now) -> bool {
        self.config.namesakes(issuer).any(|other| self.sources.publishes(other, kid, proof.key(), now.monotonic))
    }

    /// Looks for the key with candidates that do not publish one of this `kid` now. `None`: none of them will.
    fn seek_key(&mut self, token: &PlausibleToken<'_>, now: Now, waited: Option<WaitsFor>) -> Option<Stop> {
        let (mut pending, mut retry) = (None, None);
        for issuer in token.issuers().iter().copied() {
            let key = SourceKey::Jwks(issuer).into();
            let Some(cache) = self.sources.keys_of(issuer) else { continue };
            match cache.find(token.kid(), token.algorithm(), now.monotonic, waited == Some(key)) {
                Find::Found | Find::Absent => {}
                Find::Pending => pending = pending.or(Some(key)),
                Find::Unavailable { retry_after } => {
                    retry = Some(retry.map_or(retry_after, |other: u64| other.min(retry_after)));
                }
            }
        }
        let unavailable = retry.map(|retry_after| Rejection::IssuerKeysUnavailable { retry_after }.into());
        pending.map(Stop::Wait).or(unavailable)
    }
}
