//! Cases H: what a client sends.

use jwt_reissuer::Outcome;
use jwt_reissuer::http::{Body, Connection, Request, Response, Route};
use serde_json::{Value, json};

use crate::scenario::{OUR_HOST, Scenario, claims_of};
use crate::{same, status_of, unknown};

pub fn two_tokens(given: &str, expect: &Value) -> Result<(), String> {
    let mut scenario = Scenario::new(|_| ());
    let valid = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    let other = format!("Bearer {}", scenario.token("cluster-key", |claims| claims["jti"] = "other".into()));
    let joined = format!("{valid}, {other}");
    let fields: Vec<(&str, &str)> = match given {
        "two Authorization headers, valid first" => vec![("authorization", &valid), ("authorization", "Basic eDp5")],
        "two Authorization headers, valid last" => vec![("authorization", "Basic eDp5"), ("authorization", &valid)],
        "Authorization: Bearer <valid>, Bearer <other>" => vec![("authorization", &joined)],
        _ => unknown(given),
    };
    status_of(&scenario.send(scenario.request("POST", "/reissue", &fields)), expect)
}

pub fn token_elsewhere(given: &str, expect: &Value) -> Result<(), String> {
    let mut scenario = Scenario::new(|config| config["read_forms"] = true.into());
    let token = scenario.token("cluster-key", |_| ());
    let request = match given {
        "token only in ?access_token=" => scenario.request("POST", &format!("/reissue?access_token={token}"), &[]),
        "token only in a cookie" => scenario.request("POST", "/reissue", &[("cookie", &format!("token={token}"))]),
        "token only in form body" => {
            let form = ("content-type", "application/x-www-form-urlencoded");
            let mut request = scenario.request("POST", "/reissue", &[form]);
            request.body = Body::Read(format!("access_token={token}").into_bytes());
            request
        }
        _ => unknown(given),
    };
    status_of(&scenario.send(request), expect)
}

pub fn query(given: &str, expect: &Value) -> Result<(), String> {
    let mut scenario = Scenario::new(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    let plain = scenario.reissue(expect["same_as"].as_str().unwrap(), &token);
    let with_query = scenario.reissue(given, &token);
    same("status", (with_query.status, plain.status), (200, 200))?;
    let facts = |response: &Response| {
        let mut claims = claims_of(response);
        claims["jti"].take();
        claims
    };
    same("claims", facts(&with_query), facts(&plain))
}

pub fn large_body(given: &str, expect: &Value) -> Result<(), String> {
    same("expectation", expect["status"].as_str(), Some("200 or 413 before buffering 1 KiB"))?;
    let mut scenario = Scenario::new(|_| ());
    let bearer = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    let ten_mebibytes = (10 * 1024 * 1024).to_string();
    let (length, expected) = match given {
        "body 10 MiB" => (Some(("content-length", ten_mebibytes.as_str())), 413),
        "chunked body without end" => (None, 200),
        _ => unknown(given),
    };
    let fields: Vec<_> = [("authorization", bearer.as_str())].into_iter().chain(length).collect();
    let mut request = scenario.request("POST", "/reissue", &fields);
    // What stands for "memory: bounded": it is answered while nothing of its body has come, so nothing of it is kept. Through
    // Envoy it is answered before 1 KiB of it was sent.
    same("memory", expect["memory"].as_str(), Some("bounded"))?;
    request.body = Body::Unread;
    same("status", scenario.send(request).status, expected)
}

pub fn spoofed_host(given: &str, expect: &Value) -> Result<(), String> {
    same(
        "expectation",
        expect["issuer"].as_str(),
        Some("exactly the configured one in token, discovery and jwks_uri"),
    )?;
    let mut scenario = Scenario::new(|_| ());
    let bearer = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    let (host, field) = match given {
        "Host: evil" => ("evil", None),
        ":authority with port" => ("reissuer.example.com:8443", None),
        header => (OUR_HOST, Some(header.split_once(": ").unwrap_or_else(|| unknown(given)))),
    };
    let mut send = |method: &str, path: &str| {
        let route = Route::of(scenario.reissuer.routes(), method.as_bytes(), host.as_bytes(), path.as_bytes());
        let fields = [("authorization", bearer.as_str())].into_iter().chain(field);
        let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        let request = Request::new(route, Connection::TLS, fields, Body::None);
        if host == "evil" {
            // Not a host of ours: it goes where that host's requests go, and nothing is signed.
            return match scenario.reissuer.handle(&request, scenario.now) {
                Outcome::Pass => Ok(None),
                outcome => Err(format!("{outcome:?}")),
            };
        }
        Ok(Some(scenario.send(request)))
    };
    let issuer = format!("https://{OUR_HOST}");
    if let Some(response) = send("POST", "/reissue")? {
        same("iss", &claims_of(&response)["iss"], &json!(issuer))?;
    }
    if let Some(response) = send("GET", "/.well-known/openid-configuration")? {
        let metadata: Value = serde_json::from_slice(&response.body).unwrap();
        same("issuer", &metadata["issuer"], &json!(issuer))?;
        same("jwks_uri", &metadata["jwks_uri"], &json!(format!("{issuer}/openid/v1/jwks")))?;
    }
    Ok(())
}

pub fn documents(given: &str, expect: &Value) -> Result<(), String> {
    let mut scenario = Scenario::new(|_| ());
    let jwks = scenario.send(scenario.request("GET", "/openid/v1/jwks", &[]));
    let jwks: Value = serde_json::from_slice(&jwks.body).unwrap();
    for key in jwks["keys"].as_array().unwrap() {
        let private =
            expect["jwks_never_has"].as_array().unwrap().iter().find(|name| key.get(name.as_str().unwrap()).is_some());
        same("private member", private, None)?;
    }
    let (method, path, place) = match given {
        "POST on JWKS" => ("POST", "/openid/v1/jwks", 0),
        "/openid/v1/jwks/foo" => ("GET", given, 1),
        "/.well-known" => ("GET", given, 2),
        _ => unknown(given),
    };
    let response = scenario.send(scenario.request(method, path, &[]));
    status_of(&response, &json!({ "status": expect["status"][place] }))
}
