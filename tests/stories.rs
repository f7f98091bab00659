//! The reissuer as a whole, with a clock moved by hand and the host played by a scenario.
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

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_reissuer::event::{Event, Issue};
use jwt_reissuer::fingerprint::Fingerprint;
use jwt_simple::prelude::*;
use scenario::{START, Scenario, claims_of};
use serde_json::{Value, json};

#[test]
fn what_is_issued_verifies_elsewhere_and_holds_what_it_should() {
    let mut scenario = Scenario::new(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    let response = scenario.reissue("/reissue?audience=api%3A%2F%2FAzureADTokenExchange&x=1", &token);
    assert_eq!((response.status, response.get("content-type")), (200, Some("text/plain")));
    assert_eq!(response.get("cache-control"), Some("no-store"));

    let jwks = scenario.send(scenario.request("GET", "/openid/v1/jwks", &[]));
    let jwks: Value = serde_json::from_slice(&jwks.body).unwrap();
    let member = |name: &str| URL_SAFE_NO_PAD.decode(jwks["keys"][0][name].as_str().unwrap()).unwrap();
    let key = RS256PublicKey::from_components(&member("n"), &member("e")).unwrap();
    let text = std::str::from_utf8(&response.body).unwrap();
    let options = VerificationOptions { artificial_time: Some(Duration::from_secs(START)), ..Default::default() };
    key.verify_token::<Value>(text, Some(options)).unwrap();

    let claims = claims_of(&response);
    let jti = claims["jti"].as_str().unwrap().to_string();
    assert_eq!(
        claims,
        json!({
            "kubernetes.io": { "namespace": "payments", "serviceaccount": { "name": "ledger", "uid": "u" } },
            "iss": "https://reissuer.example.com",
            "sub": "system:serviceaccount:payments:ledger",
            "aud": "api://AzureADTokenExchange",
            "exp": START + 3600, "nbf": START, "iat": START, "jti": jti,
        })
    );
    assert_ne!(claims_of(&scenario.reissue("/reissue", &token))["jti"], jti);
}

#[test]
fn what_was_issued_is_told_as_it_was_issued() {
    let mut scenario = Scenario::new(|_| ());
    for (subject_jti, exp) in [(Some("subject"), 600), (None, 1200)] {
        let token = scenario.token("cluster-key", |claims| {
            claims["exp"] = (START + exp).into();
            match subject_jti {
                Some(jti) => claims["jti"] = jti.into(),
                None => drop(claims.as_object_mut().unwrap().remove("jti")),
            }
        });
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("accept", "application/json")];
        let answer = scenario.send(scenario.request("POST", "/reissue", &headers));
        let object: Value = serde_json::from_slice(&answer.body).unwrap();
        let issued = object["access_token"].as_str().unwrap();
        assert_eq!(
            object,
            json!({
                "access_token": issued, "issued_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_type": "N_A", "expires_in": exp,
            })
        );
        let claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(issued.split('.').nth(1).unwrap()).unwrap()).unwrap();
        let told = scenario.events().into_iter().find(|event| matches!(event, Event::Issued { .. }));
        let issue = Issue {
            issuer: "prod".into(),
            sub: "system:serviceaccount:payments:ledger".into(),
            audience: "sts.amazonaws.com".into(),
            exp: START + exp,
            jti: claims["jti"].as_str().unwrap().into(),
            subject_jti: subject_jti.map(Into::into),
            token: Fingerprint::of(token.as_bytes()),
        };
        assert_eq!(told, Some(Event::Issued { issue: issue.into(), repeated: false }));
    }
}

#[test]
fn an_issued_token_outlives_neither_the_subject_token_nor_the_ttl() {
    let mut scenario = Scenario::new(|config| config["ttl"] = "1h".into());
    for (exp, expected) in [(20, 20), (3600, 3600), (365 * 86_400, 3600)] {
        let token = scenario.token("cluster-key", |claims| claims["exp"] = (START + exp).into());
        assert_eq!(claims_of(&scenario.reissue("/token", &token))["exp"], START + expected);
    }
}

#[test]
fn a_token_is_refused_for_each_claim_that_will_not_do() {
    let mut scenario = Scenario::new(|_| ());
    let good = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&good), 200);
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 9] = [
        ("invalid_claim", |claims| {
            claims["iat"] = (START + 20).into();
            claims["nbf"] = START.into();
            claims["exp"] = (START + 10).into();
        }),
        ("expired", |claims| claims["exp"] = START.into()),
        ("wrong_audience", |claims| claims["aud"] = "sts.amazonaws.com".into()),
        ("unknown_issuer", |claims| claims["iss"] = "https://other".into()),
        ("not_yet_valid", |claims| claims["nbf"] = (START + 31).into()),
        ("issued_in_the_future", |claims| claims["iat"] = (START + 31).into()),
        ("too_old", |claims| claims["iat"] = (START - 36 * 3600 - 1).into()),
        ("invalid_claim", |claims| claims["sub"] = "system:serviceaccount:payments:other".into()),
        ("invalid_claim", |claims| claims["kubernetes.io"] = Value::Null),
    ];
    for (reason, edit) in edits {
        let token = scenario.token("cluster-key", edit);
        while scenario.reissuer.poll_event().is_some() {}
        assert_eq!(scenario.status(&token), 401, "{reason}");
        let Some(Event::Rejected { rejection, .. }) = scenario.reissuer.poll_event() else { panic!("{reason}") };
        assert_eq!(rejection.reason(), reason);
    }
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    assert_eq!(scenario.status(&forged), 401);
    assert_eq!(scenario.reissue("/reissue?audience=other", &good).status, 403);
}

#[test]
fn what_is_asked_for_twice_is_ambiguous() {
    let mut scenario = Scenario::new(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.reissue("/reissue?audience=sts.amazonaws.com&audience=sts.amazonaws.com", &token).status, 400);
    assert_eq!(
        scenario.reissue("/reissue", &format!("{token}, Bearer {token}")).status,
        400,
        "as proxies join two headers"
    );
    let bearer = format!("Bearer {token}");
    let twice = scenario.request("POST", "/reissue", &[("authorization", &bearer), ("authorization", &bearer)]);
    assert_eq!(scenario.send(twice).status, 400);
    assert_eq!(scenario.reissue("/reissue?audience=&audience=sts.amazonaws.com&x=1&x=2", &token).status, 200);
}

#[test]
fn json_is_given_to_who_accepts_it_and_to_nobody_else() {
    let mut scenario = Scenario::new(|_| ());
    let bearer = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    for (accept, kind) in [
        ("application/json", "application/json"),
        ("text/html, Application/JSON;q=0.5", "application/json"),
        ("*/*", "text/plain"),
        ("application/json;q=0", "text/plain"),
        ("application/json; q=0.000", "text/plain"),
        ("application/json-seq", "text/plain"),
    ] {
        let request = scenario.request("POST", "/reissue", &[("authorization", &bearer), ("accept", accept)]);
        assert_eq!(scenario.send(request).get("content-type"), Some(kind), "{accept}");
    }
}
