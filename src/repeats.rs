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
use crate::event::{Fingerprint, Issue};
use crate::sorted::Sorted;
use crate::token::{IssuedToken, Proof, SubjectToken, Times};

/// Most tokens that are remembered.
const MAX_TOKENS: usize = 2048;
/// Most bytes of what is remembered of them.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// What each of both takes beside its texts: places in the lists, ids and numbers.
const OVERHEAD: usize = 256;

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
            self.bytes = self.bytes.saturating_add(OVERHEAD);
            let (proof, times) = (subject.proof().clone(), subject.times());
            let new = Remembered { issuer, kid: String::new(), proof, times, issued: Vec::with_capacity(1) };
            self.tokens.insert(token, Box::new(new));
        }
        let Some(remembered) = self.tokens.get_mut(&token) else { return };
        // The set that it was verified by may be another by now, with the same key under another id.
        remembered.kid.clear();
        remembered.kid.push_str(kid);
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
        while self.order.len() > MAX_TOKENS || self.bytes > MAX_BYTES {
            self.forget_oldest();
        }
    }

    /// Forgets what was issued: our keys have changed.
    pub(crate) fn forget_issued(&mut self) {
        for remembered in self.tokens.values_mut() {
            remembered.issued = Vec::new();
        }
        self.bytes = self.tokens.len().saturating_mul(OVERHEAD);
    }

    fn forget_oldest(&mut self) {
        let oldest = self.order.pop_front().and_then(|oldest| self.tokens.remove(&oldest));
        self.bytes = self.bytes.saturating_sub(oldest.map_or(0, |oldest| oldest.bytes()));
    }
}

impl Remembered {
    fn bytes(&self) -> usize {
        self.issued.iter().fold(OVERHEAD, |bytes, issued| bytes.saturating_add(issued.bytes()))
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
