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

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20::rand_core::SeedableRng as _;
use jwt_reissuer::crypto::{Crypto as _, Rng, SigningKey, SoftwareCrypto};
use jwt_reissuer::event::Event;
use jwt_reissuer::http::{Body, Request, Response, Route};
use jwt_reissuer::{Answer, Config, Now, Outcome, Reissuer, SourceKey};
use jwt_simple::prelude::*;
use rsa::pkcs8::EncodePrivateKey as _;
use serde_json::{Value, json};

const START: u64 = 1_767_225_600;
const OUR_HOST: &str = "reissuer.example.com";

/// A pair for the API server and one for us, made once.
fn keys() -> &'static [String; 2] {
    static KEYS: OnceLock<[String; 2]> = OnceLock::new();
    KEYS.get_or_init(|| {
        [1, 2].map(|seed| {
            let key = rsa::PrivateKey::new(&mut Rng::from_seed([seed; 32]), 2048).unwrap();
            key.to_pkcs8_pem(Default::default()).unwrap().to_string()
        })
    })
}

fn signing_key(pem: &str) -> SigningKey {
    let (_, der) = pkcs8::der::pem::decode_vec(pem.as_bytes()).unwrap();
    SigningKey::from_pkcs8_der(&der).unwrap()
}

struct Scenario {
    reissuer: Reissuer,
    now: Now,
    api_server: SigningKey,
    /// What the API server answers; `None`: nothing listens
    jwks: Option<String>,
    fetches: usize,
}

impl Scenario {
    fn new(edit: impl FnOnce(&mut Value)) -> Self {
        let mut config = json!({
            "issuer": format!("https://{OUR_HOST}"),
            "audiences": ["sts.amazonaws.com", "api://AzureADTokenExchange"],
            "signing_keys": { "from": { "dangerous_inline": keys()[1] } },
            "trusted_issuers": [{
                "name": "prod",
                "issuer": "https://kubernetes.default.svc.cluster.local",
                "audiences": ["jwt-reissuer"],
                "jwks": { "envoy_cluster": "kubernetes", "authority": "kubernetes.default.svc" }
            }]
        });
        edit(&mut config);
        let config =
            Config::from_json(config.to_string().as_bytes(), &|_| None).map_err(|error| error.to_string()).unwrap();
        let reissuer =
            Reissuer::new(config, Box::new(SoftwareCrypto), [3; 32]).map_err(|error| error.to_string()).unwrap();
        let api_server = signing_key(&keys()[0]);
        let jwks =
            json!({ "keys": [serde_json::to_value(api_server.public().to_jwk("cluster-key")).unwrap()] }).to_string();
        let now = Now { unix: START, monotonic: Duration::ZERO };
        Self { reissuer, now, api_server, jwks: Some(jwks), fetches: 0 }
    }

    fn pass(&mut self, seconds: u64) {
        self.now.unix += seconds;
        self.now.monotonic += Duration::from_secs(seconds);
    }

    fn fetch_what_is_due(&mut self) {
        while let Some(fetch) = self.reissuer.poll_fetch(self.now) {
            assert_eq!(fetch.cluster, "kubernetes");
            self.fetches += 1;
            let answer = match &self.jwks {
                Some(jwks) => Answer::Response { status: 200, body: jwks.as_bytes() },
                None => Answer::Response { status: 503, body: b"no healthy upstream" },
            };
            self.reissuer.handle_fetched(fetch.id, answer, self.now);
        }
    }

    /// A good token but for what `edit` does to its claims.
    fn token(&self, kid: &str, edit: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": "https://kubernetes.default.svc.cluster.local",
            "sub": "system:serviceaccount:payments:ledger",
            "aud": ["jwt-reissuer"],
            "iat": self.now.unix, "nbf": self.now.unix, "exp": self.now.unix + 3600,
            "jti": "subject",
            "kubernetes.io": { "namespace": "payments", "serviceaccount": { "name": "ledger", "uid": "u" } },
            "https://aws.amazon.com/tags": { "principal_tags": { "admin": ["true"] } },
        });
        edit(&mut claims);
        let header = json!({ "alg": "RS256", "kid": kid });
        let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = SoftwareCrypto.sign(&self.api_server, text.as_bytes(), &mut Rng::from_seed([4; 32])).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
        let route = Route::of(self.reissuer.routes(), method.as_bytes(), OUR_HOST.as_bytes(), path.as_bytes());
        let headers = headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Request::new(route, headers, Body::None)
    }

    /// The answer, with the fetch that it may have to wait for.
    fn send(&mut self, request: Request) -> Response {
        match self.reissuer.handle(&request, self.now) {
            Outcome::Respond(response) => response,
            Outcome::Defer(key) => {
                self.reissuer.wait(1, request, key, self.now).unwrap();
                self.fetch_what_is_due();
                self.reissuer.poll_waiting(self.now).expect("a fetch has ended").1
            }
            outcome => panic!("{outcome:?}"),
        }
    }

    fn reissue(&mut self, path: &str, token: &str) -> Response {
        let bearer = format!("Bearer {token}");
        self.send(self.request("POST", path, &[("authorization", &bearer)]))
    }

    fn status(&mut self, token: &str) -> u16 {
        self.reissue("/reissue", token).status
    }
}

fn claims_of(response: &Response) -> Value {
    let text = std::str::from_utf8(&response.body).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

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
    let options = VerificationOptions {
        artificial_time: Some(jwt_simple::prelude::Duration::from_secs(START)),
        ..Default::default()
    };
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
    let edits: [(&str, Edit); 8] = [
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
fn the_api_server_is_down_and_a_warm_cache_still_answers_for_six_hours() {
    let mut scenario = Scenario::new(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&token), 200);
    scenario.jwks = None;
    for _ in 0..359 {
        scenario.pass(60);
        scenario.fetch_what_is_due();
        let token = scenario.token("cluster-key", |_| ());
        assert_eq!(scenario.status(&token), 200);
    }
    scenario.pass(60);
    scenario.fetch_what_is_due();
    let token = scenario.token("cluster-key", |_| ());
    let response = scenario.reissue("/reissue", &token);
    assert_eq!(response.status, 503);
    assert!(response.get("retry-after").is_some());
}

#[test]
fn a_cold_start_without_an_api_server_is_503_until_it_comes_up() {
    let mut scenario = Scenario::new(|_| ());
    let jwks = scenario.jwks.take();
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&token), 503);
    scenario.jwks = jwks;
    scenario.pass(5);
    assert_eq!(scenario.status(&token), 200);
}

#[test]
fn a_new_key_of_the_cluster_is_found_by_one_fetch_and_unknown_ones_cause_no_more() {
    let mut scenario = Scenario::new(|_| ());
    let token = scenario.token("cluster-key", |_| ());
    assert_eq!(scenario.status(&token), 200);
    scenario.jwks = scenario.jwks.map(|jwks| jwks.replace("cluster-key", "next-key"));
    let rotated = scenario.token("next-key", |_| ());
    assert_eq!(scenario.status(&rotated), 200);
    assert_eq!(scenario.fetches, 2);
    for kid in 0..100 {
        let unknown = scenario.token(&format!("no-{kid}"), |_| ());
        assert_eq!(scenario.status(&unknown), 401);
    }
    assert_eq!(scenario.fetches, 2);
    assert_eq!(scenario.status(&token), 401, "the key that was taken out is dead");
}

#[test]
fn a_waiting_request_is_answered_in_time_even_if_the_host_never_reports() {
    let mut scenario = Scenario::new(|_| ());
    let token = format!("Bearer {}", scenario.token("cluster-key", |_| ()));
    let request = scenario.request("POST", "/reissue", &[("authorization", &token)]);
    let Outcome::Defer(key) = scenario.reissuer.handle(&request, scenario.now) else { panic!("no keys yet") };
    assert_eq!(key, SourceKey::Jwks(0));
    scenario.reissuer.wait(7, request.clone(), key, scenario.now).unwrap();
    scenario.reissuer.wait(8, request, key, scenario.now).unwrap();
    scenario.reissuer.forget(8);
    assert!(scenario.reissuer.poll_fetch(scenario.now).is_some());
    scenario.pass(1);
    assert_eq!(scenario.reissuer.poll_waiting(scenario.now), None);
    scenario.pass(2);
    let (stream, response) = scenario.reissuer.poll_waiting(scenario.now).unwrap();
    assert_eq!((stream, response.status), (7, 503));
    assert_eq!(scenario.reissuer.poll_waiting(scenario.now), None);
}
