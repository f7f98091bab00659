//! What is refused of a key, wherever it comes from, with the reason compared whole; and the files that keys come in.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod scenario;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20::rand_core::SeedableRng as _;
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use der::{Encode as _, Tag};
use jwt_reissuer::crypto::{Algorithm, KeyError, Rng, SigningKey, VerifyingKey};
use jwt_reissuer::http::Serve;
use jwt_reissuer::keyring::Keyring;
use p256::pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfo};
use rsa::pkcs1::{EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _};
use scenario::terms;
use sec1::{EcParameters, EcPrivateKey};
use serde_json::Value;

const BOTH: Serve = Serve { documents: true, tokens: true };

const RSA: ObjectIdentifier = rsa::pkcs1::ALGORITHM_OID;
const EC: ObjectIdentifier = p256::elliptic_curve::ALGORITHM_OID;
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
const PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

const NO_NULL: KeyError = KeyError::Malformed("an RSA key with parameters, where NULL has to be");
const NO_CURVE: KeyError = KeyError::Malformed("an elliptic-curve private key that does not name its curve");
const OTHER_CURVE: KeyError = KeyError::Malformed("a key of another curve than P-256 and P-384");
const OTHER_LENGTH: KeyError = KeyError::Malformed("an elliptic-curve private key that is not as long as its curve's");

fn rsa_key(seed: u8) -> rsa::PrivateKey {
    rsa::PrivateKey::new(&mut Rng::from_seed([seed; 32]), 2048).unwrap()
}

fn oid(oid: &ObjectIdentifier) -> Option<AnyRef<'_>> {
    Some(AnyRef::new(Tag::ObjectIdentifier, oid.as_bytes()).unwrap())
}

fn pkcs8(
    algorithm: ObjectIdentifier,
    parameters: Option<AnyRef<'_>>,
    key: &[u8],
    public: Option<&[u8]>,
) -> Result<Algorithm, KeyError> {
    let algorithm = AlgorithmIdentifierRef { oid: algorithm, parameters };
    let mut info = pkcs8::PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(key).unwrap());
    info.public_key = public.map(|public| BitStringRef::from_bytes(public).unwrap());
    SigningKey::from_pkcs8_der(&info.to_der().unwrap()).map(|key| key.public().algorithm())
}

fn spki(algorithm: ObjectIdentifier, parameters: Option<AnyRef<'_>>, key: &[u8]) -> Result<Algorithm, KeyError> {
    let algorithm = AlgorithmIdentifierRef { oid: algorithm, parameters };
    let info = SubjectPublicKeyInfo { algorithm, subject_public_key: BitStringRef::from_bytes(key).unwrap() };
    VerifyingKey::from_spki_der(&info.to_der().unwrap()).map(|key| key.algorithm())
}

fn sec1(scalar: &[u8], curve: Option<ObjectIdentifier>, point: Option<&[u8]>) -> Vec<u8> {
    let parameters = curve.map(EcParameters::NamedCurve);
    EcPrivateKey { private_key: scalar, parameters, public_key: point }.to_der().unwrap()
}

#[test]
fn an_rsa_key_in_pkcs8_has_null_parameters_and_the_public_half_that_belongs_to_it() {
    let (key, other) = (rsa_key(1), rsa_key(2));
    let der = key.to_pkcs1_der().unwrap();
    let [public, others] = [&key, &other].map(|key| key.as_public_key().to_pkcs1_der().unwrap().as_bytes().to_vec());
    let sequence = AnyRef::new(Tag::Sequence, &[]).unwrap();
    let pkcs8 = |parameters, public: Option<&[u8]>| pkcs8(RSA, parameters, der.as_bytes(), public);
    assert_eq!(pkcs8(Some(AnyRef::NULL), None), Ok(Algorithm::Rs256));
    assert_eq!(pkcs8(Some(AnyRef::NULL), Some(&public)), Ok(Algorithm::Rs256));
    assert_eq!(pkcs8(None, None), Err(NO_NULL));
    assert_eq!(pkcs8(Some(sequence), None), Err(NO_NULL));
    assert_eq!(pkcs8(oid(&P256), None), Err(NO_NULL));
    assert_eq!(pkcs8(Some(AnyRef::NULL), Some(&others)), Err(KeyError::Inconsistent));
    assert_eq!(pkcs8(Some(AnyRef::NULL), Some(&[1, 2, 3])), Err(KeyError::Malformed("not a public key")));
}

#[test]
fn an_elliptic_curve_key_in_pkcs8_is_one_of_the_curve_that_is_named() {
    let key = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let point = key.public_key().to_sec1_bytes();
    let other = p256::SecretKey::from_slice(&[8; 32]).unwrap().public_key().to_sec1_bytes();
    let plain = sec1(&[7; 32], None, None);
    let p256 = |key: &[u8], public: Option<&[u8]>| pkcs8(EC, oid(&P256), key, public);
    assert_eq!(p256(&plain, None), Ok(Algorithm::Es256));
    assert_eq!(p256(&sec1(&[7; 32], Some(P256), Some(&point)), Some(&point)), Ok(Algorithm::Es256));
    assert_eq!(p256(&sec1(&[7; 32], None, Some(&other)), None), Err(KeyError::Inconsistent));
    assert_eq!(p256(&plain, Some(&other)), Err(KeyError::Inconsistent));
    assert_eq!(p256(&plain, Some(&[4; 65])), Err(KeyError::Inconsistent));
    // `openssl ec -conv_form compressed`
    let compressed = p256::elliptic_curve::sec1::ToSec1Point::to_sec1_point(&key.public_key(), true);
    let compressed = compressed.as_bytes();
    let inner = sec1(&[7; 32], Some(P256), Some(compressed));
    assert_eq!(p256(&inner, Some(compressed)), Ok(Algorithm::Es256));
    let sec1_file = |point: &[u8]| {
        SigningKey::from_sec1_der(&sec1(&[7; 32], Some(P256), Some(point))).map(|key| key.public().algorithm())
    };
    assert_eq!(sec1_file(compressed), Ok(Algorithm::Es256));
    let other_half = [&[compressed[0] ^ 1], &compressed[1..]].concat();
    for wrong in [&other_half[..], &compressed[..32], &[compressed, &[0]].concat(), &[], &[0], &[5; 33]] {
        assert_eq!(sec1_file(wrong), Err(KeyError::Inconsistent), "{wrong:?}");
        assert_eq!(p256(&plain, Some(wrong)), Err(KeyError::Inconsistent), "{wrong:?}");
    }
    assert_eq!(p256(&sec1(&[7; 32], Some(P384), None), None), Err(KeyError::Inconsistent));
    assert_eq!(p256(&sec1(&[7; 24], None, None), None), Err(OTHER_LENGTH));
    assert_eq!(p256(&sec1(&[7; 48], None, None), None), Err(OTHER_LENGTH));
    assert_eq!(p256(&[0x30, 0], None), Err(KeyError::Malformed("not an elliptic-curve private key")));
    assert_eq!(pkcs8(EC, oid(&P384), &sec1(&[7; 48], None, None), None), Ok(Algorithm::Es384));
    assert_eq!(pkcs8(EC, oid(&P384), &plain, None), Err(OTHER_LENGTH));
    assert_eq!(pkcs8(EC, oid(&SECP256K1), &plain, None), Err(OTHER_CURVE));
    let unnamed = KeyError::Malformed("an elliptic-curve key that does not name its curve");
    assert_eq!(pkcs8(EC, None, &plain, None), Err(unnamed));
    let neither = KeyError::Malformed("neither an RSA key for signatures of PKCS#1 v1.5, nor an elliptic-curve key");
    assert_eq!(pkcs8(PSS, Some(AnyRef::NULL), rsa_key(1).to_pkcs1_der().unwrap().as_bytes(), None), Err(neither));
}

#[test]
fn a_key_in_sec1_names_its_curve() {
    let read = |der: Vec<u8>| SigningKey::from_sec1_der(&der).map(|key| key.public().algorithm());
    assert_eq!(read(sec1(&[7; 32], Some(P256), None)), Ok(Algorithm::Es256));
    assert_eq!(read(sec1(&[7; 48], Some(P384), None)), Ok(Algorithm::Es384));
    assert_eq!(read(sec1(&[7; 32], None, None)), Err(NO_CURVE));
    assert_eq!(read(sec1(&[7; 32], Some(SECP256K1), None)), Err(OTHER_CURVE));
    assert_eq!(read(sec1(&[7; 32], Some(P384), None)), Err(OTHER_LENGTH));
    assert_eq!(read(sec1(&[7; 24], Some(P256), None)), Err(OTHER_LENGTH));
    assert_eq!(read(sec1(&[0; 32], Some(P256), None)), Err(KeyError::Inconsistent));
}

#[test]
fn a_key_in_pkcs1_is_read_and_one_with_bytes_after_it_is_not() {
    let der = rsa_key(1).to_pkcs1_der().unwrap();
    let read = |der: &[u8]| SigningKey::from_pkcs1_der(der).map(|key| key.public().algorithm());
    assert_eq!(read(der.as_bytes()), Ok(Algorithm::Rs256));
    assert_eq!(read(&[der.as_bytes(), &[0]].concat()), Err(KeyError::Malformed("not an RSA private key")));
}

#[test]
fn a_public_key_is_one_for_signatures_that_we_verify() {
    let rsa = rsa_key(1).as_public_key().to_pkcs1_der().unwrap().as_bytes().to_vec();
    let key = p256::SecretKey::from_slice(&[7; 32]).unwrap().public_key();
    let point = key.to_sec1_bytes();
    let compressed = p256::elliptic_curve::sec1::ToSec1Point::to_sec1_point(&key, true);
    assert_eq!(spki(RSA, Some(AnyRef::NULL), &rsa), Ok(Algorithm::Rs256));
    assert_eq!(spki(RSA, None, &rsa), Err(NO_NULL));
    assert_eq!(spki(EC, oid(&P256), &point), Ok(Algorithm::Es256));
    let refused = KeyError::Malformed("a compressed point of an elliptic curve; give it uncompressed");
    assert_eq!(spki(EC, oid(&P256), compressed.as_bytes()), Err(refused));
    for other in [&[][..], &[0], &[4], &[5; 65], &point[..64], &[&point[..], &[0]].concat()] {
        assert_eq!(spki(EC, oid(&P256), other), Err(KeyError::NotOnCurve), "{other:?}");
    }
    assert_eq!(spki(EC, oid(&SECP256K1), &point), Err(OTHER_CURVE));
    assert_eq!(spki(EC, oid(&P384), &point), Err(KeyError::NotOnCurve));
    let neither = KeyError::Malformed("neither an RSA key for signatures of PKCS#1 v1.5, nor an elliptic-curve key");
    assert_eq!(spki(PSS, Some(AnyRef::NULL), &rsa), Err(neither.clone()));
    assert_eq!(spki(PSS, None, &rsa), Err(neither));
}

#[test]
fn the_block_of_parameters_that_openssl_writes_before_a_key_is_passed_over() {
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n".to_string();
    let key = STANDARD.encode(sec1(&[7; 32], Some(P256), None));
    let (first, rest) = key.split_at(64);
    let key = format!("-----BEGIN EC PRIVATE KEY-----\n{first}\n{rest}\n-----END EC PRIVATE KEY-----\n");
    let read = |pem: String| {
        let keyring = Keyring::parse(pem.as_bytes(), &terms(BOTH));
        keyring.map(|keyring| keyring.timetable().phases()[0].published.len()).map_err(|error| error.to_string())
    };
    assert_eq!(read(format!("{parameters}{key}")), Ok(1));
    assert_eq!(read(format!("{parameters}{key}{key}")), Err("holds more than one key".into()));
    assert!(read(parameters.clone()).is_err() && read(format!("{parameters}{parameters}")).is_err());
    assert_eq!(read(format!("{parameters}{parameters}{key}")), Err("holds more than one key".into()));
}

#[test]
fn an_encrypted_key_is_called_one() {
    let parameters = AlgorithmIdentifierRef { oid: "1.2.840.113549.1.5.13".parse().unwrap(), parameters: None };
    let ciphertext = OctetStringRef::new(&[7; 160]).unwrap();
    let content = [parameters.to_der().unwrap(), ciphertext.to_der().unwrap()].concat();
    let der = AnyRef::new(Tag::Sequence, &content).unwrap().to_der().unwrap();
    assert_eq!(SigningKey::from_pkcs8_der(&der).map(|_| ()), Err(KeyError::Encrypted));
    let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,AA\n\nAAAA\n";
    for document in [STANDARD.encode(&der), traditional.into(), STANDARD.encode(traditional)] {
        let keyring = Keyring::parse(document.as_bytes(), &terms(BOTH));
        assert_eq!(keyring.err().unwrap().to_string(), "is an encrypted key; give it unencrypted");
    }
    assert_eq!(SigningKey::from_pkcs8_der(&der[..9]).map(|_| ()), Err(KeyError::Malformed("not PKCS#8")));
}

#[test]
fn a_weak_rsa_key_is_refused_with_its_weakness() {
    let read = |n: &[u8], e: &[u8]| VerifyingKey::from_rsa(n, e).map(|key| key.algorithm());
    let of_bits = |bits: usize| {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] >>= n.len() * 8 - bits;
        n
    };
    let usual = [1, 0, 1];
    for bits in [2048, 8192] {
        assert_eq!(read(&of_bits(bits), &usual), Ok(Algorithm::Rs256), "{bits}");
    }
    for bits in [1024, 2047, 8193, 16_384] {
        let expected = KeyError::RsaSize { bits: u32::try_from(bits).unwrap() };
        assert_eq!(read(&of_bits(bits), &usual), Err(expected), "{bits}");
    }
    let n = of_bits(2048);
    for e in [&[1][..], &[2], &[3], &[17], &[0xff, 0xff], &[1, 0, 0], &[1, 0, 2], &[2, 0, 0, 0, 1], &[1, 0, 0, 0, 0, 1]]
    {
        assert_eq!(read(&n, e), Err(KeyError::RsaExponent), "{e:?}");
    }
    assert_eq!(read(&n, &[1, 0xff, 0xff, 0xff, 0xff]), Ok(Algorithm::Rs256), "the largest of 33 bits");
    let leading = KeyError::Malformed("RSA modulus or exponent empty or with leading zeros");
    assert_eq!(read(&[&[0], &n[..]].concat(), &usual), Err(leading.clone()));
    assert_eq!(read(&n, &[0, 1, 0, 1]), Err(leading.clone()));
    assert_eq!(read(&n, &[]), Err(leading));
}

#[test]
fn a_key_of_the_roca_family_and_one_that_is_published_are_refused_as_such() {
    let file: Value = serde_json::from_str(include_str!("vectors/negative/jwks.json")).unwrap();
    let case = file["cases"].as_array().unwrap().iter().find(|case| case["id"] == "K17").unwrap();
    let jwks: Value = serde_json::from_str(case["raw"].as_str().unwrap()).unwrap();
    let numbers = |jwk: &Value| ["n", "e"].map(|name| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap());
    let refused = |[n, e]: [Vec<u8>; 2]| VerifyingKey::from_rsa(&n, &e).err();
    let mut refusals = jwks["keys"].as_array().unwrap().iter().map(|jwk| refused(numbers(jwk)));
    assert!(refusals.any(|refusal| refusal == Some(KeyError::Roca)));
    let published: Value = serde_json::from_str(include_str!("vectors/rfc7520/rsa_private_key.json")).unwrap();
    assert_eq!(refused(numbers(&published)), Some(KeyError::Published));
    let said = [KeyError::Roca, KeyError::Published].map(|error| error.to_string());
    assert!(said[0].contains("ROCA") && said[1].contains("published"), "{said:?}");
}

#[test]
fn nothing_of_the_workspace_asks_for_a_core_that_takes_published_keys() {
    // Cargo gives the core the features that any package of the workspace asks for, and its tests those of the core.
    const { assert!(!cfg!(feature = "dangerous-published-keys")) };
}
