//! Tokens that come again: their signature is checked once, and what was issued is given again while all that it depends on is
//! as it was and half of its life is left.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod heap;
mod scenario;

use heap::{allocations_of, kept_of};
use jwt_reissuer::Outcome;
use jwt_reissuer::event::Event;
use jwt_reissuer::http::Body;
use scenario::{Counted, START, Scenario, claims_of, keys};
use serde_json::{Value, json};

/// A scenario that has its keys, and the counts of its crypto, which begin at 0.
fn counted(edit: impl FnOnce(&mut Value)) -> (Scenario, Counted) {
    with(Counted::default(), edit)
}

/// The same, without any crypto.
fn trusting(edit: impl FnOnce(&mut Value)) -> (Scenario, Counted) {
    with(Counted::trusting(), edit)
}

fn with(crypto: Counted, edit: impl FnOnce(&mut Value)) -> (Scenario, Counted) {
    let mut scenario = Scenario::with(Box::new(crypto.clone()), edit);
    scenario.fetch_what_is_due();
    crypto.since();
    (scenario, crypto)
}

/// Checked, signed, and checked again
const FRESH: (usize, usize) = (2, 1);
/// Signed, and checked
const SIGNED: (usize, usize) = (1, 1);
const NOTHING: (usize, usize) = (0, 0);

fn audiences(config: &mut Value) {
    config["audiences"] = json!(["sts.amazonaws.com", "api://AzureADTokenExchange"]);
}

fn issued(scenario: &mut Scenario, path: &str, token: &str) -> Value {
    let answer = scenario.reissue(path, token);
    assert_eq!(answer.status, 200);
    claims_of(&answer)
}

#[test]
fn a_token_that_comes_again_costs_no_signature_and_gets_what_it_got() {
    let (mut scenario, crypto) = counted(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    let first = issued(&mut scenario, "/reissue", &token);
    assert_eq!(crypto.since(), FRESH);
    for path in ["/reissue", "/token", "/reissue?audience=sts.amazonaws.com"] {
        scenario.pass(60);
        assert_eq!(issued(&mut scenario, path, &token), first, "{path}");
        assert_eq!(crypto.since(), NOTHING, "{path}");
    }
    let events = scenario.events();
    let told: Vec<_> = events.iter().filter(|event| matches!(event, Event::Issued { .. })).collect();
    assert!(told.iter().enumerate().all(|(place, event)| {
        matches!(event, Event::Issued { issue, repeated } if *repeated == (place > 0) && first["jti"] == *issue.jti)
    }));
    assert_eq!(told.len(), 4, "each is told");
    assert!(told[1].to_string().starts_with("issued again issuer=prod "), "{}", told[1]);
    assert_eq!(told[1].counters().collect::<Vec<_>>(), ["jwt_reissuer.issued", "jwt_reissuer.issued_again"]);
}

#[test]
fn json_says_how_long_what_is_given_again_still_lives() {
    let (mut scenario, crypto) = counted(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    issued(&mut scenario, "/reissue", &token);
    scenario.pass(1000);
    crypto.since();
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("accept", "application/json")];
    let answer = scenario.send(scenario.request("POST", "/reissue", &headers));
    let object: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((object["expires_in"].as_u64(), crypto.since()), (Some(2600), NOTHING));
}

#[test]
fn after_half_of_its_life_a_new_one_is_issued_and_the_signature_is_not_checked_again() {
    // The subject token has 3600 s.
    for (ttl, half) in [("6h", 1800), ("1000s", 500), ("101s", 50)] {
        let (mut scenario, crypto) = counted(|config| config["ttl"] = ttl.into());
        let token = scenario.token("cluster-key", |_| ());
        let first = issued(&mut scenario, "/reissue", &token);
        scenario.pass(half);
        assert_eq!(issued(&mut scenario, "/reissue", &token), first, "{ttl}");
        crypto.since();
        scenario.pass(1);
        let second = issued(&mut scenario, "/reissue", &token);
        assert_ne!(second["jti"], first["jti"], "{ttl}");
        assert_eq!(second["iat"], START + half + 1, "{ttl}");
        assert_eq!(crypto.since(), SIGNED, "{ttl}");
    }
}

#[test]
fn nothing_is_given_again_after_the_subject_token_has_expired_or_before_it_is_valid() {
    let (mut scenario, _) = counted(|_| ());
    let token = scenario.token("cluster-key", |claims| claims["exp"] = (START + 100).into());
    issued(&mut scenario, "/reissue", &token);
    scenario.pass(50);
    issued(&mut scenario, "/reissue", &token);
    scenario.pass(50);
    assert_eq!(scenario.status(&token), 401);

    // The wall clock steps back behind its beginning, further than the leeway.
    let (mut scenario, crypto) = counted(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    let first = issued(&mut scenario, "/reissue", &token);
    crypto.since();
    scenario.now.unix -= 5;
    let second = issued(&mut scenario, "/reissue", &token);
    assert_ne!(second["jti"], first["jti"], "what was issued is not valid yet");
    assert_eq!((second["iat"].as_u64(), crypto.since()), (Some(START - 5), SIGNED));
    scenario.now.unix -= 3600;
    assert_eq!(scenario.status(&token), 401);
}

#[test]
fn a_token_that_grows_too_old_gets_nothing_again() {
    let (mut scenario, _) = counted(|config| config["trusted_issuers"][0]["max_token_age"] = "600s".into());
    let token = scenario.token("cluster-key", |_| ());
    issued(&mut scenario, "/reissue", &token);
    scenario.pass(600);
    issued(&mut scenario, "/reissue", &token);
    scenario.pass(1);
    assert_eq!(scenario.status(&token), 401);
}

#[test]
fn each_audience_is_issued_its_own_and_one_that_is_not_allowed_gets_none() {
    let (mut scenario, crypto) = counted(audiences);
    let token = scenario.token("cluster-key", |_| ());
    let azure = "/reissue?audience=api://AzureADTokenExchange";
    let first = issued(&mut scenario, "/reissue", &token);
    assert_eq!(crypto.since(), FRESH);
    let other = issued(&mut scenario, azure, &token);
    assert_eq!(crypto.since(), SIGNED);
    assert_eq!(
        (first["aud"].as_str(), other["aud"].as_str()),
        (Some("sts.amazonaws.com"), Some("api://AzureADTokenExchange"))
    );
    assert_eq!(issued(&mut scenario, azure, &token), other);
    assert_eq!(issued(&mut scenario, "/reissue", &token), first);
    assert_eq!(scenario.reissue("/reissue?audience=elsewhere", &token).status, 403);
    assert_eq!(crypto.since(), NOTHING);
}

#[test]
fn another_token_gets_nothing_of_it() {
    let (mut scenario, crypto) = counted(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    let first = issued(&mut scenario, "/reissue", &token);
    crypto.since();
    // The same claims, and a signature that is off by a bit; then another token of the same subject.
    let last = if token.ends_with('Q') { 'A' } else { 'Q' };
    let forged = format!("{}{last}", &token[..token.len() - 1]);
    assert_eq!((scenario.status(&forged), crypto.since()), (401, (1, 0)));
    let another = scenario.token("cluster-key", |claims| claims["exp"] = (START + 3601).into());
    assert_ne!(issued(&mut scenario, "/reissue", &another)["jti"], first["jti"]);
    assert_eq!(crypto.since(), FRESH);
}

#[test]
fn a_key_that_left_the_clusters_set_takes_along_what_was_issued_for_its_tokens() {
    let (mut scenario, crypto) = counted(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    issued(&mut scenario, "/reissue", &token);
    let set = scenario.jwks.clone().unwrap();
    // Another key of the same id, then none of that id.
    let mut other: Value = serde_json::from_str(&set).unwrap();
    let key = scenario::signing_key(&keys()[1]).public().to_jwk("cluster-key");
    other["keys"][0] = serde_json::from_str(&key.to_text()).unwrap();
    for set in [other.to_string(), set.replace("cluster-key", "another-key")] {
        scenario.jwks = Some(set);
        scenario.pass(400);
        scenario.fetch_what_is_due();
        crypto.since();
        assert_eq!(scenario.status(&token), 401);
        assert_eq!(crypto.since().1, 0);
    }
    // The same key is back: it is known to have verified this token.
    scenario.jwks = Some(set);
    scenario.pass(400);
    scenario.fetch_what_is_due();
    crypto.since();
    assert_eq!((scenario.status(&token), crypto.since()), (200, NOTHING));
}

#[test]
fn keys_that_cannot_be_read_any_more_end_it_like_everything_else() {
    let (mut scenario, _) = counted(|config| {
        config["trusted_issuers"][0]["jwks"]["stale_limit"] = "600s".into();
    });
    let token = scenario.token("cluster-key", |_| ());
    issued(&mut scenario, "/reissue", &token);
    scenario.jwks = None;
    scenario.pass(601);
    scenario.fetch_what_is_due();
    assert_eq!(scenario.status(&token), 503);
}

#[test]
fn another_signing_key_signs_anew_and_the_same_one_read_again_does_not() {
    let (mut scenario, crypto) = counted(|config| {
        config["signing_keys"]["from"] = json!({ "envoy_cluster": "signing_keys" });
        config["signing_keys"]["publish_ahead"] = "300s".into();
    });
    let token = scenario.token("cluster-key", |_| ());
    let first = issued(&mut scenario, "/reissue", &token);
    crypto.since();
    scenario.pass(10);
    scenario.fetch_what_is_due();
    assert_eq!((issued(&mut scenario, "/reissue", &token), crypto.since()), (first.clone(), NOTHING));
    scenario.keyring = Some(keys()[0].clone());
    scenario.pass(10);
    scenario.fetch_what_is_due();
    crypto.since();
    let second = issued(&mut scenario, "/reissue", &token);
    assert_ne!(second["jti"], first["jti"]);
    assert_eq!(crypto.since(), SIGNED);
}

#[test]
fn a_key_whose_turn_comes_by_the_timetable_signs_anew_before_anybody_has_noticed() {
    let [old, new] = keys();
    let (mut scenario, crypto) = counted(|config| {
        config["signing_keys"]["from"]["dangerous_inline"] = json!({ "keys": [
            { "kid": "old", "private_key": old },
            { "kid": "new", "private_key": new, "sign_at": "2026-01-02T00:00:00Z", "publish_at": "2025-01-01T00:00:00Z" },
        ]});
    });
    let turn = 1_767_312_000;
    scenario.now.unix = turn - 1;
    let token = scenario.token("cluster-key", |_| ());
    let first = issued(&mut scenario, "/reissue", &token);
    crypto.since();
    // No tick comes in between.
    scenario.now.unix = turn;
    let second = issued(&mut scenario, "/reissue", &token);
    assert_ne!(second["jti"], first["jti"]);
    assert_eq!(crypto.since(), SIGNED);
}

fn unsigned(scenario: &Scenario, jti: &str) -> String {
    scenario.unsigned(|claims| claims["jti"] = jti.into())
}

#[test]
fn what_is_remembered_is_bounded_in_bytes_too() {
    // A claim that is copied takes its room in what was issued.
    let (mut scenario, crypto) = trusting(|config| {
        config["claims"] = json!({ "set": { "padding": "x".repeat(8000) } });
    });
    let tokens: Vec<String> = (0..400).map(|number| unsigned(&scenario, &format!("{number}"))).collect();
    for token in &tokens {
        issued(&mut scenario, "/reissue", token);
    }
    crypto.since();
    let mut remembered = 0;
    for token in tokens.iter().rev() {
        issued(&mut scenario, "/reissue", token);
        if crypto.since() != NOTHING {
            break;
        }
        remembered += 1;
    }
    // Each takes base64url of 8 KiB and more.
    assert!((300..380).contains(&remembered), "{remembered}");
}

#[test]
fn a_token_that_comes_again_costs_two_allocations_at_most() {
    let (mut scenario, _) = counted(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    issued(&mut scenario, "/reissue", &token);
    scenario.events();
    let bearer = format!("Bearer {token}");
    let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
    let (allocations, outcome) = allocations_of(|| scenario.reissuer.handle(&request, scenario.now));
    assert!(matches!(outcome, Outcome::Respond(response) if response.status == 200));
    assert!(allocations <= 2, "{allocations}");
}

#[test]
fn what_is_remembered_is_bounded_in_number_and_the_oldest_goes_first() {
    let (mut scenario, crypto) = trusting(|_| ());
    let tokens: Vec<String> = (0..2049).map(|number| unsigned(&scenario, &format!("{number}"))).collect();
    for token in &tokens {
        issued(&mut scenario, "/reissue", token);
    }
    crypto.since();
    assert_eq!((scenario.status(&tokens[1]), crypto.since()), (200, NOTHING));
    assert_eq!((scenario.status(&tokens[0]), crypto.since()), (200, FRESH), "2048 are remembered");
    assert_eq!((scenario.status(&tokens[1]), crypto.since()), (200, FRESH), "the next oldest went for it");
}
/// Claims as kube-apiserver writes them for a pod.
fn of_a_pod(claims: &mut Value) {
    let uid = "2f0a4f2c-6d64-4c9c-8a49-0d2f7a3e1b11";
    claims["aud"] = json!(["jwt-reissuer"]);
    claims["nbf"] = claims["iat"].clone();
    claims["kubernetes.io"] = json!({
        "namespace": "payments", "node": { "name": "node-1", "uid": uid }, "pod": { "name": "ledger-0", "uid": uid },
        "serviceaccount": { "name": "ledger", "uid": uid }, "warnafter": START + 3607,
    });
}

#[test]
fn a_fresh_token_costs_forty_allocations_at_most_beside_crypto() {
    let (mut scenario, _) = trusting(|_| ());
    for number in 0..20 {
        let token = scenario.unsigned(|claims| {
            of_a_pod(claims);
            claims["jti"] = format!("{number}").into();
        });
        let bearer = format!("Bearer {token}");
        let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
        scenario.events();
        let (allocations, outcome) = allocations_of(|| scenario.reissuer.handle(&request, scenario.now));
        assert!(matches!(outcome, Outcome::Respond(response) if response.status == 200));
        assert!(allocations <= 40, "{allocations}");
    }
}

#[test]
fn a_form_beside_a_token_that_comes_again_is_looked_at_as_the_first_time() {
    let (mut scenario, _) = counted(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    issued(&mut scenario, "/token", &token);
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let mut request = scenario.request("POST", "/token", &headers);
    request.body = Body::Read(b"subject_token=x".to_vec());
    let outcome = scenario.reissuer.handle(&request, scenario.now);
    assert!(matches!(outcome, Outcome::Respond(response) if response.status == 400));
}

#[test]
fn what_is_remembered_of_a_token_keeps_nothing_of_the_rest_of_it() {
    let (mut scenario, _) = trusting(|_| ());
    let tokens: Vec<String> = (0..200)
        .map(|number| {
            scenario.unsigned(|claims| {
                claims["jti"] = format!("{number}").into();
                claims["padding"] = "x".repeat(4000).into();
            })
        })
        .collect();
    let kept = kept_of(|| tokens.iter().for_each(|token| drop(scenario.reissue("/reissue", token))));
    scenario.events();
    assert!(kept / 200 < 3000, "{} bytes each", kept / 200);
}
