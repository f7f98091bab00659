//! Every case of `http_faults_config.json`, by the core alone: requests, faults of the API server, configurations and keys.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod der;
mod scenario;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20::rand_core::SeedableRng as _;
use jwt_reissuer::crypto::{BadSignature, Crypto, Rng, SigningFailed, SigningKey, SoftwareCrypto, VerifyingKey};
use jwt_reissuer::event::Event;
use jwt_reissuer::http::{Body, Request, Response, Route};
use jwt_reissuer::{Answer, Config, Outcome, Reissuer};
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use scenario::{OUR_HOST, Scenario, claims_of, keys};
use serde_json::{Value, json};

const CASES: &str = include_str!("vectors/negative/http_faults_config.json");

/// Checks one thing that a case gives, against what it expects. A wrong one says what it saw.
type Check = fn(&str, &Value) -> Result<(), String>;

fn checks() -> BTreeMap<&'static str, Check> {
    BTreeMap::from([
        ("H03", two_tokens as Check),
        ("H04", token_elsewhere),
        ("H07", query),
        ("H08", large_body),
        ("H09", spoofed_host),
        ("H11", documents),
        ("A01", cold_and_refused),
        ("A02", warm_and_down),
        ("A03", past_the_limit),
        ("A04", refresh_answered_otherwise),
        ("A06", refresh_with_no_key_set),
        ("A07", flood_of_unknown_kids),
        ("A08", rotation),
        ("A09", removal),
        ("A10", client_gone),
        ("A11", cold_crowd),
        ("A12", clock_steps),
        ("X01", no_usable_key),
        ("X03", bad_key),
        ("X04", keys_that_do_not_agree),
        ("X05", bad_configuration),
        ("X06", failing_self_test),
        ("X07", fault_while_signing),
    ])
}

#[test]
fn every_case_of_requests_faults_and_configuration_comes_out_as_it_says() {
    let file: Value = serde_json::from_str(CASES).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let mut checks = checks();
    let (mut requests, mut total, mut wrong) = (0, 0, Vec::new());
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let check = checks.remove(id).unwrap_or_else(|| panic!("{id} is checked by nothing"));
        let given = match &case["given"] {
            Value::Array(given) => given.iter().map(|given| given.as_str().unwrap()).collect(),
            given => vec![given.as_str().unwrap()],
        };
        for given in given {
            total += 1;
            requests += usize::from(id.starts_with('H'));
            if let Err(saw) = check(given, &case["expect"]) {
                wrong.push(format!("{id} ({given}): {saw}"));
            }
        }
    }
    let wrong_requests = wrong.iter().filter(|line: &&String| line.starts_with('H')).count();
    let others = total - requests;
    println!("vectors: requests: {} of {requests}", requests - wrong_requests);
    println!("vectors: faults, configurations and keys: {} of {others}", others - (wrong.len() - wrong_requests));
    assert!(wrong.is_empty(), "{} of {total} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checks.is_empty(), "no such cases: {:?}", checks.keys());
    assert_eq!((cases.len(), total), (23, 60));
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, expected: T) -> Result<(), String> {
    if is == expected { Ok(()) } else { Err(format!("{what}: {is:?}, and {expected:?} expected")) }
}

fn status_of(response: &Response, expect: &Value) -> Result<(), String> {
    same("status", Value::from(response.status), expect["status"].clone())
}

fn unknown(given: &str) -> ! {
    panic!("the file has a case that nothing checks: {given}")
}

// Requests

fn two_tokens(given: &str, expect: &Value) -> Result<(), String> {
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

fn token_elsewhere(given: &str, expect: &Value) -> Result<(), String> {
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

fn query(given: &str, expect: &Value) -> Result<(), String> {
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

fn large_body(given: &str, expect: &Value) -> Result<(), String> {
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
    // It is answered without its body, of which so far nothing has come.
    request.body = Body::Unread;
    same("status", scenario.send(request).status, expected)
}

fn spoofed_host(given: &str, expect: &Value) -> Result<(), String> {
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
        let request = Request::new(route, fields, Body::None);
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

fn documents(given: &str, expect: &Value) -> Result<(), String> {
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

// Faults of the API server

/// A scenario whose cluster keys have been read.
fn warm() -> Scenario {
    let mut scenario = Scenario::new(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&token), 200);
    scenario
}

/// The status for a token as good as there can be now.
fn status_now(scenario: &mut Scenario, kid: &str) -> u16 {
    let token = scenario.token(kid, |_| ());
    scenario.status(&token)
}

fn cold_and_refused(_: &str, expect: &Value) -> Result<(), String> {
    let mut scenario = Scenario::new(|_| ());
    scenario.jwks = None;
    let token = scenario.token("cluster-key", |_| ());
    let before = scenario.now.monotonic;
    let response = scenario.reissue("/reissue", &token);
    status_of(&response, expect)?;
    same("Retry-After", response.get("retry-after").is_some(), expect["retry_after"].as_bool().unwrap())?;
    let took = (scenario.now.monotonic - before).as_secs_f64();
    if took <= expect["within_s"].as_f64().unwrap() { Ok(()) } else { Err(format!("took {took} s")) }
}

/// The API server goes away, and so much later a good token comes.
fn down_for(seconds: u64) -> u16 {
    let mut scenario = warm();
    scenario.jwks = None;
    for _ in 0..seconds / 10 {
        scenario.pass(10);
        scenario.fetch_what_is_due();
    }
    scenario.pass(seconds % 10);
    status_now(&mut scenario, "cluster-key")
}

fn warm_and_down(given: &str, expect: &Value) -> Result<(), String> {
    same("case", given, "JWKS cached, upstream down 6 h less 1 s")?;
    same("status", json!(down_for(6 * 3600 - 1)), expect["status"].clone())
}

fn past_the_limit(_: &str, expect: &Value) -> Result<(), String> {
    same("status", json!(down_for(6 * 3600 + 1)), expect["status"].clone())
}

/// Answers the refresh that comes when the lifetime is over; then an hour goes by with the same answers.
fn refreshed_with(answer: Answer<'_>) -> Result<(), String> {
    let mut scenario = warm();
    let mut refreshes = 0;
    for step in 1..=360 {
        scenario.pass(10);
        while let Some(fetch) = scenario.reissuer.poll_fetch(scenario.now) {
            same(
                "where it asks",
                (fetch.authority.as_str(), fetch.path.as_str()),
                ("kubernetes.default.svc", "/openid/v1/jwks"),
            )?;
            scenario.reissuer.handle_fetched(fetch.id, answer, scenario.now);
            refreshes += 1;
        }
        if step % 90 == 0 {
            let bearer = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
            let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
            match scenario.reissuer.handle(&request, scenario.now) {
                Outcome::Respond(response) => same("a known key", response.status, 200)?,
                outcome => return Err(format!("a known key: {outcome:?}")),
            }
        }
    }
    if refreshes >= 10 { Ok(()) } else { Err(format!("{refreshes} refreshes")) }
}

fn refresh_answered_otherwise(given: &str, expect: &Value) -> Result<(), String> {
    same("expectation", expect, &json!({ "keeps": "last good set", "follows_redirect": false }))?;
    let statuses = given.strip_prefix("refresh answers ").unwrap_or_else(|| unknown(given));
    for status in statuses.split(", ") {
        // With a key set of somebody else's beside it: it is the status that decides.
        let body = Scenario::new(|_| ()).jwks.unwrap().replace("cluster-key", "another");
        let status = status.parse().unwrap();
        refreshed_with(Answer::Response { status, body: body.as_bytes() }).map_err(|saw| format!("{status}: {saw}"))?;
    }
    Ok(())
}

fn refresh_with_no_key_set(given: &str, expect: &Value) -> Result<(), String> {
    same("case", given, "refresh body truncated, gzip, or 1 MiB")?;
    same("expectation", expect, &json!({ "keeps": "last good set" }))?;
    let whole = Scenario::new(|_| ()).jwks.unwrap().replace("cluster-key", "another");
    let truncated = &whole.as_bytes()[..whole.len() - 1];
    // The head of RFC 1952, and what would be in it.
    let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], whole.as_bytes()].concat();
    let large = format!("{whole}{}", " ".repeat(1024 * 1024));
    for body in [truncated, &gzip, large.as_bytes()] {
        refreshed_with(Answer::Response { status: 200, body }).map_err(|saw| format!("{} bytes: {saw}", body.len()))?;
    }
    Ok(())
}

fn flood_of_unknown_kids(given: &str, expect: &Value) -> Result<(), String> {
    same("case", given, "10 000 unknown-kid requests per s for 60 s")?;
    let mut scenario = warm();
    let before = scenario.fetches;
    // How many come in a second between two fetches changes nothing, and all of them would take minutes here: the first
    // second of each ten, in which a fetch is allowed, has two thousand, the others a hundred.
    let bearers: Vec<String> =
        (0..200).map(|kid| format!("Bearer {}", scenario.token(&format!("unknown-{kid}"), |_| ()))).collect();
    for second in 0..60 {
        for number in 0..if second % 10 == 0 { 2_000 } else { 100 } {
            let request = scenario.request("POST", "/reissue", &[("authorization", &bearers[(second + number) % 200])]);
            same("status", json!(scenario.send(request).status), expect["status"].clone())?;
        }
        scenario.events();
        scenario.pass(1);
    }
    let fetches = scenario.fetches - before;
    let most = usize::try_from(expect["fetches_max"].as_u64().unwrap()).unwrap();
    if (1..=most).contains(&fetches) { Ok(()) } else { Err(format!("{fetches} fetches")) }
}

fn rotation(_: &str, expect: &Value) -> Result<(), String> {
    let mut scenario = warm();
    let before = scenario.fetches;
    scenario.jwks = scenario.jwks.map(|jwks| jwks.replace("cluster-key", "next-key"));
    same("status", json!(status_now(&mut scenario, "next-key")), expect["status"].clone())?;
    same("fetches", json!(scenario.fetches - before), expect["fetches"].clone())
}

fn removal(_: &str, expect: &Value) -> Result<(), String> {
    let mut scenario = warm();
    scenario.jwks = scenario.jwks.map(|jwks| jwks.replace("cluster-key", "next-key"));
    let mut waited = 0;
    while status_now(&mut scenario, "cluster-key") != 401 {
        waited += 10;
        scenario.pass(10);
        scenario.fetch_what_is_due();
        if waited > expect["refused_within_s"].as_u64().unwrap() {
            return Err(format!("still taken after {waited} s"));
        }
    }
    Ok(())
}

fn client_gone(_: &str, _: &Value) -> Result<(), String> {
    let mut scenario = Scenario::new(|_| ());
    let bearer = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
    let Outcome::Defer(key) = scenario.reissuer.handle(&request, scenario.now) else { panic!("cold") };
    scenario.reissuer.wait(7, request, key, scenario.now).unwrap();
    let fetch = scenario.reissuer.poll_fetch(scenario.now).unwrap();
    if scenario.reissuer.take(7).is_none() {
        return Err("it did not wait".into());
    }
    let body = scenario.jwks.clone().unwrap();
    scenario.reissuer.handle_fetched(fetch.id, Answer::Response { status: 200, body: body.as_bytes() }, scenario.now);
    same("answer to nobody", scenario.reissuer.poll_waiting(scenario.now), None)?;
    same("waiting", scenario.reissuer.waiting(), 0)
}

fn cold_crowd(given: &str, expect: &Value) -> Result<(), String> {
    same("case", given, "500 concurrent requests on a cold cache")?;
    let mut scenario = Scenario::new(|_| ());
    let bearer = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    for stream in 0..500 {
        let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
        let Outcome::Defer(key) = scenario.reissuer.handle(&request, scenario.now) else { panic!("cold") };
        scenario.reissuer.wait(stream, request, key, scenario.now).unwrap();
    }
    scenario.fetch_what_is_due();
    let answered = std::iter::from_fn(|| scenario.reissuer.poll_waiting(scenario.now));
    same("answered with a token", answered.filter(|(_, response)| response.status == 200).count(), 500)?;
    same("fetches", json!(scenario.fetches), expect["fetches"].clone())
}

fn clock_steps(given: &str, expect: &Value) -> Result<(), String> {
    same("case", given, "clock steps -3600 s or +3600 s")?;
    same("expectation", expect["cache_timers"].as_str(), Some("do not stall"))?;
    for step in [-3600_i64, 3600] {
        let mut scenario = warm();
        let of_before = scenario.token("cluster-key", |claims| claims["exp"] = (scenario::START + 600).into());
        scenario.now.unix = scenario.now.unix.checked_add_signed(step).unwrap();
        // By the new clock it is either over or has not begun.
        same("a token outside its window", scenario.status(&of_before), 401)?;
        same("a token of now", status_now(&mut scenario, "cluster-key"), 200)?;
        let before = scenario.fetches;
        for _ in 0..33 {
            scenario.pass(10);
            scenario.fetch_what_is_due();
        }
        same("refreshes in 330 s", scenario.fetches > before, true)?;
    }
    Ok(())
}

// Keys and configurations: all of them refused at the start, with the reason

fn start(keyring: &str) -> Result<Reissuer, String> {
    start_with(Box::new(SoftwareCrypto), |config| {
        config["signing_keys"]["from"] = json!({ "dangerous_inline": keyring })
    })
}

fn start_with(crypto: Box<dyn Crypto>, edit: impl FnOnce(&mut Value)) -> Result<Reissuer, String> {
    let mut config = json!({
        "issuer": format!("https://{OUR_HOST}"),
        "audiences": ["sts.amazonaws.com"],
        "signing_keys": { "from": { "dangerous_inline": keys()[1] } },
        "trusted_issuers": [{
            "name": "prod", "issuer": "https://kubernetes.default.svc", "audiences": ["jwt-reissuer"],
            "jwks": { "envoy_cluster": "kubernetes", "authority": "kubernetes.default.svc" }
        }]
    });
    edit(&mut config);
    let config = Config::from_json(config.to_string().as_bytes(), &|_| None).map_err(|error| error.to_string())?;
    Reissuer::new(config, crypto, [3; 32]).map_err(|error| error.to_string())
}

fn refused(start: Result<Reissuer, String>, reason: &str) -> Result<(), String> {
    match start {
        Ok(_) => Err("taken".into()),
        Err(error) if error.contains(reason) => Ok(()),
        Err(error) => Err(format!("{error:?} does not say {reason:?}")),
    }
}

fn no_usable_key(given: &str, expect: &Value) -> Result<(), String> {
    same("expectation", expect, &json!({ "start": "refused", "default_key": "none exists" }))?;
    let [one, two] = keys();
    let public = rsa_key(1).as_public_key().to_public_key_pem(Default::default()).unwrap();
    match given {
        "key absent" => {
            let absent = |config: &mut Value| drop(config.as_object_mut().unwrap().remove("signing_keys"));
            refused(start_with(Box::new(SoftwareCrypto), absent), "signing_keys: is missing")
        }
        "empty" => refused(start(""), "must not be empty").or_else(|_| refused(start("\n"), "empty")),
        "public PEM" => refused(start(&public), "has no private key"),
        "certificate" => refused(start(&one.replace("PRIVATE KEY", "CERTIFICATE")), "is a PEM of CERTIFICATE"),
        "encrypted PEM" => refused(start(&one.replace("PRIVATE", "ENCRYPTED PRIVATE")), "is an encrypted key"),
        "two keys in one PEM" => refused(start(&format!("{one}{two}")), "holds more than one key"),
        _ => unknown(given),
    }
}

fn rsa_key(seed: u8) -> rsa::PrivateKey {
    rsa::PrivateKey::new(&mut Rng::from_seed([seed; 32]), 2048).unwrap()
}

fn bad_key(given: &str, expect: &Value) -> Result<(), String> {
    same("expectation", expect, &json!({ "start": "refused" }))?;
    let generated = |bits, exponent: u32| {
        let exponent = rsa::BoxedUint::from(exponent);
        rsa::PrivateKey::new_with_exp(&mut Rng::from_seed([9; 32]), bits, exponent).unwrap()
    };
    let pem = |key: &rsa::PrivateKey| key.to_pkcs8_pem(Default::default()).unwrap().to_string();
    let whole = der::Rsa::of(&rsa_key(5));
    // As the good ones of the kind are taken, it is the fault that is refused.
    start(&whole.pem()).map(drop).map_err(|error| format!("the key before it was broken: {error}"))?;
    let p256 =
        |scalar: &[u8; 32]| der::Ec { curve: der::P256, scalar: scalar.to_vec(), point: der::p256_point(&[7; 32]) };
    start(&p256(&[7; 32]).pem()).map(drop).map_err(|error| format!("the key before it was broken: {error}"))?;
    match given {
        "RSA 1024" => refused(start(&pem(&generated(1024, 65_537))), "an RSA key of 1024 bits; 2048 to 8192 are taken"),
        "RSA 2047" => refused(start(&pem(&generated(2047, 65_537))), "an RSA key of 2047 bits; 2048 to 8192 are taken"),
        "e=3" => refused(start(&pem(&generated(2048, 3))), "an RSA public exponent that is even, under 65537"),
        "multi-prime RSA" => refused(start(&whole.with_a_third_prime().pem()), "an RSA key of more than two primes"),
        "dp/dq/qinv inconsistent" => {
            for part in [der::Part::Exponent1, der::Part::Exponent2, der::Part::Coefficient] {
                refused(start(&whole.with_changed(part).pem()), "whose numbers do not belong together")?;
            }
            Ok(())
        }
        "n != p*q" => {
            for part in [der::Part::Prime1, der::Part::Prime2, der::Part::PrivateExponent] {
                refused(start(&whole.with_changed(part).pem()), "whose numbers do not belong together")?;
            }
            let other = der::Rsa::of(&rsa_key(6));
            refused(start(&whole.with_modulus_of(&other).pem()), "whose numbers do not belong together")
        }
        "secp256k1" => {
            let other = der::Ec { curve: der::SECP256K1, ..p256(&[7; 32]) };
            refused(start(&other.pem()), "a key of another curve than P-256 and P-384")
        }
        "EC scalar 0 or >= n" => {
            refused(start(&p256(&[0; 32]).pem()), "whose numbers do not belong together")?;
            refused(start(&p256(&der::P256_ORDER).pem()), "whose numbers do not belong together")?;
            refused(start(&p256(&[0xff; 32]).pem()), "whose numbers do not belong together")
        }
        "public point not d*G" => refused(start(&p256(&[8; 32]).pem()), "whose numbers do not belong together"),
        _ => unknown(given),
    }
}

fn keys_that_do_not_agree(given: &str, expect: &Value) -> Result<(), String> {
    same("expectation", expect, &json!({ "start": "refused" }))?;
    let public = rsa_key(1).as_public_key().to_public_key_pem(Default::default()).unwrap();
    let keyring = |keys: Value| start(&STANDARD.encode(json!({ "keys": keys }).to_string()));
    match given {
        // A pair of two different keys cannot be written: an entry is one key, and its public half is computed.
        "JWKS entry that does not match the private key" => refused(
            keyring(json!([{ "private_key": keys()[1], "public_key": public }])),
            "keys[0]: takes exactly one of private_key, public_key",
        ),
        "two entries, one kid" => refused(
            keyring(json!([{ "private_key": keys()[1], "kid": "a" }, { "public_key": public, "kid": "a" }])),
            "keys[1].kid: is the kid of an earlier key",
        ),
        _ => unknown(given),
    }
}

fn bad_configuration(given: &str, expect: &Value) -> Result<(), String> {
    same("expectation", expect, &json!({ "start": "refused" }))?;
    let long = format!("https://{}.example.com", "a".repeat(255));
    let (member, value) = match given {
        "issuer http://" => ("issuer", json!("http://reissuer.example.com")),
        "issuer with query" => ("issuer", json!("https://reissuer.example.com?x=1")),
        "fragment" => ("issuer", json!("https://reissuer.example.com#x")),
        "userinfo" => ("issuer", json!("https://user@reissuer.example.com")),
        "trailing slash" => ("issuer", json!("https://reissuer.example.com/")),
        "dot segment" => ("issuer", json!("https://reissuer.example.com/a/../b")),
        "> 255 chars" => ("issuer", json!(long)),
        "non-ASCII host" => ("issuer", json!("https://r\u{e9}issuer.example.com")),
        "audiences []" => ("audiences", json!([])),
        "ttl 0" => ("ttl", json!("0s")),
        "ttl > 12 h" => ("ttl", json!("43201s")),
        "unknown config member" => ("unknown", json!(true)),
        _ => unknown(given),
    };
    let start = start_with(Box::new(SoftwareCrypto), |config| config[member] = value);
    refused(
        start.map_err(|error| if error.starts_with(&format!("{member}: ")) { error } else { String::new() }),
        member,
    )
}

/// Signs with one bit of the signature turned when it is told to.
struct Faulty(std::rc::Rc<std::cell::Cell<bool>>);

impl Crypto for Faulty {
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        SoftwareCrypto.verify(key, message, signature)
    }

    fn sign(&self, key: &SigningKey, message: &[u8], rng: &mut Rng) -> Result<Vec<u8>, SigningFailed> {
        let mut signature = SoftwareCrypto.sign(key, message, rng)?;
        signature[9] ^= u8::from(self.0.get());
        Ok(signature)
    }
}

fn failing_self_test(_: &str, expect: &Value) -> Result<(), String> {
    same("expectation", expect, &json!({ "start": "refused" }))?;
    let broken = std::rc::Rc::new(std::cell::Cell::new(true));
    refused(start_with(Box::new(Faulty(broken)), |_| ()), "the self-test failed")
}

fn fault_while_signing(_: &str, expect: &Value) -> Result<(), String> {
    let broken = std::rc::Rc::new(std::cell::Cell::new(false));
    let mut scenario = Scenario::with(Box::new(Faulty(std::rc::Rc::clone(&broken))), |_| ());
    same("before", status_now(&mut scenario, "cluster-key"), 200)?;
    scenario.events();
    broken.set(true);
    let token = scenario.token("cluster-key", |_| ());
    let response = scenario.reissue("/reissue", &token);
    status_of(&response, expect)?;
    same("a token in the answer", response.body.windows(2).any(|text| text == b"ey"), false)?;
    same("the alarm", scenario.events().contains(&Event::SigningLatched), true)?;
    broken.set(false);
    same("after", json!(status_now(&mut scenario, "cluster-key")), expect["status"].clone())
}
