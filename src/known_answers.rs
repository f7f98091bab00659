//! Known answers for the crypto that is in use: Wycheproof, RFC 7515, RFC 7520, RFC 7638. The keys of test vectors are
//! published, and so refused everywhere else.
#![allow(clippy::arithmetic_side_effects, clippy::print_stdout, reason = "tests")]

extern crate std;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use std::path::Path;
use std::println;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20::rand_core::SeedableRng as _;
use p256::pkcs8::DecodePrivateKey as _;
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use serde_json::Value;

use crate::crypto::{Algorithm, Crypto, Rng, SigningKey, SoftwareCrypto, VerifyingKey};
use crate::token::UnverifiedToken;

/// Every back end there is has to give the same answers.
fn back_ends() -> [(&'static str, &'static dyn Crypto); 1] {
    [("software", &SoftwareCrypto)]
}

fn vectors(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = text(value).as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn unsigned(mut number: Vec<u8>) -> Vec<u8> {
    while number.first() == Some(&0) {
        number.remove(0);
    }
    number
}

fn member(jwk: &Value, name: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text(&jwk[name])).unwrap()
}

/// The key of a JWK, published or not.
fn key_of(jwk: &Value) -> VerifyingKey {
    match text(&jwk["kty"]) {
        "RSA" => VerifyingKey::rsa(&member(jwk, "n"), &member(jwk, "e")).unwrap(),
        _ => {
            let is_its = |algorithm: &Algorithm| algorithm.key_type().1 == jwk["crv"].as_str();
            let algorithm = Algorithm::ALL.into_iter().find(is_its).unwrap();
            VerifyingKey::ec(algorithm, &member(jwk, "x"), &member(jwk, "y")).unwrap()
        }
    }
}

/// Whether a group's public exponent is one of those that we refuse.
fn has_small_exponent(group: &Value) -> bool {
    unsigned(hex(&group["publicKey"]["publicExponent"])).len() < 3
}

/// Runs every case of a file; `expected` says of a group and a case whether its signature is to be taken. Returns how many there were.
fn judge_all(
    file: &str,
    key: impl Fn(&Value) -> Option<VerifyingKey>,
    expected: impl Fn(&Value, &Value) -> bool,
) -> usize {
    let document = vectors(&format!("wycheproof/{file}_test.json"));
    let mut cases = 0;
    for group in list(&document["testGroups"]) {
        let key = key(group);
        for case in list(&group["tests"]) {
            for (name, crypto) in back_ends() {
                let verified =
                    key.as_ref().is_some_and(|key| crypto.verify(key, &hex(&case["msg"]), &hex(&case["sig"])).is_ok());
                assert_eq!(verified, expected(group, case), "{name}: {file} {}: {}", case["tcId"], case["comment"]);
            }
            cases += 1;
        }
    }
    assert_eq!(cases, document["numberOfTests"].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap());
    cases
}

fn rsa_key(group: &Value) -> Option<VerifyingKey> {
    let key = &group["publicKey"];
    VerifyingKey::rsa(&unsigned(hex(&key["modulus"])), &unsigned(hex(&key["publicExponent"]))).ok()
}

fn ec_key(group: &Value) -> Option<VerifyingKey> {
    let point = hex(&group["publicKey"]["uncompressed"]);
    let (x, y) = point[1..].split_at(point.len() / 2);
    let algorithm = match text(&group["publicKey"]["curve"]) {
        "secp256r1" => Algorithm::Es256,
        "secp384r1" => Algorithm::Es384,
        _ => Algorithm::Es512,
    };
    VerifyingKey::ec(algorithm, x, y).ok()
}

/// "acceptable" are signatures without the NULL that RFC 8017 appendix A.2.4 wants in the DigestInfo; we do not take them.
fn is_valid(case: &Value) -> bool {
    case["result"] == "valid"
}

#[test]
fn every_rsa_signature_of_wycheproof_is_judged_as_it_says() {
    let sizes = ["2048", "3072", "4096", "8192"];
    let cases: usize = sizes
        .into_iter()
        .map(|size| {
            let file = format!("rsa_signature_{size}_sha256");
            // The vectors have keys with a public exponent of 3 too, which we refuse as keys.
            judge_all(&file, rsa_key, |group, case| is_valid(case) && !has_small_exponent(group))
        })
        .sum();
    println!("vectors: Wycheproof, RSA PKCS#1 v1.5 with SHA-256: {cases} of {cases}");
}

#[test]
fn a_signature_is_taken_with_sha_256_and_no_other_hash() {
    let mut all = 0;
    for size in ["2048", "3072", "4096"] {
        for hash in ["sha384", "sha512"] {
            let file = format!("rsa_signature_{size}_{hash}");
            all += judge_all(&file, rsa_key, |_, case| text(&case["comment"]).contains("hashed with SHA-256 instead"));
        }
    }
    println!(
        "vectors: Wycheproof, RSA PKCS#1 v1.5 with SHA-384 and SHA-512, where SHA-256 alone is taken: {all} of {all}"
    );
}

#[test]
fn every_ecdsa_signature_of_wycheproof_is_judged_as_it_says() {
    let curves = ["secp256r1_sha256", "secp384r1_sha384", "secp521r1_sha512"];
    let cases: usize = curves
        .into_iter()
        .map(|curve| judge_all(&format!("ecdsa_{curve}_p1363"), ec_key, |_, case| is_valid(case)))
        .sum();
    println!("vectors: Wycheproof, ECDSA on P-256, P-384 and P-521: {cases} of {cases}");
}

#[test]
fn rsa_signatures_come_out_to_the_bit_and_small_keys_make_none() {
    let mut exact = 0;
    for size in ["1024", "2048", "3072", "4096"] {
        let document = vectors(&format!("wycheproof/rsa_pkcs1_{size}_sig_gen_test.json"));
        for group in list(&document["testGroups"]).iter().filter(|group| group["sha"] == "SHA-256") {
            let key = rsa::PrivateKey::from_pkcs8_der(&hex(&group["privateKeyPkcs8"]));
            let key = key.ok().and_then(|key| SigningKey::rsa(key.clone(), key.to_pkcs1_der().ok()?.as_bytes()).ok());
            let Some(key) = key else {
                assert!(size == "1024" || unsigned(hex(&group["privateKey"]["publicExponent"])).len() < 3, "{size}");
                continue;
            };
            for case in list(&group["tests"]) {
                for (name, crypto) in back_ends() {
                    let signature = crypto.sign(&key, &hex(&case["msg"]), &mut Rng::from_seed([1; 32])).unwrap();
                    assert_eq!(signature, hex(&case["sig"]), "{name}: {size} {}", case["tcId"]);
                }
                exact += 1;
            }
        }
    }
    assert!(exact > 10, "{exact}");
    println!("vectors: Wycheproof, RSA signatures made to the bit: {exact} of {exact}");
}

/// Key and compact form of each signed example.
fn examples() -> Vec<(Value, String)> {
    let document = vectors("rfc7515/appendix_a.json");
    let of_7515 = list(&document["cases"]).iter().filter(|case| case["expect"] == "valid");
    let mut examples: Vec<_> = of_7515.map(|case| (case["jwk"].clone(), text(&case["jws"]).to_string())).collect();
    for file in ["rfc7520/4_1.rsa_v15_signature.json", "rfc7520/4_3.ecdsa_signature.json"] {
        let example = vectors(file);
        examples.push((example["input"]["key"].clone(), text(&example["output"]["compact"]).to_string()));
    }
    examples
}

#[test]
fn the_examples_of_rfc_7515_and_rfc_7520_verify() {
    let examples = examples();
    assert_eq!(examples.len(), 5);
    for (jwk, jws) in &examples {
        let (message, signature) = jws.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for (name, crypto) in back_ends() {
            assert!(crypto.verify(&key_of(jwk), message.as_bytes(), &signature).is_ok(), "{name}: {jwk}");
        }
    }
    let unsecured = vectors("rfc7515/appendix_a.json")["cases"][3].clone();
    assert_eq!((text(&unsecured["id"]), text(&unsecured["expect"])), ("A.5", "invalid"));
    assert!(UnverifiedToken::parse(text(&unsecured["jws"]).as_bytes(), 8192).is_err());
    println!("vectors: RFC 7515 appendix A, RFC 7520 sections 4.1 and 4.3: {0} of {0}", examples.len() + 1);
}

#[test]
fn the_rsa_signatures_of_rfc_7515_and_rfc_7520_come_out_to_the_bit() {
    let of_7515 = vectors("rfc7515/appendix_a.json")["cases"][4]["private_jwk"].clone();
    let of_7520 = vectors("rfc7520/rsa_private_key.json");
    let jws = |place: usize| examples()[place].1.clone();
    for (jwk, jws) in [(of_7515, jws(0)), (of_7520, jws(3))] {
        let number = |name: &str| rsa::BoxedUint::from_be_slice_vartime(&member(&jwk, name));
        let primes = Vec::from([number("p"), number("q")]);
        let key = rsa::PrivateKey::from_components(number("n"), number("e"), number("d"), primes).unwrap();
        let key = SigningKey::rsa(key.clone(), key.to_pkcs1_der().unwrap().as_bytes()).unwrap();
        let (message, expected) = jws.rsplit_once('.').unwrap();
        for (name, crypto) in back_ends() {
            let signature = crypto.sign(&key, message.as_bytes(), &mut Rng::from_seed([1; 32])).unwrap();
            assert_eq!(URL_SAFE_NO_PAD.encode(signature), expected, "{name}");
        }
    }
    println!("vectors: RFC 7515 appendix A.2 and RFC 7520 section 4.1, signed to the bit: 2 of 2");
}

#[test]
fn a_changed_example_of_rfc_7515_or_rfc_7520_does_not_verify() {
    for (jwk, jws) in examples() {
        let (message, signature) = jws.rsplit_once('.').unwrap();
        let (key, mut signature) = (key_of(&jwk), URL_SAFE_NO_PAD.decode(signature).unwrap());
        for (name, crypto) in back_ends() {
            assert!(crypto.verify(&key, &message.as_bytes()[1..], &signature).is_err(), "{name}: {jwk}");
        }
        signature[7] ^= 1;
        for (name, crypto) in back_ends() {
            assert!(crypto.verify(&key, message.as_bytes(), &signature).is_err(), "{name}: {jwk}");
        }
    }
}

#[test]
fn the_thumbprint_of_rfc_7638_is_the_one_of_its_example() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn6\
             4tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbI\
             SD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let n = URL_SAFE_NO_PAD.decode(n.replace(char::is_whitespace, "")).unwrap();
    let key = VerifyingKey::rsa(&n, &[1, 0, 1]).unwrap();
    assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    println!("vectors: RFC 7638 section 3.1: 1 of 1");
}
