//! What callouts bring, and what they fail to bring.

mod fake_envoy;
mod kubernetes;

use std::time::{Duration, Instant};

use fake_envoy::{Answer, Request, count, log_lines, with};
use kubernetes::{KEYS, SIGNING_KEYS, cold, fetch, jwks, signing_key_pem, token, token_of, warm};

const HTML: &str = "<!doctype html><title>503</title>";

/// Answers that bring nothing, and what the log says of them.
fn useless(good: &str) -> Vec<(Answer, &'static str)> {
    vec![
        (Answer::none(), "no response"),
        (Answer::of("503", "no healthy upstream"), "status 503"),
        (Answer::of("504", "upstream request timeout"), "status 504"),
        (Answer::of("503", good), "status 503"),
        (Answer::of("204", good), "status 204"),
        (Answer::of("teapot", good), "status 0"),
        (Answer::of("99999", good), "status 0"),
        (Answer::of(b"2\xff0", good), "status 0"),
        (Answer::of("200", good).without(":status").header("server", "envoy"), "status 0"),
    ]
}

#[test]
fn a_useless_answer_about_the_issuers_keys_is_a_failed_fetch_and_503_for_who_waits() {
    let mut cases = useless(&jwks());
    cases.push((Answer::of("200", HTML), "not fetched: "));
    cases.push((Answer::of("200", ""), "not fetched: "));
    cases.push((Answer::of("200", b"{\"keys\":[{\"kid\":\"\xff\"}]}"), "not fetched: "));
    for (answer, problem) in cases {
        let envoy = cold();
        let waiting = envoy.send(&Request::reissue(&token()));
        envoy.tick();
        envoy.answer(SIGNING_KEYS, Answer::of("200", signing_key_pem()));
        envoy.answer(KEYS, answer.clone());
        assert_eq!(waiting.status(), Some(503), "{answer:?}");
        assert_eq!(count("jwt_reissuer.jwks.kubernetes.failed"), 1, "{answer:?}");
        let said = log_lines().iter().any(|line| line.contains("issuer=kubernetes") && line.contains(problem));
        assert!(said, "{problem}: {:?}", log_lines());
    }
}

#[test]
fn a_useless_answer_about_our_keys_is_a_failed_fetch_and_503_for_who_waits() {
    let mut cases = useless(&signing_key_pem());
    cases.push((Answer::of("200", HTML), "neither a JSON keyring"));
    cases.push((Answer::of("200", ""), "the secret is not there yet"));
    cases.push((Answer::of("200", "-\n"), "is no PEM"));
    for (answer, problem) in cases {
        let envoy = cold();
        let waiting = [Request::discovery(), Request::reissue(&token())].map(|request| envoy.send(&request));
        envoy.tick();
        envoy.answer(KEYS, Answer::of("200", jwks()));
        envoy.answer(SIGNING_KEYS, answer.clone());
        envoy.tick_until_idle();
        assert_eq!(waiting.map(|stream| stream.status()), [Some(503); 2], "{answer:?}");
        assert_eq!(count("jwt_reissuer.keyring.failed"), 1, "{answer:?}");
        let said = log_lines().iter().any(|line| line.contains("signing keys not loaded") && line.contains(problem));
        assert!(said, "{problem}: {:?}", log_lines());
    }
}

#[test]
fn of_a_body_that_is_too_large_one_byte_more_than_the_limit_is_asked_for() {
    for (cluster, limit, problem) in
        [(KEYS, 256 * 1024, "more than 256 KiB"), (SIGNING_KEYS, 64 * 1024, "more than 64 KiB")]
    {
        let envoy = cold();
        envoy.tick();
        envoy.answer(cluster, Answer::of("200", vec![b' '; 1 << 20]));
        assert_eq!(with(|state| state.asked_bytes.clone()), [limit + 1]);
        assert!(log_lines().iter().any(|line| line.contains(problem)), "{:?}", log_lines());
    }
}

#[test]
fn other_headers_of_an_answer_need_be_no_text() {
    let envoy = cold();
    envoy.tick();
    envoy.answer(SIGNING_KEYS, Answer::of("200", signing_key_pem()).header("server", b"\xff"));
    envoy.answer(KEYS, Answer::of("200", jwks()).header("audit-id", b"\xff\xfe"));
    assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200));
}

#[test]
fn a_failed_fetch_is_made_again_and_then_all_is_well() {
    let envoy = cold();
    envoy.tick();
    envoy.answer(SIGNING_KEYS, Answer::none());
    envoy.answer(KEYS, Answer::none());
    assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(503), "not before the back-off is over");
    // The first back-off is from half a second to a whole one.
    let deadline = Instant::now().checked_add(Duration::from_secs(5)).expect("soon");
    while with(|state| state.callouts.len()) < 4 {
        envoy.tick();
        assert!(Instant::now() < deadline, "no second fetch");
        std::thread::yield_now();
    }
    fetch(&envoy);
    assert_eq!(envoy.send(&Request::reissue(&token())).status(), Some(200));
}

#[test]
fn a_key_that_is_not_in_the_set_causes_a_fetch_and_401_when_it_is_not_there_either() {
    let envoy = warm();
    let waiting = envoy.send(&Request::reissue(&token_of("rotated")));
    assert_eq!(waiting.status(), None);
    envoy.tick();
    assert_eq!(with(|state| state.callouts.len()), 3);
    envoy.answer(KEYS, Answer::of("200", jwks()));
    assert_eq!(waiting.status(), Some(401));
    assert_eq!(envoy.send(&Request::reissue(&token_of("rotated"))).status(), Some(401), "and not another so soon");
    envoy.tick();
    assert_eq!(with(|state| state.callouts.len()), 3);
}
