//! New private keys.

use clap::ValueEnum;
use jwt_reissuer::crypto::{Algorithm, Rng, SigningKey};
use p256::elliptic_curve::Generate as _;
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use zeroize::Zeroizing;

use crate::document::{KeyEntry, PrivateKey};
use crate::failure::Failure;

/// Bits of a new RSA modulus: every cloud takes a key of 2048 bits, and a longer one costs a gateway several times as much.
const RSA_BITS: usize = 2048;

/// An algorithm that a gateway signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SigningAlgorithm {
    /// RSA of 2048 bits
    #[value(name = "RS256")]
    Rs256,
    /// P-256
    #[value(name = "ES256")]
    Es256,
    /// P-384
    #[value(name = "ES384")]
    Es384,
}

impl SigningAlgorithm {
    /// The algorithm of a key that signs. A key of P-521 only verifies.
    pub const fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::Rs256 => Some(Self::Rs256),
            Algorithm::Es256 => Some(Self::Es256),
            Algorithm::Es384 => Some(Self::Es384),
            Algorithm::Es512 => None,
        }
    }
}

/// A new key, as PKCS#8 PEM (RFC 5958, RFC 7468). Its `kid` is the thumbprint of RFC 7638 unless one is given.
///
/// # Errors
/// [`Failure::Unusable`] where no key could be made.
pub fn generate(algorithm: SigningAlgorithm, kid: Option<&str>, rng: &mut Rng) -> Result<KeyEntry<'static>, Failure> {
    match algorithm {
        SigningAlgorithm::Rs256 => entry(&rsa::PrivateKey::new(rng, RSA_BITS).map_err(|_| no_key())?, kid),
        SigningAlgorithm::Es256 => entry(&p256::SecretKey::generate_from_rng(rng), kid),
        SigningAlgorithm::Es384 => entry(&p384::SecretKey::generate_from_rng(rng), kid),
    }
}

fn entry(key: &impl EncodePrivateKey, kid: Option<&str>) -> Result<KeyEntry<'static>, Failure> {
    let der = key.to_pkcs8_der().map_err(|_| no_key())?;
    let checked = SigningKey::from_pkcs8_der(der.as_bytes()).map_err(|_| no_key())?;
    let public = checked.public();
    let pem: Zeroizing<String> = der.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|_| no_key())?;
    Ok(KeyEntry {
        kid: Some(kid.map_or_else(|| public.thumbprint(), Into::into)),
        algorithm: Some(public.algorithm().name().into()),
        private_key: Some(PrivateKey::Text(pem)),
        ..KeyEntry::default()
    })
}

fn no_key() -> Failure {
    Failure::Unusable("no key could be made".into())
}
