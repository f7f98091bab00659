//! What the shipped `HostCrypto` knows as the crypto of the core: that, with software that does not go unseen.

pub(crate) use core_of_reissuer::crypto::{
    Algorithm, BadSignature, Crypto, Rng, SigningFailed, SigningKey, VerifyingKey,
};

use crate::judge::{Judge, note};

/// The core's own, which is noted when it is asked.
pub(crate) struct SoftwareCrypto;

impl Crypto for SoftwareCrypto {
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        note(Judge::Software);
        core_of_reissuer::crypto::SoftwareCrypto.verify(key, message, signature)
    }

    fn sign(&self, key: &SigningKey, message: &[u8], rng: &mut Rng) -> Result<Vec<u8>, SigningFailed> {
        core_of_reissuer::crypto::SoftwareCrypto.sign(key, message, rng)
    }
}
