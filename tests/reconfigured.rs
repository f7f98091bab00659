//! A configuration that takes over from another one, in the same VM: it costs nobody anything.
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

use std::cell::Cell;
use std::rc::Rc;

use jwt_reissuer::Reissuer;
use jwt_reissuer::crypto::{BadSignature, Crypto, Rng, SigningFailed, SigningKey, SoftwareCrypto, VerifyingKey};
use jwt_reissuer::event::Event;
use scenario::{Scenario, config};
use serde_json::{Value, json};

/// Another configuration takes over, in the same VM.
fn reconfigured(scenario: &mut Scenario, edit: impl FnOnce(&mut Value)) {
    let crypto = Box::new(SoftwareCrypto);
    let next = Reissuer::new(config(edit), crypto, [9; 32], scenario.now).map_err(|error| error.to_string());
    let before = std::mem::replace(&mut scenario.reissuer, next.unwrap());
    scenario.reissuer.inherit(&before, scenario.now);
}

#[test]
fn a_changed_configuration_goes_on_with_the_keys_that_were_read_before_and_reads_them_again_at_once() {
    let mut scenario = Scenario::warm();
    scenario.pass(100);
    reconfigured(&mut scenario, |config| {
        config["ttl"] = "1h".into();
        config["trusted_issuers"][0]["name"] = "renamed".into();
    });
    assert_eq!(scenario.at_once("cluster-key"), Some(200));
    assert!(scenario.reissuer.poll_fetch(scenario.now).is_some());
}

#[test]
fn inherited_keys_are_as_old_as_they_are_and_the_new_limit_counts() {
    let mut scenario = Scenario::warm();
    scenario.jwks = None;
    scenario.pass(1000);
    reconfigured(&mut scenario, |config| config["trusted_issuers"][0]["jwks"]["stale_limit"] = "20m".into());
    scenario.fetch_what_is_due();
    assert_eq!(scenario.at_once("cluster-key"), Some(200));
    scenario.pass(199);
    assert_eq!(scenario.at_once("cluster-key"), Some(200));
    scenario.pass(1);
    assert_ne!(scenario.at_once("cluster-key"), Some(200));
}

#[test]
fn keys_of_another_place_are_nobodys_inheritance() {
    for (member, other) in [("envoy_cluster", "other"), ("authority", "other"), ("path", "/other")] {
        let mut scenario = Scenario::warm();
        reconfigured(&mut scenario, |config| config["trusted_issuers"][0]["jwks"][member] = other.into());
        assert_eq!(scenario.at_once("cluster-key"), None, "{member}");
    }
}

fn fetched_keyring(config: &mut Value) {
    config["signing_keys"]["from"] = json!({ "envoy_cluster": "signing_keys" });
}

#[test]
fn a_changed_configuration_signs_with_the_keyring_before_it_though_the_secret_is_broken_now() {
    let mut scenario = Scenario::new(fetched_keyring);
    scenario.fetch_what_is_due();
    let document = scenario.send(scenario.request("GET", "/openid/v1/jwks", &[]));
    scenario.keyring = Some("broken".into());
    scenario.pass(60);
    scenario.fetch_what_is_due();
    reconfigured(&mut scenario, |config| {
        fetched_keyring(config);
        config["ttl"] = "5m".into();
    });
    scenario.fetch_what_is_due();
    let token = scenario.token("cluster-key", |_| ());
    let answer = scenario.reissue("/reissue", &token);
    assert_eq!(scenario::claims_of(&answer)["exp"], scenario.now.unix + 300, "by the new configuration");
    assert_eq!(scenario.send(scenario.request("GET", "/openid/v1/jwks", &[])).body, document.body);
}

#[test]
fn a_keyring_that_the_changed_configuration_would_refuse_or_that_is_of_another_issuer_is_not_inherited() {
    let another_issuer: fn(&mut Value) = |config| {
        fetched_keyring(config);
        config["issuer"] = "https://reissuer.example.com/other".into();
    };
    // Where documents alone are served, there is no private key.
    let documents_alone: fn(&mut Value) = |config| {
        fetched_keyring(config);
        config["serve"] = json!(["documents"]);
    };
    for (edit, path) in [(another_issuer, "/other/openid/v1/jwks"), (documents_alone, "/openid/v1/jwks")] {
        let mut scenario = Scenario::new(fetched_keyring);
        scenario.fetch_what_is_due();
        reconfigured(&mut scenario, edit);
        scenario.keyring = None;
        scenario.fetch_what_is_due();
        assert_eq!(scenario.send(scenario.request("GET", path, &[])).status, 503);
    }
}

type Place = (&'static str, fn(&mut Value));

/// Configurations whose text is right, and whose keyring cannot be had.
fn unusable_places() -> [Place; 4] {
    [
        ("another cluster", |config| config["signing_keys"]["from"] = json!({ "envoy_cluster": "missing" })),
        ("a missing variable", |config| config["signing_keys"]["from"] = json!({ "env": "MISSING" })),
        ("a missing sealing key", |config| {
            fetched_keyring(config);
            config["signing_keys"]["sealing_key"] = json!({ "env": "MISSING" });
        }),
        ("a sealed keyring in the configuration, and no sealing key", |config| {
            config["signing_keys"]["sealing_key"] = json!({ "env": "MISSING" });
        }),
    ]
}

#[test]
fn a_keyring_that_cannot_be_had_any_more_goes_on_from_the_configuration_before_and_alarms() {
    for (place, edit) in unusable_places() {
        let mut scenario = Scenario::new(fetched_keyring);
        scenario.fetch_what_is_due();
        let document = scenario.send(scenario.request("GET", "/openid/v1/jwks", &[])).body;
        scenario.keyring = None;
        scenario.events();
        reconfigured(&mut scenario, edit);
        scenario.fetch_what_is_due();
        let token = scenario.token("cluster-key", |_| ());
        assert_eq!(scenario.status(&token), 200, "{place}");
        assert_eq!(scenario.send(scenario.request("GET", "/openid/v1/jwks", &[])).body, document, "{place}");
        let failed = |event: &Event| matches!(event, Event::KeyringFailed { missing: false, .. });
        let told = scenario.events();
        assert!(told.iter().any(failed), "{place}: {told:?}");
    }
}

#[test]
fn without_a_keyring_before_it_a_configuration_whose_keyring_cannot_be_had_answers_503_and_alarms_after_a_minute() {
    for (place, edit) in unusable_places() {
        let mut scenario = Scenario::new(edit);
        scenario.keyring = None;
        let mut missing = Vec::new();
        for second in 0..120 {
            scenario.fetch_what_is_due();
            let alarms = |event: &Event| matches!(event, Event::KeyringFailed { missing: true, .. });
            if scenario.events().iter().any(alarms) {
                missing.push(second);
            }
            scenario.pass(1);
        }
        assert!(missing.first().is_some_and(|first| (60..=65).contains(first)), "{place}: {missing:?}");
        assert!(missing.len() > 10, "{place}: {missing:?}");
        let token = scenario.token("cluster-key", |_| ());
        let answer = scenario.reissue("/reissue", &token);
        assert_eq!(answer.status, 503, "{place}");
        assert!(answer.get("retry-after").is_some());
    }
}

#[test]
fn a_changed_configuration_gives_unknown_kids_no_more_fetches() {
    let mut scenario = Scenario::warm();
    let token = scenario.token("unknown", |_| ());
    assert_eq!(scenario.status(&token), 401);
    scenario.fetches = 0;
    for _ in 0..8 {
        scenario.pass(1);
        reconfigured(&mut scenario, |_| ());
        scenario.fetch_what_is_due();
        assert_eq!(scenario.status(&token), 401);
    }
    assert_eq!(scenario.fetches, 8, "the one of each configuration, and none for the kid");
}

#[test]
fn a_configuration_that_the_keyring_in_use_is_none_for_says_so_at_once() {
    let mut scenario = Scenario::new(fetched_keyring);
    scenario.fetch_what_is_due();
    scenario.events();
    reconfigured(&mut scenario, |config| {
        fetched_keyring(config);
        config["serve"] = json!(["documents"]);
    });
    let expected = "the previous keyring is not valid under this configuration: ";
    let told = scenario.events();
    assert!(
        matches!(told.as_slice(), [Event::KeyringFailed { problem, .. }] if problem.starts_with(expected)),
        "{told:?}"
    );
}

/// A signer all of whose signatures are wrong from a time on.
struct Failing(Rc<Cell<bool>>);

impl Crypto for Failing {
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        SoftwareCrypto.verify(key, message, signature)
    }

    fn sign(&self, key: &SigningKey, message: &[u8], rng: &mut Rng) -> Result<Vec<u8>, SigningFailed> {
        let mut signature = SoftwareCrypto.sign(key, message, rng)?;
        signature[0] ^= u8::from(self.0.get());
        Ok(signature)
    }
}

#[test]
fn a_signer_that_is_not_trusted_any_more_is_not_trusted_by_the_next_configuration_either() {
    let wrong = Rc::new(Cell::new(false));
    let mut scenario = Scenario::with(Box::new(Failing(Rc::clone(&wrong))), |_| ());
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&token), 200);
    wrong.set(true);
    let another = scenario.token("cluster-key", |claims| claims["jti"] = "another".into());
    assert_eq!(scenario.status(&another), 500);
    assert_eq!(scenario.status(&token), 500, "not even what was signed before");
    reconfigured(&mut scenario, |config| config["ttl"] = "1h".into());
    assert_eq!(scenario.status(&token), 500, "though this one's signer would be good");
}
