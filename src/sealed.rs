//! A keyring that is ciphertext on its way.
//!
//! What brings the keyring to a gateway can be read by others there: any plugin of the same Envoy reaches the internal
//! listener, and at debug level Envoy logs what it gives. What they see of a sealed keyring is ciphertext. The sealing key
//! comes from the host's environment, of which the code of another plugin sees nothing that its configuration does not ask
//! for. Whoever configures the host can have all of it.
//!
//! The form is one line, `sealed.v1.` and the base64 of nonce and ciphertext: XChaCha20-Poly1305
//! (draft-irtf-cfrg-xchacha-03 section 2.3), a nonce of 24 bytes, the tag at the end, and that prefix as associated data.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

/// What a sealed document begins with.
pub const PREFIX: &str = "sealed.v1.";
/// Bytes of a nonce.
pub const NONCE: usize = 24;
/// Bytes of a tag.
const TAG: usize = 16;
/// Most keys that are tried, in turn.
const MAX_KEYS: usize = 4;

/// The keys that documents may be sealed with: one, and while it is replaced another.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKeys(Vec<Zeroizing<[u8; 32]>>);

impl SealingKeys {
    /// Reads keys of 32 bytes in base64, as `openssl rand -base64 32` makes them; several with white space between them.
    ///
    /// # Errors
    /// What is wrong, without a word of what was read.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let keys: Option<Vec<_>> = text.split_ascii_whitespace().map(read_key).collect();
        let keys = keys.ok_or("must hold 32 bytes in base64, as `openssl rand -base64 32` makes them")?;
        match keys.len() {
            0 => Err("is empty"),
            1..=MAX_KEYS => Ok(Self(keys)),
            _ => Err("holds more than four keys"),
        }
    }

    /// The document that was sealed.
    ///
    /// # Errors
    /// Why it cannot be had; above all, a document that is not sealed is none.
    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let text = sealed
            .trim_ascii()
            .strip_prefix(PREFIX.as_bytes())
            .ok_or("not sealed, and with a sealing key nothing else is taken")?;
        let sealed = STANDARD.decode(text).map_err(|_| "sealed, but cut or changed: no base64")?;
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>().ok_or("sealed, but cut")?;
        let open = |key: &Zeroizing<[u8; 32]>| {
            let mut document = Zeroizing::new(ciphertext.to_vec());
            let opened = cipher(key).decrypt_in_place(&XNonce::from(*nonce), PREFIX.as_bytes(), &mut *document);
            opened.is_ok().then_some(document)
        };
        self.0.iter().find_map(open).ok_or("sealed with another key, or changed since")
    }

    /// Seals a document with the first key. `nonce` must be random and is good for once.
    ///
    /// # Errors
    /// A document of more bytes than the cipher takes.
    pub fn seal(&self, document: &[u8], nonce: [u8; NONCE]) -> Result<String, &'static str> {
        let key = self.0.first().ok_or("no key")?;
        // With room for the tag: what a growing buffer leaves behind is wiped by nobody.
        let mut sealed = Zeroizing::new(Vec::with_capacity(document.len().saturating_add(TAG)));
        sealed.extend_from_slice(document);
        cipher(key).encrypt_in_place(&XNonce::from(nonce), PREFIX.as_bytes(), &mut *sealed).map_err(|_| "too long")?;
        Ok(format!("{PREFIX}{}", STANDARD.encode([&nonce, sealed.as_slice()].concat())))
    }
}

fn cipher(key: &Zeroizing<[u8; 32]>) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&**key).into())
}

fn read_key(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let decoded = Zeroizing::new(STANDARD.decode(text).ok()?);
    let key: &[u8; 32] = decoded.as_slice().try_into().ok()?;
    Some(Zeroizing::new(*key))
}
