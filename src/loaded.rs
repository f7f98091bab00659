//! A keyring as it came, and what follows from it: opened, checked, with the documents of every phase.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::config::{Config, Sealing};
use crate::crypto::{Crypto, Rng, VerifyingKey};
use crate::discovery::Documents;
use crate::event::Event;
use crate::keyring::{Keyring, Terms};
use crate::metrics::{KeyStates, KeyringGauges};
use crate::sorted::sorted;

/// Why a document is not a keyring to work with.
pub(crate) enum LoadError {
    /// It cannot be opened: the sealing key is missing, or not the one that it was sealed with.
    Sealed(String),
    /// It holds no usable keyring.
    Refused(String),
}

/// A keyring at work.
pub(crate) struct Loaded {
    /// As it came
    document: Zeroizing<Vec<u8>>,
    /// Whether this configuration has opened and read the document itself, with its own sealing key
    is_own: bool,
    /// Unsealed, if it was sealed: a configuration that takes over may have no sealing key
    opened: Option<Zeroizing<Vec<u8>>>,
    pub(crate) keyring: Keyring,
    /// For each phase of its timetable
    documents: Vec<Documents>,
    /// A number for each phase, made of the keys that it publishes
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
    ) -> Result<Self, LoadError> {
        let opened = match &config.sealing {
            None => None,
            Some(Sealing { keys: Ok(keys) }) => {
                Some(keys.open(document).map_err(|problem| LoadError::Sealed(problem.to_string()))?)
            }
            Some(Sealing { keys: Err(problem) }) => return Err(LoadError::Sealed(problem.clone())),
        };
        let document = Zeroizing::new(document.to_vec());
        let loaded = Self::of(document, opened, config, crypto, rng, now).map_err(LoadError::Refused)?;
        Ok(Self { is_own: true, ..loaded })
    }

    /// The keyring under another configuration, if that can use it. It stays open, whatever sealing key there is now.
    pub(crate) fn under(&self, config: &Config, crypto: &dyn Crypto, rng: &mut Rng, now: u64) -> Result<Self, String> {
        Self::of(self.document.clone(), self.opened.clone(), config, crypto, rng, now)
    }

    fn of(
        document: Zeroizing<Vec<u8>>,
        opened: Option<Zeroizing<Vec<u8>>>,
        config: &Config,
        crypto: &dyn Crypto,
        rng: &mut Rng,
        now: u64,
    ) -> Result<Self, String> {
        let plain = opened.as_ref().unwrap_or(&document);
        let terms = Terms { serve: config.serve, publish_ahead: config.publish_ahead, now };
        let keyring = Keyring::parse(plain, &terms).map_err(|error| error.to_string())?;
        keyring
            .self_test(crypto, rng)
            .map_err(|_| "the self-test failed: what the key signs, its public half does not verify".to_string())?;
        let phases = keyring.timetable().phases();
        let documents = phases.iter().map(|phase| Documents::new(config, &keyring, phase)).collect();
        let fingerprints = phases.iter().map(|phase| fingerprint(keyring.published(phase))).collect();
        Ok(Self { document, is_own: false, opened, keyring, documents, fingerprints })
    }

    /// That it is loaded, for logs.
    pub(crate) fn event(&self, unix: u64) -> Event {
        Event::KeyringLoaded { kids: self.kids(unix), next: self.next_change(unix) }
    }

    /// Whether this configuration has read it from this document. One that was inherited is read anew, so that a sealing key that does
    /// not open it is noticed before a restart.
    pub(crate) fn is_of(&self, document: &[u8]) -> bool {
        self.is_own && self.document.as_slice() == document
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

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Sealed(problem) | Self::Refused(problem)) = self;
        f.write_str(problem)
    }
}

/// A number that two gateways share if they publish the same keys under the same ids, and hardly ever otherwise. Never so small
/// that twice of it, which an Envoy says while it is restarted hot, could be one too.
fn fingerprint<'a>(published: impl Iterator<Item = (&'a str, &'a VerifyingKey)>) -> u32 {
    let names: Vec<String> = sorted(published.map(|(kid, key)| format!("{kid} {}", key.thumbprint())).collect());
    let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(names.join("\n")).into();
    u32::from_be_bytes([a, b, c, d]) | 0x8000_0000
}
