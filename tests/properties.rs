//! What holds of every issued token, whatever the subject token holds beside what it must.
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

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_reissuer::discovery::Documents;
use jwt_reissuer::http::Serve;
use jwt_reissuer::keyring::Keyring;
use jwt_simple::prelude::*;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use scenario::{START, Scenario, claims_of, keys};
use serde_json::{Value, json};

const TTL: u64 = 6 * 3600;

/// Any JSON, three deep.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(".{1,10}", inner, 0..5)
                .prop_map(|members: BTreeMap<String, Value>| Value::from_iter(members)),
        ]
    })
}

/// Names that a hostile issuer would try, and any others.
fn claim_name() -> impl Strategy<Value = String> {
    let tried = [
        "iss",
        "sub",
        "aud",
        "exp",
        "nbf",
        "iat",
        "jti",
        "azp",
        "amr",
        "act",
        "scope",
        "client_id",
        "kubernetes.io",
        "https://aws.amazon.com/tags",
        "https://aws.amazon.com/source_identity",
        "https://aws.amazon.com/x",
        "groups",
    ];
    prop_oneof![prop::sample::select(tried.to_vec()).prop_map(String::from), ".{1,24}"]
}

/// The scenario is made once: its keys cost more than the cases.
fn with_scenario<T>(act: impl FnOnce(&mut Scenario) -> T) -> T {
    thread_local! {
        static SCENARIO: RefCell<Option<Scenario>> = const { RefCell::new(None) };
    }
    SCENARIO.with(|scenario| act(scenario.borrow_mut().get_or_insert_with(|| Scenario::new(|_| ()))))
}

fn header_of(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap()
}

#[test]
fn an_issued_token_is_ours_in_all_but_its_subject_and_what_is_listed() {
    let hostile = prop::collection::vec((claim_name(), anything()), 0..8);
    let inside = prop::collection::vec((".{1,12}", anything()), 0..4);
    let config = ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() };
    let accepted = Cell::new(0);
    let cases = (hostile, inside, 1_u64..40 * 3600, 0_u64..36 * 3600);
    TestRunner::new(config)
        .run(&cases, |(hostile, inside, life, age)| {
            with_scenario(|scenario| {
                let token = scenario.token("cluster-key", |claims| {
                    claims["exp"] = (START + life).into();
                    claims["iat"] = (START - age).into();
                    claims["nbf"] = (START - age).into();
                    for (name, value) in inside {
                        if name != "namespace" && name != "serviceaccount" {
                            claims["kubernetes.io"][name] = value;
                        }
                    }
                    for (name, value) in hostile {
                        claims[name] = value;
                    }
                });
                let response = scenario.reissue("/reissue", &token);
                // Hostile values of the claims that are checked are refused, and every refusal is the same.
                if response.status != 200 {
                    prop_assert_eq!(response.status, 401);
                    return Ok(());
                }
                accepted.set(accepted.get() + 1);
                let text = std::str::from_utf8(&response.body).unwrap();
                let subject: Value =
                    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
                let claims = claims_of(&response);

                let jwks = scenario.send(scenario.request("GET", "/openid/v1/jwks", &[]));
                let jwks: Value = serde_json::from_slice(&jwks.body).unwrap();
                let key = &jwks["keys"][0];
                prop_assert_eq!(header_of(text), json!({ "alg": "RS256", "kid": key["kid"], "typ": "JWT" }));
                let member = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
                let options = VerificationOptions {
                    artificial_time: Some(Duration::from_secs(START)),
                    ..VerificationOptions::default()
                };
                let judge = RS256PublicKey::from_components(&member("n"), &member("e")).unwrap();
                prop_assert!(judge.verify_token::<Value>(text, Some(options)).is_ok());

                prop_assert_eq!(&claims["iss"], "https://reissuer.example.com");
                prop_assert_eq!(&claims["aud"], "sts.amazonaws.com");
                prop_assert_eq!(&claims["sub"], &subject["sub"]);
                prop_assert_eq!(&claims["kubernetes.io"], &subject["kubernetes.io"]);
                prop_assert_eq!(claims["iat"].as_u64(), Some(START));
                prop_assert_eq!(claims["nbf"].as_u64(), Some(START));
                let exp = claims["exp"].as_u64().unwrap();
                prop_assert!(exp <= subject["exp"].as_u64().unwrap() && exp <= START + TTL && exp > START);
                let names: BTreeSet<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
                let listed = BTreeSet::from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "kubernetes.io"]);
                prop_assert_eq!(names, listed);
                prop_assert_ne!(&claims["jti"], &subject["jti"]);
                Ok(())
            })
        })
        .unwrap();
    // Most hostile claims touch nothing that is checked: the property is about the tokens that come out.
    assert!(accepted.get() > 150, "{} of 500", accepted.get());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_document_of_ours_holds_a_private_member(first in any::<bool>(), kid in "[a-z0-9-]{1,20}") {
        let pem = &keys()[usize::from(first)];
        let keyring = json!({ "keys": [{ "kid": kid, "private_key": pem }] }).to_string();
        let keyring = Keyring::parse(keyring.as_bytes(), &scenario::terms(Serve { documents: true, tokens: true })).ok().unwrap();
        let config = jwt_reissuer::Config::from_json(include_bytes!("../envoy/config.json"), &scenario::environment).ok().unwrap();
        let documents = Documents::new(&config, &keyring, keyring.timetable().at(START).unwrap());
        let request = with_scenario(|scenario| scenario.request("GET", "/openid/v1/jwks", &[]));
        let body = documents.jwks.respond(jwt_reissuer::http::Method::Get, &request).body;
        let jwks: Value = serde_json::from_slice(&body).unwrap();
        let members: BTreeSet<&str> = jwks["keys"][0].as_object().unwrap().keys().map(String::as_str).collect();
        prop_assert_eq!(members, BTreeSet::from(["kty", "use", "alg", "kid", "n", "e"]));
    }
}

#[test]
fn a_thousand_tokens_have_a_thousand_identifiers() {
    with_scenario(|scenario| {
        let identifiers: BTreeSet<String> = (0..1000)
            .map(|number| {
                let token = scenario.token("cluster-key", |claims| claims["jti"] = format!("{number}").into());
                claims_of(&scenario.reissue("/reissue", &token))["jti"].as_str().unwrap().to_string()
            })
            .collect();
        assert_eq!(identifiers.len(), 1000);
    });
}
