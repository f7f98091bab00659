//! Keys as other implementations of crypto take them: SubjectPublicKeyInfo and PKCS#8, in DER.
//!
//! Written once for a key, of numbers that were checked when it was made, and kept beside it. [`crate::encodings`] reads; the
//! encoders of the libraries that it reads with would be a tenth of the module.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use crate::algorithm::Algorithm;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// `[1] EXPLICIT`
const CONTEXT_1: u8 = 0xa1;

/// `version` 0 of PKCS#8 (RFC 5958 section 2: v1)
const VERSION_0: &[u8] = &[INTEGER, 1, 0];
/// `version` 1 of an `ECPrivateKey` (RFC 5915 section 3)
const VERSION_1: &[u8] = &[INTEGER, 1, 1];

/// `rsaEncryption` with its NULL (RFC 8017 appendix A.1)
const RSA: &[u8] = &[SEQUENCE, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// `id-ecPublicKey` with the curve (RFC 5480 sections 2.1.1 and 2.1.1.1)
const P256: &[u8] = &[
    SEQUENCE, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];
const P384: &[u8] =
    &[SEQUENCE, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] =
    &[SEQUENCE, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// The `AlgorithmIdentifier` of an algorithm's keys.
const fn identifier(algorithm: Algorithm) -> &'static [u8] {
    match algorithm {
        Algorithm::Rs256 => RSA,
        Algorithm::Es256 => P256,
        Algorithm::Es384 => P384,
        Algorithm::Es512 => P521,
    }
}

/// The `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7) of an RSA key, from big-endian numbers.
pub(crate) fn rsa_spki(n: &[u8], e: &[u8]) -> Vec<u8> {
    spki(Algorithm::Rs256, &element(SEQUENCE, &[&unsigned(n), &unsigned(e)]))
}

/// The same of an elliptic-curve key, from its uncompressed point.
pub(crate) fn ec_spki(algorithm: Algorithm, point: &[u8]) -> Vec<u8> {
    spki(algorithm, point)
}

/// Unencrypted PKCS#8 (RFC 5958) of an RSA key, from its PKCS#1 form.
pub(crate) fn rsa_pkcs8(pkcs1: &[u8]) -> Zeroizing<Vec<u8>> {
    pkcs8(Algorithm::Rs256, pkcs1)
}

/// The same of an elliptic-curve key, from its number, as long as the curve's order, and its point: without the point whoever
/// reads it has to compute it.
pub(crate) fn ec_pkcs8(algorithm: Algorithm, number: &[u8], point: &[u8]) -> Zeroizing<Vec<u8>> {
    let public = element(CONTEXT_1, &[&element(BIT_STRING, &[&[0], point])]);
    pkcs8(algorithm, &element(SEQUENCE, &[VERSION_1, &element(OCTET_STRING, &[number]), &public]))
}

fn spki(algorithm: Algorithm, key: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[identifier(algorithm), &element(BIT_STRING, &[&[0], key])]).to_vec()
}

fn pkcs8(algorithm: Algorithm, key: &[u8]) -> Zeroizing<Vec<u8>> {
    element(SEQUENCE, &[VERSION_0, identifier(algorithm), &element(OCTET_STRING, &[key])])
}

/// A positive INTEGER from big-endian bytes without leading zeros.
fn unsigned(number: &[u8]) -> Zeroizing<Vec<u8>> {
    let sign: &[u8] = if number.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
    element(INTEGER, &[sign, number])
}

/// One element, with its content in parts. It has all its room from the beginning: what a growing buffer leaves behind is
/// wiped by nobody.
fn element(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length = parts.iter().fold(0_usize, |length, part| length.saturating_add(part.len()));
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.saturating_add(10)));
    bytes.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
            bytes.push(0x80 | u8::try_from(digits.len()).unwrap_or(0x7f));
            bytes.extend_from_slice(&digits);
        }
    }
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

#[cfg(test)]
mod tests {
    use chacha20::rand_core::SeedableRng as _;
    use p256::elliptic_curve::Generate as _;
    use rsa::pkcs1::EncodeRsaPrivateKey as _;
    use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};

    use super::*;
    use crate::crypto::Rng;
    use crate::keys::{SigningKey, VerifyingKey};

    const TWO: u8 = 2;

    #[test]
    fn rsa_keys_are_written_as_the_library_writes_them() {
        // Lengths of one byte more and less: moduli with and without a leading sign, of sizes that are no whole bytes.
        for bits in [2048, 2049, 2055, 3072] {
            let key = rsa::PrivateKey::new(&mut Rng::from_seed([TWO; 32]), bits).unwrap();
            let pkcs1 = key.to_pkcs1_der().unwrap();
            let ours = SigningKey::rsa(key.clone(), pkcs1.as_bytes()).unwrap();
            assert_eq!(ours.pkcs8_der(), key.to_pkcs8_der().unwrap().as_bytes(), "{bits}");
            let spki = key.as_public_key().to_public_key_der().unwrap();
            assert_eq!(ours.public().spki_der(), spki.as_bytes(), "{bits}");
        }
    }

    #[test]
    fn elliptic_curve_keys_are_written_as_the_library_writes_them() {
        for seed in 0..8 {
            let mut rng = Rng::from_seed([seed; 32]);
            let key = p256::SecretKey::generate_from_rng(&mut rng);
            let ours = SigningKey::from_p256(&key).unwrap();
            assert_eq!(ours.pkcs8_der(), key.to_pkcs8_der().unwrap().as_bytes());
            assert_eq!(ours.public().spki_der(), key.public_key().to_public_key_der().unwrap().as_bytes());

            let key = p384::SecretKey::generate_from_rng(&mut rng);
            let ours = SigningKey::from_p384(&key).unwrap();
            assert_eq!(ours.pkcs8_der(), key.to_pkcs8_der().unwrap().as_bytes());
            assert_eq!(ours.public().spki_der(), key.public_key().to_public_key_der().unwrap().as_bytes());

            let key = p521::SecretKey::generate_from_rng(&mut rng).public_key();
            let point = key.to_sec1_bytes();
            let ours = VerifyingKey::from_sec1(Algorithm::Es512, &point).unwrap();
            assert_eq!(ours.spki_der(), key.to_public_key_der().unwrap().as_bytes());
        }
    }
}
