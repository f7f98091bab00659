//! Our own keys, of any bytes: PEM, DER, base64 of either, or a JSON keyring; for a gateway that signs and one that serves
//! documents alone. What is published has no private member, whatever was given. Each `@` and `^` of the input becomes the
//! PEM of a good key, which no mutation finds by itself.
#![no_main]

use std::time::Duration;

use chacha20::rand_core::SeedableRng as _;
use jwt_reissuer::Config;
use jwt_reissuer::crypto::{Rng, SoftwareCrypto};
use jwt_reissuer::discovery::Documents;
use jwt_reissuer::http::{Body, Connection, Method, Request, Route, Serve};
use jwt_reissuer::keyring::{Keyring, MAX_DOCUMENT, Terms};
use jwt_reissuer::timetable::Phase;
use jwt_reissuer_fuzz::{pair, path};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const NO_HEADERS: [(&[u8], &[u8]); 0] = [];
const KEYRING_MEMBERS: [&str; 1] = ["keys"];

fuzz_target!(|data: &[u8]| {
    let document = with_a_key(data);
    for serve in [Serve { documents: true, tokens: true }, Serve { documents: true, tokens: false }] {
        match Keyring::parse(&document, &terms(serve)) {
            Ok(keyring) => check(&keyring, &document),
            Err(error) => {
                // Of a bare key, and of base64, nothing has a path but the place it would have in a keyring.
                let json =
                    serde_json::from_slice(document.trim_ascii()).unwrap_or(json!({ "keys": [{ "private_key": "" }] }));
                let named = error.path.is_empty() || path::leads_somewhere(&json, &error.path, &KEYRING_MEMBERS);
                assert!(named || document.trim_ascii_start().first() != Some(&b'{'), "{error}");
                assert!(!error.problem.is_empty());
            }
        }
    }
});

/// In the middle of 2026, so that a timetable has a past and a future.
fn terms(serve: Serve) -> Terms {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    Terms { serve, publish_ahead: hours(24), now: 1_782_864_000 }
}

/// `@` and `^` stand for two good keys: their PEM as JSON text has it.
fn with_a_key(data: &[u8]) -> Vec<u8> {
    let mut document = Vec::new();
    for byte in data {
        let pair = match byte {
            b'@' => pair::ours(),
            b'^' => pair::ours_next(),
            byte => {
                document.push(*byte);
                continue;
            }
        };
        let text = json!(pair.pem).to_string();
        document.extend_from_slice(text.trim_matches('"').as_bytes());
    }
    document
}

fn check(keyring: &Keyring, document: &[u8]) {
    assert!(document.len() <= MAX_DOCUMENT);
    for phase in keyring.timetable().phases() {
        check_phase(keyring, phase);
    }
    keyring.self_test(&SoftwareCrypto, &mut Rng::from_seed([6; 32])).expect("a key that is taken signs");
}

fn check_phase(keyring: &Keyring, phase: &Phase) {
    let published: Vec<_> = keyring.published(phase).collect();
    assert!(published.len() <= 16);
    assert!(phase.signing.is_none_or(|signing| phase.published.first() == Some(&signing)));
    for (index, (kid, key)) in published.iter().enumerate() {
        assert!(!kid.is_empty());
        let twice = |(other_kid, other): &(&str, &jwt_reissuer::crypto::VerifyingKey)| {
            other_kid == kid || other.thumbprint() == key.thumbprint()
        };
        assert!(!published[..index].iter().any(twice), "a kid or a key twice");
    }

    let config = json!({
        "issuer": "https://reissuer.example.com", "serve": ["documents"],
        "signing_keys": { "from": { "envoy_cluster": "signing_keys" } },
    });
    let config = Config::from_json(config.to_string().as_bytes(), &|_| None).expect("a good configuration");
    let documents = Documents::new(&config, keyring, phase);
    let request = Request::new(Route::NotOurs, Connection::TLS, NO_HEADERS, Body::None);
    let body = |document: &jwt_reissuer::discovery::Document| -> Value {
        serde_json::from_slice(&document.respond(Method::Get, &request).body).expect("a document is JSON")
    };
    let jwks = body(&documents.jwks);
    let keys = jwks["keys"].as_array().expect("a list of keys");
    assert_eq!(keys.len(), published.len());
    for jwk in keys {
        for name in jwk.as_object().expect("an object").keys() {
            let public = ["kty", "use", "alg", "kid", "n", "e", "crv", "x", "y"];
            assert!(public.contains(&name.as_str()), "member {name} is published");
        }
    }
    assert!(!jwks.to_string().contains("PRIVATE KEY"));
    assert_eq!(body(&documents.discovery)["issuer"], "https://reissuer.example.com");
}
