//! A keyring as it came, and what follows from it: opened, checked, with the documents of every phase.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::config::Config;
use crate::crypto::{Crypto, Rng, VerifyingKey};
use crate::discovery::Documents;
use crate::keyring::{Keyring, Terms};
use crate::metrics::{KeyStates, KeyringGauges};
use crate::sorted::sorted;

/// A keyring at work.
pub(crate) struct Loaded {
    /// As it came, for a configuration that takes over
    document: Zeroizing<Vec<u8>>,
    pub(crate) keyring: Keyring,
    /// For each phase of its timetable
    documents: Vec<Documents>,
    /// Likewise, of the keys that are published
    fingerprints: Vec<u32>,
}

impl Loaded {
    /// Takes a document as it came, sealed or not as the configuration says.
    pub(crate) fn parse(
        document: &[u8],
        config: &Config,
        crypto: &dyn Crypto,
        rng: &mut Rng,
        now: u64,
    ) -> Result<Self, String> {
        let whole = Zeroizing::new(document.to_vec());
        let opened = config.sealing_keys.as_ref().map(|keys| keys.open(document)).transpose()?;
        let document = opened.as_ref().map_or(document, |opened| opened.as_slice());
        let terms = Terms { serve: config.serve, publish_ahead: config.publish_ahead, now };
        let keyring = Keyring::parse(document, &terms).map_err(|error| error.to_string())?;
        keyring
            .self_test(crypto, rng)
            .map_err(|_| "the self-test failed: what the key signs, its public half does not verify".to_string())?;
        let phases = keyring.timetable().phases();
        let documents = phases.iter().map(|phase| Documents::new(config, &keyring, phase)).collect();
        let fingerprints = phases.iter().map(|phase| fingerprint(keyring.published(phase))).collect();
        Ok(Self { document: whole, keyring, documents, fingerprints })
    }

    /// What becomes of the same document under another configuration, if that can use it.
    pub(crate) fn under(&self, config: &Config, crypto: &dyn Crypto, rng: &mut Rng, now: u64) -> Result<Self, String> {
        Self::parse(&self.document, config, crypto, rng, now)
    }

    /// Whether both came of the same document.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.is_of(&other.document)
    }

    /// Whether it is what became of this document.
    pub(crate) fn is_of(&self, document: &[u8]) -> bool {
        self.document.as_slice() == document
    }

    /// The documents of the phase at a time. There is one at every time.
    pub(crate) fn documents(&self, unix: u64) -> Option<&Documents> {
        self.documents.get(self.keyring.timetable().place(unix))
    }

    /// Ids of the keys that are published at a time, the signing one first.
    pub(crate) fn kids(&self, unix: u64) -> Vec<String> {
        let phase = self.keyring.timetable().at(unix);
        phase.map_or_else(Vec::new, |phase| self.keyring.published(phase).map(|(kid, _)| kid.to_string()).collect())
    }

    /// When that changes, if it does.
    pub(crate) fn next_change(&self, unix: u64) -> Option<u64> {
        self.keyring.timetable().next_after(unix)
    }

    /// What there is to measure of it, at a time; it was last read at another.
    pub(crate) fn gauges(&self, at: u64, unix: u64) -> KeyringGauges {
        let timetable = self.keyring.timetable();
        KeyringGauges {
            at,
            states: KeyStates::of(timetable, unix),
            next_change: timetable.next_after(unix),
            fingerprint: self.fingerprints.get(timetable.place(unix)).copied().unwrap_or_default(),
        }
    }
}

/// A number that two gateways share if they publish the same keys under the same ids, and hardly ever otherwise. Never so small
/// that twice of it, which an Envoy says while it is restarted hot, could be one too.
fn fingerprint<'a>(published: impl Iterator<Item = (&'a str, &'a VerifyingKey)>) -> u32 {
    let names: Vec<String> = sorted(published.map(|(kid, key)| format!("{kid} {}", key.thumbprint())).collect());
    let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(names.join("\n")).into();
    u32::from_be_bytes([a, b, c, d]) | 0x8000_0000
}
