//! The two operations on keys.
//!
//! [`Crypto`] is what a host may replace by its own implementation; [`SoftwareCrypto`] is RustCrypto in this library.

use alloc::vec::Vec;

use p256::ecdsa::signature::{RandomizedSigner as _, SignatureEncoding as _, Verifier as _};
use rsa::traits::PublicKeyParts as _;

use crate::keys::{PrivateKey, PublicKey};

pub use crate::keys::{Algorithm, KeyError, SigningKey, VerifyingKey};

/// The random number generator of an instance, seeded once by its host.
pub type Rng = chacha20::ChaCha20Rng;

/// A signature that is not one of this key over this message. Says nothing more, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

/// The signer failed; nothing of its output may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningFailed;

/// Signs and verifies. A host that has a faster implementation of its own gives it here.
pub trait Crypto {
    /// Checks a JWS signature (RFC 7518: PKCS#1 block for RSA, `r || s` for ECDSA) over a message.
    ///
    /// # Errors
    /// [`BadSignature`] for anything but a good signature.
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature>;

    /// Makes a JWS signature over a message; blinding and nonces draw from `rng`. The caller verifies it before use.
    ///
    /// # Errors
    /// [`SigningFailed`] when no signature could be made.
    fn sign(&self, key: &SigningKey, message: &[u8], rng: &mut Rng) -> Result<Vec<u8>, SigningFailed>;
}

/// [`Crypto`] in this library, by the RustCrypto crates.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftwareCrypto;

impl Crypto for SoftwareCrypto {
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let verified = match &key.key {
            PublicKey::Rsa(key) => {
                // RFC 8017 section 8.2.2 step 1: exactly as long as the modulus
                if signature.len() != key.as_ref().as_ref().size() {
                    return Err(BadSignature);
                }
                rsa::pkcs1v15::Signature::try_from(signature).and_then(|signature| key.verify(message, &signature))
            }
            PublicKey::P256(key) => {
                p256::ecdsa::Signature::from_slice(signature).and_then(|signature| key.verify(message, &signature))
            }
            PublicKey::P384(key) => {
                p384::ecdsa::Signature::from_slice(signature).and_then(|signature| key.verify(message, &signature))
            }
            PublicKey::P521(key) => {
                return if key.verifies(message, signature) { Ok(()) } else { Err(BadSignature) };
            }
        };
        verified.map_err(|_| BadSignature)
    }

    fn sign(&self, key: &SigningKey, message: &[u8], rng: &mut Rng) -> Result<Vec<u8>, SigningFailed> {
        // Always with the generator: RSA is blinded by it, and ECDSA nonces draw from it beside key and message.
        match &key.key {
            PrivateKey::Rsa(key) => key.try_sign_with_rng(rng, message).map(|signature| signature.to_vec()),
            PrivateKey::P256(key) => key
                .try_sign_with_rng(rng, message)
                .map(|signature: p256::ecdsa::Signature| signature.to_bytes().as_slice().to_vec()),
            PrivateKey::P384(key) => key
                .try_sign_with_rng(rng, message)
                .map(|signature: p384::ecdsa::Signature| signature.to_bytes().as_slice().to_vec()),
        }
        .map_err(|_| SigningFailed)
    }
}
