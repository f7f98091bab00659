//! A token goes over TLS: what a connection in clear text gets, and that no memory answers in its place.
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

use jwt_reissuer::error::Rejection;
use jwt_reissuer::event::Event;
use jwt_reissuer::http::{Body, Connection, Request, Response, Route};
use jwt_reissuer::{Config, Outcome};
use scenario::{OUR_HOST, Scenario};
use serde_json::{Value, json};

fn sent(scenario: &mut Scenario, connection: Connection, method: &str, path: &str, token: &str) -> Response {
    let host = scenario.reissuer.routes().clone();
    let authority = if host.is_our_host(OUR_HOST.as_bytes()) { OUR_HOST } else { "localhost" };
    let route = Route::of(&host, method.as_bytes(), authority.as_bytes(), path.as_bytes());
    let bearer = (b"authorization".to_vec(), format!("Bearer {token}").into_bytes());
    // Nothing that a client writes says how it is connected.
    let spoofed = (b"x-forwarded-proto".to_vec(), b"https".to_vec());
    let request = Request::new(route, connection, [bearer, spoofed], Body::None);
    match scenario.reissuer.handle(&request, scenario.now) {
        Outcome::Respond(response) => response,
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn a_token_over_a_connection_without_tls_is_refused_and_the_answer_says_what_to_do() {
    let mut scenario = Scenario::warm();
    let token = scenario.token("cluster-key", |_| ());
    for path in ["/reissue", "/token", "/reissue?audience=sts.amazonaws.com"] {
        scenario.events();
        let answer = sent(&mut scenario, Connection::PLAIN, "POST", path, &token);
        assert_eq!(answer.status, 403);
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("a token sent over it is exposed") && detail.contains("allow_plain_http"), "{detail}");
        let told = scenario.events();
        assert!(
            matches!(
                &told[..],
                [Event::Rejected { rejection: Rejection::PlainHttp { exposed: true }, token: Some(_) }]
            ),
            "{told:?}"
        );
        assert!(told[0].counters().any(|counter| counter == "jwt_reissuer.rejected.plain_http"));
    }
}

#[test]
fn a_request_without_a_token_is_refused_in_clear_text_and_raises_no_alarm() {
    let mut scenario = Scenario::warm();
    let route = Route::of(scenario.reissuer.routes(), b"POST", OUR_HOST.as_bytes(), b"/reissue");
    let request = Request::new(route, Connection::PLAIN, std::iter::empty::<(Vec<u8>, Vec<u8>)>(), Body::None);
    assert!(
        matches!(scenario.reissuer.handle(&request, scenario.now), Outcome::Respond(answer) if answer.status == 403)
    );
    let told = scenario.events();
    let counters: Vec<_> = told.iter().flat_map(Event::counters).collect();
    assert_eq!(
        counters,
        [
            "jwt_reissuer.keyring.loaded",
            "jwt_reissuer.jwks.prod.fetched",
            "jwt_reissuer.rejected.plain_http_without_token"
        ]
    );
}

#[test]
fn a_worse_connection_gets_nothing_that_a_better_one_was_given() {
    let mut scenario = Scenario::warm();
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(sent(&mut scenario, Connection::TLS, "POST", "/reissue", &token).status, 200);
    let again = sent(&mut scenario, Connection::TLS, "POST", "/reissue", &token);
    assert_eq!(again.status, 200);
    scenario.events();
    let worse = sent(&mut scenario, Connection::PLAIN, "POST", "/reissue", &token);
    assert_eq!(worse.status, 403);
    assert!(!scenario.events().iter().any(|event| matches!(event, Event::Issued { .. })));
    assert_eq!(
        sent(&mut scenario, Connection::TLS, "POST", "/reissue", &token).body,
        again.body,
        "it is still remembered"
    );
}

#[test]
fn documents_are_for_every_connection() {
    let mut scenario = Scenario::warm();
    for path in ["/.well-known/openid-configuration", "/openid/v1/jwks"] {
        assert_eq!(sent(&mut scenario, Connection::PLAIN, "GET", path, "x").status, 200);
    }
}

#[test]
fn the_operator_may_allow_plain_http_and_an_issuer_on_a_loopback_host_does() {
    let settings: [fn(&mut Value); 2] =
        [|config| config["allow_plain_http"] = true.into(), |config| config["issuer"] = "http://localhost:8080".into()];
    for edit in settings {
        let mut scenario = Scenario::new(edit);
        scenario.fetch_what_is_due();
        let token = scenario.token("cluster-key", |_| ());
        assert_eq!(sent(&mut scenario, Connection::PLAIN, "POST", "/reissue", &token).status, 200);
    }
    let text = json!({ "allow_plain_http": "yes", "issuer": "https://a.example", "audiences": ["a"] }).to_string();
    let error = Config::from_json(text.as_bytes(), &|_| None).err().unwrap();
    assert_eq!(error.to_string(), "allow_plain_http: must be true or false");
}
