//! The files that keys come in: PKCS#8, PKCS#1, SEC 1 and SubjectPublicKeyInfo, in DER.
//!
//! What one of them says twice has to agree: algorithm and key, private and public half.

use p256::elliptic_curve;
use p256::pkcs8::AssociatedOid as _;
use p256::pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use pkcs8::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef, UintRef};
use pkcs8::der::{Decode as _, Reader as _};
use rsa::BoxedUint;
use rsa::pkcs1::{RsaPrivateKeyRef, RsaPublicKeyRef};
use rsa::traits::PrivateKeyParts as _;
use sec1::EcPrivateKey;
use zeroize::Zeroizing;

use crate::keys::{Algorithm, KeyError, SigningKey, VerifyingKey};

impl SigningKey {
    /// A private key from unencrypted PKCS#8 DER (RFC 5958): RSA, P-256 or P-384. The pair is checked for consistency.
    ///
    /// # Errors
    /// [`KeyError`] for a key that is weak, published, encrypted, inconsistent, multi-prime or of another kind.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let info = pkcs8::PrivateKeyInfoRef::try_from(der)
            .map_err(|_| if is_encrypted(der) { KeyError::Encrypted } else { KeyError::Malformed("not PKCS#8") })?;
        let algorithm = algorithm_of(&info.algorithm)?;
        let inner = info.private_key.as_bytes();
        let key = match algorithm {
            Algorithm::Rs256 => Self::from_pkcs1_der(inner)?,
            _ => ec(algorithm, &ec_private_key(inner)?)?,
        };
        // RFC 5958 section 2: the second version may hold the public half beside the private one.
        if let Some(public) = info.public_key {
            let public = public_half(algorithm, public.raw_bytes())?;
            if public.thumbprint() != key.public().thumbprint() {
                return Err(KeyError::Inconsistent);
            }
        }
        Ok(key)
    }

    /// An RSA private key from PKCS#1 DER (RFC 8017 appendix A.1.2), as cert-manager and older openssl write it.
    ///
    /// # Errors
    /// As [`SigningKey::from_pkcs8_der`].
    pub fn from_pkcs1_der(der: &[u8]) -> Result<Self, KeyError> {
        let encoded = RsaPrivateKeyRef::from_der(der).map_err(|_| KeyError::Malformed("not an RSA private key"))?;
        if encoded.version().is_multi() {
            return Err(KeyError::MultiPrime);
        }
        // Sizes come first: nothing is computed with numbers that nobody bounded.
        VerifyingKey::rsa(encoded.modulus.as_bytes(), encoded.public_exponent.as_bytes())?;
        let key = rsa::PrivateKey::try_from(encoded.clone()).map_err(|_| KeyError::Inconsistent)?;
        if !has_its_crt_values(&key, &encoded) {
            return Err(KeyError::Inconsistent);
        }
        Self::from_rsa(key, der)
    }

    /// An elliptic-curve private key from SEC 1 DER, as cert-manager and `openssl ecparam -genkey` write it. Its curve has to
    /// be named in it (RFC 5915 section 3): a number alone could be one of several curves.
    ///
    /// # Errors
    /// As [`SigningKey::from_pkcs8_der`].
    pub fn from_sec1_der(der: &[u8]) -> Result<Self, KeyError> {
        let encoded = ec_private_key(der)?;
        let curve = encoded.parameters.and_then(|parameters| parameters.named_curve());
        let curve = curve.ok_or(KeyError::Malformed("an elliptic-curve private key that does not name its curve"))?;
        ec(algorithm_of_curve(curve)?, &encoded)
    }
}

impl VerifyingKey {
    /// A key from its DER `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7): RSA, P-256 or P-384.
    ///
    /// # Errors
    /// [`KeyError`] as [`VerifyingKey::from_rsa`] and [`VerifyingKey::from_ec`].
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let malformed = KeyError::Malformed("not a public key");
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| malformed.clone())?;
        let bytes = info.subject_public_key.as_bytes().ok_or(malformed)?;
        public_half(algorithm_of(&info.algorithm)?, bytes)
    }
}

/// The one algorithm of a key that an identifier names. RSA for PSS alone (RFC 4055 section 1.2) is another.
fn algorithm_of(identifier: &AlgorithmIdentifierRef<'_>) -> Result<Algorithm, KeyError> {
    if identifier.oid == rsa::pkcs1::ALGORITHM_OID {
        // RFC 8017 appendix A.1
        return match identifier.parameters {
            Some(parameters) if parameters.is_null() => Ok(Algorithm::Rs256),
            _ => Err(KeyError::Malformed("an RSA key with parameters, where NULL has to be")),
        };
    }
    if identifier.oid != elliptic_curve::ALGORITHM_OID {
        return Err(KeyError::Malformed("neither an RSA key for signatures of PKCS#1 v1.5, nor an elliptic-curve key"));
    }
    let curve = identifier.parameters_oid();
    algorithm_of_curve(curve.map_err(|_| KeyError::Malformed("an elliptic-curve key that does not name its curve"))?)
}

fn algorithm_of_curve(curve: ObjectIdentifier) -> Result<Algorithm, KeyError> {
    match curve {
        p256::NistP256::OID => Ok(Algorithm::Es256),
        p384::NistP384::OID => Ok(Algorithm::Es384),
        _ => Err(KeyError::Malformed("a key of another curve than P-256 and P-384")),
    }
}

fn public_half(algorithm: Algorithm, bytes: &[u8]) -> Result<VerifyingKey, KeyError> {
    let malformed = KeyError::Malformed("not a public key");
    let point = match algorithm {
        Algorithm::Rs256 => {
            let key = RsaPublicKeyRef::from_der(bytes).map_err(|_| malformed)?;
            return VerifyingKey::from_rsa(key.modulus.as_bytes(), key.public_exponent.as_bytes());
        }
        Algorithm::Es256 => p256::PublicKey::from_sec1_bytes(bytes).map(|key| key.to_sec1_bytes()),
        Algorithm::Es384 => p384::PublicKey::from_sec1_bytes(bytes).map(|key| key.to_sec1_bytes()),
        Algorithm::Es512 => return Err(malformed),
    };
    VerifyingKey::from_sec1(algorithm, &point.map_err(|_| KeyError::NotOnCurve)?)
}

fn ec_private_key(der: &[u8]) -> Result<EcPrivateKey<'_>, KeyError> {
    EcPrivateKey::from_der(der).map_err(|_| KeyError::Malformed("not an elliptic-curve private key"))
}

/// A key of that algorithm's curve: the curve that the file names, if it does, and the public half that it holds, if it
/// does, are compared by the library.
fn ec(algorithm: Algorithm, encoded: &EcPrivateKey<'_>) -> Result<SigningKey, KeyError> {
    // RFC 5915 section 3: exactly as long as the order of the curve
    if encoded.private_key.len() != algorithm.coordinate_length() {
        return Err(KeyError::Malformed("an elliptic-curve private key that is not as long as its curve's"));
    }
    let inconsistent = |_| KeyError::Inconsistent;
    match algorithm {
        Algorithm::Es256 => SigningKey::from_p256(&p256::SecretKey::try_from(encoded.clone()).map_err(inconsistent)?),
        Algorithm::Es384 => SigningKey::from_p384(&p384::SecretKey::try_from(encoded.clone()).map_err(inconsistent)?),
        Algorithm::Rs256 | Algorithm::Es512 => Err(KeyError::Malformed("not an elliptic-curve private key")),
    }
}

/// Whether it is an `EncryptedPrivateKeyInfo` (RFC 5958 section 3): an algorithm where PKCS#8 has its version.
fn is_encrypted(der: &[u8]) -> bool {
    let read = |any: AnyRef<'_>| {
        any.sequence(|reader| {
            reader.decode::<AlgorithmIdentifierRef<'_>>()?;
            reader.decode::<&OctetStringRef>().map(|_| ())
        })
    };
    AnyRef::from_der(der).and_then(read).is_ok()
}

/// Whether the values for the Chinese remainder theorem that a file holds are those of its key. They are computed anew and
/// the file's are not used, but a file whose numbers contradict each other was damaged, or made to be.
fn has_its_crt_values(key: &rsa::PrivateKey, encoded: &RsaPrivateKeyRef<'_>) -> bool {
    let is = |ours: &BoxedUint, theirs: UintRef<'_>| {
        BoxedUint::from_be_slice(theirs.as_bytes(), ours.bits_precision())
            .is_ok_and(|theirs| *Zeroizing::new(theirs) == *ours)
    };
    let coefficient = key.qinv().map(|value| Zeroizing::new(value.retrieve()));
    key.dp().is_some_and(|value| is(value, encoded.exponent1))
        && key.dq().is_some_and(|value| is(value, encoded.exponent2))
        && coefficient.is_some_and(|value| is(&value, encoded.coefficient))
}
