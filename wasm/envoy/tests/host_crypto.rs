//! Envoy's own crypto in the place of the library's, and the library's where Envoy's is missing or wrong.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fake_envoy;
mod kubernetes;

use std::thread;

use fake_envoy::foreign::{self, Function};
use fake_envoy::{Envoy, Request, count, gauge, log_lines, with};
use kubernetes::{claims_of, configuration, fetch, token, token_number};
use p256::pkcs8::LineEnding;
use rsa::pkcs8::EncodePrivateKey as _;

/// Runs in a VM of its own, since what Envoy can do is asked once for a VM.
fn in_a_vm(test: impl FnOnce() + Send + 'static) {
    thread::Builder::new().spawn(test).unwrap().join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// An Envoy with these functions, whose filter has all its keys.
fn warm_with(functions: &[(&'static str, Function)]) -> Envoy {
    let envoy = Envoy::start_with(functions);
    assert!(envoy.configure(configuration(|_| {})));
    envoy.tick();
    fetch(&envoy);
    envoy
}

fn calls(function: &str) -> usize {
    with(|state| state.foreign_calls.get(function).copied().unwrap_or_default())
}

fn said() -> String {
    log_lines().into_iter().find(|line| line.contains("signatures: Envoy")).expect("it says whose crypto is used")
}

fn gauges() -> [Option<u64>; 2] {
    ["host_signs", "host_verifies"].map(|name| gauge(&format!("jwt_reissuer.crypto.{name}")))
}

#[test]
fn an_envoy_that_has_both_functions_signs_and_verifies() {
    in_a_vm(|| {
        let envoy = warm_with(&foreign::SIGNS_AND_VERIFIES);
        assert_eq!(
            said(),
            "jwt-reissuer: signatures: Envoy signs RS256, ES256, ES384 and verifies RS256, ES256, ES384, ES512; software \
             does the rest"
        );
        envoy.tick();
        assert_eq!(gauges(), [Some(1), Some(1)]);
        let before = (calls("sign"), calls("verify_signature"));
        let answer = envoy.send(&Request::reissue(&token())).answer().expect("an answer");
        assert_eq!(answer.status, 200);
        claims_of(&answer.body);
        // The subject token, and what was made of it.
        assert_eq!((calls("sign"), calls("verify_signature")), (before.0 + 1, before.1 + 2));
        let mut forged = token();
        forged.replace_range(forged.len() - 20..forged.len() - 16, "AAAA");
        assert_eq!(envoy.send(&Request::reissue(&forged)).status(), Some(401));
        assert_eq!(calls("verify_signature"), before.1 + 3);
        assert_eq!(count("jwt_reissuer.rejected.bad_signature"), 1);
    });
}

#[test]
fn an_envoy_before_1_37_verifies_alone_and_one_before_1_30_does_neither() {
    for (functions, signs, verifies) in [
        (&foreign::VERIFIES[..], "nothing", "RS256, ES256, ES384, ES512"),
        (&[][..], "nothing", "nothing"),
        // Nobody knows whether a signature is good that nothing verifies.
        (&[("sign", foreign::sign as Function)][..], "nothing", "nothing"),
    ] {
        in_a_vm(move || {
            let envoy = warm_with(functions);
            assert!(said().contains(&format!("signs {signs} and verifies {verifies};")), "{}", said());
            envoy.tick();
            assert_eq!(gauges(), [Some(0), Some((verifies != "nothing").into())]);
            let answer = envoy.send(&Request::reissue(&token())).answer().expect("an answer");
            assert_eq!(answer.status, 200);
            claims_of(&answer.body);
        });
    }
}

#[test]
fn functions_that_give_wrong_answers_to_what_is_known_are_not_used() {
    let signs: [(&str, Function); 4] = [
        ("wrong signatures", foreign::sign_wrongly),
        ("none", foreign::sign_nothing),
        ("nonsense", foreign::nonsense),
        ("nothing at all", foreign::nothing),
    ];
    for (why, sign) in signs {
        in_a_vm(move || {
            let envoy = warm_with(&[("sign", sign), ("verify_signature", foreign::verify_signature)]);
            assert!(said().contains("signs nothing and verifies RS256, ES256, ES384, ES512"), "{why}: {}", said());
            let probed = calls("sign");
            let answer = envoy.send(&Request::reissue(&token())).answer().expect("an answer");
            assert_eq!((answer.status, calls("sign")), (200, probed), "{why}");
            claims_of(&answer.body);
        });
    }
    let verifies: [(&str, Function); 7] = [
        ("whatever the message is", foreign::verify_any_message),
        ("whatever the last byte is", foreign::verify_any_end),
        ("says another thing each time", foreign::verify_chattily),
        ("good of everything", foreign::verify_anything),
        ("bad of everything", foreign::verify_nothing),
        ("nonsense", foreign::nonsense),
        ("nothing at all", foreign::nothing),
    ];
    for (why, verify) in verifies {
        in_a_vm(move || {
            let envoy = warm_with(&[("sign", foreign::sign), ("verify_signature", verify)]);
            assert!(said().contains("signs nothing and verifies nothing"), "{why}: {}", said());
            let before = calls("verify_signature");
            let mut forged = token_number(1);
            forged.replace_range(forged.len() - 20..forged.len() - 16, "AAAA");
            assert_eq!(envoy.send(&Request::reissue(&forged)).status(), Some(401), "{why}");
            assert_eq!(envoy.send(&Request::reissue(&token_number(2))).status(), Some(200), "{why}");
            assert_eq!(calls("verify_signature"), before, "{why}");
        });
    }
}

#[test]
fn functions_that_fail_later_leave_the_work_to_software() {
    in_a_vm(|| {
        let envoy = warm_with(&foreign::SIGNS_AND_VERIFIES);
        let mut number = 0;
        // Another token each time: one that comes again needs no signature.
        let mut both_come_out_right = || {
            number += 1;
            let token = token_number(number);
            let answer = envoy.send(&Request::reissue(&token)).answer().expect("an answer");
            assert_eq!(answer.status, 200, "{number}");
            claims_of(&answer.body);
            let mut forged = token_number(1000 + number);
            forged.replace_range(forged.len() - 20..forged.len() - 16, "AAAA");
            assert_eq!(envoy.send(&Request::reissue(&forged)).status(), Some(401), "{number}");
        };
        envoy.fail("proxy_call_foreign_function", fake_envoy::INTERNAL_FAILURE);
        both_come_out_right();
        envoy.heal();
        // Results that say nothing, or another thing than that the signature is not good, say nothing of the signature.
        for broken in [foreign::nonsense as Function, foreign::nothing, foreign::sign_nothing, foreign::cannot_read] {
            with(|state| state.foreign = [("sign", broken), ("verify_signature", broken)].into());
            let before = (calls("sign"), calls("verify_signature"));
            both_come_out_right();
            assert!(calls("sign") > before.0 && calls("verify_signature") > before.1, "it was asked");
        }
        assert_eq!(count("jwt_reissuer.issued_again"), 0);
    });
}

#[test]
fn a_signer_that_turns_wrong_later_is_not_trusted_again() {
    in_a_vm(|| {
        let envoy = warm_with(&foreign::SIGNS_AND_VERIFIES);
        let wrong: [(&str, Function); 2] =
            [("sign", foreign::sign_wrongly), ("verify_signature", foreign::verify_signature)];
        with(|state| state.foreign = wrong.into());
        assert_eq!(envoy.send(&Request::reissue(&token_number(1))).status(), Some(500));
        with(|state| state.foreign = foreign::SIGNS_AND_VERIFIES.into());
        assert_eq!(envoy.send(&Request::reissue(&token_number(2))).status(), Some(500));
        assert_eq!(count("jwt_reissuer.signing_latched"), 1);
    });
}

#[test]
fn every_kind_of_signing_key_signs_by_envoy() {
    let mut rng = <chacha20::ChaCha20Rng as chacha20::rand_core::SeedableRng>::from_seed([7; 32]);
    let rsa = rsa::PrivateKey::new(&mut rng, 2048).unwrap().to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
    let p384 = <p384::SecretKey as p384::elliptic_curve::Generate>::generate_from_rng(&mut rng);
    let p384 = p384.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
    for (algorithm, pem) in [("RS256", rsa), ("ES384", p384)] {
        in_a_vm(move || {
            let envoy = Envoy::start_with(&foreign::SIGNS_AND_VERIFIES);
            assert!(envoy.configure(configuration(|_| {})));
            envoy.tick();
            let before = calls("sign");
            envoy.answer(kubernetes::SIGNING_KEYS, fake_envoy::Answer::of("200", &pem));
            assert_eq!(calls("sign"), before + 1, "the self-test of {algorithm}");
            envoy.answer(kubernetes::KEYS, fake_envoy::Answer::of("200", kubernetes::jwks()));
            assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200), "{algorithm}");
            assert_eq!(calls("sign"), before + 2, "{algorithm}");
        });
    }
}

#[test]
fn the_keys_of_the_known_answers_are_nobodys() {
    for (name, pkcs8) in [
        ("rs256", &include_bytes!("../src/known_answers/rs256.pkcs8")[..]),
        ("es256", include_bytes!("../src/known_answers/es256.pkcs8")),
        ("es384", include_bytes!("../src/known_answers/es384.pkcs8")),
    ] {
        let key = jwt_reissuer::crypto::SigningKey::from_pkcs8_der(pkcs8);
        assert_eq!(key.err(), Some(jwt_reissuer::crypto::KeyError::Published), "{name}");
    }
    let point = &include_bytes!("../src/known_answers/es512.spki")[26..];
    let key =
        jwt_reissuer::crypto::VerifyingKey::from_ec(jwt_reissuer::crypto::Algorithm::Es512, &point[..66], &point[66..]);
    assert_eq!(key.err(), Some(jwt_reissuer::crypto::KeyError::Published));
}
