//! The files that keys come in: PKCS#8, PKCS#1, SEC 1 and SubjectPublicKeyInfo, in DER.
//!
//! What one of them says twice has to agree: algorithm and key, private and public half.

use alloc::vec::Vec;

use rsa::BoxedUint;
use rsa::traits::PrivateKeyParts as _;
use zeroize::Zeroizing;

use crate::der::{
    BIT_STRING, CONTEXT_0, CONTEXT_1, EC_PUBLIC_KEY, Elements, IMPLICIT_1, NULL, OBJECT_IDENTIFIER, OCTET_STRING, P256,
    P384, RSA_ENCRYPTION, SEQUENCE,
};
use crate::keys::{Algorithm, KeyError, SigningKey, VerifyingKey};

impl SigningKey {
    /// A private key from unencrypted PKCS#8 DER (RFC 5958): RSA, P-256 or P-384. The pair is checked for consistency.
    ///
    /// # Errors
    /// [`KeyError`] for a key that is weak, published, encrypted, inconsistent, multi-prime or of another kind.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfo::read(der).ok_or_else(|| {
            if is_encrypted(der) == Some(true) { KeyError::Encrypted } else { KeyError::Malformed("not PKCS#8") }
        })?;
        let algorithm = info.algorithm.algorithm()?;
        let key = match algorithm {
            Algorithm::Rs256 => Self::from_pkcs1_der(info.private_key)?,
            _ => EcPrivateKey::read(info.private_key).ok_or(NOT_EC)?.key(algorithm)?,
        };
        let Some(public) = info.public_key else { return Ok(key) };
        let is_its_half = match algorithm {
            Algorithm::Rs256 => public_half(algorithm, public)?.thumbprint() == key.public().thumbprint(),
            _ => key.public().is_point(public),
        };
        if is_its_half { Ok(key) } else { Err(KeyError::Inconsistent) }
    }

    /// An RSA private key from PKCS#1 DER (RFC 8017 appendix A.1.2), as cert-manager and older openssl write it.
    ///
    /// # Errors
    /// As [`SigningKey::from_pkcs8_der`].
    pub fn from_pkcs1_der(der: &[u8]) -> Result<Self, KeyError> {
        let encoded = RsaPrivateKey::read(der).ok_or(KeyError::Malformed("not an RSA private key"))?;
        if encoded.is_multi_prime {
            return Err(KeyError::MultiPrime);
        }
        let [n, e, d, p, q, ..] = encoded.numbers;
        // Sizes come first: nothing is computed with numbers that nobody bounded.
        VerifyingKey::rsa(n, e)?;
        let bits = u32::try_from(n.len()).unwrap_or(u32::MAX).saturating_mul(8);
        let number = |bytes: &[u8]| BoxedUint::from_be_slice(bytes, bits).map_err(|_| KeyError::Inconsistent);
        let key =
            rsa::PrivateKey::from_components(number(n)?, number(e)?, number(d)?, Vec::from([number(p)?, number(q)?]));
        let key = key.map_err(|_| KeyError::Inconsistent)?;
        if !encoded.has_the_crt_values_of(&key) {
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
        let encoded = EcPrivateKey::read(der).ok_or(NOT_EC)?;
        let unnamed = KeyError::Malformed("an elliptic-curve private key that does not name its curve");
        encoded.key(algorithm_of_curve(encoded.curve.ok_or(unnamed)?)?)
    }
}

impl VerifyingKey {
    /// A key from its DER `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7): RSA, P-256 or P-384. A point is uncompressed, which
    /// RFC 5480 section 2.2 has everybody support.
    ///
    /// # Errors
    /// [`KeyError`] as [`VerifyingKey::from_rsa`] and [`VerifyingKey::from_ec`].
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let (algorithm, key) = read_spki(der).ok_or(NOT_PUBLIC)?;
        public_half(algorithm.algorithm()?, key)
    }
}

const NOT_PUBLIC: KeyError = KeyError::Malformed("not a public key");
const NOT_EC: KeyError = KeyError::Malformed("not an elliptic-curve private key");

/// What kind of key it is (RFC 5280 section 4.1.1.2).
struct AlgorithmIdentifier<'a> {
    oid: &'a [u8],
    /// Tag and content
    parameters: Option<(u8, &'a [u8])>,
}

impl<'a> AlgorithmIdentifier<'a> {
    fn read(content: &'a [u8]) -> Option<Self> {
        let mut elements = Elements::of(content)?;
        let oid = elements.next(OBJECT_IDENTIFIER)?;
        let parameters = if elements.is_empty() { None } else { Some(elements.next_of_any()?) };
        elements.end().map(|()| Self { oid, parameters })
    }

    /// The one algorithm of such a key. RSA for PSS alone (RFC 4055 section 1.2) is another.
    fn algorithm(&self) -> Result<Algorithm, KeyError> {
        match (self.oid, self.parameters) {
            // RFC 8017 appendix A.1
            (RSA_ENCRYPTION, Some((NULL, []))) => Ok(Algorithm::Rs256),
            (RSA_ENCRYPTION, _) => Err(KeyError::Malformed("an RSA key with parameters, where NULL has to be")),
            (EC_PUBLIC_KEY, Some((OBJECT_IDENTIFIER, curve))) => algorithm_of_curve(curve),
            (EC_PUBLIC_KEY, _) => Err(KeyError::Malformed("an elliptic-curve key that does not name its curve")),
            _ => {
                Err(KeyError::Malformed("neither an RSA key for signatures of PKCS#1 v1.5, nor an elliptic-curve key"))
            }
        }
    }
}

fn algorithm_of_curve(curve: &[u8]) -> Result<Algorithm, KeyError> {
    match curve {
        P256 => Ok(Algorithm::Es256),
        P384 => Ok(Algorithm::Es384),
        _ => Err(KeyError::Malformed("a key of another curve than P-256 and P-384")),
    }
}

/// `OneAsymmetricKey` (RFC 5958 section 2)
struct PrivateKeyInfo<'a> {
    algorithm: AlgorithmIdentifier<'a>,
    private_key: &'a [u8],
    public_key: Option<&'a [u8]>,
}

impl<'a> PrivateKeyInfo<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let mut elements = Elements::of_sequence(der)?;
        let version = elements.unsigned()?;
        let algorithm = AlgorithmIdentifier::read(elements.next(SEQUENCE)?)?;
        let private_key = elements.next(OCTET_STRING)?;
        let _attributes = elements.next_if(CONTEXT_0)?;
        // The second version is there for the public half, and holds it; the first one has none.
        let public_key = match version {
            [0] => None,
            [1] => Some(elements.bit_string(IMPLICIT_1)?),
            _ => return None,
        };
        elements.end().map(|()| Self { algorithm, private_key, public_key })
    }
}

fn read_spki(der: &[u8]) -> Option<(AlgorithmIdentifier<'_>, &[u8])> {
    let mut elements = Elements::of_sequence(der)?;
    let algorithm = AlgorithmIdentifier::read(elements.next(SEQUENCE)?)?;
    let key = elements.bit_string(BIT_STRING)?;
    elements.end().map(|()| (algorithm, key))
}

fn public_half(algorithm: Algorithm, bytes: &[u8]) -> Result<VerifyingKey, KeyError> {
    if algorithm != Algorithm::Rs256 {
        return VerifyingKey::from_point(algorithm, bytes);
    }
    // RFC 8017 appendix A.1.1
    let read = || {
        let mut elements = Elements::of_sequence(bytes)?;
        let numbers = (elements.unsigned()?, elements.unsigned()?);
        elements.end().map(|()| numbers)
    };
    let (n, e) = read().ok_or(NOT_PUBLIC)?;
    VerifyingKey::from_rsa(n, e)
}

/// `RSAPrivateKey` (RFC 8017 appendix A.1.2)
struct RsaPrivateKey<'a> {
    /// `n e d p q`, and for the Chinese remainder theorem `dP dQ qInv`
    numbers: [&'a [u8]; 8],
    is_multi_prime: bool,
}

impl<'a> RsaPrivateKey<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let mut elements = Elements::of_sequence(der)?;
        let version = elements.unsigned()?;
        let mut numbers: [&[u8]; 8] = [&[]; 8];
        for number in &mut numbers {
            *number = elements.unsigned()?;
        }
        let more_primes = elements.next_if(SEQUENCE)?;
        let is_multi_prime = match (version, more_primes) {
            ([0], None) => false,
            ([1], Some([_, ..])) => true,
            _ => return None,
        };
        elements.end().map(|()| Self { numbers, is_multi_prime })
    }

    /// Whether the values for the Chinese remainder theorem that a file holds are those of its key. They are computed anew and
    /// the file's are not used, but a file whose numbers contradict each other was damaged, or made to be.
    fn has_the_crt_values_of(&self, key: &rsa::PrivateKey) -> bool {
        let is = |ours: &BoxedUint, theirs: &[u8]| {
            BoxedUint::from_be_slice(theirs, ours.bits_precision()).is_ok_and(|theirs| *Zeroizing::new(theirs) == *ours)
        };
        let [.., dp, dq, qinv] = self.numbers;
        let coefficient = key.qinv().map(|value| Zeroizing::new(value.retrieve()));
        key.dp().is_some_and(|value| is(value, dp))
            && key.dq().is_some_and(|value| is(value, dq))
            && coefficient.is_some_and(|value| is(&value, qinv))
    }
}

/// `ECPrivateKey` (RFC 5915 section 3)
struct EcPrivateKey<'a> {
    number: &'a [u8],
    curve: Option<&'a [u8]>,
    point: Option<&'a [u8]>,
}

impl<'a> EcPrivateKey<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let mut elements = Elements::of_sequence(der)?;
        if elements.unsigned()? != [1] {
            return None;
        }
        let number = elements.next(OCTET_STRING)?;
        let inner = |around: &'a [u8], read: fn(&mut Elements<'a>) -> Option<&'a [u8]>| {
            let mut elements = Elements::of(around)?;
            let content = read(&mut elements)?;
            elements.end().map(|()| content)
        };
        let curve = match elements.next_if(CONTEXT_0)? {
            Some(around) => Some(inner(around, |elements| elements.next(OBJECT_IDENTIFIER))?),
            None => None,
        };
        let point = match elements.next_if(CONTEXT_1)? {
            Some(around) => Some(inner(around, |elements| elements.bit_string(BIT_STRING))?),
            None => None,
        };
        elements.end().map(|()| Self { number, curve, point })
    }

    /// A key of that algorithm's curve, which is the one that the file names, if it does; and its public half is the one that the
    /// file holds, if it does.
    fn key(&self, algorithm: Algorithm) -> Result<SigningKey, KeyError> {
        // RFC 5915 section 3: exactly as long as the order of the curve
        if self.number.len() != algorithm.coordinate_length() {
            return Err(KeyError::Malformed("an elliptic-curve private key that is not as long as its curve's"));
        }
        if self.curve.is_some_and(|curve| algorithm_of_curve(curve) != Ok(algorithm)) {
            return Err(KeyError::Inconsistent);
        }
        let inconsistent = |_| KeyError::Inconsistent;
        let key = match algorithm {
            Algorithm::Es256 => {
                SigningKey::from_p256(&p256::SecretKey::from_slice(self.number).map_err(inconsistent)?)?
            }
            Algorithm::Es384 => {
                SigningKey::from_p384(&p384::SecretKey::from_slice(self.number).map_err(inconsistent)?)?
            }
            Algorithm::Rs256 | Algorithm::Es512 => return Err(NOT_EC),
        };
        if self.point.is_some_and(|point| !key.public().is_point(point)) {
            return Err(KeyError::Inconsistent);
        }
        Ok(key)
    }
}

/// Whether it is an `EncryptedPrivateKeyInfo` (RFC 5958 section 3): an algorithm where PKCS#8 has its version.
fn is_encrypted(der: &[u8]) -> Option<bool> {
    let mut elements = Elements::of_sequence(der)?;
    AlgorithmIdentifier::read(elements.next(SEQUENCE)?)?;
    elements.next(OCTET_STRING)?;
    Some(elements.is_empty())
}
