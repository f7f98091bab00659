//! Private keys written down number by number, so that some of the numbers can be wrong: libraries write no such files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::BoxedUint;
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};

/// Object identifiers of RFC 5480 section 2.1.1.1 and SEC 2, encoded
pub const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
pub const SECP256K1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x0a];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// The order of the group of P-256 (FIPS 186-4 appendix D.1.2.3)
pub const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// RSAPrivateKey of RFC 8017 appendix A.1.2, after its version: n e d p q dP dQ qInv
#[derive(Clone)]
pub struct Rsa {
    numbers: [Vec<u8>; 8],
    third_prime: bool,
}

#[derive(Clone, Copy)]
pub enum Part {
    PrivateExponent = 2,
    Prime1 = 3,
    Prime2 = 4,
    Exponent1 = 5,
    Exponent2 = 6,
    Coefficient = 7,
}

impl Rsa {
    pub fn of(key: &rsa::PrivateKey) -> Self {
        let bytes = |number: &BoxedUint| number.to_be_bytes_trimmed_vartime().to_vec();
        let [p, q] = [&key.primes()[0], &key.primes()[1]];
        let numbers = [
            key.n_bytes().to_vec(),
            key.e_bytes().to_vec(),
            bytes(key.d()),
            bytes(p),
            bytes(q),
            bytes(key.dp().unwrap()),
            bytes(key.dq().unwrap()),
            bytes(&key.crt_coefficient().unwrap()),
        ];
        Self { numbers, third_prime: false }
    }

    /// With one bit of one number turned.
    pub fn with_changed(&self, part: Part) -> Self {
        let mut changed = self.clone();
        let number = &mut changed.numbers[part as usize];
        let middle = number.len() / 2;
        number[middle] ^= 4;
        changed
    }

    pub fn with_modulus_of(&self, other: &Self) -> Self {
        let mut changed = self.clone();
        changed.numbers[0].clone_from(&other.numbers[0]);
        changed
    }

    pub fn with_a_third_prime(&self) -> Self {
        Self { third_prime: true, ..self.clone() }
    }

    /// As PKCS#8.
    pub fn pem(&self) -> String {
        private_key_info(RSA_ENCRYPTION, &value(0x05, &[]), &self.private(), None)
    }

    /// As PKCS#8 of version 2, which gives the public key of `other` beside this private one.
    pub fn pem_beside_public_of(&self, other: &Self) -> String {
        let [n, e] = [&other.numbers[0], &other.numbers[1]].map(|number| integer(number));
        // RSAPublicKey of RFC 8017 appendix A.1.1
        private_key_info(RSA_ENCRYPTION, &value(0x05, &[]), &self.private(), Some(&sequence(&[n, e])))
    }

    fn private(&self) -> Vec<u8> {
        let version = integer(&[u8::from(self.third_prime)]);
        let numbers = self.numbers.iter().map(|number| integer(number));
        let mut members: Vec<Vec<u8>> = std::iter::once(version).chain(numbers).collect();
        if self.third_prime {
            // OtherPrimeInfo: r d t
            members.push(sequence(&[sequence(&[integer(&[17]), integer(&[1]), integer(&[1])])]));
        }
        sequence(&members)
    }
}

/// ECPrivateKey of RFC 5915 section 3
pub struct Ec {
    pub curve: &'static [u8],
    pub scalar: Vec<u8>,
    pub point: Vec<u8>,
}

impl Ec {
    /// As PKCS#8.
    pub fn pem(&self) -> String {
        private_key_info(EC_PUBLIC_KEY, &value(0x06, self.curve), &self.private(), None)
    }

    /// As PKCS#8 of version 2, which gives that public point beside this private key.
    pub fn pem_beside_public(&self, point: &[u8]) -> String {
        private_key_info(EC_PUBLIC_KEY, &value(0x06, self.curve), &self.private(), Some(point))
    }

    fn private(&self) -> Vec<u8> {
        let public = value(0xa1, &bit_string(0x03, &self.point));
        sequence(&[integer(&[1]), value(0x04, &self.scalar), public])
    }
}

/// The public point of a scalar, uncompressed.
pub fn p256_point(scalar: &[u8]) -> Vec<u8> {
    p256::SecretKey::from_slice(scalar).unwrap().public_key().to_sec1_bytes().to_vec()
}

/// OneAsymmetricKey of RFC 5958 section 2; with a public key beside the private one it is of version 2.
fn private_key_info(algorithm: &[u8], parameters: &[u8], key: &[u8], public: Option<&[u8]>) -> String {
    let algorithm = sequence(&[value(0x06, algorithm), parameters.to_vec()]);
    let mut members = vec![integer(&[u8::from(public.is_some())]), algorithm, value(0x04, key)];
    members.extend(public.map(|public| bit_string(0x81, public)));
    let der = sequence(&members);
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

fn sequence(members: &[Vec<u8>]) -> Vec<u8> {
    value(0x30, &members.concat())
}

fn bit_string(tag: u8, content: &[u8]) -> Vec<u8> {
    value(tag, &[&[0], content].concat())
}

fn integer(number: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if number[0] >= 0x80 { &[0] } else { &[] };
    value(0x02, &[sign, number].concat())
}

/// Tag, length and content (X.690 section 8.1).
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        length @ 0..0x80 => vec![u8::try_from(length).unwrap()],
        length @ 0x80..0x100 => vec![0x81, u8::try_from(length).unwrap()],
        length => [&[0x82], &u16::try_from(length).unwrap().to_be_bytes()[..]].concat(),
    };
    [&[tag], &length[..], content].concat()
}
