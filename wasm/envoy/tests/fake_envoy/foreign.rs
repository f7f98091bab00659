//! Envoy's foreign functions `sign` and `verify_signature`, by RustCrypto in the place of BoringSSL: keys in DER, ECDSA
//! signatures too, hashes by name; what is wrong is said in the result, not by a status.

use std::collections::BTreeMap;

use p256::ecdsa::signature::{SignatureEncoding as _, Signer as _, Verifier as _};
use rsa::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use sha2::Sha256;

/// Gives a result for the fields of the arguments.
pub type Function = fn(&Fields) -> Vec<u8>;

/// Fields of bytes by their numbers.
pub type Fields = BTreeMap<u8, Vec<u8>>;

/// What an Envoy of 1.37 or later has.
pub const SIGNS_AND_VERIFIES: [(&str, Function); 2] = [("sign", sign), ("verify_signature", verify_signature)];
/// What one of 1.30 to 1.36 has.
pub const VERIFIES: [(&str, Function); 1] = [("verify_signature", verify_signature)];

/// As Envoy says it of a signature that is not good.
const NOT_GOOD: &str = "Failed to verify digest. Error code: 0";

pub fn sign(fields: &Fields) -> Vec<u8> {
    let (hash, key, text) = (fields[&1].as_slice(), fields[&2].as_slice(), fields[&3].as_slice());
    let signature = if let Ok(key) = rsa::PrivateKey::from_pkcs8_der(key) {
        (hash == b"sha256").then(|| rsa::pkcs1v15::SigningKey::<Sha256>::new(key).sign(text).to_vec())
    } else if let Ok(key) = p256::SecretKey::from_pkcs8_der(key) {
        let signature: p256::ecdsa::DerSignature = p256::ecdsa::SigningKey::from(key).sign(text);
        (hash == b"sha256").then(|| signature.as_bytes().to_vec())
    } else if let Ok(key) = p384::SecretKey::from_pkcs8_der(key) {
        let signature: p384::ecdsa::DerSignature = p384::ecdsa::SigningKey::from(key).sign(text);
        (hash == b"sha384").then(|| signature.as_bytes().to_vec())
    } else {
        None
    };
    signature.map_or_else(|| failed(3, "Failed to sign"), |signature| made(&signature))
}

pub fn verify_signature(fields: &Fields) -> Vec<u8> {
    let (hash, key) = (fields[&1].as_slice(), fields[&2].as_slice());
    let (signature, text) = (fields[&3].as_slice(), fields[&4].as_slice());
    let is_good = if let Ok(key) = rsa::PublicKey::from_public_key_der(key) {
        let key = rsa::pkcs1v15::VerifyingKey::<Sha256>::new(key);
        let signature = rsa::pkcs1v15::Signature::try_from(signature);
        hash == b"sha256" && signature.is_ok_and(|signature| key.verify(text, &signature).is_ok())
    } else if let Ok(key) = p256::PublicKey::from_public_key_der(key) {
        let signature = p256::ecdsa::DerSignature::try_from(signature);
        let key = p256::ecdsa::VerifyingKey::from(key);
        hash == b"sha256" && signature.is_ok_and(|signature| key.verify(text, &signature).is_ok())
    } else if let Ok(key) = p384::PublicKey::from_public_key_der(key) {
        let signature = p384::ecdsa::DerSignature::try_from(signature);
        let key = p384::ecdsa::VerifyingKey::from(key);
        hash == b"sha384" && signature.is_ok_and(|signature| key.verify(text, &signature).is_ok())
    } else if let Ok(key) = p521::PublicKey::from_public_key_der(key) {
        let signature = p521::ecdsa::DerSignature::try_from(signature);
        let key = p521::ecdsa::VerifyingKey::from(key);
        hash == b"sha512" && signature.is_ok_and(|signature| key.verify(text, &signature).is_ok())
    } else {
        return failed(2, "Failed to initialize digest verify.");
    };
    if is_good { vec![1 << 3, 1] } else { failed(2, NOT_GOOD) }
}

/// A verifier that takes everything.
pub fn verify_anything(_: &Fields) -> Vec<u8> {
    vec![1 << 3, 1]
}

/// A verifier that looks at no message.
pub fn verify_any_message(fields: &Fields) -> Vec<u8> {
    if verify_signature(fields) == [1 << 3, 1] || fields[&4] == b"another" {
        vec![1 << 3, 1]
    } else {
        failed(2, NOT_GOOD)
    }
}

/// A verifier that does not look at the last byte of a signature.
pub fn verify_any_end(fields: &Fields) -> Vec<u8> {
    let mut other = fields.clone();
    if let Some(last) = other.get_mut(&3).and_then(|signature| signature.last_mut()) {
        *last ^= 1;
    }
    if [fields, &other].into_iter().any(|fields| verify_signature(fields) == [1 << 3, 1]) {
        vec![1 << 3, 1]
    } else {
        failed(2, NOT_GOOD)
    }
}

/// A verifier whose refusals cannot be told from one another's reasons.
pub fn verify_chattily(fields: &Fields) -> Vec<u8> {
    if verify_signature(fields) == [1 << 3, 1] {
        vec![1 << 3, 1]
    } else {
        failed(2, &format!("not good: {:?}", fields[&3].last()))
    }
}

/// As Envoy says it of a key that it cannot read.
pub fn cannot_read(_: &Fields) -> Vec<u8> {
    failed(2, "Failed to initialize digest verify.")
}

/// A verifier that refuses everything.
pub fn verify_nothing(_: &Fields) -> Vec<u8> {
    failed(2, NOT_GOOD)
}

/// A signer whose signatures are none.
pub fn sign_wrongly(fields: &Fields) -> Vec<u8> {
    let mut result = sign(fields);
    if let Some(last) = result.last_mut() {
        *last ^= 1;
    }
    result
}

/// A signer that says that it has failed.
pub fn sign_nothing(_: &Fields) -> Vec<u8> {
    failed(3, "Failed to sign")
}

/// A function whose result is no message.
pub fn nonsense(_: &Fields) -> Vec<u8> {
    vec![0xff; 3]
}

/// One that gives an empty result, as for false and nothing.
pub fn nothing(_: &Fields) -> Vec<u8> {
    Vec::new()
}

fn made(signature: &[u8]) -> Vec<u8> {
    [&[1 << 3, 1][..], &field(2, signature)].concat()
}

fn failed(number: u8, why: &str) -> Vec<u8> {
    field(number, why.as_bytes())
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let prefix: &[u8] = if length < 0x80 {
        &[number << 3 | 2, length as u8]
    } else {
        &[number << 3 | 2, (length & 0x7f) as u8 | 0x80, (length >> 7) as u8]
    };
    [prefix, content].concat()
}

/// The fields of a message in which all are bytes.
pub fn fields(mut bytes: &[u8]) -> Fields {
    let mut fields = Fields::new();
    while let [key, rest @ ..] = bytes {
        assert_eq!(key & 7, 2, "a field of bytes");
        let (mut length, mut shift, mut rest) = (0_usize, 0, rest);
        loop {
            let [byte, after @ ..] = rest else { panic!("cut") };
            rest = after;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if *byte < 0x80 {
                break;
            }
        }
        let (content, after) = rest.split_at(length);
        assert!(fields.insert(key >> 3, content.to_vec()).is_none(), "a field twice");
        bytes = after;
    }
    fields
}
