//! Keys. One that exists is usable: sizes, exponents, curve points and the consistency of a private key were checked when it
//! was made, and its algorithm follows from the key, never from a token's header (RFC 8725 section 3.1).

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::elliptic_curve::point::AffineCoordinates as _;
use rsa::BoxedUint;
use rsa::traits::PublicKeyParts as _;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::der;
use crate::json::Object;
use crate::published_keys;
use crate::roca;

pub use crate::algorithm::Algorithm;

/// A public key that may verify signatures of its one algorithm.
#[derive(Clone)]
pub struct VerifyingKey {
    pub(crate) key: PublicKey,
    jwk: PublicJwk,
    spki: Arc<[u8]>,
    signature_length: usize,
}

/// A private key, checked and ready to sign with its one algorithm. It has no `Debug`, and its memory is wiped on drop.
pub struct SigningKey {
    pub(crate) key: PrivateKey,
    public: VerifyingKey,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// Why a key is not usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Not the encoding it should be; says which was expected or found.
    Malformed(&'static str),
    /// An RSA modulus of fewer than 2048 or more than 8192 bits.
    RsaSize {
        /// Bits of the modulus
        bits: u32,
    },
    /// An RSA public exponent that is even, or under 65537, or over 33 bits.
    RsaExponent,
    /// An RSA modulus of the ROCA family (CVE-2017-15361): it can be factored.
    Roca,
    /// The coordinates are not a point of the curve.
    NotOnCurve,
    /// The private half of this key is published.
    Published,
    /// A private key that is encrypted.
    Encrypted,
    /// The numbers of a private key do not belong together: it is damaged, or put together from two.
    Inconsistent,
    /// An RSA key of more than two primes (RFC 8017 section 3.2).
    MultiPrime,
    /// The key is of another algorithm than it is said to be.
    WrongAlgorithm {
        /// What the key is
        key: Algorithm,
    },
}

#[derive(Clone)]
pub(crate) enum PublicKey {
    Rsa(Box<rsa::pkcs1v15::VerifyingKey<Sha256>>),
    P256(Box<p256::ecdsa::VerifyingKey>),
    P384(Box<p384::ecdsa::VerifyingKey>),
    P521(Box<jwt_reissuer_es512::VerifyingKey>),
}

pub(crate) enum PrivateKey {
    Rsa(Box<rsa::pkcs1v15::SigningKey<Sha256>>),
    P256(Box<p256::ecdsa::SigningKey>),
    P384(Box<p384::ecdsa::SigningKey>),
}

/// The members of a public JWK (RFC 7518 section 6), base64url. There is no room for a private one.
#[derive(Clone)]
enum PublicJwk {
    Rsa { n: String, e: String },
    Ec { x: String, y: String },
}

impl VerifyingKey {
    /// An RSA key from modulus and exponent, big-endian without leading zeros as RFC 7518 section 6.3.1 wants them.
    ///
    /// # Errors
    /// [`KeyError`] for a key that is weak, published or no RSA key at all.
    pub fn from_rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        Self::rsa(n, e)?.unless_published()
    }

    /// The same for a key that may be published, as those of test vectors are.
    pub(crate) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        if n.first().is_none_or(|first| *first == 0) || e.first().is_none_or(|first| *first == 0) {
            return Err(KeyError::Malformed("RSA modulus or exponent empty or with leading zeros"));
        }
        // The size comes first: nothing is computed with a number that nobody bounded.
        let bits = u32::try_from(n.len()).unwrap_or(u32::MAX).saturating_mul(8).saturating_sub(leading_zero_bits(n));
        if !(2048..=8192).contains(&bits) {
            return Err(KeyError::RsaSize { bits });
        }
        if e.len() > 5 {
            return Err(KeyError::RsaExponent);
        }
        let exponent = e.iter().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
        if exponent < 65_537 || exponent.is_multiple_of(2) || exponent > rsa::PublicKey::MAX_PUB_EXPONENT {
            return Err(KeyError::RsaExponent);
        }
        if roca::is_roca(n) {
            return Err(KeyError::Roca);
        }
        let malformed = KeyError::Malformed("not an RSA public key");
        let modulus = BoxedUint::from_be_slice(n, round_up(bits)).map_err(|_| malformed.clone())?;
        let exponent = BoxedUint::from_be_slice(e, 64).map_err(|_| malformed.clone())?;
        let key = rsa::PublicKey::new_with_size_limits(modulus, exponent, 2048..=8192).map_err(|_| malformed)?;
        let jwk = PublicJwk::Rsa { n: URL_SAFE_NO_PAD.encode(n), e: URL_SAFE_NO_PAD.encode(e) };
        let spki = der::rsa_spki(n, e).into();
        // RFC 8017 section 8.2.1: as long as the modulus
        let signature_length = key.size();
        Ok(Self { key: PublicKey::Rsa(Box::new(rsa::pkcs1v15::VerifyingKey::new(key))), jwk, spki, signature_length })
    }

    /// [`Self::from_rsa`] for a key that may be published: for tests that ask a host's crypto about the keys of test vectors.
    ///
    /// # Errors
    /// [`KeyError`] for a key that is weak or no RSA key at all.
    #[cfg(feature = "dangerous-published-keys")]
    pub fn dangerous_published_rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        Self::rsa(n, e)
    }

    /// An elliptic-curve key from its coordinates, each exactly as long as the field (RFC 7518 section 6.2.1).
    ///
    /// # Errors
    /// [`KeyError`] for coordinates of a wrong length or off the curve, for RSA, and for a published key.
    pub fn from_ec(algorithm: Algorithm, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        Self::ec(algorithm, x, y)?.unless_published()
    }

    /// The same for a key that may be published, as those of test vectors are.
    pub(crate) fn ec(algorithm: Algorithm, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let length = algorithm.coordinate_length();
        if length == 0 || x.len() != length || y.len() != length {
            return Err(KeyError::Malformed("a coordinate is not as long as the field"));
        }
        let key = match algorithm {
            Algorithm::Rs256 => None,
            Algorithm::Es256 => p256_key(x, y).map(|key| PublicKey::P256(Box::new(key))),
            Algorithm::Es384 => p384_key(x, y).map(|key| PublicKey::P384(Box::new(key))),
            Algorithm::Es512 => {
                jwt_reissuer_es512::VerifyingKey::from_coordinates(x, y).map(|key| PublicKey::P521(Box::new(key)))
            }
        };
        let key = key.ok_or(KeyError::NotOnCurve)?;
        // SEC 1 section 2.3.3, uncompressed
        let point = [&[4], x, y].concat();
        let jwk = PublicJwk::Ec { x: URL_SAFE_NO_PAD.encode(x), y: URL_SAFE_NO_PAD.encode(y) };
        // RFC 7518 section 3.4: two numbers as long as the order
        let signature_length = algorithm.coordinate_length().saturating_mul(2);
        Ok(Self { key, jwk, spki: der::ec_spki(algorithm, &point).into(), signature_length })
    }

    /// An elliptic-curve key from its uncompressed point (SEC 1 section 2.3.3).
    pub(crate) fn from_point(algorithm: Algorithm, point: &[u8]) -> Result<Self, KeyError> {
        let (form, coordinates) = point.split_first().ok_or(KeyError::NotOnCurve)?;
        if matches!(form, 2 | 3) {
            return Err(KeyError::Malformed("a compressed point of an elliptic curve; give it uncompressed"));
        }
        match coordinates.split_at_checked(algorithm.coordinate_length()) {
            Some((x, y)) if *form == 4 && x.len() == y.len() => Self::from_ec(algorithm, x, y),
            _ => Err(KeyError::NotOnCurve),
        }
    }

    /// Whether it is this key's point, uncompressed or compressed (SEC 1 section 2.3.3).
    pub(crate) fn is_point(&self, point: &[u8]) -> bool {
        let length = self.algorithm().coordinate_length();
        // They are what a SubjectPublicKeyInfo ends with.
        let coordinates =
            self.spki.len().checked_sub(length.saturating_mul(2)).and_then(|start| self.spki.get(start..));
        let Some((x, y)) = coordinates.and_then(|both| both.split_at_checked(length)) else { return false };
        match point.split_first() {
            Some((4, both)) => both.split_at_checked(length) == Some((x, y)),
            Some((form @ (2 | 3), one)) => one == x && y.last().is_some_and(|last| last & 1 == form & 1),
            _ => false,
        }
    }

    fn unless_published(self) -> Result<Self, KeyError> {
        if published_keys::is_published(&self.thumbprint()) { Err(KeyError::Published) } else { Ok(self) }
    }

    /// The one algorithm this key verifies.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.key {
            PublicKey::Rsa(_) => Algorithm::Rs256,
            PublicKey::P256(_) => Algorithm::Es256,
            PublicKey::P384(_) => Algorithm::Es384,
            PublicKey::P521(_) => Algorithm::Es512,
        }
    }

    /// The key as a DER `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7), for another implementation of [`Crypto`].
    ///
    /// [`Crypto`]: crate::crypto::Crypto
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The same, to be kept.
    pub(crate) fn shared_spki(&self) -> Arc<[u8]> {
        Arc::clone(&self.spki)
    }

    /// Bytes of every signature of this key: of RSA as long as the modulus (RFC 8017 section 8.2.1), of an elliptic curve twice
    /// its order (RFC 7518 section 3.4).
    #[must_use]
    pub const fn signature_length(&self) -> usize {
        self.signature_length
    }

    /// The JWK thumbprint of RFC 7638 with SHA-256, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        // RFC 7638 section 3.2: the required members, in lexicographic order, nothing else.
        let required: Object = match &self.jwk {
            PublicJwk::Rsa { n, e } => {
                [("e", e.as_str().into()), ("kty", "RSA".into()), ("n", n.as_str().into())].into()
            }
            PublicJwk::Ec { x, y } => {
                let curve = self.algorithm().key_type().1.unwrap_or_default();
                [("crv", curve.into()), ("kty", "EC".into()), ("x", x.as_str().into()), ("y", y.as_str().into())].into()
            }
        };
        URL_SAFE_NO_PAD.encode(Sha256::digest(required.to_text()))
    }

    /// The key as a JWK for publication (RFC 7517): `kty use alg kid` and the public members.
    #[must_use]
    pub fn to_jwk(&self, kid: &str) -> Object {
        let (kty, crv) = self.algorithm().key_type();
        let mut jwk = Object::from([
            ("kty", kty.into()),
            ("use", "sig".into()),
            ("alg", self.algorithm().name().into()),
            ("kid", kid.into()),
        ]);
        match &self.jwk {
            PublicJwk::Rsa { n, e } => {
                jwk.set("n", n.as_str().into());
                jwk.set("e", e.as_str().into());
            }
            PublicJwk::Ec { x, y } => {
                jwk.set("crv", crv.unwrap_or_default().into());
                jwk.set("x", x.as_str().into());
                jwk.set("y", y.as_str().into());
            }
        }
        jwk
    }
}

impl SigningKey {
    /// An RSA private key that is not published.
    /// `pkcs1` is the DER that it was read from.
    pub(crate) fn from_rsa(key: rsa::PrivateKey, pkcs1: &[u8]) -> Result<Self, KeyError> {
        Self::rsa(key, pkcs1)?.unless_published()
    }

    /// The same for a key that may be published, as those of test vectors are.
    pub(crate) fn rsa(key: rsa::PrivateKey, pkcs1: &[u8]) -> Result<Self, KeyError> {
        let public = VerifyingKey::rsa(&key.as_public_key().n_bytes(), &key.as_public_key().e_bytes())?;
        let key = PrivateKey::Rsa(Box::new(rsa::pkcs1v15::SigningKey::new(key)));
        Ok(Self { key, public, pkcs8: der::rsa_pkcs8(pkcs1) })
    }

    pub(crate) fn from_p256(key: &p256::SecretKey) -> Result<Self, KeyError> {
        let mut number = key.to_bytes();
        let key = p256::ecdsa::SigningKey::from(key);
        let point = *key.verifying_key().as_affine();
        let key = Self::ec(Algorithm::Es256, PrivateKey::P256(Box::new(key)), &number, &point.x(), &point.y());
        number.as_mut_slice().zeroize();
        key
    }

    pub(crate) fn from_p384(key: &p384::SecretKey) -> Result<Self, KeyError> {
        let mut number = key.to_bytes();
        let key = p384::ecdsa::SigningKey::from(key);
        let point = *key.verifying_key().as_affine();
        let key = Self::ec(Algorithm::Es384, PrivateKey::P384(Box::new(key)), &number, &point.x(), &point.y());
        number.as_mut_slice().zeroize();
        key
    }

    fn ec(algorithm: Algorithm, key: PrivateKey, number: &[u8], x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let public = VerifyingKey::from_ec(algorithm, x, y)?;
        Self { key, public, pkcs8: der::ec_pkcs8(algorithm, number, &[&[4], x, y].concat()) }.unless_published()
    }

    fn unless_published(self) -> Result<Self, KeyError> {
        if published_keys::must_not_sign(&self.public.thumbprint()) { Err(KeyError::Published) } else { Ok(self) }
    }

    /// The key as unencrypted PKCS#8 DER (RFC 5958), for another implementation of [`Crypto`]. It is a secret.
    ///
    /// [`Crypto`]: crate::crypto::Crypto
    #[must_use]
    pub fn pkcs8_der(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &VerifyingKey {
        &self.public
    }
}

fn p256_key(x: &[u8], y: &[u8]) -> Option<p256::ecdsa::VerifyingKey> {
    let point = p256::AffinePoint::from_coordinates(x.try_into().ok()?, y.try_into().ok()?).into_option()?;
    p256::ecdsa::VerifyingKey::from_affine(point).ok()
}

fn p384_key(x: &[u8], y: &[u8]) -> Option<p384::ecdsa::VerifyingKey> {
    let point = p384::AffinePoint::from_coordinates(x.try_into().ok()?, y.try_into().ok()?).into_option()?;
    p384::ecdsa::VerifyingKey::from_affine(point).ok()
}

fn leading_zero_bits(bytes: &[u8]) -> u32 {
    bytes.first().map_or(0, |first| first.leading_zeros())
}

/// Bits rounded up to whole 64-bit limbs.
fn round_up(bits: u32) -> u32 {
    bits.div_ceil(64).saturating_mul(64)
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => f.write_str(what),
            Self::RsaSize { bits } => write!(f, "an RSA key of {bits} bits; 2048 to 8192 are taken"),
            Self::RsaExponent => f.write_str("an RSA public exponent that is even, under 65537 or over 33 bits"),
            Self::Roca => f.write_str("an RSA key of the ROCA family (CVE-2017-15361), which can be factored"),
            Self::NotOnCurve => f.write_str("the coordinates are not a point of the curve"),
            Self::Published => f.write_str("the private half of this key is published: everybody has it"),
            Self::Encrypted => f.write_str("is an encrypted key; give it unencrypted"),
            Self::Inconsistent => {
                f.write_str("a private key whose numbers do not belong together: damaged, or of two keys")
            }
            Self::MultiPrime => f.write_str("an RSA key of more than two primes"),
            Self::WrongAlgorithm { key } => f.write_fmt(format_args!("the key is one for {key}")),
        }
    }
}

impl core::error::Error for KeyError {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm())
            .field("thumbprint", &self.thumbprint().to_string())
            .finish()
    }
}
