//! What is remembered of tokens that come again: which key has verified each of them, and what was issued for it.
//!
//! A token is named by the SHA-256 of all of its text, so that nothing of what is remembered can be had with another one. The
//! memory is one worker's own, bounded in number and in bytes, and begins empty with every configuration: the oldest goes first.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::crypto::VerifyingKey;
use crate::event::Issue;
use crate::fingerprint::Fingerprint;
use crate::sorted::Sorted;
use crate::token::{IssuedToken, Proof, SubjectToken};
use crate::validity::Times;

/// Most tokens that are remembered.
const MAX_TOKENS: usize = 2048;
/// Most bytes of what is remembered of them.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// What each of both takes beside its texts: places in the lists, ids and numbers.
const OVERHEAD: usize = 256;
/// Bytes that a key is taken to have, RSA of 2,048 bits: it is shared with the set it is of, and with other tokens, for as long as
/// that is in use.
const KEY_BYTES: usize = 294;

/// The memory.
#[derive(Default)]
pub(crate) struct Repeats {
    tokens: Sorted<Fingerprint, Box<Remembered>>,
    /// In the order they were first verified in
    order: VecDeque<Fingerprint>,
    bytes: usize,
}

/// A token whose signature was verified.
pub(crate) struct Remembered {
    /// Place of its issuer in the configuration
    pub(crate) issuer: usize,
    /// The id of the key that verified it
    pub(crate) kid: String,
    pub(crate) proof: Proof,
    pub(crate) times: Times,
    /// By audience
    issued: Vec<Reusable>,
}

/// A token of ours that may be given again.
pub(crate) struct Reusable {
    /// Place of its audience in the configuration
    pub(crate) audience: usize,
    /// When it was issued, Unix seconds
    pub(crate) iat: u64,
    pub(crate) token: IssuedToken,
    pub(crate) signer: Signer,
    pub(crate) told: Arc<Issue>,
}

/// The key that signed a token, and its id.
pub(crate) struct Signer {
    kid: String,
    spki: Arc<[u8]>,
}

impl Repeats {
    /// Which key has verified a token.
    pub(crate) fn proof(&self, token: Fingerprint) -> Option<&Proof> {
        self.tokens.get(&token).map(|remembered| &remembered.proof)
    }

    /// What was issued for a token and an audience, and may be given again if the token would still be taken.
    pub(crate) fn issued(&self, token: Fingerprint, audience: usize) -> Option<(&Remembered, &Reusable)> {
        let remembered = self.tokens.get(&token)?;
        Some((remembered, remembered.issued.iter().find(|issued| issued.audience == audience)?))
    }

    /// Remembers what was issued for a token just now, at `now` in Unix seconds.
    pub(crate) fn remember(
        &mut self,
        (issuer, kid): (usize, &str),
        subject: &SubjectToken,
        reusable: Reusable,
        now: u64,
    ) {
        while self.order.front().and_then(|first| self.tokens.get(first)).is_some_and(|first| first.times.exp <= now) {
            self.forget_oldest();
        }
        let token = subject.proof().token();
        if self.tokens.get(&token).is_none() {
            self.order.push_back(token);
            let (proof, times) = (subject.proof().clone(), subject.times());
            let new = Remembered { issuer, kid: kid.to_string(), proof, times, issued: Vec::with_capacity(1) };
            self.bytes = self.bytes.saturating_add(new.bytes());
            self.tokens.insert(token, Box::new(new));
        }
        let Some(remembered) = self.tokens.get_mut(&token) else { return };
        if remembered.issuer != issuer {
            // The key is another cluster's by now, and what was issued has the subject of the one before.
            let before = remembered.bytes();
            (remembered.issuer, remembered.issued) = (issuer, Vec::with_capacity(1));
            self.bytes = self.bytes.saturating_sub(before).saturating_add(remembered.bytes());
        }
        // The cluster's key of that id may be another one by now, by which it was verified again. One is as long as the other, or
        // nearly.
        remembered.proof = subject.proof().clone();
        let added = reusable.bytes();
        let taken = match remembered.issued.iter_mut().find(|before| before.audience == reusable.audience) {
            Some(before) => core::mem::replace(before, reusable).bytes(),
            None => {
                remembered.issued.push(reusable);
                0
            }
        };
        self.bytes = self.bytes.saturating_add(added).saturating_sub(taken);
        while (self.order.len() > MAX_TOKENS || self.bytes > MAX_BYTES) && !self.order.is_empty() {
            self.forget_oldest();
        }
    }

    /// Forgets what was issued: our keys have changed.
    pub(crate) fn forget_issued(&mut self) {
        self.bytes = 0;
        for remembered in self.tokens.values_mut() {
            remembered.issued = Vec::new();
            self.bytes = self.bytes.saturating_add(remembered.bytes());
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.order.pop_front().and_then(|oldest| self.tokens.remove(&oldest));
        self.bytes = self.bytes.saturating_sub(oldest.map_or(0, |oldest| oldest.bytes()));
    }
}

impl Remembered {
    fn bytes(&self) -> usize {
        let own = OVERHEAD.saturating_add(self.kid.len()).saturating_add(KEY_BYTES);
        self.issued.iter().fold(own, |bytes, issued| bytes.saturating_add(issued.bytes()))
    }
}

impl Reusable {
    /// Whether at least half of its life is left, and none of it is still to come.
    pub(crate) const fn is_young(&self, now: u64) -> bool {
        let life = self.token.exp.saturating_sub(self.iat);
        self.iat <= now && self.token.exp.saturating_sub(now) >= life.div_ceil(2)
    }

    fn bytes(&self) -> usize {
        let texts = [self.token.text.len(), self.signer.kid.len(), self.told.bytes()];
        texts.into_iter().fold(OVERHEAD, usize::saturating_add)
    }
}

impl Signer {
    pub(crate) fn new(kid: &str, key: &VerifyingKey) -> Self {
        Self { kid: kid.to_string(), spki: key.shared_spki() }
    }

    /// Whether it is this key under this id.
    pub(crate) fn is(&self, kid: &str, key: &VerifyingKey) -> bool {
        self.kid == kid && *self.spki == *key.spki_der()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use alloc::format;

    use proptest::prelude::*;

    use super::*;
    use crate::text::Text;

    fn reusable(audience: usize, length: usize, exp: u64) -> Reusable {
        let token = Fingerprint::of(&[]);
        let text = |length: usize| Text::from("x".repeat(length));
        let told = Issue {
            issuer: text(4),
            sub: text(length),
            audience: text(3),
            exp,
            jti: text(36),
            subject_jti: None,
            token,
        };
        let signer = Signer { kid: "kid".into(), spki: Arc::from([]) };
        let token = IssuedToken { text: "t".repeat(length).into(), exp };
        Reusable { audience, iat: 0, token, signer, told: Arc::new(told) }
    }

    proptest! {
        #[test]
        fn what_is_said_to_be_taken_is_taken_and_never_more_than_there_may_be(
            steps in prop::collection::vec((0..40_u8, 0..3_usize, 0..200_000_usize, any::<bool>(), 1..50_u64), 1..120),
        ) {
            let (mut repeats, mut now) = (Repeats::default(), 0);
            for (token, audience, length, forgets, exp) in steps {
                if forgets && token == 0 {
                    repeats.forget_issued();
                }
                now += u64::from(token % 2);
                // The same token has the same end.
                let ends = now + exp - (now + exp) % 8 + 8;
                let subject = SubjectToken::for_tests(format!("{token} {ends}").as_bytes(), ends);
                repeats.remember((0, "kid"), &subject, reusable(audience, length, exp), now);
                let bytes: usize = repeats.order.iter().map(|token| repeats.tokens.get(token).unwrap().bytes()).sum();
                prop_assert_eq!((repeats.bytes, repeats.order.len()), (bytes, repeats.tokens.len()));
                prop_assert!(bytes <= MAX_BYTES && repeats.order.len() <= MAX_TOKENS);
            }
        }
    }

    #[test]
    fn what_has_expired_goes_when_something_comes() {
        let mut repeats = Repeats::default();
        for (token, exp, now) in [(1, 10, 0), (2, 30, 0), (3, 30, 10)] {
            repeats.remember((0, "kid"), &SubjectToken::for_tests(&[token], exp), reusable(0, 1, exp), now);
        }
        assert!(repeats.proof(Fingerprint::of(&[1])).is_none());
        assert!([2, 3].iter().all(|token| repeats.proof(Fingerprint::of(&[*token])).is_some()));
    }
}
