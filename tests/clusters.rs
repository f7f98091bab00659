//! Several clusters behind one issuer: no cluster can act as another, and none can shut another out.
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
use chacha20::rand_core::SeedableRng as _;
use jwt_reissuer::crypto::{Crypto as _, Rng, SigningKey, SoftwareCrypto};
use jwt_reissuer::error::Rejection;
use jwt_reissuer::event::Event;
use jwt_reissuer::http::Response;
use jwt_reissuer::{Answer, Config, Outcome, Reissuer, SourceKey};
use p256::pkcs8::EncodePrivateKey as _;
use scenario::{BEGINNING, OUR_HOST, START, Scenario, claims_of};
use serde_json::{Value, json};

const KUBEADM: &str = "https://kubernetes.default.svc.cluster.local";

/// A cluster's signing key, made of a number.
fn key(seed: u8) -> SigningKey {
    let key = p256::SecretKey::from_slice(&[seed; 32]).unwrap();
    SigningKey::from_pkcs8_der(key.to_pkcs8_der().unwrap().as_bytes()).unwrap()
}

fn jwk(seed: u8, kid: &str) -> Value {
    serde_json::to_value(key(seed).public().to_jwk(kid)).unwrap()
}

fn key_set(keys: &[(u8, &str)]) -> Value {
    json!({ "keys": keys.iter().map(|(seed, kid)| jwk(*seed, kid)).collect::<Vec<_>>() })
}

/// A token of `default/my-app`, signed by that key under that id.
fn token(seed: u8, kid: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut claims = json!({
        "iss": KUBEADM, "sub": "system:serviceaccount:default:my-app", "aud": "jwt-reissuer",
        "iat": START, "exp": START + 3600,
        "kubernetes.io": { "namespace": "default", "serviceaccount": { "name": "my-app", "uid": "u" } },
    });
    edit(&mut claims);
    let header = json!({ "alg": "ES256", "kid": kid });
    let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = SoftwareCrypto.sign(&key(seed), text.as_bytes(), &mut Rng::from_seed([4; 32])).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn fetched(cluster: &str) -> Value {
    json!({ "envoy_cluster": cluster, "authority": "kubernetes.default.svc" })
}

fn trusted(name: &str, prefix: Option<&str>, jwks: Value) -> Value {
    let mut trusted = json!({ "name": name, "issuer": KUBEADM, "audiences": ["jwt-reissuer"], "jwks": jwks });
    if let Some(prefix) = prefix {
        trusted["subject_prefix"] = prefix.into();
    }
    trusted
}

fn configured(trusted: &[Value]) -> Result<Config, String> {
    let config = json!({
        "issuer": format!("https://{OUR_HOST}"), "audiences": ["sts.amazonaws.com"],
        "signing_keys": { "from": { "dangerous_inline": scenario::keys()[1] } },
        "trusted_issuers": trusted,
    });
    Config::from_json(config.to_string().as_bytes(), &|_| None).map_err(|error| error.to_string())
}

/// Clusters `a` and `b` of kubeadm, each with what its API server publishes.
struct Clusters {
    scenario: Scenario,
    published: [Option<Value>; 2],
}

impl Clusters {
    fn new(a: &[(u8, &str)], b: &[(u8, &str)]) -> Self {
        let config =
            configured(&[trusted("a", Some("a:"), fetched("a")), trusted("b", Some("b:"), fetched("b"))]).unwrap();
        let mut scenario = Scenario::new(|_| ());
        scenario.reissuer =
            Reissuer::new(config, Box::new(SoftwareCrypto), [3; 32], BEGINNING).map_err(|_| ()).unwrap();
        let mut clusters = Self { scenario, published: [Some(key_set(a)), Some(key_set(b))] };
        clusters.fetch();
        clusters
    }

    fn fetch(&mut self) {
        while let Some(fetch) = self.scenario.reissuer.poll_fetch(self.scenario.now) {
            let SourceKey::Jwks(index) = fetch.id.key else { panic!("{fetch:?}") };
            let body = self.published[index].as_ref().map(ToString::to_string);
            let answer = match &body {
                Some(body) => Answer::Response { status: 200, date: None, body: body.as_bytes() },
                None => Answer::Response { status: 503, date: None, body: b"no healthy upstream" },
            };
            self.scenario.reissuer.handle_fetched(fetch.id, answer, self.scenario.now);
        }
    }

    fn send(&mut self, token: &str) -> Response {
        let bearer = format!("Bearer {token}");
        let request = self.scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
        match self.scenario.reissuer.handle(&request, self.scenario.now) {
            Outcome::Respond(response) => response,
            Outcome::Defer(key) => {
                self.scenario.reissuer.wait(1, request, key, self.scenario.now).unwrap();
                for _ in 0..4 {
                    self.fetch();
                    if let Some((_, response)) = self.scenario.reissuer.poll_waiting(self.scenario.now) {
                        return response;
                    }
                }
                panic!("it waits for ever")
            }
            outcome => panic!("{outcome:?}"),
        }
    }

    /// `sub` of what is issued, or why nothing is.
    fn sub(&mut self, token: &str) -> Result<String, Rejection> {
        self.scenario.events();
        let response = self.send(token);
        if response.status == 200 {
            return Ok(claims_of(&response)["sub"].as_str().unwrap().into());
        }
        let rejected = self.scenario.events().into_iter().find_map(|event| match event {
            Event::Rejected { rejection, .. } => Some(rejection),
            _ => None,
        });
        Err(rejected.unwrap())
    }
}

const OF_A: &str = "a:system:serviceaccount:default:my-app";
const OF_B: &str = "b:system:serviceaccount:default:my-app";

#[test]
fn the_same_service_account_of_two_clusters_gets_two_subjects() {
    let mut clusters = Clusters::new(&[(1, "key-a")], &[(2, "key-b")]);
    assert_eq!(clusters.sub(&token(1, "key-a", |_| ())), Ok(OF_A.into()));
    assert_eq!(clusters.sub(&token(2, "key-b", |_| ())), Ok(OF_B.into()));
    // Once more, from memory.
    assert_eq!(clusters.sub(&token(1, "key-a", |_| ())), Ok(OF_A.into()));
    assert_eq!(clusters.sub(&token(2, "key-b", |_| ())), Ok(OF_B.into()));
}

#[test]
fn a_foreign_kid_shuts_nobody_out_and_the_key_that_verifies_decides() {
    for (a, b) in [
        (&[(1, "key")][..], &[(2, "key")][..]),
        (&[(1, "key")], &[(2, "own"), (3, "key")]),
        (&[(1, "key"), (4, "own")], &[(2, "key")]),
    ] {
        let mut clusters = Clusters::new(a, b);
        assert_eq!(clusters.sub(&token(1, "key", |_| ())), Ok(OF_A.into()));
        let (seed, kid) = b[0];
        assert_eq!(clusters.sub(&token(seed, kid, |_| ())), Ok(OF_B.into()));
        assert_eq!(clusters.sub(&token(9, "key", |_| ())), Err(Rejection::BadSignature));
    }
}

#[test]
fn a_key_that_both_clusters_publish_tells_neither_so_its_tokens_are_refused() {
    let ambiguous = Err(Rejection::AmbiguousIssuer { kid: "key".into() });
    let mut clusters = Clusters::new(&[(1, "key")], &[(1, "key"), (2, "own")]);
    assert_eq!(clusters.sub(&token(1, "key", |_| ())), ambiguous);
    assert_eq!(clusters.sub(&token(2, "own", |_| ())), Ok(OF_B.into()));

    // One that is published later ends what is remembered.
    let mut clusters = Clusters::new(&[(1, "key")], &[(2, "own")]);
    assert_eq!(clusters.sub(&token(1, "key", |_| ())), Ok(OF_A.into()));
    clusters.published[1] = Some(key_set(&[(1, "key")]));
    clusters.scenario.pass(400);
    clusters.fetch();
    assert_eq!(clusters.sub(&token(1, "key", |_| ())), ambiguous);
}

#[test]
fn a_shared_key_is_ambiguous_although_the_other_cluster_would_refuse_the_claims() {
    let mut other = trusted("b", Some("b:"), fetched("b"));
    other["audiences"] = json!(["another"]);
    let config = configured(&[trusted("a", Some("a:"), fetched("a")), other]).unwrap();
    let mut clusters = Clusters::new(&[(1, "key")], &[(1, "key")]);
    clusters.scenario.reissuer =
        Reissuer::new(config, Box::new(SoftwareCrypto), [3; 32], BEGINNING).map_err(|_| ()).unwrap();
    clusters.fetch();
    // A pod of b can have a token for any audience from its own API server.
    assert_eq!(clusters.sub(&token(1, "key", |_| ())), Err(Rejection::AmbiguousIssuer { kid: "key".into() }));
}

#[test]
fn a_cluster_that_is_down_costs_the_other_nothing() {
    for down in [0, 1] {
        let mut clusters = Clusters::new(&[(1, "key-a")], &[(2, "key-b")]);
        let config =
            configured(&[trusted("a", Some("a:"), fetched("a")), trusted("b", Some("b:"), fetched("b"))]).unwrap();
        clusters.scenario.reissuer =
            Reissuer::new(config, Box::new(SoftwareCrypto), [3; 32], BEGINNING).map_err(|_| ()).unwrap();
        clusters.published[down] = None;
        clusters.fetch();
        let tokens = [(token(1, "key-a", |_| ()), OF_A), (token(2, "key-b", |_| ()), OF_B)];
        let (up, sub) = &tokens[1 - down];
        assert_eq!(clusters.sub(up), Ok((*sub).into()));
        assert!(matches!(clusters.sub(&tokens[down].0), Err(Rejection::IssuerKeysUnavailable { .. })));
    }
}

#[test]
fn a_new_key_of_either_cluster_is_fetched_once_and_then_found() {
    let mut clusters = Clusters::new(&[(1, "key-a")], &[(2, "key-b")]);
    clusters.published[1] = Some(key_set(&[(2, "key-b"), (3, "new")]));
    clusters.scenario.pass(20);
    assert_eq!(clusters.sub(&token(3, "new", |_| ())), Ok(OF_B.into()));
    // A new key of b under a kid that a has published all along.
    clusters.published[1] = Some(key_set(&[(2, "key-b"), (4, "key-a")]));
    clusters.scenario.pass(20);
    assert_eq!(clusters.sub(&token(4, "key-a", |_| ())), Ok(OF_B.into()));
}

#[test]
fn a_key_that_moves_to_another_cluster_and_back_takes_no_remembered_token_along() {
    let mut clusters = Clusters::new(&[(1, "key")], &[(2, "own")]);
    let token = token(1, "key", |_| ());
    type Published = &'static [(u8, &'static str)];
    let steps: [(Published, Published, &str); 3] = [
        (&[(1, "key")], &[(2, "own")], OF_A),
        (&[(3, "other")], &[(1, "key")], OF_B),
        (&[(1, "key")], &[(2, "own")], OF_A),
    ];
    for (a, b, expected) in steps {
        clusters.published = [Some(key_set(a)), Some(key_set(b))];
        clusters.scenario.pass(400);
        clusters.fetch();
        assert_eq!(clusters.sub(&token), Ok(expected.into()));
    }
}

#[test]
fn a_cluster_that_publishes_a_foreign_kid_does_not_spend_the_part_of_anothers_subject() {
    // The first cluster publishes the kid of the second, and spends all that there is under the same subject.
    let mut clusters = Clusters::new(&[(2, "key")], &[(1, "key")]);
    let of_first = |number: u64| token(2, "key", move |claims| claims["jti"] = number.to_string().into());
    for number in 0..2 {
        assert_eq!(clusters.send(&of_first(number)).status, 200);
        clusters.scenario.now.monotonic += Duration::from_millis(100);
        clusters.scenario.reissuer.settle(clusters.scenario.now);
        if number == 0 {
            clusters.scenario.now.monotonic += Duration::from_millis(100);
        }
    }
    let mut outcome = |token: &str, stream: u32| {
        let bearer = format!("Bearer {token}");
        let request = clusters.scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
        match clusters.scenario.reissuer.handle(&request, clusters.scenario.now) {
            Outcome::Defer(turn) => {
                clusters.scenario.reissuer.wait(stream, request, turn, clusters.scenario.now).unwrap();
                None
            }
            Outcome::Respond(response) => Some(response.status),
            outcome => panic!("{outcome:?}"),
        }
    };
    assert_eq!(outcome(&of_first(9), 7), None, "it waits for its turn");
    assert_eq!(
        outcome(&token(1, "key", |_| ()), 8),
        None,
        "and so does the subject of the second, which has spent nothing"
    );
}

#[test]
fn each_cluster_is_held_to_its_own_settings() {
    let mut other = trusted("b", Some("b:"), fetched("b"));
    other["audiences"] = json!(["for-b"]);
    other["algorithms"] = json!(["RS256"]);
    let mut third = trusted("c", Some("c:"), json!({ "inline": key_set(&[(5, "key-c")]) }));
    third["audiences"] = json!(["for-b"]);
    let config = configured(&[trusted("a", Some("a:"), fetched("a")), other, third]).unwrap();
    let mut clusters = Clusters::new(&[(1, "key")], &[(2, "key")]);
    clusters.scenario.reissuer =
        Reissuer::new(config, Box::new(SoftwareCrypto), [3; 32], BEGINNING).map_err(|_| ()).unwrap();
    clusters.published[1] = None;
    clusters.fetch();
    let for_b = |claims: &mut Value| claims["aud"] = "for-b".into();
    assert_eq!(clusters.sub(&token(1, "key", |_| ())), Ok(OF_A.into()));
    assert_eq!(clusters.sub(&token(1, "key-c", for_b)), Err(Rejection::BadSignature));
    assert_eq!(clusters.sub(&token(5, "key-c", for_b)), Ok("c:system:serviceaccount:default:my-app".into()));
    assert_eq!(
        clusters.sub(&token(5, "key-c", |_| ())),
        Err(Rejection::UnknownKey { kid: "key-c".into() }),
        "of those that take this audience, none has the key"
    );
}

#[test]
fn issuers_are_taken_together_with_different_prefixes_or_with_one_set_of_keys() {
    let elsewhere = |iss: &str, mut trusted: Value| {
        trusted["issuer"] = iss.into();
        trusted
    };
    let sets =
        [json!({ "inline": key_set(&[(1, "x"), (2, "y")]) }), json!({ "inline": key_set(&[(2, "y"), (1, "x")]) })];
    let another = json!({ "inline": key_set(&[(1, "x")]) });
    let mut other_path = fetched("a");
    other_path["path"] = "/other".into();
    let mut other_authority = fetched("a");
    other_authority["authority"] = "other".into();
    let mut slower = fetched("a");
    slower["lifetime"] = "600s".into();

    let good = [
        ("different prefixes", vec![trusted("a", None, fetched("a")), trusted("b", Some("b:"), fetched("b"))]),
        (
            "one endpoint",
            vec![trusted("a", None, fetched("a")), elsewhere("https://old", trusted("b", None, slower.clone()))],
        ),
        (
            "equal sets in the configuration",
            vec![
                trusted("a", Some("p:"), sets[0].clone()),
                elsewhere("https://old", trusted("b", Some("p:"), sets[1].clone())),
            ],
        ),
    ];
    for (why, trusted) in good {
        assert_eq!(configured(&trusted).err(), None, "{why}");
    }
    let same_prefix = "trusted_issuers[1].subject_prefix: must differ from that of trusted_issuers[0] (a)";
    let same_issuer = "trusted_issuers[1].issuer: is the issuer of trusted_issuers[0], with the same keys";
    let bad = [
        (same_prefix, trusted("a", None, fetched("a")), elsewhere("https://other", trusted("b", None, fetched("b")))),
        (same_prefix, trusted("a", Some("p:"), fetched("a")), trusted("b", Some("p:"), fetched("b"))),
        (same_prefix, trusted("a", None, fetched("a")), elsewhere("https://other", trusted("b", None, other_path))),
        (
            same_prefix,
            trusted("a", None, fetched("a")),
            elsewhere("https://other", trusted("b", None, other_authority)),
        ),
        (same_prefix, trusted("a", None, sets[0].clone()), elsewhere("https://other", trusted("b", None, another))),
        (
            same_prefix,
            trusted("a", None, fetched("a")),
            elsewhere("https://other", trusted("b", None, sets[0].clone())),
        ),
        (same_issuer, trusted("a", None, fetched("a")), trusted("b", None, fetched("a"))),
        (same_issuer, trusted("a", Some("a:"), sets[0].clone()), trusted("b", Some("b:"), sets[1].clone())),
    ];
    for (expected, first, second) in bad {
        let error = configured(&[first.clone(), second.clone()]).err().unwrap_or_else(|| panic!("{second} is taken"));
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_prefix_is_short_and_plain_and_no_beginning_of_a_subject() {
    for (prefix, problem) in [
        ("", "must not be empty"),
        ("a*", "may have letters, digits and -._:/"),
        ("a b", "must be of visible ASCII characters"),
        ("system:serviceaccount:default:", "must not begin with system:"),
        (&"x".repeat(65), "must not be longer than 64 characters"),
    ] {
        let error = configured(&[trusted("a", Some(prefix), fetched("a"))]).err().unwrap();
        assert!(error.starts_with(&format!("trusted_issuers[0].subject_prefix: {problem}")), "{error}");
    }
}

#[test]
fn a_hundred_clusters_of_one_issuer_are_told_apart() {
    let all: Vec<Value> = (1..=100)
        .map(|seed| {
            // Half of them publish the same kid.
            let kid = if seed % 2 == 0 { "key".to_string() } else { format!("key-{seed}") };
            let jwks = json!({ "inline": { "keys": [jwk(seed, &kid)] } });
            trusted(&format!("c{seed}"), Some(&format!("c{seed}:")), jwks)
        })
        .collect();
    let mut clusters = Clusters::new(&[(1, "x")], &[(2, "y")]);
    let config = configured(&all).unwrap();
    clusters.scenario.reissuer =
        Reissuer::new(config, Box::new(SoftwareCrypto), [3; 32], BEGINNING).map_err(|_| ()).unwrap();
    for (seed, kid) in [(1, "key-1"), (2, "key"), (50, "key"), (99, "key-99"), (100, "key")] {
        let expected = format!("c{seed}:system:serviceaccount:default:my-app");
        assert_eq!(clusters.sub(&token(seed, kid, |_| ())), Ok(expected));
    }
}
