//! The way of one token through the checks to its reissue.

use alloc::sync::Arc;

use super::verify::Verified;
use super::{Reissuer, Stop};
use crate::budget::Turn;
use crate::claims::{self, Claims};
use crate::clock::Now;
use crate::crypto::VerifyingKey;
use crate::error::Rejection;
use crate::event::{Event, Issue};
use crate::fingerprint::Fingerprint;
use crate::form;
use crate::http::{Body, Endpoint, Field, Request, Response};
use crate::keyring::{IssueError, Keyring};
use crate::policy;
use crate::repeats::{Remembered, Reusable, Signer};
use crate::source::State;
use crate::text::Text;
use crate::token::{IssuedToken, PresentedToken, UnverifiedToken};
use crate::waiting::WaitsFor;

impl Reissuer {
    /// The way of one token. What costs little comes first; every `?` is a refusal or a wait.
    pub(super) fn reissue(
        &mut self,
        endpoint: Endpoint,
        request: &Request,
        now: Now,
        waited: Option<WaitsFor>,
    ) -> Result<Response, Stop> {
        self.check_request(endpoint, request)?;
        let bearer = request.bearer()?;
        // Of the query alone, whatever the token is, so that nothing of the token can be learned by it.
        let audience = policy::audience(&self.config, request.audience()?)?;
        let presented = PresentedToken::new(bearer, self.config.max_token_bytes)?;
        self.reissue_presented(endpoint, request, &presented, audience, now, waited).map_err(|stop| match stop {
            Stop::Reject(rejection, _) => Stop::Reject(rejection, Some(presented.sha256())),
            stop => stop,
        })
    }

    /// Checks what belongs to this request and not to its token.
    ///
    /// Invariant: every such check stands here or in [`Self::check_form`], and both are made before any token leaves, one that was
    /// issued before included. A remembered token is given for the same subject token alone, whatever the request is like, so a
    /// request that these checks refuse must never have it.
    fn check_request(&self, endpoint: Endpoint, request: &Request) -> Result<(), Rejection> {
        if !request.connection.tls && !self.config.allow_plain_http {
            let exposed = request.field("authorization") != Field::Absent || request.body != Body::None;
            return Err(Rejection::PlainHttp { exposed });
        }
        request.check_body(endpoint)
    }

    fn reissue_presented(
        &mut self,
        endpoint: Endpoint,
        request: &Request,
        presented: &PresentedToken<'_>,
        audience: usize,
        now: Now,
        waited: Option<WaitsFor>,
    ) -> Result<Response, Stop> {
        let issued_before = self.issued_before(presented.sha256(), audience, now);
        let plausible = if issued_before.is_none() {
            let issuers = self.config.trusted_issuers.iter().enumerate();
            Some(UnverifiedToken::of(presented)?.examine_by(issuers, now.unix)?)
        } else {
            None
        };
        // After the token's claims: the form beside garbage is not waited for.
        self.check_form(endpoint, request)?;
        let plausible = match (issued_before, plausible) {
            (None, Some(plausible)) => plausible,
            (Some((issued, told)), _) => {
                self.note(Event::Issued { issue: told, repeated: true });
                return Ok(issued.respond(request, now));
            }
            (None, None) => return Err(Rejection::UnknownIssuer.into()),
        };

        self.check_key_is_there(&plausible, now, waited)?;
        // Our own keys have to be there before the costly part, so that it is done once.
        let loaded = self.loaded(now, waited)?;
        let (signing_kid, signing_key) = self.can_sign(&loaded.keyring, now)?;
        // A request that was parked is not parked again for want of time.
        if waited.is_none() {
            let waiting = self.waiting.in_line(now.monotonic, |key| !self.sources.is_pending(key, now.monotonic));
            if self.budget.turn(plausible.issuers(), plausible.claimed_subject(), waiting, now.monotonic)?
                == Turn::Later
            {
                return Err(Stop::Wait(WaitsFor::Turn));
            }
        }
        self.budget.begin(now.monotonic, waited.is_some());

        let Verified { issuer: index, proof } = self.verified(&plausible, now, waited)?;
        let kid = plausible.kid().clone();
        let subject = plausible.proven(proof)?;
        self.budget.is_for(index, subject.sub());
        let issuer = self.config.trusted_issuers.get(index).ok_or(Rejection::UnknownIssuer)?;
        let grant = policy::allow(&self.config, issuer, &subject, audience, now.unix)?;
        let issuer = issuer.name.clone();
        let jti = claims::random_jti(&mut self.rng);
        let claims = Claims::of(&subject, &self.config.claims, self.config.issuer.as_text(), &grant, now.unix, jti);
        let token = self.issue(&loaded.keyring, &claims, now)?;
        let issue = Arc::new(Issue {
            issuer,
            // By itself: what is remembered must not keep the whole token.
            sub: grant.sub.alone(),
            audience: grant.audience,
            exp: token.exp,
            jti: claims.jti().clone(),
            subject_jti: subject.jti().map(Text::alone),
            token: presented.sha256(),
        });
        let told = Arc::clone(&issue);
        let signer = Signer::new(signing_kid, signing_key);
        let reusable = Reusable { audience, iat: now.unix, token: token.clone(), signer, told };
        self.repeats.remember((index, &kid), &subject, reusable, now.unix);
        self.note(Event::Issued { issue, repeated: false });
        Ok(token.respond(request, now))
    }

    /// What was issued for this very token before and may be given again: all that it depends on is as it was, and half of its
    /// life or more is left. Whatever has changed, the token goes its whole way.
    fn issued_before(&mut self, token: Fingerprint, audience: usize, now: Now) -> Option<(IssuedToken, Arc<Issue>)> {
        let (remembered, issued) = self.repeats.issued(token, audience)?;
        let State::Ready(loaded) = self.sources.keyring(now.monotonic) else { return None };
        let (kid, key) = self.can_sign(&loaded.keyring, now).ok()?;
        if !issued.is_young(now.unix) || !issued.signer.is(kid, key) {
            return None;
        }
        let trusted = self.config.trusted_issuers.get(remembered.issuer)?;
        remembered.times.check(trusted, now.unix).ok()?;
        let Remembered { issuer, kid, proof, .. } = remembered;
        let is_verified = self.sources.publishes(*issuer, kid, proof.key(), now.monotonic)
            && !self.is_ambiguous(*issuer, kid, proof, now);
        is_verified.then(|| (issued.token.clone(), Arc::clone(&issued.told)))
    }

    /// The key that signs now, with its id.
    fn can_sign<'a>(&self, keyring: &'a Keyring, now: Now) -> Result<(&'a str, &'a VerifyingKey), Rejection> {
        if self.signing_latched {
            return Err(Rejection::SigningLatched);
        }
        if self.no_randomness.is_some() {
            return Err(Rejection::SigningKeysUnavailable { retry_after: 60 });
        }
        // The wall clock may stand before the first key's turn.
        keyring.signing(now.unix).ok_or(Rejection::SigningKeysUnavailable { retry_after: 60 })
    }

    /// A form beside an `Authorization` header could hold a second token (RFC 6750 section 2: one method a request).
    fn check_form(&self, endpoint: Endpoint, request: &Request) -> Result<(), Stop> {
        if endpoint != Endpoint::Token || !request.has_form() {
            return Ok(());
        }
        let ambiguous = Rejection::Ambiguous("a token in the Authorization header, and a form");
        match &request.body {
            Body::Read(form) => {
                let is = |name, other: &str| form::form_decoded(name).eq(other.bytes());
                let second =
                    form::parameters(form).any(|(name, _)| is(name, "access_token") || is(name, "subject_token"));
                if second { Err(ambiguous.into()) } else { Ok(()) }
            }
            Body::Unread if self.config.read_forms => Err(Stop::NeedBody),
            Body::None | Body::Unread | Body::TooLarge => Err(ambiguous.into()),
        }
    }

    fn issue(&mut self, keyring: &Keyring, claims: &Claims, now: Now) -> Result<IssuedToken, Rejection> {
        match keyring.issue(claims, now.unix, &*self.crypto, &mut self.rng) {
            Ok(issued) => Ok(issued),
            Err(IssueError::Wrong) => {
                self.signing_latched = true;
                self.note(Event::SigningLatched);
                Err(Rejection::SigningFailed)
            }
            Err(IssueError::Failed) => Err(Rejection::SigningFailed),
            Err(IssueError::NoKey) => Err(Rejection::SigningKeysUnavailable { retry_after: 60 }),
        }
    }
}
