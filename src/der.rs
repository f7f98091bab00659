//! DER as keys need it. Reading: the elements of a value one after the other, by the library's reader, without the library's types for
//! whole structures, of which each takes a tenth of the module. Writing: SubjectPublicKeyInfo and PKCS#8, as other implementations of
//! crypto take them, once for a key, of numbers that were checked when it was made.

use alloc::vec::Vec;

use der::{Decode as _, Length, Reader as _, SliceReader};
use zeroize::Zeroizing;

use crate::algorithm::Algorithm;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[0]` and `[1]` around other elements
pub(crate) const CONTEXT_0: u8 = 0xa0;
pub(crate) const CONTEXT_1: u8 = 0xa1;
/// `[1]` in the place of the tag of an element that holds no others
pub(crate) const IMPLICIT_1: u8 = 0x81;

/// `rsaEncryption` (RFC 8017 appendix A.1)
pub(crate) const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// `id-ecPublicKey` (RFC 5480 section 2.1.1)
pub(crate) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// The curves (RFC 5480 section 2.1.1.1)
pub(crate) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
pub(crate) const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];

/// The elements of a value, from the first on. What a method gives is nothing as soon as there is one that is not what was asked for.
pub(crate) struct Elements<'a>(SliceReader<'a>);

impl<'a> Elements<'a> {
    /// What the one element of these bytes holds.
    pub(crate) fn of_sequence(der: &'a [u8]) -> Option<Self> {
        let mut all = Self::of(der)?;
        let content = all.next(SEQUENCE)?;
        all.end()?;
        Self::of(content)
    }

    /// Elements side by side.
    pub(crate) fn of(content: &'a [u8]) -> Option<Self> {
        SliceReader::new(content).ok().map(Self)
    }

    /// The content of the next element, which has this tag.
    pub(crate) fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.next_of_any()?;
        (found == tag).then_some(content)
    }

    /// The next element, whatever it is: its tag, which is one byte in all that keys are made of, and its content.
    pub(crate) fn next_of_any(&mut self) -> Option<(u8, &'a [u8])> {
        let tag = self.0.read_byte().ok().filter(|tag| tag & 0x1f != 0x1f)?;
        // The shortest form of a length is the only one (X.690 section 10.1).
        let length = Length::decode(&mut self.0).ok()?;
        Some((tag, self.0.read_slice(length).ok()?))
    }

    /// The content of the next element if it has this tag, and otherwise nothing of what is there.
    pub(crate) fn next_if(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        if self.0.peek_byte() == Some(tag) { self.next(tag).map(Some) } else { Some(None) }
    }

    /// A number that is not negative: big-endian, without leading zeros, as short as it can be (X.690 section 8.3.2).
    pub(crate) fn unsigned(&mut self) -> Option<&'a [u8]> {
        match self.next(INTEGER)? {
            number @ ([0] | [1..=0x7f, ..]) => Some(number),
            // A zero before a first byte that would be a sign
            [0, number @ ..] if number.first().is_some_and(|first| *first >= 0x80) => Some(number),
            _ => None,
        }
    }

    /// Whole bytes.
    pub(crate) fn bit_string(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next(tag)?.strip_prefix(&[0])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_finished()
    }

    /// There is nothing more.
    pub(crate) fn end(self) -> Option<()> {
        self.is_empty().then_some(())
    }
}

/// The `AlgorithmIdentifier` of an algorithm's keys.
fn identifier(algorithm: Algorithm) -> Zeroizing<Vec<u8>> {
    let of_curve = |curve| {
        element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, &[EC_PUBLIC_KEY]), &element(OBJECT_IDENTIFIER, &[curve])])
    };
    match algorithm {
        Algorithm::Rs256 => element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, &[RSA_ENCRYPTION]), &element(NULL, &[])]),
        Algorithm::Es256 => of_curve(P256),
        Algorithm::Es384 => of_curve(P384),
        Algorithm::Es512 => of_curve(P521),
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
    // `version` 1 (RFC 5915 section 3)
    pkcs8(algorithm, &element(SEQUENCE, &[&element(INTEGER, &[&[1]]), &element(OCTET_STRING, &[number]), &public]))
}

fn spki(algorithm: Algorithm, key: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&identifier(algorithm), &element(BIT_STRING, &[&[0], key])]).to_vec()
}

fn pkcs8(algorithm: Algorithm, key: &[u8]) -> Zeroizing<Vec<u8>> {
    // `version` 0 (RFC 5958 section 2: v1)
    element(SEQUENCE, &[&element(INTEGER, &[&[0]]), &identifier(algorithm), &element(OCTET_STRING, &[key])])
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
    fn elements_have_the_one_form_that_der_gives_them() {
        let long = [&[SEQUENCE, 0x81, 0x80][..], &[0; 0x80]].concat();
        for (bytes, is_one) in [
            (&[SEQUENCE, 0][..], true),
            (&[SEQUENCE, 2, NULL, 0], true),
            (&long, true),
            (&[], false),
            (&[SEQUENCE], false),
            (&[OCTET_STRING, 0], false),
            (&[SEQUENCE, 1], false),
            (&[SEQUENCE, 0, 0], false),
            (&[SEQUENCE, 0x81, 0], false),
            (&[SEQUENCE, 0x82, 0, 0], false),
            (&[SEQUENCE, 0x80, 0, 0], false),
            (&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff], false),
            (&[SEQUENCE, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], false),
            (&[0x3f, 0x10, 0], false),
        ] {
            assert_eq!(Elements::of_sequence(bytes).is_some(), is_one, "{bytes:x?}");
        }
        for (content, number) in [
            (&[0][..], Some(&[0][..])),
            (&[1], Some(&[1])),
            (&[0x7f, 0xff], Some(&[0x7f, 0xff])),
            (&[0, 0x80], Some(&[0x80])),
            (&[], None),
            (&[0x80], None),
            (&[0, 0], None),
            (&[0, 0x7f], None),
            (&[0, 0, 0x80], None),
        ] {
            let bytes = element(INTEGER, &[content]);
            assert_eq!(Elements::of(&bytes).unwrap().unsigned(), number, "{content:x?}");
        }
        for (content, bytes) in
            [(&[0][..], Some(&[][..])), (&[0, 1], Some(&[1])), (&[], None), (&[1, 2], None), (&[8], None)]
        {
            let bits = element(BIT_STRING, &[content]);
            assert_eq!(Elements::of(&bits).unwrap().bit_string(BIT_STRING), bytes, "{content:x?}");
        }
        let two = [NULL, 0, OCTET_STRING, 1, 7];
        let mut elements = Elements::of(&two).unwrap();
        assert_eq!(elements.next_if(OCTET_STRING), Some(None));
        assert_eq!((elements.next_if(NULL), elements.is_empty()), (Some(Some(&[][..])), false));
        assert_eq!((elements.next_if(OCTET_STRING), elements.is_empty()), (Some(Some(&[7][..])), true));
        assert_eq!((elements.next_if(NULL), elements.next(NULL)), (Some(None), None));
        // One that is not as it should be is not taken for one that is not there.
        assert_eq!(Elements::of(&[NULL, 1]).unwrap().next_if(NULL), None);
    }

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
            let ours = VerifyingKey::from_point(Algorithm::Es512, &point).unwrap();
            assert_eq!(ours.spki_der(), key.to_public_key_der().unwrap().as_bytes());
        }
    }
}
