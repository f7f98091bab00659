//! Cases X: keys and configurations. All but a fault while signing are refused at the start, with the reason.

use std::cell::Cell;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20::rand_core::SeedableRng as _;
use jwt_reissuer::crypto::{BadSignature, Crypto, Rng, SigningFailed, SigningKey, SoftwareCrypto, VerifyingKey};
use jwt_reissuer::event::Event;
use jwt_reissuer::{Config, Reissuer};
use p256::elliptic_curve::bigint::Resize as _;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use serde_json::{Value, json};

use crate::der;
use crate::scenario::{BEGINNING, OUR_HOST, Scenario, keys};
use crate::{same, status_now, status_of, unknown};

// What openssl writes; see the files' README.
const CERTIFICATE: &str = include_str!("files/certificate.pem");
const ENCRYPTED_PEM: &str = include_str!("files/encrypted_pkcs8.pem");
const ENCRYPTED_DER: &[u8] = include_bytes!("files/encrypted_pkcs8.der");
const ENCRYPTED_TRADITIONAL_PEM: &str = include_str!("files/encrypted_traditional.pem");

fn start(keyring: &str) -> Result<Reissuer, String> {
    start_with(Box::new(SoftwareCrypto), |config| {
        config["signing_keys"]["from"] = json!({ "dangerous_inline": keyring })
    })
}

fn start_with(crypto: Box<dyn Crypto>, edit: impl FnOnce(&mut Value)) -> Result<Reissuer, String> {
    let mut config = json!({
        "issuer": format!("https://{OUR_HOST}"),
        "audiences": ["sts.amazonaws.com"],
        "signing_keys": { "from": { "dangerous_inline": keys()[1] } },
        "trusted_issuers": [{
            "name": "prod", "issuer": "https://kubernetes.default.svc", "audiences": ["jwt-reissuer"],
            "jwks": { "envoy_cluster": "kubernetes", "authority": "kubernetes.default.svc" }
        }]
    });
    edit(&mut config);
    let config = Config::from_json(config.to_string().as_bytes(), &|_| None).map_err(|error| error.to_string())?;
    Reissuer::new(config, crypto, [3; 32], BEGINNING).map_err(|error| error.to_string())
}

fn refused(start: Result<Reissuer, String>, reason: &str) -> Result<(), String> {
    match start {
        Ok(_) => Err("taken".into()),
        Err(error) if error.contains(reason) => Ok(()),
        Err(error) => Err(format!("{error:?} does not say {reason:?}")),
    }
}

pub fn no_usable_key(given: &str, expect: &Value) -> Result<(), String> {
    same("expectation", expect, &json!({ "start": "refused", "default_key": "none exists" }))?;
    let [one, two] = keys();
    let public = rsa_key(1).as_public_key().to_public_key_pem(Default::default()).unwrap();
    match given {
        "key absent" => {
            let absent = |config: &mut Value| drop(config.as_object_mut().unwrap().remove("signing_keys"));
            refused(start_with(Box::new(SoftwareCrypto), absent), "signing_keys: is missing")
        }
        "empty" => {
            ["", "\n"].into_iter().try_for_each(|nothing| refused(start(nothing), "empty: the secret is not there yet"))
        }
        "public PEM" => refused(start(&public), "has no private key"),
        "certificate" => [&one.replace("PRIVATE KEY", "CERTIFICATE"), CERTIFICATE]
            .into_iter()
            .try_for_each(|certificate| refused(start(certificate), "is a PEM of CERTIFICATE")),
        "encrypted PEM" => {
            let relabelled = one.replace("PRIVATE", "ENCRYPTED PRIVATE");
            let der = STANDARD.encode(ENCRYPTED_DER);
            for (form, key) in [
                ("another label", relabelled.as_str()),
                ("PKCS#8", ENCRYPTED_PEM),
                ("traditional", ENCRYPTED_TRADITIONAL_PEM),
                ("DER", &der),
            ] {
                refused(start(key), "encrypted").map_err(|saw| format!("{form}: {saw}"))?;
            }
            Ok(())
        }
        "two keys in one PEM" => refused(start(&format!("{one}{two}")), "holds more than one key"),
        _ => unknown(given),
    }
}

fn rsa_key(seed: u8) -> rsa::PrivateKey {
    rsa::PrivateKey::new(&mut Rng::from_seed([seed; 32]), 2048).unwrap()
}

pub fn bad_key(given: &str, expect: &Value) -> Result<(), String> {
    same("expectation", expect, &json!({ "start": "refused" }))?;
    let generated = |bits, exponent: u32| {
        let exponent = rsa::BoxedUint::from(exponent);
        rsa::PrivateKey::new_with_exp(&mut Rng::from_seed([9; 32]), bits, exponent).unwrap()
    };
    let pem = |key: &rsa::PrivateKey| key.to_pkcs8_pem(Default::default()).unwrap().to_string();
    let whole = der::Rsa::of(&rsa_key(5));
    // As the good ones of the kind are taken, it is the fault that is refused.
    start(&whole.pem()).map(drop).map_err(|error| format!("the key before it was broken: {error}"))?;
    let p256 =
        |scalar: &[u8; 32]| der::Ec { curve: der::P256, scalar: scalar.to_vec(), point: der::p256_point(&[7; 32]) };
    start(&p256(&[7; 32]).pem()).map(drop).map_err(|error| format!("the key before it was broken: {error}"))?;
    match given {
        "RSA 1024" => refused(start(&pem(&generated(1024, 65_537))), "an RSA key of 1024 bits; 2048 to 8192 are taken"),
        "RSA 2047" => refused(start(&pem(&generated(2047, 65_537))), "an RSA key of 2047 bits; 2048 to 8192 are taken"),
        "e=3" => refused(start(&pem(&generated(2048, 3))), "an RSA public exponent that is even, under 65537"),
        "multi-prime RSA" => refused(start(&whole.with_a_third_prime().pem()), "an RSA key of more than two primes"),
        "dp/dq/qinv inconsistent" => {
            for part in [der::Part::Exponent1, der::Part::Exponent2, der::Part::Coefficient] {
                refused(start(&whole.with_changed(part).pem()), "whose numbers do not belong together")?;
            }
            Ok(())
        }
        "n != p*q" => {
            for part in [der::Part::Prime1, der::Part::Prime2, der::Part::PrivateExponent] {
                refused(start(&whole.with_changed(part).pem()), "whose numbers do not belong together")?;
            }
            let other = der::Rsa::of(&rsa_key(6));
            refused(start(&whole.with_modulus_of(&other).pem()), "whose numbers do not belong together")
        }
        "secp256k1" => {
            let other = der::Ec { curve: der::SECP256K1, ..p256(&[7; 32]) };
            refused(start(&other.pem()), "a key of another curve than P-256 and P-384")
        }
        "EC scalar 0 or >= n" => {
            refused(start(&p256(&[0; 32]).pem()), "whose numbers do not belong together")?;
            refused(start(&p256(&der::P256_ORDER).pem()), "whose numbers do not belong together")?;
            refused(start(&p256(&[0xff; 32]).pem()), "whose numbers do not belong together")
        }
        "public point not d*G" => refused(start(&p256(&[8; 32]).pem()), "whose numbers do not belong together"),
        _ => unknown(given),
    }
}

pub fn keys_that_do_not_agree(given: &str, expect: &Value) -> Result<(), String> {
    same("expectation", expect, &json!({ "start": "refused" }))?;
    let public = rsa_key(1).as_public_key().to_public_key_pem(Default::default()).unwrap();
    let keyring = |keys: Value| start(&STANDARD.encode(json!({ "keys": keys }).to_string()));
    match given {
        "JWKS entry that does not match the private key" => {
            // Our JWKS is computed from the private key, but a file of PKCS#8 version 2 brings a public key of its own.
            let (rsa, other_rsa) = (der::Rsa::of(&rsa_key(5)), der::Rsa::of(&rsa_key(6)));
            let (point, other_point) = (der::p256_point(&[7; 32]), der::p256_point(&[8; 32]));
            let ec = der::Ec { curve: der::P256, scalar: vec![7; 32], point: point.clone() };
            for agreeing in [rsa.pem_beside_public_of(&rsa), ec.pem_beside_public(&point)] {
                start(&agreeing).map_err(|error| format!("a pair that agrees: {error}"))?;
            }
            for contradicting in [rsa.pem_beside_public_of(&other_rsa), ec.pem_beside_public(&other_point)] {
                refused(start(&contradicting), "numbers do not belong together")?;
                let entry = keyring(json!([{ "private_key": contradicting }]));
                refused(entry, "numbers do not belong together")?;
            }
            // Nor has an entry of our own document room for a public key beside the private one.
            refused(
                keyring(json!([{ "private_key": keys()[1], "public_key": public }])),
                "keys[0]: takes exactly one of private_key, public_key",
            )
        }
        "two entries, one kid" => refused(
            keyring(json!([{ "private_key": keys()[1], "kid": "a" }, { "public_key": public, "kid": "a" }])),
            "keys[1].kid: is the kid of an earlier key",
        ),
        _ => unknown(given),
    }
}

pub fn bad_configuration(given: &str, expect: &Value) -> Result<(), String> {
    same("expectation", expect, &json!({ "start": "refused" }))?;
    let host = "must have a host name in lower case";
    let (member, value, reason) = match given {
        "issuer http://" => {
            ("issuer", json!("http://reissuer.example.com"), "must be an https URL; http is for a loopback host alone")
        }
        "issuer with query" => {
            ("issuer", json!("https://reissuer.example.com?x=1"), "must have no query and no fragment")
        }
        "fragment" => ("issuer", json!("https://reissuer.example.com#x"), "must have no query and no fragment"),
        "userinfo" => ("issuer", json!("https://user@reissuer.example.com"), host),
        "trailing slash" => ("issuer", json!("https://reissuer.example.com/"), "must not end with a slash"),
        "dot segment" => {
            let reason = "must have no empty, . or .. segment in its path";
            ("issuer", json!("https://reissuer.example.com/a/../b"), reason)
        }
        "> 255 chars" => {
            // All else about it is right: with one character less it is taken.
            start_with_member("issuer", json!(issuer_of_length(255))).map_err(|error| format!("255: {error}"))?;
            ("issuer", json!(issuer_of_length(256)), "must not be longer than 255 characters")
        }
        "non-ASCII host" => ("issuer", json!("https://r\u{e9}issuer.example.com"), host),
        "audiences []" => ("audiences", json!([]), "must not be empty"),
        "ttl 0" => ("ttl", json!("0s"), "must be from 1m to 12h"),
        "ttl > 12 h" => ("ttl", json!("43201s"), "must be from 1m to 12h"),
        "unknown config member" => {
            let reason =
                concat!("is not a setting of version ", env!("CARGO_PKG_VERSION"), "; a later version may know it");
            ("unknown", json!(true), reason)
        }
        _ => unknown(given),
    };
    match start_with_member(member, value) {
        Ok(_) => Err("taken".into()),
        Err(error) => same("refused", error, format!("{member}: {reason}")),
    }
}

fn start_with_member(member: &str, value: Value) -> Result<Reissuer, String> {
    start_with(Box::new(SoftwareCrypto), |config| config[member] = value)
}

/// An issuer as good as any, of so many characters.
fn issuer_of_length(length: usize) -> String {
    let root = format!("https://{OUR_HOST}/");
    format!("{root}{}", "a".repeat(length - root.len()))
}

/// Signs as a processor with a fault in one half of the Chinese remainder does, when it is told to: right modulo one prime of
/// `keys()[1]`, wrong modulo the other.
struct Faulty {
    /// The prime modulo which it is right
    right: usize,
    broken: Rc<Cell<bool>>,
}

impl Crypto for Faulty {
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        SoftwareCrypto.verify(key, message, signature)
    }

    fn sign(&self, key: &SigningKey, message: &[u8], rng: &mut Rng) -> Result<Vec<u8>, SigningFailed> {
        let signature = SoftwareCrypto.sign(key, message, rng)?;
        Ok(if self.broken.get() { self.spoilt(&signature) } else { signature })
    }
}

impl Faulty {
    fn spoilt(&self, signature: &[u8]) -> Vec<u8> {
        let private = rsa::PrivateKey::from_pkcs8_pem(&keys()[1]).unwrap();
        let modulus = private.n().as_ref();
        let step = private.primes()[self.right].as_ref().clone().resize(modulus.bits_precision());
        let signature = rsa::BoxedUint::from_be_slice(signature, modulus.bits_precision()).unwrap();
        let wrong = signature.wrapping_add(&step);
        // Below 2^2048, or wrapped: either way the same remainder.
        let wrong = if wrong < step || wrong >= *modulus { wrong.wrapping_sub(modulus) } else { wrong };
        wrong.to_be_bytes().to_vec()
    }
}

pub fn failing_self_test(_: &str, expect: &Value) -> Result<(), String> {
    same("expectation", expect, &json!({ "start": "refused" }))?;
    for right in [0, 1] {
        let faulty = Faulty { right, broken: Rc::new(Cell::new(true)) };
        refused(start_with(Box::new(faulty), |_| ()), "the self-test failed")?;
    }
    Ok(())
}

pub fn fault_while_signing(_: &str, expect: &Value) -> Result<(), String> {
    same("signing", expect["signing"].as_str(), Some("latched off until restart"))?;
    for right in [0, 1] {
        let broken = Rc::new(Cell::new(false));
        let mut scenario = Scenario::with(Box::new(Faulty { right, broken: Rc::clone(&broken) }), |_| ());
        same("before", status_now(&mut scenario, "cluster-key"), 200)?;
        scenario.events();
        broken.set(true);
        // One that has not been reissued before.
        let token = scenario.token("cluster-key", |claims| claims["jti"] = "another".into());
        let response = scenario.reissue("/reissue", &token);
        status_of(&response, expect)?;
        let released = response.body.windows(2).any(|text| text == b"ey");
        same("a token in the answer", json!(released), expect["token_released"].clone())?;
        same("the alarm", scenario.events().contains(&Event::SigningLatched), true)?;
        broken.set(false);
        same("after", json!(status_now(&mut scenario, "cluster-key")), expect["status"].clone())?;
    }
    Ok(())
}
