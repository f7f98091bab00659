//! What the parts of a reissue take, and how often each asks for memory: `make bench-core`.
//!
//! Natively and in software: what carries over to the module is what is next to what. What a request costs in a real Envoy is what
//! `make bench` shows.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench"
)]

#[path = "../tests/scenario/mod.rs"]
mod scenario;

use chacha20::rand_core::SeedableRng as _;
use divan::{AllocProfiler, Bencher};
use jwt_reissuer::claims::Claims;
use jwt_reissuer::crypto::{Crypto, Rng, SigningKey, SoftwareCrypto};
use jwt_reissuer::http::Request;
use jwt_reissuer::keyring::Keyring;
use jwt_reissuer::token::{SubjectToken, UnverifiedToken};
use jwt_reissuer::{Config, Outcome, policy};
use p256::pkcs8::EncodePrivateKey as _;
use scenario::{Counted, START, Scenario, keys, signing_key};
use serde_json::{Value, json};

#[global_allocator]
static COUNTED: AllocProfiler = AllocProfiler::system();

const LONGEST: usize = 8192;

fn main() {
    divan::main();
}

/// Claims as kube-apiserver writes them for a pod.
fn of_a_pod(claims: &mut Value) {
    let uid = "2f0a4f2c-6d64-4c9c-8a49-0d2f7a3e1b11";
    claims["jti"] = uid.into();
    claims["nbf"] = claims["iat"].clone();
    claims["kubernetes.io"] = json!({
        "namespace": "payments", "node": { "name": "node-1", "uid": uid }, "pod": { "name": "ledger-0", "uid": uid },
        "serviceaccount": { "name": "ledger", "uid": uid }, "warnafter": START + 3607,
    });
}

/// A gateway that has its keys, and a pod's token.
fn gateway(crypto: Box<dyn Crypto>) -> (Scenario, String) {
    let mut scenario = Scenario::with(crypto, |config| config["limits"] = json!({ "worker_percent": 100 }));
    scenario.fetch_what_is_due();
    let token = scenario.token("cluster-key", of_a_pod);
    (scenario, token)
}

fn p256_key() -> SigningKey {
    let key = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    SigningKey::from_pkcs8_der(key.to_pkcs8_der().unwrap().as_bytes()).unwrap()
}

fn subject(scenario: &Scenario, config: &Config, token: &str) -> SubjectToken {
    let unverified = UnverifiedToken::parse(token.as_bytes(), LONGEST).unwrap();
    let plausible = unverified.examine(&config.trusted_issuers[0], START).unwrap();
    plausible.verify(scenario.api_server.public(), &SoftwareCrypto).unwrap()
}

fn claims(scenario: &Scenario, config: &Config, token: &str) -> Claims {
    let subject = subject(scenario, config, token);
    let grant = policy::allow(config, &config.trusted_issuers[0], &subject, 0, START).unwrap();
    Claims::of(&subject, &config.claims, config.issuer.as_text(), &grant, START, "jti".into())
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    let (_, token) = gateway(Box::new(SoftwareCrypto));
    bencher.bench_local(|| UnverifiedToken::parse(token.as_bytes(), LONGEST).unwrap());
}

#[divan::bench]
fn examine(bencher: Bencher<'_, '_>) {
    let ((_, token), config) = (gateway(Box::new(SoftwareCrypto)), scenario::config(|_| ()));
    let parsed = || UnverifiedToken::parse(token.as_bytes(), LONGEST).unwrap();
    bencher.with_inputs(parsed).bench_local_values(|token| token.examine(&config.trusted_issuers[0], START).unwrap());
}

#[divan::bench]
fn verify_rs256(bencher: Bencher<'_, '_>) {
    verify(bencher, &signing_key(&keys()[0]));
}

#[divan::bench]
fn verify_es256(bencher: Bencher<'_, '_>) {
    verify(bencher, &p256_key());
}

fn verify(bencher: Bencher<'_, '_>, key: &SigningKey) {
    let signature = SoftwareCrypto.sign(key, b"message", &mut Rng::from_seed([1; 32])).unwrap();
    bencher.bench_local(|| SoftwareCrypto.verify(key.public(), b"message", &signature).unwrap());
}

#[divan::bench]
fn map(bencher: Bencher<'_, '_>) {
    let ((scenario, token), config) = (gateway(Box::new(SoftwareCrypto)), scenario::config(|_| ()));
    let subject = subject(&scenario, &config, &token);
    bencher.bench_local(|| {
        let grant = policy::allow(&config, &config.trusted_issuers[0], &subject, 0, START).unwrap();
        Claims::of(&subject, &config.claims, config.issuer.as_text(), &grant, START, "jti".into())
    });
}

/// Serialising and encoding, and the signature with its check.
#[divan::bench]
fn sign_rs256(bencher: Bencher<'_, '_>) {
    sign(bencher, keys()[1].as_bytes());
}

#[divan::bench]
fn sign_es256(bencher: Bencher<'_, '_>) {
    let key = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    sign(bencher, key.to_pkcs8_pem(pkcs8::LineEnding::LF).unwrap().as_bytes());
}

fn sign(bencher: Bencher<'_, '_>, pem: &[u8]) {
    let ((scenario, token), config) = (gateway(Box::new(SoftwareCrypto)), scenario::config(|_| ()));
    let (claims, mut rng) = (claims(&scenario, &config, &token), Rng::from_seed([1; 32]));
    let keyring = Keyring::parse(pem, &scenario::terms(config.serve)).unwrap();
    bencher.bench_local(|| keyring.issue(&claims, START, &SoftwareCrypto, &mut rng).unwrap());
}

/// The whole way of a token that was not there before, and its crypto.
#[divan::bench(sample_count = 100, sample_size = 1)]
fn reissue_fresh(bencher: Bencher<'_, '_>) {
    let (mut scenario, _) = gateway(Box::new(SoftwareCrypto));
    let requests: Vec<Request> = (0..100)
        .map(|number| {
            let token = scenario.token("cluster-key", |claims| {
                of_a_pod(claims);
                claims["jti"] = format!("{number}").into();
            });
            request(&scenario, &token)
        })
        .collect();
    let mut fresh = requests.iter();
    bencher.bench_local(|| answered(&mut scenario, fresh.next().expect("one for each")));
}

/// The same without its crypto.
#[divan::bench]
fn reissue_fresh_beside_crypto(bencher: Bencher<'_, '_>) {
    let (mut scenario, _) = gateway(Box::new(Counted::trusting()));
    let mut number = 0;
    let requests: Vec<Request> = (0..4096)
        .map(|_| {
            number += 1;
            let token = scenario.unsigned(|claims| {
                of_a_pod(claims);
                claims["jti"] = format!("{number}").into();
            });
            request(&scenario, &token)
        })
        .collect();
    let mut place = 0;
    // Twice as many as are remembered, so that each is forgotten when its turn comes.
    bencher.bench_local(|| {
        place = (place + 1) % requests.len();
        answered(&mut scenario, &requests[place])
    });
}

#[divan::bench]
fn reissue_repeated(bencher: Bencher<'_, '_>) {
    let (mut scenario, token) = gateway(Box::new(SoftwareCrypto));
    let request = request(&scenario, &token);
    answered(&mut scenario, &request);
    bencher.bench_local(|| answered(&mut scenario, &request));
}

fn request(scenario: &Scenario, token: &str) -> Request {
    scenario.request("POST", "/reissue", &[("authorization", &format!("Bearer {token}"))])
}

fn answered(scenario: &mut Scenario, request: &Request) -> u16 {
    let Outcome::Respond(response) = scenario.reissuer.handle(request, scenario.now) else { panic!("it is warm") };
    scenario.reissuer.settle(scenario.now);
    while scenario.reissuer.poll_event().is_some() {}
    assert_eq!(response.status, 200);
    response.status
}
