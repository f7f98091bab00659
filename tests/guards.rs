//! What stands between the signer and the world, each seen to hold by a fault that it is there for.
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

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20::rand_core::{Rng as _, SeedableRng as _};

use jwt_reissuer::crypto::{BadSignature, Crypto, Rng, SigningFailed, SigningKey, SoftwareCrypto, VerifyingKey};
use jwt_reissuer::error::Rejection;
use jwt_reissuer::event::{Event, Level};
use jwt_reissuer::http::{Body, Connection, Request, Route, Serve};
use jwt_reissuer::keyring::{IssueError, Keyring};
use jwt_reissuer::token::UnverifiedToken;
use jwt_reissuer::{Config, MAX_WAITING, Outcome, Reissuer, SourceKey};
use p256::elliptic_curve::bigint::Resize as _;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use scenario::{OUR_HOST, START, Scenario, keys, signing_key};
use serde_json::{Value, json};

const BOTH: Serve = Serve { documents: true, tokens: true };

/// A signer that goes wrong on demand, and counts the signatures it is asked to check.
#[derive(Clone, Default)]
struct FaultySigner {
    fault: Rc<Cell<Fault>>,
    verified: Rc<Cell<usize>>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    /// One bit of the signature, as a fault in the arithmetic leaves it: such a signature can give the key away
    OneBit,
    /// No signature comes out
    Refusal,
}

impl Crypto for FaultySigner {
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.verified.set(self.verified.get() + 1);
        SoftwareCrypto.verify(key, message, signature)
    }

    fn sign(&self, key: &SigningKey, message: &[u8], rng: &mut Rng) -> Result<Vec<u8>, SigningFailed> {
        if self.fault.get() == Fault::Refusal {
            return Err(SigningFailed);
        }
        let mut signature = SoftwareCrypto.sign(key, message, rng)?;
        if self.fault.get() == Fault::OneBit {
            signature[100] ^= 1;
        }
        Ok(signature)
    }
}

fn fetched_keyring(config: &mut Value) {
    config["signing_keys"]["from"] = json!({ "envoy_cluster": "signing_keys" });
}

/// A scenario that has issued a token, its signer, and another token to reissue.
fn warm(edit: fn(&mut Value)) -> (Scenario, FaultySigner, String) {
    let signer = FaultySigner::default();
    let mut scenario = Scenario::with(Box::new(signer.clone()), edit);
    let first = scenario.token("cluster-key", |claims| claims["jti"] = "first".into());
    assert_eq!(scenario.status(&first), 200);
    scenario.events();
    let token = scenario.token("cluster-key", |_| ());
    (scenario, signer, token)
}

fn rejections(events: &[Event]) -> Vec<Rejection> {
    let each = events.iter().filter_map(|event| match event {
        Event::Rejected { rejection, .. } => Some(rejection.clone()),
        _ => None,
    });
    each.collect()
}

#[test]
fn a_signature_that_does_not_verify_never_leaves_and_nothing_is_signed_after_it() {
    let (mut scenario, signer, token) = warm(|_| ());
    signer.fault.set(Fault::OneBit);
    let answer = scenario.reissue("/reissue", &token);
    assert_eq!(answer.status, 500);
    assert!(!answer.body.contains(&b'.'), "no token, not even a broken one");
    let events = scenario.events();
    assert_eq!(events.iter().filter(|event| **event == Event::SigningLatched).count(), 1);
    assert_eq!(rejections(&events), [Rejection::SigningFailed]);

    signer.fault.set(Fault::None);
    assert_eq!(scenario.status(&token), 500, "a signer that went wrong once is not trusted again");
    assert_eq!(rejections(&scenario.events()), [Rejection::SigningLatched]);
    assert_eq!(
        scenario.send(scenario.request("GET", "/openid/v1/jwks", &[])).status,
        200,
        "what is out stays verifiable"
    );
}

type Spoil = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// A signer whose signature of a fixed text is spoilt in one way after another.
struct SpoiltSigner {
    good: Vec<u8>,
    spoil: Spoil,
}

impl Crypto for SpoiltSigner {
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        SoftwareCrypto.verify(key, message, signature)
    }

    fn sign(&self, _: &SigningKey, _: &[u8], _: &mut Rng) -> Result<Vec<u8>, SigningFailed> {
        Ok((self.spoil)(&self.good))
    }
}

/// The text that a keyring signs to test itself: the same way through signing and checking as every token.
const SELF_TEST: &[u8] = b"jwt-reissuer self-test";

#[test]
fn of_ten_thousand_faults_in_one_half_of_the_chinese_remainder_none_comes_out() {
    let pem = &keys()[1];
    let keyring = Keyring::parse(pem.as_bytes(), &scenario::terms(BOTH)).map_err(|error| error.to_string()).unwrap();
    let good = SoftwareCrypto.sign(&signing_key(pem), SELF_TEST, &mut Rng::from_seed([1; 32])).unwrap();
    let private = rsa::PrivateKey::from_pkcs8_pem(pem).unwrap();
    let modulus = private.n().as_ref().clone();
    let mut rng = Rng::from_seed([2; 32]);
    let unspoilt = SpoiltSigner { good: good.clone(), spoil: Box::new(<[u8]>::to_vec) };
    assert_eq!(keyring.self_test(&unspoilt, &mut rng), Ok(()));
    for fault in 1..=10_000_u64 {
        // Right modulo one prime and wrong modulo the other: whoever sees it divides the key out of it.
        let prime = &private.primes()[usize::try_from(fault % 2).unwrap()];
        let step = prime.as_ref().clone().resize(modulus.bits_precision()).wrapping_mul(rsa::BoxedUint::from(fault));
        let modulus = modulus.clone();
        let spoil = move |good: &[u8]| {
            let right = rsa::BoxedUint::from_be_slice(good, modulus.bits_precision()).unwrap();
            let wrong = right.wrapping_add(&step);
            let wrong = if wrong >= modulus { wrong.wrapping_sub(&modulus) } else { wrong };
            wrong.to_be_bytes().to_vec()
        };
        let signer = SpoiltSigner { good: good.clone(), spoil: Box::new(spoil) };
        assert_eq!(keyring.self_test(&signer, &mut rng), Err(IssueError::Wrong), "{fault}");
    }
}

#[test]
fn of_single_bit_faults_in_a_signature_none_comes_out() {
    let ec = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let ec = STANDARD.encode(ec.to_pkcs8_der().unwrap().as_bytes());
    for document in [keys()[1].clone(), ec] {
        let keyring =
            Keyring::parse(document.as_bytes(), &scenario::terms(BOTH)).map_err(|error| error.to_string()).unwrap();
        let key = match STANDARD.decode(&document) {
            Ok(der) => SigningKey::from_pkcs8_der(&der).unwrap(),
            Err(_) => signing_key(&document),
        };
        let good = SoftwareCrypto.sign(&key, SELF_TEST, &mut Rng::from_seed([1; 32])).unwrap();
        for bit in 0..good.len() * 8 {
            let spoil = move |good: &[u8]| {
                let mut spoilt = good.to_vec();
                spoilt[bit / 8] ^= 1 << (bit % 8);
                spoilt
            };
            let signer = SpoiltSigner { good: good.clone(), spoil: Box::new(spoil) };
            assert_eq!(keyring.self_test(&signer, &mut Rng::from_seed([3; 32])), Err(IssueError::Wrong), "{bit}");
        }
    }
}

#[test]
fn a_generator_that_repeats_itself_gives_no_key_away() {
    let ec = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let key = SigningKey::from_pkcs8_der(ec.to_pkcs8_der().unwrap().as_bytes()).unwrap();
    let mut nonces = std::collections::HashSet::new();
    for number in 0..1_000_u32 {
        // The worst there is: the same random numbers for every signature. One nonce for two messages is the key.
        let signature = SoftwareCrypto.sign(&key, &number.to_be_bytes(), &mut Rng::from_seed([0; 32])).unwrap();
        assert!(nonces.insert(signature[..32].to_vec()), "r of {number} was there before");
        assert_eq!(SoftwareCrypto.verify(key.public(), &number.to_be_bytes(), &signature), Ok(()));
    }
}

#[test]
fn every_signature_draws_on_the_generator() {
    let p256 = p256::SecretKey::from_slice(&[7; 32]).unwrap().to_pkcs8_der().unwrap();
    let p384 = p384::SecretKey::from_slice(&[7; 48]).unwrap().to_pkcs8_der().unwrap();
    let signed = |key: &SigningKey, seed: u8| {
        let mut rng = Rng::from_seed([seed; 32]);
        let signature = SoftwareCrypto.sign(key, b"text", &mut rng).unwrap();
        assert_ne!(rng.next_u64(), Rng::from_seed([seed; 32]).next_u64(), "nothing was drawn");
        signature
    };
    for der in [p256, p384] {
        let key = SigningKey::from_pkcs8_der(der.as_bytes()).unwrap();
        // RFC 6979 section 3.6: what is drawn is added to key and message.
        assert_ne!(signed(&key, 1), signed(&key, 2));
    }
    // RSA is blinded by it, which leaves nothing of itself in the signature.
    let rsa = signing_key(&keys()[1]);
    assert_eq!(signed(&rsa, 1), signed(&rsa, 2));
}

#[test]
fn a_signer_that_gives_nothing_is_an_error_and_may_recover() {
    let (mut scenario, signer, token) = warm(|_| ());
    signer.fault.set(Fault::Refusal);
    assert_eq!(scenario.status(&token), 500);
    assert_eq!(rejections(&scenario.events()), [Rejection::SigningFailed]);
    signer.fault.set(Fault::None);
    assert_eq!(scenario.status(&token), 200);
}

#[test]
fn a_key_that_fails_its_self_test_is_not_taken_and_the_one_before_goes_on() {
    let (mut scenario, signer, token) = warm(fetched_keyring);
    let published = |scenario: &mut Scenario| scenario.send(scenario.request("GET", "/openid/v1/jwks", &[])).body;
    let before = published(&mut scenario);
    scenario.keyring = Some(keys()[0].clone());
    signer.fault.set(Fault::OneBit);
    scenario.pass(10);
    scenario.fetch_what_is_due();
    let failed = scenario.events().into_iter().find_map(|event| match event {
        Event::KeyringFailed { problem, repeated, .. } => Some((problem, repeated)),
        _ => None,
    });
    assert!(failed.as_ref().is_some_and(|(problem, _)| problem.contains("self-test")), "{failed:?}");
    signer.fault.set(Fault::None);
    assert_eq!(published(&mut scenario), before);
    assert_eq!(scenario.status(&token), 200);

    scenario.pass(10);
    scenario.fetch_what_is_due();
    assert_ne!(published(&mut scenario), before, "once the signer is well, the new key is taken");
}

#[test]
fn a_given_key_that_fails_its_self_test_is_an_error_of_the_configuration() {
    let signer = FaultySigner::default();
    signer.fault.set(Fault::OneBit);
    let config = json!({
        "issuer": "https://reissuer.example.com", "audiences": ["a"],
        "signing_keys": { "from": { "dangerous_inline": keys()[1] } },
        "trusted_issuers": [{ "name": "prod", "issuer": "https://kubernetes.default.svc", "audiences": ["b"],
            "jwks": { "envoy_cluster": "kubernetes", "authority": "kubernetes.default.svc" } }],
    });
    let config =
        Config::from_json(config.to_string().as_bytes(), &|_| None).map_err(|error| error.to_string()).unwrap();
    let error = Reissuer::new(config, Box::new(signer), [3; 32], scenario::BEGINNING)
        .err()
        .expect("a broken signer")
        .to_string();
    assert!(error.starts_with("signing_keys.from.dangerous_inline: the self-test failed"), "{error}");
}

#[test]
fn the_longest_token_is_the_configured_one_and_a_longer_one_is_not_even_parsed() {
    let (mut scenario, signer, token) = warm(|config| config["limits"] = json!({ "token_bytes": 1024 }));
    assert!(token.len() <= 1024);
    let checked = signer.verified.get();
    let longer = scenario.token("cluster-key", |claims| claims["padding"] = "x".repeat(700).into());
    assert_eq!(scenario.status(&longer), 401);
    assert_eq!(rejections(&scenario.events()), [Rejection::TokenTooLarge]);
    assert_eq!(signer.verified.get(), checked);
}

#[test]
fn requests_that_wait_twice_are_handled_few_at_a_time_and_verified_once() {
    let signer = FaultySigner::default();
    let mut scenario = Scenario::with(Box::new(signer.clone()), fetched_keyring);
    for stream in 0..100 {
        let token = scenario.token("cluster-key", |claims| claims["jti"] = format!("{stream}").into());
        let bearer = format!("Bearer {token}");
        let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
        scenario.reissuer.wait(stream, request, SourceKey::Jwks(0), scenario.now).unwrap();
    }
    let (keyring, jwks) = fetches(&mut scenario);
    let body = scenario.jwks.clone().unwrap();
    let answer = jwt_reissuer::Answer::Response { status: 200, date: None, body: body.as_bytes() };
    scenario.reissuer.handle_fetched(jwks, answer, scenario.now);
    assert_eq!(scenario.reissuer.poll_waiting(scenario.now), None, "they wait again, for our own keys");
    assert_eq!(scenario.reissuer.next_tick(scenario.now), std::time::Duration::ZERO, "not all of them at once");
    for _ in 0..100 {
        assert_eq!(scenario.reissuer.poll_waiting(scenario.now), None);
    }
    assert!(scenario.reissuer.next_tick(scenario.now) > std::time::Duration::ZERO);
    assert_eq!(signer.verified.get(), 0, "nothing is verified that cannot be signed");

    let answer = jwt_reissuer::Answer::Response { status: 200, date: None, body: keys()[1].as_bytes() };
    scenario.reissuer.handle_fetched(keyring, answer, scenario.now);
    signer.verified.set(0);
    let answers: Vec<(u32, u16)> = std::iter::from_fn(|| scenario.reissuer.poll_waiting(scenario.now))
        .map(|(id, answer)| (id, answer.status))
        .collect();
    let expected: Vec<(u32, u16)> = (0..100).map(|id| (id, 200)).collect();
    assert_eq!(answers, expected, "in the order in which they came");
    assert_eq!(signer.verified.get(), 200, "each token once, and each signature of ours once");
}

/// The fetch of our keys and that of the cluster's, both in flight.
fn fetches(scenario: &mut Scenario) -> (jwt_reissuer::FetchId, jwt_reissuer::FetchId) {
    let both: Vec<_> =
        std::iter::from_fn(|| scenario.reissuer.poll_fetch(scenario.now)).map(|fetch| fetch.id).collect();
    let of = |key| *both.iter().find(|id| id.key == key).expect("due");
    (of(SourceKey::Keyring), of(SourceKey::Jwks(0)))
}

#[test]
fn no_more_than_a_thousand_requests_wait_and_the_next_is_told_to_come_again() {
    let mut scenario = Scenario::new(|_| ());
    let bearer = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    for stream in 0..=u32::try_from(MAX_WAITING).unwrap() {
        let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
        let kept = scenario.reissuer.wait(stream, request, SourceKey::Jwks(0), scenario.now);
        match usize::try_from(stream).unwrap() {
            MAX_WAITING => assert_eq!(kept.map_err(|answer| answer.status), Err(503)),
            _ => assert_eq!(kept, Ok(())),
        }
    }
    assert_eq!(scenario.reissuer.waiting(), MAX_WAITING);
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
    let (mut scenario, _, token) = warm(|config| config["read_forms"] = true.into());
    let bearer = format!("Bearer {token}");
    let form = |bearer: &str| {
        let headers = [("authorization", bearer), ("content-type", "application/x-www-form-urlencoded")];
        let route = Route::of(scenario.reissuer.routes(), b"POST", OUR_HOST.as_bytes(), b"/token");
        let headers = headers.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Request::new(route, Connection::TLS, headers, Body::Unread)
    };
    let (request, garbage) = (form(&bearer), form("Bearer abc"));
    let Outcome::Respond(answer) = scenario.reissuer.handle(&garbage, scenario.now) else {
        panic!("nobody reads a form beside what is no token")
    };
    assert_eq!(answer.status, 401);

    assert!(matches!(scenario.reissuer.handle(&request, scenario.now), Outcome::NeedBody { .. }));
    scenario.reissuer.await_body(1, request.clone(), scenario.now).unwrap();
    scenario.reissuer.await_body(2, request, scenario.now).unwrap();
    scenario.pass(9);
    assert_eq!(scenario.reissuer.poll_waiting(scenario.now), None);
    let mut read = scenario.reissuer.take(2).expect("it still waits");
    read.body = Body::Read(b"a=b".to_vec());
    assert!(matches!(scenario.reissuer.handle(&read, scenario.now), Outcome::Respond(answer) if answer.status == 200));
    scenario.pass(1);
    let (stream, answer) = scenario.reissuer.poll_waiting(scenario.now).expect("its time is up");
    assert_eq!((stream, answer.status), (1, 408));
    assert_eq!(scenario.reissuer.take(1), None, "it has its answer");
}

#[test]
fn a_length_that_is_not_of_digits_alone_or_too_large_is_refused_before_the_token_is_looked_at() {
    let (mut scenario, signer, token) = warm(|_| ());
    let bearer = format!("Bearer {token}");
    let checked = signer.verified.get();
    for length in ["65537", "+5", "-1", "5 ", "0x5", "", "1e1", "99999999999999999999999999"] {
        let request = scenario.request("POST", "/token", &[("authorization", &bearer), ("content-length", length)]);
        assert_eq!(scenario.send(request).status, 413, "{length:?}");
    }
    assert_eq!(signer.verified.get(), checked);
    for length in ["0", "00", "65536"] {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let headers = [("authorization", bearer.as_str()), ("content-length", length), form];
        let mut request = scenario.request("POST", "/token", &headers);
        request.body = Body::Unread;
        // Nobody reads forms here, so one of no bytes is none, and another is refused.
        assert_eq!(scenario.send(request).status, if length == "65536" { 400 } else { 200 }, "{length:?}");
    }
}

#[test]
fn grpc_gets_no_token_because_its_answers_carry_them_in_a_header() {
    let (mut scenario, signer, token) = warm(|_| ());
    let bearer = format!("Bearer {token}");
    let checked = signer.verified.get();
    for kind in ["application/grpc", "application/grpc+proto", "Application/gRPC-Web"] {
        for path in ["/reissue", "/token"] {
            let request = scenario.request("POST", path, &[("authorization", &bearer), ("content-type", kind)]);
            assert_eq!(scenario.send(request).status, 415, "{path} {kind}");
        }
    }
    assert_eq!(signer.verified.get(), checked);
}

#[test]
fn a_vm_that_nobody_has_asked_keeps_quiet_about_keys_it_cannot_reach() {
    let mut scenario = Scenario::new(fetched_keyring);
    scenario.keyring = None;
    scenario.jwks = None;
    scenario.fetch_what_is_due();
    scenario.pass(10);
    scenario.fetch_what_is_due();
    let idle = scenario.events();
    let levels: Vec<Level> = idle.iter().map(Event::level).collect();
    assert!(idle.iter().all(|event| matches!(event, Event::OutOfReach { .. })), "{idle:?}");
    assert_eq!(levels, [Level::Info, Level::Info, Level::Debug, Level::Debug], "each is said once");
    let failures = |scenario: &mut Scenario| {
        let events = scenario.events();
        events.into_iter().filter(|event| matches!(event, Event::KeyringFailed { .. })).collect::<Vec<_>>()
    };
    let token = scenario.token("cluster-key", |_| ());
    scenario.pass(6);
    assert_eq!(scenario.status(&token), 503);
    scenario.pass(6);
    scenario.fetch_what_is_due();
    let levels: Vec<Level> = failures(&mut scenario).iter().map(Event::level).collect();
    assert_eq!(levels, [Level::Error, Level::Debug], "the first is an error, what repeats it is not");

    let mut unused = Scenario::new(fetched_keyring);
    unused.keyring = Some("no key at all".into());
    unused.fetch_what_is_due();
    assert_eq!(failures(&mut unused).len(), 1, "a secret that is no use is an error at once");
}

#[test]
fn nothing_that_holds_a_token_shows_it_when_it_is_printed() {
    let (mut scenario, _, token) = warm(|_| ());
    let bearer = format!("Bearer {token}");
    let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
    let outcome = scenario.reissuer.handle(&request, scenario.now);
    let Outcome::Respond(answer) = &outcome else { panic!("warm") };
    let issued = String::from_utf8(answer.body.to_vec()).unwrap();
    let sub = "system:serviceaccount:payments:ledger";
    let parse = || UnverifiedToken::parse(token.as_bytes(), 8192).unwrap();
    let config = scenario::config(|_| ());
    let plausible = || parse().examine(&config.trusted_issuers[0], START).unwrap();
    let subject = plausible().verify(scenario.api_server.public(), &SoftwareCrypto).unwrap();
    let printed = [
        format!("{:?}", parse()),
        format!("{:?}", plausible()),
        format!("{subject:?}"),
        format!("{:?}", scenario.events()),
        format!("{request:?} {outcome:?}"),
    ];
    let audit = ["cluster-key", sub, sub, sub, ""];
    let shown = printed.iter().zip(audit).all(|(printed, audit)| printed.contains(audit));
    assert!(shown, "what an audit line holds is there: {printed:?}");
    let printed = printed.concat();
    let bytes = |text: &str| format!("{:?}", text.as_bytes()).trim_matches(['[', ']']).to_string();
    for secret in [&token, &issued] {
        let signature = secret.rsplit('.').next().unwrap();
        assert!(!printed.contains(signature) && !printed.contains(&bytes(signature)), "{printed}");
    }
}
