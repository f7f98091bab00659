//! The core as the filter uses it, call by call, with what the filter itself has to hold meanwhile.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20::rand_core::SeedableRng as _;
use jwt_reissuer::crypto::{Crypto as _, Rng, SigningKey, SoftwareCrypto};
use jwt_reissuer::event::Event;
use jwt_reissuer::http::{Body, Connection, Request, Response, Route};
use jwt_reissuer::{Outcome, SourceKey, WaitsFor};
use p256::pkcs8::EncodePrivateKey as _;
use serde_json::{Value, json};

use super::shape;
use crate::scenario::{Counted, OUR_HOST, Scenario};

/// Most bytes of all headers that Envoy lets through unless told otherwise.
pub const HEADER_BYTES: usize = 60 * 1024;

/// A request as it comes.
#[derive(Clone, Debug)]
pub struct Wire {
    /// With `:path`
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

impl Wire {
    pub fn post(path: &str, headers: &[(&str, &str)]) -> Self {
        let all = [(":path", path), (":method", "POST"), (":authority", OUR_HOST)];
        let headers: Vec<(Vec<u8>, Vec<u8>)> = all
            .iter()
            .chain(headers)
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
        let wire = Self { headers, body: None };
        assert!(wire.header_bytes() <= HEADER_BYTES, "{} bytes of headers", wire.header_bytes());
        wire
    }

    pub fn bearer(token: &str) -> Self {
        Self::post("/reissue", &[("authorization", &format!("Bearer {token}"))])
    }

    pub fn with_body(mut self, body: Option<Vec<u8>>) -> Self {
        self.body = body;
        self
    }

    pub fn body_bytes(&self) -> usize {
        self.body.as_ref().map_or(0, Vec::len)
    }

    pub fn header_bytes(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// A gateway.
pub struct Gateway {
    scenario: Scenario,
    counted: Counted,
    /// The last key of the set that is looked through
    pub last_kid: String,
    /// A request that is answered with a token
    pub good: Wire,
}

impl Gateway {
    /// One trusted issuer, and RSA on both sides.
    pub fn plain() -> Self {
        let counted = Counted::default();
        let mut scenario = Scenario::with(Box::new(counted.clone()), |_| ());
        scenario.fetch_what_is_due();
        let good = Wire::bearer(&scenario.token("cluster-key", |_| ()));
        Self { scenario, counted, last_kid: "cluster-key".into(), good }
    }

    /// One trusted issuer, and P-256 on both sides.
    pub fn plain_p256() -> Self {
        let (api_server, _) = p256_key(1);
        let (_, ours) = p256_key(2);
        let counted = Counted::default();
        let mut scenario = Scenario::with(Box::new(counted.clone()), |config| {
            config["signing_keys"]["from"]["dangerous_inline"] = STANDARD.encode(&ours).into();
        });
        scenario.jwks = Some(json!({ "keys": [jwk(&api_server, "cluster-key")] }).to_string());
        scenario.fetch_what_is_due();
        let good = Wire::bearer(&signed(&scenario, &api_server, "cluster-key"));
        Self { scenario, counted, last_kid: "cluster-key".into(), good }
    }

    /// A hundred trusted issuers with long names that differ at the end, 64 keys with the longest ids that differ at the end,
    /// and forms that are read. What is looked for is the last of all. Its keys have not come yet.
    pub fn cold() -> Self {
        let (key, _) = p256_key(1);
        let set: Vec<Value> = (0..64).map(|number| jwk(&key, &kid(number))).collect();
        let one = json!({ "keys": [jwk(&key, "k")] });
        let counted = Counted::default();
        let mut scenario = Scenario::with(Box::new(counted.clone()), |config| {
            config["read_forms"] = true.into();
            let trusted = (0..100).map(|number| {
                let fetched = json!({ "envoy_cluster": "kubernetes", "authority": "kubernetes.default.svc" });
                let jwks = if number == 99 { fetched } else { json!({ "inline": one }) };
                let audiences: Vec<String> = (0..16).map(audience).collect();
                json!({ "name": format!("i{number}"), "subject_prefix": format!("i{number}:"), "issuer": issuer(number), "audiences": audiences, "jwks": jwks })
            });
            config["trusted_issuers"] = trusted.collect();
        });
        scenario.jwks = Some(json!({ "keys": set }).to_string());
        Self { scenario, counted, last_kid: kid(63), good: Shape::of(&[]).wire() }
    }

    /// The same, whose keys have come. Nothing is issued there: nobody has a good token.
    pub fn crowded() -> Self {
        let mut gateway = Self::cold();
        gateway.scenario.fetch_what_is_due();
        // An unknown kid is worth one fetch in ten seconds, and no time passes after this one.
        let unknown = Shape::of(&[]).wire();
        assert!(matches!(gateway.judge(&unknown), Outcome::Defer(WaitsFor::Source(SourceKey::Jwks(99)))));
        gateway.scenario.fetch_what_is_due();
        gateway
    }

    /// What the filter does with a request, and what it copies for it.
    pub fn judge(&mut self, wire: &Wire) -> Outcome {
        self.judged(wire).1
    }

    fn judged(&mut self, wire: &Wire) -> (Request, Outcome) {
        let mut request = self.request(wire);
        let Scenario { reissuer, now, .. } = &mut self.scenario;
        let mut outcome = reissuer.handle(&request, *now);
        if matches!(outcome, Outcome::NeedBody { .. }) {
            reissuer.await_body(u32::MAX, request, *now).expect("there is room");
            request = reissuer.take(u32::MAX).expect("it waits");
            request.body = wire.body.clone().map_or(Body::None, Body::Read);
            outcome = reissuer.handle(&request, *now);
        }
        (request, outcome)
    }

    fn request(&self, wire: &Wire) -> Request {
        let path = wire.headers[0].1.clone();
        let route = Route::of(self.scenario.reissuer.routes(), b"POST", OUR_HOST.as_bytes(), &path);
        drop(path);
        // All headers come in one piece, and are taken apart.
        let piece = std::hint::black_box(vec![0_u8; wire.header_bytes() + 10 * wire.headers.len()]);
        let headers = wire.headers.clone();
        drop(piece);
        Request::new(route, Connection::TLS, headers, if wire.body.is_some() { Body::Unread } else { Body::None })
    }

    /// Has a request wait for keys.
    pub fn keep_waiting(&mut self, stream: u32, wire: &Wire) {
        let (request, Outcome::Defer(key)) = self.judged(wire) else { panic!("there are no keys to wait for") };
        self.scenario.reissuer.wait(stream, request, key, self.scenario.now).expect("there is room");
    }

    /// Its client has gone.
    pub fn go(&mut self, stream: u32) {
        self.scenario.reissuer.take(stream).expect("it waits");
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.scenario.reissuer.waiting()
    }

    /// The answer, after the lines that are written of it: with the reason of a refusal, as the counters call it.
    pub fn answer(&mut self, wire: &Wire) -> (Response, Option<&'static str>) {
        let outcome = self.judge(wire);
        let mut reason = None;
        while let Some(event) = self.scenario.reissuer.poll_event() {
            std::hint::black_box((event.to_string(), event.counters().count()));
            if let Event::Rejected { rejection, .. } = event {
                reason = Some(rejection.reason());
            }
        }
        match outcome {
            Outcome::Respond(response) => (response, reason),
            outcome => panic!("{outcome:?}"),
        }
    }

    /// How often a signature was made or checked.
    pub fn crypto(&self) -> usize {
        self.counted.all()
    }
}

use shape::Shape;

/// The `iss` of the trusted issuer of that number.
pub fn issuer(number: usize) -> String {
    format!("https://{}{number:03}", "i".repeat(244))
}

/// The audience of that number, which a token has to have one of.
pub fn audience(number: usize) -> String {
    format!("{}{number:03}", "a".repeat(60))
}

/// The id of the key of that number, as long as one may be.
pub fn kid(number: usize) -> String {
    format!("{}{number:04}", "k".repeat(1020))
}

fn p256_key(seed: u8) -> (SigningKey, Vec<u8>) {
    let der = p256::SecretKey::from_slice(&[seed; 32]).unwrap().to_pkcs8_der().unwrap().as_bytes().to_vec();
    (SigningKey::from_pkcs8_der(&der).unwrap(), der)
}

fn jwk(key: &SigningKey, kid: &str) -> Value {
    serde_json::to_value(key.public().to_jwk(kid)).unwrap()
}

fn signed(scenario: &Scenario, key: &SigningKey, kid: &str) -> String {
    let rsa = scenario.token(kid, |_| ());
    let claims = rsa.split('.').nth(1).unwrap();
    let header = json!({ "alg": key.public().algorithm().name(), "kid": kid }).to_string();
    let text = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header));
    let signature = SoftwareCrypto.sign(key, text.as_bytes(), &mut Rng::from_seed([4; 32])).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}
