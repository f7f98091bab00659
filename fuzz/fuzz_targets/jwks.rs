//! A trusted issuer's JWKS, of any bytes: whatever comes out of it are keys that may be used.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_reissuer::crypto::{Algorithm, Crypto as _, SoftwareCrypto};
use jwt_reissuer::jwks::{KeySet, MAX_DOCUMENT, MAX_KEYS};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(set) = KeySet::parse(data) else { return };
    assert!(data.len() <= MAX_DOCUMENT);
    let document: Value = serde_json::from_slice(data).expect("strict JSON is JSON");
    let members = document["keys"].as_array().expect("a list of keys");
    assert!(!members.is_empty() && members.len() <= MAX_KEYS);

    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (kid, algorithm) in set.kids().flat_map(|kid| Algorithm::ALL.map(|algorithm| (kid, algorithm))) {
        let key = set.get(kid, algorithm).expect("a kid of the set has a key");
        if key.algorithm() != algorithm || seen.contains(&(kid, algorithm.name())) {
            continue;
        }
        seen.push((kid, algorithm.name()));
        let kty = algorithm.key_type().0;
        let of_kid = |member: &&Value| is_usable(member) && member["kid"] == kid && member["kty"] == kty;
        let member = members.iter().find(of_kid).expect("from the document");
        for other in members.iter().filter(of_kid) {
            let same = ["crv", "n", "e", "x", "y"].iter().all(|name| other.get(name) == member.get(name));
            assert!(same, "two keys of kid {kid:?} and type {kty}");
        }
        let jwk: Value = serde_json::from_str(&key.to_jwk(kid).to_text()).expect("a JWK");
        for name in ["kty", "crv", "n", "e", "x", "y"] {
            assert_eq!(jwk.get(name), member.get(name).filter(|_| jwk.get(name).is_some()), "{name} of {kid:?}");
        }
        for name in ["use", "alg"] {
            assert!(member.get(name).is_none_or(|value| *value == jwk[name]), "{name} of {kid:?}");
        }
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            assert!(member.get(private).is_none(), "a key with its private member {private} was taken");
        }
        if key.algorithm() == Algorithm::Rs256 {
            let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().expect("n")).expect("base64url");
            assert!(modulus.len() >= 256 && (modulus.len() > 256 || modulus[0] >= 0x80), "under 2048 bits");
            assert!(modulus.len() <= 1024 && modulus[modulus.len() - 1] & 1 == 1);
        }
        // No key is so odd that a check by it panics.
        assert!(SoftwareCrypto.verify(key, b"message", &[0x5a; 64]).is_err());
        assert!(SoftwareCrypto.verify(key, b"message", &[0x5a; 256]).is_err());
    }
    assert!(set.refused().len() <= members.len());
});

/// Whether a member may have become a key: a second one of its kid that could not does no harm.
fn is_usable(member: &Value) -> bool {
    let alone = serde_json::json!({ "keys": [member] });
    KeySet::parse(alone.to_string().as_bytes()).is_ok_and(|set| set.kids().count() == 1)
}
