//! Each limit from both sides: the last that is taken and the first that is not, and for which reason.
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

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_reissuer::crypto::{Algorithm, KeyError};
use jwt_reissuer::error::Rejection;
use jwt_reissuer::http::{Body, Response};
use jwt_reissuer::jwks::{Find, JwksFetch, KeyCache, KeySet, MAX_DOCUMENT, MAX_KEYS, RefusedKey};
use jwt_reissuer::token::UnverifiedToken;
use jwt_reissuer::{MAX_BODIES, SourceKey};
use scenario::{START, Scenario, keys, signing_key};
use serde_json::{Value, json};

/// A token of that header, with claims and a signature that parse.
fn token_of(header: &Value) -> String {
    format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(header.to_string()))
}

fn parsed(token: &str) -> Result<(), Rejection> {
    UnverifiedToken::parse(token.as_bytes(), 8192).map(|_| ())
}

#[test]
fn of_a_thousand_that_wait_two_hundred_and_fifty_may_wait_for_their_own_body() {
    let mut scenario = Scenario::new(|config| config["read_forms"] = true.into());
    let bearer = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    let with_a_form = [("authorization", &*bearer), ("content-type", "application/x-www-form-urlencoded")];
    let mut form = scenario.request("POST", "/token", &with_a_form);
    form.body = Body::Unread;
    let (now, status) = (scenario.now, |kept: Result<(), Response>| kept.map_err(|answer| answer.status));
    for stream in 0..u32::try_from(MAX_BODIES).unwrap() {
        assert_eq!(status(scenario.reissuer.await_body(stream, form.clone(), now)), Ok(()));
    }
    assert_eq!(status(scenario.reissuer.await_body(999, form.clone(), now)), Err(503));
    // Whoever waits for keys still has a place, and one who has sent a body gives one back.
    let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
    assert_eq!(status(scenario.reissuer.wait(1000, request, SourceKey::Jwks(0), now)), Ok(()));
    assert!(scenario.reissuer.take(0).is_some());
    assert_eq!(status(scenario.reissuer.await_body(1001, form, now)), Ok(()));
}

#[test]
fn a_token_may_be_as_long_as_is_said_and_no_longer() {
    let token = token_of(&json!({ "alg": "RS256", "kid": "a" }));
    assert!(UnverifiedToken::parse(token.as_bytes(), token.len()).is_ok());
    assert_eq!(UnverifiedToken::parse(token.as_bytes(), token.len() - 1).err(), Some(Rejection::TokenTooLarge));
}

#[test]
fn three_segments_are_needed_and_none_is_empty() {
    for (token, why) in [
        ("e30.e30", "not three segments"),
        ("e30.e30.AA.AA", "not three segments"),
        (".e30.AAAA", "an empty segment"),
        ("e30..AAAA", "an empty segment"),
        ("e30.e30.", "an empty segment"),
        ("..", "an empty segment"),
        ("e30.e30.AAAA ", "a character that is in no token"),
    ] {
        assert_eq!(parsed(token), Err(Rejection::Malformed(why)), "{token}");
    }
}

#[test]
fn a_jose_header_is_2048_bytes_at_most_and_its_kid_is_1024() {
    let padded = |length: usize| {
        let header = |padding: usize| json!({ "alg": "RS256", "kid": "a", "x": "x".repeat(padding) });
        let padding = length - header(0).to_string().len();
        assert_eq!(header(padding).to_string().len(), length);
        token_of(&header(padding))
    };
    assert_eq!(parsed(&padded(2048)), Ok(()));
    for length in [2049, 2050, 2051, 4096] {
        assert_eq!(parsed(&padded(length)), Err(Rejection::Malformed("the JOSE header is too large")), "{length}");
    }

    let with = |kid: String| token_of(&json!({ "alg": "RS256", "kid": kid }));
    for (length, expected) in
        [(0, Err(Rejection::NoKeyId)), (1, Ok(())), (1024, Ok(())), (1025, Err(Rejection::NoKeyId))]
    {
        assert_eq!(parsed(&with("k".repeat(length))), expected, "{length}");
    }
}

/// What a token with edited claims is refused for; `None`: it is reissued.
fn refusal(scenario: &mut Scenario, edit: impl FnOnce(&mut Value)) -> Option<Rejection> {
    let token = scenario.token("cluster-key", edit);
    scenario.events();
    if scenario.status(&token) == 200 {
        return None;
    }
    scenario.events().into_iter().find_map(|event| match event {
        jwt_reissuer::event::Event::Rejected { rejection, .. } => Some(rejection),
        _ => None,
    })
}

#[test]
fn times_are_judged_to_the_second() {
    const AGE: u64 = 36 * 3600;
    let now = START;
    let late = START + 31;
    let old = START - AGE - 1;
    for (claim, last, first, why) in [
        ("exp", START + 1, START, Rejection::Expired { exp: START, now }),
        ("nbf", START + 30, late, Rejection::NotYetValid { nbf: late, now }),
        ("iat", START + 30, late, Rejection::IssuedInTheFuture { iat: late, now }),
        ("iat", START - AGE, old, Rejection::TooOld { iat: old, now }),
        ("exp", 253_402_300_799, 253_402_300_800, Rejection::InvalidClaim { claim: "exp" }),
    ] {
        let mut scenario = Scenario::new(|_| ());
        // Early enough for an `exp` of the next second.
        let early = |claims: &mut Value| {
            claims["iat"] = (START - 60).into();
            claims["nbf"] = (START - 60).into();
        };
        let mut refused_at = |time: u64| {
            refusal(&mut scenario, |claims| {
                early(claims);
                claims[claim] = time.into();
            })
        };
        assert_eq!(refused_at(last), None, "{claim} {last}");
        assert_eq!(refused_at(first), Some(why), "{claim} {first}");
    }
}

#[test]
fn a_token_has_sixteen_audiences_and_a_jti_of_256_bytes_at_most() {
    let mut scenario = Scenario::new(|_| ());
    let audiences = |count: usize| {
        let mut list = vec!["another"; count - 1];
        list.push("jwt-reissuer");
        json!(list)
    };
    let invalid = |claim| Some(Rejection::InvalidClaim { claim });
    for (claim, value, expected) in [
        ("aud", audiences(16), None),
        ("aud", audiences(17), invalid("aud")),
        ("jti", json!("j".repeat(256)), None),
        ("jti", json!("j".repeat(257)), invalid("jti")),
    ] {
        assert_eq!(refusal(&mut scenario, |claims| claims[claim] = value.clone()), expected, "{claim} {value}");
    }
}

/// `sub` and `kubernetes.io` agree in each case: the names alone decide.
#[test]
fn a_service_account_has_names_that_kubernetes_would_give() {
    let mut scenario = Scenario::new(|_| ());
    let namespaces = [("a", true), ("0-9", true), ("", false), ("-a", false), ("a-", false), ("-", false)];
    let namespaces = namespaces.map(|(name, good)| (name.to_string(), good)).into_iter().chain([
        ("A".into(), false),
        ("a_b".into(), false),
        ("a.b".into(), false),
        ("ä".into(), false),
        ("a".repeat(63), true),
        ("a".repeat(64), false),
    ]);
    let long = |length: usize| format!("{}.{}", "a".repeat(63), "b".repeat(length - 64));
    let names = [("a", true), ("a.b", true), ("", false), (".", false), (".a", false), ("a.", false), ("a..b", false)];
    let names = names.map(|(name, good)| (name.to_string(), good)).into_iter().chain([
        ("a.-b".into(), false),
        ("a-.b".into(), false),
        ("a:b".into(), false),
        ("A.b".into(), false),
        ("a b".into(), false),
        (long(253), true),
        (long(254), false),
    ]);
    let cases = namespaces
        .map(|(namespace, good)| (namespace, "ledger".to_string(), good))
        .chain(names.map(|(name, good)| ("payments".to_string(), name, good)));
    for (namespace, name, good) in cases {
        let refused = refusal(&mut scenario, |claims| {
            claims["sub"] = format!("system:serviceaccount:{namespace}:{name}").into();
            claims["kubernetes.io"] = json!({ "namespace": namespace, "serviceaccount": { "name": name } });
        });
        let expected = if good { None } else { Some(Rejection::InvalidClaim { claim: "sub" }) };
        assert_eq!(refused, expected, "{namespace:?} {name:?}");
    }
}

/// The API server's key, as a JWK of that id.
fn jwk(kid: &str) -> Value {
    serde_json::to_value(signing_key(&keys()[0]).public().to_jwk(kid)).unwrap()
}

#[test]
fn a_key_set_is_256_kib_and_64_keys_at_most() {
    let mut document = json!({ "keys": [jwk("a")] }).to_string().into_bytes();
    document.resize(MAX_DOCUMENT, b' ');
    assert_eq!(MAX_DOCUMENT, 262_144);
    assert_eq!(KeySet::parse(&document).map(|keys| keys.kids().count()), Ok(1));
    document.push(b' ');
    assert_eq!(KeySet::parse(&document).err(), Some("more than 256 KiB".to_string()));

    let parse = |count: usize| {
        let keys: Vec<Value> = (0..count).map(|index| jwk(&format!("key-{index}"))).collect();
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).map(|keys| keys.kids().count())
    };
    assert_eq!(MAX_KEYS, 64);
    assert_eq!(parse(0), Err("no keys".to_string()));
    assert_eq!(parse(64), Ok(64));
    assert_eq!(parse(65), Err("more than 64 keys".to_string()));
}

#[test]
fn a_key_with_no_id_or_one_of_more_than_1024_bytes_is_left_out() {
    let document = json!({ "keys": [jwk(""), jwk(&"k".repeat(1025)), jwk(&"k".repeat(1024)), jwk("k")] });
    let keys = KeySet::parse(document.to_string().as_bytes()).unwrap();
    assert_eq!(keys.kids().map(str::len).collect::<Vec<_>>(), [1024, 1]);
    let why = KeyError::Malformed("kid absent, not a string, empty or over 1,024 bytes");
    let refused = RefusedKey { kid: None, why };
    assert_eq!(keys.refused(), [refused.clone(), refused]);
}

#[test]
fn who_has_waited_for_a_fetch_does_not_wait_again_and_the_others_wait_for_the_one_in_flight() {
    let second = Duration::from_secs;
    let mut cache = KeyCache::fetched(&JwksFetch {
        cluster: "kubernetes".into(),
        authority: "kubernetes.default.svc".into(),
        path: "/openid/v1/jwks".into(),
        timeout: second(2),
        lifetime: second(300),
        stale_limit: second(6 * 3600),
    });
    let set = || KeySet::parse(json!({ "keys": [jwk("known")] }).to_string().as_bytes()).unwrap();
    assert_eq!(cache.find("known", Algorithm::Rs256, second(0), false), Find::Pending);
    assert_eq!(cache.find("known", Algorithm::Rs256, second(0), true), Find::Unavailable { retry_after: 1 });

    let first = cache.source().poll(second(0), 0).expect("due at once");
    assert!(cache.source().succeed(first, set(), second(0), 0));
    assert_eq!(cache.find("known", Algorithm::Rs256, second(1), false), Find::Found);
    assert_eq!(
        cache.find("unknown", Algorithm::Rs256, second(1), true),
        Find::Absent,
        "who has waited causes no fetch"
    );
    assert!(!cache.is_pending(second(1)));
    assert_eq!(cache.find("unknown", Algorithm::Rs256, second(1), false), Find::Pending, "the first to ask causes one");
    assert_eq!(
        cache.find("another", Algorithm::Rs256, second(1), false),
        Find::Pending,
        "the next is served by the same"
    );

    let second_fetch = cache.source().poll(second(1), 0).expect("demanded");
    assert_eq!(cache.find("another", Algorithm::Rs256, second(2), false), Find::Pending, "in flight");
    assert!(cache.source().succeed(second_fetch, set(), second(2), 0));
    assert_eq!(cache.find("unknown", Algorithm::Rs256, second(2), false), Find::Absent, "ten seconds are not over");
    assert_eq!(cache.find("known", Algorithm::Rs256, second(2), false), Find::Found);
}
