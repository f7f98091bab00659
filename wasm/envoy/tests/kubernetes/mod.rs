//! What is around the filter: a cluster whose service accounts have tokens, and our signing key.
#![allow(
    dead_code,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "shared by test programs, each of which uses a part"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::SecretKey;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use serde_json::{Value, json};

use crate::fake_envoy::{Answer, Envoy};

pub const KEYS: &str = "kubernetes";
pub const SIGNING_KEYS: &str = "signing_keys";
const KID: &str = "cluster-key";

/// A configuration that takes keys from the clusters above, but for what `edit` does to it.
pub fn configuration(edit: impl FnOnce(&mut Value)) -> String {
    let mut configuration = json!({
        "issuer": "https://reissuer.example.com",
        "audiences": ["sts.amazonaws.com"],
        "read_forms": true,
        "limits": { "worker_percent": 100 },
        "signing_keys": { "from": { "envoy_cluster": SIGNING_KEYS } },
        "trusted_issuers": [{
            "name": "kubernetes",
            "issuer": "https://kubernetes.default.svc.cluster.local",
            "audiences": ["jwt-reissuer"],
            "jwks": { "envoy_cluster": KEYS, "authority": "kubernetes.default.svc" }
        }]
    });
    edit(&mut configuration);
    configuration.to_string()
}

/// An Envoy with that configuration and no keys yet.
pub fn cold() -> Envoy {
    Envoy::with(&configuration(|_| {}))
}

/// An Envoy whose filter has fetched all its keys.
pub fn warm() -> Envoy {
    let envoy = cold();
    envoy.tick();
    fetch(&envoy);
    envoy
}

/// Both callouts are answered as they should be.
pub fn fetch(envoy: &Envoy) {
    envoy.answer(SIGNING_KEYS, Answer::of("200", signing_key_pem()));
    envoy.answer(KEYS, Answer::of("200", jwks()));
}

/// A service account's token that the API server signed now, for an hour.
pub fn token() -> String {
    token_of(KID)
}

/// A token that says it was signed by the key of that id.
pub fn token_of(kid: &str) -> String {
    token_with(kid, "subject")
}

/// Another token for each number.
pub fn token_number(number: usize) -> String {
    token_with(KID, &format!("subject {number}"))
}

fn token_with(kid: &str, jti: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = json!({ "alg": "ES256", "kid": kid });
    let claims = json!({
        "iss": "https://kubernetes.default.svc.cluster.local",
        "sub": "system:serviceaccount:payments:ledger",
        "aud": ["jwt-reissuer"],
        "iat": now, "nbf": now, "exp": now + 3600,
        "jti": jti,
        "kubernetes.io": { "namespace": "payments", "serviceaccount": { "name": "ledger", "uid": "u" } },
    });
    let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature: Signature = api_server().sign(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// The API server's key set.
pub fn jwks() -> String {
    let point = VerifyingKey::from(&api_server()).to_sec1_point(false);
    let [x, y] = [1..33, 33..65].map(|range| URL_SAFE_NO_PAD.encode(&point.as_bytes()[range]));
    json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KID, "x": x, "y": y }] })
        .to_string()
}

/// Our signing key, as it comes out of the secret.
pub fn signing_key_pem() -> String {
    SecretKey::from_slice(&[7; 32]).unwrap().to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

/// The claims of an issued token, whose signature is checked.
pub fn claims_of(issued: &str) -> Value {
    let segments: Vec<&str> = issued.split('.').collect();
    let [header, claims, signature] = segments.as_slice() else { panic!("not three segments: {issued}") };
    let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let ours = SigningKey::from_slice(&[7; 32]).unwrap();
    ours.verifying_key().verify(format!("{header}.{claims}").as_bytes(), &signature).expect("signed by our key");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

fn api_server() -> SigningKey {
    SigningKey::from_slice(&[9; 32]).unwrap()
}
