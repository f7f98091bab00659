//! A keyring with times, lived through hour by hour: nobody who reads our documents ever meets a token that they cannot verify.
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

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_reissuer::event::Event;
use scenario::keyrings::{DAY, HOUR, key, keyring, time};
use scenario::{START, Scenario, claims_of};
use serde_json::{Value, json};

fn fetched(keys: &[Value]) -> Scenario {
    let mut scenario = Scenario::new(|config| {
        config["signing_keys"]["from"] = json!({ "envoy_cluster": "signing_keys" });
    });
    scenario.keyring = Some(keyring(keys));
    scenario.fetch_what_is_due();
    scenario
}

fn served(scenario: &mut Scenario) -> Vec<String> {
    let jwks = scenario.send(scenario.request("GET", "/openid/v1/jwks", &[])).body;
    let jwks: Value = serde_json::from_slice(&jwks).unwrap();
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_string()).collect()
}

/// The kid and the expiry of a token that is issued now.
fn issued(scenario: &mut Scenario) -> (String, u64) {
    let token = scenario.token("cluster-key", |claims| claims["exp"] = (claims["iat"].as_u64().unwrap() + DAY).into());
    let response = scenario.reissue("/reissue", &token);
    assert_eq!(response.status, 200);
    let header = response.body.split(|byte| *byte == b'.').next().unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    (header["kid"].as_str().unwrap().to_string(), claims_of(&response)["exp"].as_u64().unwrap())
}

#[test]
fn through_two_rotations_every_token_that_lives_is_one_of_a_published_key() {
    let keys = [key("first", 1, None), key("second", 2, Some(START + 2 * DAY)), key("third", 3, Some(START + 5 * DAY))];
    let mut scenario = fetched(&keys);
    let (mut tokens, mut history, mut phases) = (Vec::new(), Vec::new(), Vec::new());
    for hour in 0..7 * 24 {
        let now = scenario.now.unix;
        let published = served(&mut scenario);
        if phases.last() != Some(&published) {
            phases.push(published.clone());
        }
        let (kid, exp) = issued(&mut scenario);
        assert_eq!(published[0], kid, "the key that signs comes first");
        tokens.push((kid.clone(), exp));
        for (kid, exp) in &tokens {
            assert!(
                *exp <= now || published.contains(kid),
                "hour {hour}: a token of {kid} lives, and nobody can verify it"
            );
        }
        history.push(published);
        // Whoever read the documents a day ago knows the key already.
        let yesterday = &history[history.len().saturating_sub(24)];
        assert!(yesterday.contains(&kid), "hour {hour}: {kid} signs, and was not published a day ago");
        scenario.pass(HOUR);
        scenario.fetch_what_is_due();
    }
    let expected = [
        &["first"][..],
        &["first", "second"],
        &["second", "first"],
        &["second"],
        &["second", "third"],
        &["third", "second"],
        &["third"],
    ];
    assert_eq!(phases, expected);
}

#[test]
fn a_replica_that_starts_later_does_the_same_at_the_same_time() {
    let keys = [key("first", 1, None), key("second", 2, Some(START + 2 * DAY))];
    let mut early = fetched(&keys);
    for _ in 0..60 {
        early.pass(HOUR);
        early.fetch_what_is_due();
        let mut late =
            Scenario::new(|config| config["signing_keys"]["from"] = json!({ "envoy_cluster": "signing_keys" }));
        late.now.unix = early.now.unix;
        late.keyring = Some(keyring(&keys));
        late.fetch_what_is_due();
        assert_eq!(served(&mut early), served(&mut late));
        assert_eq!(issued(&mut early).0, issued(&mut late).0);
    }
}

#[test]
fn each_turn_is_an_event_and_none_is_repeated() {
    let mut scenario = fetched(&[key("first", 1, None), key("second", 2, Some(START + 2 * DAY))]);
    let mut turns = Vec::new();
    for _ in 0..80 {
        for event in scenario.events() {
            match event {
                Event::KeyringLoaded { kids, next } | Event::KeyringTurned { kids, next } => turns.push((kids, next)),
                _ => {}
            }
        }
        scenario.pass(HOUR);
        scenario.fetch_what_is_due();
    }
    let gone = START + 2 * DAY + 12 * HOUR + 300;
    let expected = [
        (vec!["first".to_string()], Some(START + DAY)),
        (vec!["first".into(), "second".into()], Some(START + 2 * DAY)),
        (vec!["second".into(), "first".into()], Some(gone)),
        (vec!["second".into()], None),
    ];
    assert_eq!(turns, expected);
}

#[test]
fn a_timetable_that_would_fail_somebody_is_not_taken_and_the_one_before_goes_on() {
    let mut scenario = fetched(&[key("first", 1, None)]);
    scenario.events();
    let mut retired = key("first", 1, None);
    retired["retire_at"] = time(START + 2 * DAY).into();
    scenario.keyring = Some(keyring(&[retired, key("second", 2, Some(START + 2 * DAY))]));
    scenario.pass(10);
    scenario.fetch_what_is_due();
    let problem = scenario.events().into_iter().find_map(|event| match event {
        Event::KeyringFailed { problem, .. } => Some(problem),
        _ => None,
    });
    let expected = "keys[0].retire_at: must be 2026-01-03T12:05:00Z at the earliest";
    assert!(problem.as_ref().is_some_and(|problem| problem.starts_with(expected)), "{problem:?}");
    assert_eq!(issued(&mut scenario).0, "first");
    assert_eq!(served(&mut scenario), ["first"]);
}

#[test]
fn a_clock_that_steps_finds_the_phase_of_its_time() {
    let keys = [key("first", 1, None), key("second", 2, Some(START + 2 * DAY))];
    let mut scenario = fetched(&keys);
    let mut seen = BTreeSet::new();
    for unix in [START + 3 * DAY, START, START + 36 * HOUR, 0, START + 2 * DAY - 1, START + 2 * DAY] {
        scenario.now.unix = unix;
        seen.insert((unix, served(&mut scenario).join(" ")));
    }
    let expected = [
        (0, "first"),
        (START, "first"),
        (START + 36 * HOUR, "first second"),
        (START + 2 * DAY - 1, "first second"),
        (START + 2 * DAY, "second first"),
        (START + 3 * DAY, "second"),
    ];
    assert_eq!(seen, BTreeSet::from(expected.map(|(unix, kids)| (unix, kids.to_string()))));
}

#[test]
fn a_clock_before_the_first_key_signs_nothing_and_breaks_nothing() {
    let mut scenario = fetched(&[key("only", 1, Some(START - DAY))]);
    assert_eq!(issued(&mut scenario).0, "only");
    scenario.now.unix = START - 2 * DAY;
    let token = scenario.token("cluster-key", |_| ());
    let response = scenario.reissue("/reissue", &token);
    assert_eq!((response.status, response.get("retry-after")), (503, Some("60")));
    assert_eq!(served(&mut scenario), ["only"], "it is published a day before it signs");
    scenario.now.unix = START;
    assert_eq!(issued(&mut scenario).0, "only");
}
