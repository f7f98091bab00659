//! The whole way of a token, and values that no text is.

mod fake_envoy;
mod kubernetes;

use fake_envoy::{Action, Envoy, INTERNAL_FAILURE, Request, answers, with};
use kubernetes::{KEYS, claims_of, cold, configuration, fetch, token, warm};
use serde_json::json;

#[test]
fn a_token_that_comes_before_the_keys_waits_for_them_and_the_next_is_answered_at_once() {
    let envoy = cold();
    let first = envoy.send(&Request::reissue(&token()));
    assert_eq!((first.action, first.status()), (Action::Pause, None));
    envoy.tick();
    assert_eq!(answers(), []);
    fetch(&envoy);
    let answer = first.answer().expect("it was answered, in its own context");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain")));
    let claims = claims_of(&answer.body);
    assert_eq!(claims["iss"], "https://reissuer.example.com");
    assert_eq!(claims["aud"], "sts.amazonaws.com");
    assert_eq!(claims["sub"], "system:serviceaccount:payments:ledger");
    assert_eq!(claims["kubernetes.io"]["namespace"], "payments");
    first.close();

    let second = envoy.send(&Request::reissue(&token()));
    assert_eq!((second.action, second.status()), (Action::Pause, Some(200)));
    envoy.tick();
    assert_eq!(answers(), [(first.id, 200), (second.id, 200)]);
    assert_eq!(with(|state| state.callouts.len()), 2);
}

#[test]
fn the_key_set_is_asked_for_as_kube_apiserver_wants_it() {
    let envoy = cold();
    envoy.tick();
    let callouts = with(|state| state.callouts.clone());
    let callout = callouts.iter().find(|callout| callout.cluster == KEYS).expect("a callout");
    assert_eq!(callout.context, envoy.root);
    assert_eq!(callout.timeout, 2000);
    let expected = [
        (":method", "GET"),
        (":authority", "kubernetes.default.svc"),
        (":path", "/openid/v1/jwks"),
        ("accept", "application/jwk-set+json, application/json;q=0.9"),
    ];
    assert_eq!(callout.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn the_documents_are_served_as_soon_as_the_signing_keys_are_there() {
    let envoy = warm();
    let discovery = envoy.send(&Request::discovery()).answer().expect("an answer");
    let document: serde_json::Value = serde_json::from_str(&discovery.body).expect("JSON");
    assert_eq!(document["jwks_uri"], "https://reissuer.example.com/openid/v1/jwks");
    let keys = envoy.send(&Request::get("/openid/v1/jwks")).answer().expect("an answer");
    let keys: serde_json::Value = serde_json::from_str(&keys.body).expect("JSON");
    assert_eq!(keys["keys"][0]["kty"], json!("EC"));
    assert_eq!(keys["keys"][0]["d"], json!(null), "no private member");
}

#[test]
fn a_token_request_without_a_token_is_401_and_asks_for_a_bearer() {
    let envoy = cold();
    let answer = envoy.send(&Request::new("POST", "/reissue")).answer().expect("nothing to wait for");
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
}

#[test]
fn header_values_that_are_no_text_are_refused_or_ignored_like_other_wrong_ones() {
    let envoy = warm();
    let good = Request::reissue(&token());
    let cases: [(&str, &[u8], u32); 8] = [
        ("authorization", b"\xff\xfe", 401),
        ("authorization", b"Bearer \xff\xfe", 401),
        (":path", b"/reissue\xff", 404),
        (":path", b"\xff", 404),
        (":path", b"/reissue?audience=\xff", 200),
        (":method", b"POST\xff", 405),
        ("content-length", b"\xff", 413),
        ("accept", b"\xff", 200),
    ];
    for (name, value, status) in cases {
        let stream = envoy.send(&good.clone().header(name, value));
        let value = value.escape_ascii();
        assert_eq!((stream.action, stream.status()), (Action::Pause, Some(status)), "{name}: {value}");
    }
    for authority in [b"\xff".as_slice(), b"reissuer.example.com\xff"] {
        let stream = envoy.send(&good.clone().header(":authority", authority));
        assert_eq!((stream.action, stream.status()), (Action::Continue, None), "{}", authority.escape_ascii());
    }
}

#[test]
fn a_token_is_given_over_tls_and_quic_and_not_in_clear_text() {
    let envoy = warm();
    let request = Request::reissue(&token()).header("x-forwarded-proto", "https");
    for (version, status) in [(Some("TLSv1.2"), 200), (Some("TLSv1.3"), 200), (None, 403), (Some(""), 403)] {
        assert_eq!(envoy.send(&request.clone().over(version)).status(), Some(status), "{version:?}");
        assert_eq!(envoy.send(&Request::discovery().over(version)).status(), Some(200), "{version:?}");
    }
    envoy.fail("proxy_get_property", INTERNAL_FAILURE);
    assert_eq!(envoy.send(&request).status(), Some(403), "a host that does not say is not trusted");
    envoy.heal();

    let envoy = Envoy::with(&configuration(|all| all["allow_plain_http"] = json!(true)));
    envoy.tick();
    fetch(&envoy);
    assert_eq!(envoy.send(&request.over(None)).status(), Some(200));
}
