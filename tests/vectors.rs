//! Every vector, by the core alone: tokens and key sets that must be refused, and the ones that must not be.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::time::Duration;

use jwt_reissuer::config::{Config, KeysFrom};
use jwt_reissuer::crypto::{Algorithm, SoftwareCrypto};
use jwt_reissuer::error::Rejection;
use jwt_reissuer::issuer::Issuer;
use jwt_reissuer::jwks::KeySet;
use jwt_reissuer::token::{SubjectToken, UnverifiedToken};
use jwt_reissuer::trusted_issuer::{JwksFrom, TrustedIssuer};
use serde_json::Value;

const TOKENS: &str = include_str!("vectors/negative/tokens.json");
const JWKS: &str = include_str!("vectors/negative/jwks.json");
const JWKS_1001_KEYS: &str = include_str!("vectors/negative/jwks_1001_keys.json");
const ISSUERS: &str = include_str!("vectors/negative/issuer_strings.json");

/// Whether it is the reason that the vector names, in our words.
fn names(reason: &str, rejection: &Rejection) -> bool {
    match reason {
        "malformed" => matches!(rejection, Rejection::Malformed(_)),
        "too_large" => matches!(rejection, Rejection::TokenTooLarge),
        "alg" => matches!(rejection, Rejection::UnsupportedAlgorithm | Rejection::AlgorithmOfAnotherKey),
        "crit" | "header" => matches!(rejection, Rejection::HeaderMember(_)),
        "typ" => matches!(rejection, Rejection::WrongType),
        "kid" => matches!(rejection, Rejection::NoKeyId | Rejection::UnknownKey { .. }),
        "signature" => matches!(rejection, Rejection::BadSignature),
        "expired" => matches!(rejection, Rejection::Expired { .. }),
        "nbf" => matches!(rejection, Rejection::NotYetValid { .. } | Rejection::InvalidClaim { claim: "nbf" }),
        "iat" => matches!(rejection, Rejection::IssuedInTheFuture { .. } | Rejection::InvalidClaim { claim: "iat" }),
        "iss" => matches!(rejection, Rejection::UnknownIssuer | Rejection::InvalidClaim { claim: "iss" }),
        "aud" => matches!(rejection, Rejection::WrongAudience | Rejection::InvalidClaim { claim: "aud" }),
        "exp" | "jti" | "sub" => matches!(rejection, Rejection::InvalidClaim { claim } if *claim == reason),
        "k8s" => matches!(rejection, Rejection::InvalidClaim { claim: "kubernetes.io" }),
        _ => panic!("a reason the table does not know: {reason}"),
    }
}

/// The vectors that are refused for another reason than they name, one that is seen sooner.
const SEEN_SOONER: [(&str, Rejection); 9] = [
    // Headers that bring or point to keys are refused for that, before a key is looked for or a signature checked.
    ("J09b", Rejection::HeaderMember("jwk")),
    ("J10a", Rejection::HeaderMember("jku")),
    ("J11", Rejection::HeaderMember("x5u")),
    ("J12", Rejection::HeaderMember("x5c")),
    // The claims would not do, whoever signed them.
    ("S02a", Rejection::InvalidClaim { claim: "kubernetes.io" }),
    // A number that no double can hold is no number of the claims, whichever of them has it.
    ("C06a", Rejection::Malformed("the claims are not strict JSON")),
    ("C06f", Rejection::Malformed("the claims are not strict JSON")),
    // Two claims contradict each other; the vector blames the one, we the other.
    ("C19a", Rejection::InvalidClaim { claim: "kubernetes.io" }),
    ("C19b", Rejection::InvalidClaim { claim: "kubernetes.io" }),
];

/// Whether a vector is refused for its reason, or for the one that stands for it in the list: never for either.
fn is_expected(id: &str, reason: &str, rejection: &Rejection) -> bool {
    match SEEN_SOONER.iter().find(|(other, _)| *other == id) {
        Some((_, sooner)) => sooner == rejection && !names(reason, sooner),
        None => names(reason, rejection),
    }
}

fn trusted(file: &Value) -> TrustedIssuer {
    let config = &file["config"];
    let strings = |name: &str| -> Vec<String> {
        config[name].as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_string()).collect()
    };
    TrustedIssuer {
        name: "vectors".into(),
        issuer: config["issuer"].as_str().unwrap().into(),
        subject_prefix: String::new(),
        audiences: strings("audiences"),
        algorithms: strings("algs").iter().map(|name| Algorithm::from_name(name).unwrap()).collect(),
        max_token_age: Duration::from_secs(36 * 3600),
        leeway: Duration::from_secs(config["leeway_s"].as_u64().unwrap()),
        jwks: JwksFrom::Inline(KeySet::default()),
    }
}

fn verify(token: &str, keys: &KeySet, issuer: &TrustedIssuer, now: u64) -> Result<SubjectToken, Rejection> {
    let plausible = UnverifiedToken::parse(token.as_bytes(), 8192)?.examine(issuer, now)?;
    let key = keys
        .get(plausible.kid(), plausible.algorithm())
        .ok_or_else(|| Rejection::UnknownKey { kid: plausible.kid().to_string() })?;
    plausible.verify(key, &SoftwareCrypto)
}

#[test]
fn every_token_is_judged_as_its_vector_says() {
    let file: Value = serde_json::from_str(TOKENS).unwrap();
    let now = file["now"].as_u64().unwrap();
    let issuer = trusted(&file);
    let cases = file["cases"].as_array().unwrap();
    let mut wrong = Vec::new();
    for case in cases {
        let [id, title, token, expect, reason] =
            ["id", "title", "token", "expect", "reason"].map(|name| case[name].as_str().unwrap());
        let keys = file["jwks"][case["jwks"].as_str().unwrap()].to_string();
        let keys = KeySet::parse(keys.as_bytes()).unwrap();
        let verdict = verify(token, &keys, &issuer, now);
        let right = match (&verdict, expect) {
            (Ok(_), "accept") => true,
            (Err(rejection), "reject") => is_expected(id, reason, rejection) && rejection.status() == case["status"],
            _ => false,
        };
        if !right {
            wrong.push(format!("{id} ({title}): {expect} {reason}, but {:?}", verdict.map(|_| "accepted")));
        }
    }
    for (id, _) in SEEN_SOONER {
        assert!(cases.iter().any(|case| case["id"] == id && case["expect"] == "reject"), "no such vector: {id}");
    }
    println!("vectors: tokens: {} of {}", cases.len() - wrong.len(), cases.len());
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(cases.len(), 155);
}

#[test]
fn every_key_set_is_judged_as_its_vector_says() {
    let file: Value = serde_json::from_str(JWKS).unwrap();
    let now = file["now"].as_u64().unwrap();
    let issuer = trusted(&file);
    let cases = file["cases"].as_array().unwrap();
    let mut wrong = Vec::new();
    for case in cases {
        let document = match (case["doc"].as_str(), case["raw"].as_str()) {
            (Some("jwks_1001_keys.json"), None) => JWKS_1001_KEYS.to_string(),
            (Some(name), None) => file["documents"][name].to_string(),
            (None, Some(raw)) => raw.to_string(),
            other => panic!("{other:?}"),
        };
        // Without a set there is nothing to verify by: 503 where it is the first.
        let keys = KeySet::parse(document.as_bytes()).map_err(|_| "reject");
        let keys =
            keys.and_then(|keys| if keys.has_key_for(&issuer.algorithms) { Ok(keys) } else { Err("no usable key") });
        let taken = keys.as_ref().map_or_else(|why| *why, |_| "accept");
        if case["document"] != taken {
            wrong.push(format!(
                "{} ({}): document {} expected, but {taken}",
                case["id"], case["title"], case["document"]
            ));
        }
        // A token that is refused without keys is refused whatever there is of them.
        let token = case["token"].as_str().unwrap();
        let examined = UnverifiedToken::parse(token.as_bytes(), 8192).and_then(|token| token.examine(&issuer, now));
        let keys = examined.map_err(|error| error.status()).and_then(|_| keys.map_err(|_| 503));
        let verdict = keys.and_then(|keys| {
            verify(case["token"].as_str().unwrap(), &keys, &issuer, now).map_err(|error| error.status())
        });
        let status = verdict.map_or_else(|status| status, |_| 200);
        let expected = if case["document"] == "accept" { &case["status"] } else { &case["cold_status"] };
        if status != *expected {
            wrong.push(format!("{} ({}): {expected} expected, but {status}", case["id"], case["title"]));
        }
    }
    println!("vectors: key sets: {} of {}", cases.len() - wrong.len(), cases.len());
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(cases.len(), 32);
}

#[test]
fn every_issuer_string_is_judged_as_its_list_says() {
    let file: Value = serde_json::from_str(ISSUERS).unwrap();
    let config = |issuer: &str| {
        let config = serde_json::json!({
            "issuer": issuer,
            "serve": ["documents"],
            "signing_keys": { "from": { "envoy_cluster": "signing_keys" } },
        });
        Config::from_json(config.to_string().as_bytes(), &|_| None)
    };
    let strings = |list: &str| file[list].as_array().unwrap().clone();
    assert!(strings("valid").len() >= 4 && strings("invalid").len() >= 25);
    for valid in strings("valid") {
        let config = config(valid.as_str().unwrap()).map_err(|error| error.to_string());
        assert_eq!(config.as_ref().map(|config| config.issuer.as_str()), Ok(valid.as_str().unwrap()));
        assert!(matches!(config.unwrap().keys_from, KeysFrom::EnvoyCluster(_)));
    }
    for invalid in strings("invalid") {
        let error = config(invalid.as_str().unwrap()).err().unwrap_or_else(|| panic!("{invalid} is taken"));
        assert_eq!(error.path, "issuer", "{invalid}");
    }
    println!("vectors: issuer strings: {0} of {0}", strings("valid").len() + strings("invalid").len());
}

#[test]
fn an_issuer_is_taken_apart_into_host_and_path() {
    for (text, host, path) in [
        ("https://reissuer.example.com", "reissuer.example.com", ""),
        ("https://example.com:8443/a/b", "example.com", "/a/b"),
        ("http://127.0.0.1:8080/tenant", "127.0.0.1", "/tenant"),
        ("http://[::1]:8080", "[::1]", ""),
    ] {
        let config = serde_json::json!({
            "issuer": text,
            "serve": ["documents"],
            "signing_keys": { "from": { "envoy_cluster": "signing_keys" } },
        });
        let issuer: Issuer = Config::from_json(config.to_string().as_bytes(), &|_| None)
            .map_err(|error| error.to_string())
            .unwrap()
            .issuer;
        assert_eq!((issuer.host(), issuer.path()), (host, path));
    }
}
