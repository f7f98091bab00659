//! The filter in a fake Envoy: what the host does between Envoy and the core.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests, and the other side of an ABI"
)]

mod fake;

use fake::{BAD_ARGUMENT, INTERNAL_FAILURE, ROOT, answer_callout, body, close, request, start, tick, with};
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use proxy_wasm::types::Action;

const CONFIG: &str = r#"{
    "issuer": "https://reissuer.example.com",
    "audiences": ["sts.amazonaws.com"],
    "read_forms": true,
    "signing_keys": { "from": { "envoy_cluster": "signing_keys" } },
    "trusted_issuers": [{
        "name": "kubernetes",
        "issuer": "https://kubernetes.default.svc.cluster.local",
        "audiences": ["jwt-reissuer"],
        "jwks": { "envoy_cluster": "kubernetes", "authority": "kubernetes.default.svc" }
    }]
}"#;

const CRITICAL: u32 = 5;

const DISCOVERY: [(&str, &str); 3] =
    [(":method", "GET"), (":authority", "reissuer.example.com"), (":path", "/.well-known/openid-configuration")];

fn post<'a>(path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[(":method", "POST"), (":authority", "reissuer.example.com"), (":path", path)], more].concat()
}

fn keyring() -> String {
    p256::SecretKey::from_slice(&[7; 32]).unwrap().to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

/// Contexts and status codes of all answers so far.
fn answers() -> Vec<(u32, u32)> {
    with(|fake| fake.responses.iter().map(|response| (response.context, response.status)).collect())
}

fn count(counter: &str) -> i64 {
    with(|fake| fake.counters.get(counter).copied().unwrap_or(0))
}

#[test]
fn a_wrong_configuration_is_refused_with_the_path_of_the_member() {
    assert!(!start(&CONFIG.replace(r#"["jwt-reissuer"]"#, "[]")));
    let logs = with(|fake| fake.logs.clone());
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0].0, CRITICAL);
    assert!(logs[0].1.contains("configuration refused: trusted_issuers[0].audiences: "), "{}", logs[0].1);
    assert_eq!(request(2, &DISCOVERY, true), Action::Continue);
}

#[test]
fn the_first_tick_and_not_the_configuration_sends_the_callouts() {
    assert!(start(CONFIG));
    assert!(with(|fake| fake.callouts.is_empty()));
    assert_eq!(with(|fake| fake.tick_period), Some(1));
    tick();
    let callouts = with(|fake| fake.callouts.clone());
    let sent: Vec<(u32, &str)> = callouts.iter().map(|callout| (callout.context, callout.cluster.as_str())).collect();
    assert_eq!(sent, [(ROOT, "signing_keys"), (ROOT, "kubernetes")]);
    assert!(callouts[1].headers.contains(&(":authority".into(), "kubernetes.default.svc".into())));
    tick();
    assert_eq!(with(|fake| fake.callouts.len()), 2);
}

#[test]
fn a_request_to_another_host_continues_and_only_its_authority_was_read() {
    assert!(start(CONFIG));
    let headers = [(":method", "POST"), (":authority", "shop.example.com"), (":path", "/reissue")];
    assert_eq!(request(2, &headers, false), Action::Continue);
    assert_eq!(body(2, "subject_token=x", true), Action::Continue);
    assert_eq!(with(|fake| fake.reads.clone()), [":authority"]);
    assert_eq!(answers(), []);
}

#[test]
fn a_request_before_the_keys_pauses_and_the_root_answers_it_once_they_came() {
    assert!(start(CONFIG));
    assert_eq!(request(2, &DISCOVERY, true), Action::Pause);
    tick();
    assert_eq!(answers(), []);
    answer_callout("signing_keys", Some(("200", &keyring())));
    assert_eq!(answers(), [(2, 200)]);
    let response = with(|fake| fake.responses[0].clone());
    assert_eq!(response.get("content-type"), Some("application/json"));
    assert!(response.body.contains(r#""issuer":"https://reissuer.example.com""#), "{}", response.body);
    assert_eq!((count("jwt_reissuer.keyring.loaded"), count("jwt_reissuer.documents_served")), (1, 1));
    close(2);

    assert_eq!(request(3, &DISCOVERY, true), Action::Pause);
    assert_eq!(answers(), [(2, 200), (3, 200)], "nothing to wait for any more");
}

#[test]
fn a_request_whose_client_went_away_while_it_waited_is_never_answered() {
    assert!(start(CONFIG));
    assert_eq!(request(2, &DISCOVERY, true), Action::Pause);
    assert_eq!(request(3, &DISCOVERY, true), Action::Pause);
    tick();
    close(2);
    answer_callout("signing_keys", Some(("200", &keyring())));
    tick();
    assert_eq!(answers(), [(3, 200)]);
    assert_eq!(with(|fake| fake.failed_calls), 0, "it was forgotten, not tried");
}

#[test]
fn a_token_request_without_a_token_is_401_and_asks_for_a_bearer() {
    assert!(start(CONFIG));
    assert_eq!(request(2, &post("/reissue", &[]), true), Action::Pause);
    assert_eq!(answers(), [(2, 401)]);
    let challenge = with(|fake| fake.responses[0].get("www-authenticate").map(str::to_owned)).unwrap();
    assert!(challenge.starts_with("Bearer"), "{challenge}");
}

#[test]
fn without_any_call_that_works_nothing_is_configured_and_everything_passes() {
    with(|fake| fake.status = INTERNAL_FAILURE);
    assert!(!start(CONFIG));
    tick();
    assert_eq!(request(2, &DISCOVERY, true), Action::Continue);
    close(2);
}

#[test]
fn calls_that_fail_at_any_time_do_no_more_than_fail() {
    assert!(start(CONFIG));
    let form = [("authorization", "Bearer x"), ("content-type", "application/x-www-form-urlencoded")];
    // 1 and 99 are what no call should say; the SDK is not asked to take them.
    for (index, status) in [1, BAD_ARGUMENT, 7, INTERNAL_FAILURE, 99].into_iter().enumerate() {
        let id = 10 * (index as u32 + 1);
        let waits = request(id, &DISCOVERY, true);
        let reads = request(id + 1, &post("/token", &form), false);
        with(|fake| fake.status = status);
        let failed_before = with(|fake| fake.failed_calls);
        tick();
        assert_eq!(request(id + 2, &DISCOVERY, true), Action::Continue, "its authority is unknown");
        assert_eq!(body(id + 1, "a=b", true), Action::Pause);
        tick();
        [id, id + 1, id + 2].map(close);
        assert!(with(|fake| fake.failed_calls) > failed_before, "{status}");
        with(|fake| fake.status = 0);
        assert_eq!((waits, reads), (Action::Pause, Action::Pause), "{status}");
    }
    assert!(with(|fake| fake.callouts.is_empty()), "none could be sent");
}

#[test]
fn a_callout_that_brought_nothing_has_failed() {
    for (answer, problem) in [(None, "no response"), (Some(("teapot", "")), "status 0")] {
        std::thread::spawn(move || {
            assert!(start(CONFIG));
            assert_eq!(request(2, &DISCOVERY, true), Action::Pause);
            tick();
            answer_callout("signing_keys", answer);
            assert_eq!(answers(), [(2, 503)]);
            assert_eq!(count("jwt_reissuer.keyring.failed"), 1);
            let logs = with(|fake| fake.logs.clone());
            assert!(logs.iter().any(|(_, line)| line.contains(problem)), "{logs:?}");
        })
        .join()
        .unwrap();
    }
}

#[test]
fn what_comes_of_a_callout_cannot_be_read_and_it_has_failed() {
    assert!(start(CONFIG));
    assert_eq!(request(2, &DISCOVERY, true), Action::Pause);
    tick();
    with(|fake| fake.status = INTERNAL_FAILURE);
    answer_callout("signing_keys", Some(("200", &keyring())));
    with(|fake| fake.status = 0);
    close(2);
    assert_eq!(request(3, &DISCOVERY, true), Action::Pause);
    assert_eq!(answers(), [(3, 503)]);
}

#[test]
fn ten_waiting_requests_are_answered_four_a_callback() {
    assert!(start(CONFIG));
    for id in 2..12 {
        assert_eq!(request(id, &DISCOVERY, true), Action::Pause);
    }
    tick();
    answer_callout("signing_keys", Some(("200", &keyring())));
    assert_eq!((answers().len(), with(|fake| fake.tick_period)), (4, Some(1)));
    tick();
    assert_eq!((answers().len(), with(|fake| fake.tick_period)), (8, Some(1)));
    tick();
    assert_eq!(answers(), (2..12).map(|id| (id, 200)).collect::<Vec<_>>());
    assert!(with(|fake| fake.tick_period) > Some(1));
}

#[test]
fn a_form_beside_a_bearer_is_read_to_its_end_and_a_second_token_in_it_is_400() {
    assert!(start(CONFIG));
    let form = [("authorization", "Bearer x"), ("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(request(2, &post("/token", &form), false), Action::Pause);
    assert_eq!(body(2, "grant_type=x&subj", false), Action::Pause);
    assert_eq!(answers(), []);
    assert_eq!(body(2, "ect_token=y", true), Action::Pause);
    assert_eq!(answers(), [(2, 400)]);
}
