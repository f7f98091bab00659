//! Key sets as API servers publish them: a key listed twice, a set without a usable key, one id for two keys.
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

use jwt_reissuer::crypto::{Algorithm, SigningKey};
use jwt_reissuer::event::{Event, FetchFailure};
use jwt_reissuer::jwks::KeySet;
use p256::pkcs8::EncodePrivateKey as _;
use scenario::{Scenario, config, signing_key};
use serde_json::{Value, json};

const KID: &str = "CcRcY_bW0po-26o5pbftR-Lh4AfBLdkRdLuyHjhl4rs";

fn file(name: &str) -> String {
    let path = format!("{}/tests/vectors/key_sets/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// A cluster with the key of `jwks_one.json`, whose API server publishes this file.
fn publishing(name: &str) -> Scenario {
    let mut scenario = Scenario::new(|_| ());
    scenario.api_server = signing_key(&file("cluster.pem"));
    scenario.jwks = Some(file(name));
    scenario.fetch_what_is_due();
    scenario
}

fn failures(events: &[Event]) -> Vec<(FetchFailure, String)> {
    let failure = |event: &Event| match event {
        Event::IssuerKeysFailed { cause, problem, .. } => Some((*cause, problem.clone())),
        _ => None,
    };
    events.iter().filter_map(failure).collect()
}

fn elliptic(seed: u8) -> SigningKey {
    let key = p256::SecretKey::from_slice(&[seed; 32]).unwrap();
    SigningKey::from_pkcs8_der(key.to_pkcs8_der().unwrap().as_bytes()).unwrap()
}

fn jwk(key: &SigningKey, kid: &str) -> Value {
    serde_json::to_value(key.public().to_jwk(kid)).unwrap()
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

#[test]
fn a_key_that_is_listed_twice_is_one_key() {
    for name in ["jwks_one.json", "jwks_same_key_twice.json", "jwks_same_key_twice_one_without_alg.json"] {
        let mut scenario = publishing(name);
        let token = scenario.token(KID, |_| ());
        assert_eq!(scenario.status(&token), 200, "{name}");
        let kids = scenario.events().into_iter().find_map(|event| match event {
            Event::IssuerKeysFetched { kids, refused, .. } => Some((kids, refused)),
            _ => None,
        });
        assert_eq!(kids, Some((vec![KID.to_string()], vec![])), "{name}");
    }
}

#[test]
fn a_set_without_a_usable_key_keeps_the_last_good_one_until_its_limit_and_alarms() {
    for name in ["jwks_use_sign.json", "jwks_null_members.json"] {
        let mut scenario = publishing("jwks_one.json");
        scenario.jwks = Some(file(name));
        let read = |scenario: &Scenario| {
            let gauges = scenario.reissuer.gauges(scenario.now);
            gauges.into_iter().find(|gauge| gauge.name == "jwt_reissuer.jwks.prod.last_success").unwrap().value
        };
        let last_success = read(&scenario);
        scenario.events();
        // Six hours less the minute at the end.
        for minute in 0..359 {
            scenario.pass(60);
            scenario.fetch_what_is_due();
            let token = scenario.token(KID, |_| ());
            assert_eq!(scenario.status(&token), 200, "{name}: minute {minute}");
        }
        assert_eq!(read(&scenario), last_success, "{name}");
        let told = scenario.events();
        let failed = failures(&told);
        assert!(failed.len() > 100, "{name}: {}", failed.len());
        let (cause, problem) = &failed[0];
        assert_eq!(*cause, FetchFailure::NoUsableKey, "{name}");
        assert!(problem.starts_with(&format!("a key set without a usable key; kid=\"{KID}\" (")), "{name}: {problem}");
        let counters: Vec<_> = told.iter().flat_map(Event::counters).collect();
        assert!(counters.iter().any(|counter| counter == "jwt_reissuer.jwks.prod.failed.no_usable_key"), "{name}");
        assert!(!counters.iter().any(|counter| counter == "jwt_reissuer.jwks.prod.missing"), "{name}");

        scenario.pass(60);
        scenario.fetch_what_is_due();
        let token = scenario.token(KID, |_| ());
        assert_eq!(scenario.reissue("/reissue", &token).status, 503, "{name}: the keys are older than stale_limit");
    }
}

#[test]
fn a_set_without_a_key_of_the_issuers_algorithms_is_one_without_a_usable_key() {
    let mut scenario = Scenario::new(|config| config["trusted_issuers"][0]["algorithms"] = json!(["ES384", "RS256"]));
    scenario.fetch_what_is_due();
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&token), 200);
    scenario.jwks = Some(json!({ "keys": [jwk(&elliptic(1), "elliptic")] }).to_string());
    scenario.events();
    scenario.pass(400);
    scenario.fetch_what_is_due();
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&token), 200);
    let expected = "a key set without a usable key; kid=\"elliptic\" (not of the issuer's algorithms)".to_string();
    assert_eq!(failures(&scenario.events()), [(FetchFailure::NoUsableKey, expected)]);
}

#[test]
fn a_cold_gateway_that_reads_no_usable_key_answers_503_and_not_401() {
    let mut scenario = publishing("jwks_use_sign.json");
    let token = scenario.token(KID, |_| ());
    let answer = scenario.reissue("/reissue", &token);
    assert_eq!(answer.status, 503);
    assert!(answer.get("retry-after").is_some());
}

#[test]
fn one_id_for_keys_of_two_types_is_decided_by_the_algorithm() {
    let rsa = signing_key(&scenario::keys()[0]);
    let (one, other) = (elliptic(1), elliptic(2));
    let found = |keys: &[Value], algorithm| set(keys).get("k", algorithm).map(|key| key.thumbprint());

    let both = [jwk(&rsa, "k"), jwk(&one, "k")];
    assert_eq!(found(&both, Algorithm::Rs256), Some(rsa.public().thumbprint()));
    assert_eq!(found(&both, Algorithm::Es256), Some(one.public().thumbprint()));
    // Each of them twice, too.
    let twice = [&both[..], &both[..]].concat();
    assert_eq!(found(&twice, Algorithm::Rs256), Some(rsa.public().thumbprint()));
    assert_eq!(set(&twice).refused(), []);

    // Two different ones of one type are told apart by nothing; that of another type is not in the way.
    let three = [jwk(&one, "k"), jwk(&rsa, "k"), jwk(&other, "k"), jwk(&one, "k")];
    assert_eq!(found(&three, Algorithm::Rs256), Some(rsa.public().thumbprint()));
    assert_eq!(set(&three).kids().collect::<Vec<_>>(), ["k"]);
    assert_eq!(set(&three).refused().len(), 2);
}

#[test]
fn the_token_of_either_type_is_verified_by_the_key_of_its_type() {
    let mut scenario = Scenario::new(|_| ());
    let elliptic = elliptic(1);
    scenario.jwks =
        Some(json!({ "keys": [jwk(&elliptic, "cluster-key"), jwk(&scenario.api_server, "cluster-key")] }).to_string());
    scenario.fetch_what_is_due();
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&token), 200);
}

#[test]
fn a_set_in_the_configuration_needs_a_usable_key_of_the_issuers_algorithms() {
    let inline = json!({ "inline": { "keys": [jwk(&elliptic(1), "k")] } });
    let text = |algorithms: Value| {
        let mut all = json!({
            "issuer": "https://reissuer.example.com", "audiences": ["a"],
            "signing_keys": { "from": { "envoy_cluster": "signing_keys" } },
            "trusted_issuers": [{ "name": "a", "issuer": "https://a", "audiences": ["b"], "jwks": inline }],
        });
        all["trusted_issuers"][0]["algorithms"] = algorithms;
        jwt_reissuer::Config::from_json(all.to_string().as_bytes(), &|_| None).map_err(|error| error.to_string())
    };
    assert!(text(json!(["RS256", "ES256"])).is_ok());
    assert_eq!(
        text(json!(["RS256"])).err().unwrap(),
        "trusted_issuers[0].jwks: has no usable key of an algorithm that this issuer may use"
    );
    // The scenario's own configuration is as before.
    assert_eq!(config(|_| ()).trusted_issuers.len(), 1);
}
