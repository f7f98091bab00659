//! A reissuer with a clock moved by hand; the scenario plays the host, the API server and our own secret.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod keyrings;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20::rand_core::SeedableRng as _;
use jwt_reissuer::crypto::{BadSignature, Crypto, Rng, SigningFailed, SigningKey, SoftwareCrypto, VerifyingKey};
use jwt_reissuer::event::Event;
use jwt_reissuer::http::{Body, Connection, Request, Response, Route, Serve};
use jwt_reissuer::keyring::Terms;
use jwt_reissuer::{Answer, Config, Now, Outcome, Reissuer, SourceKey};
use rsa::pkcs8::EncodePrivateKey as _;
use serde_json::{Value, json};

pub const START: u64 = 1_767_225_600;
pub const BEGINNING: Now = Now { unix: START, monotonic: Duration::ZERO };
pub const OUR_HOST: &str = "reissuer.example.com";

/// A pair for the API server and one for us, made once.
pub fn keys() -> &'static [String; 2] {
    static KEYS: OnceLock<[String; 2]> = OnceLock::new();
    KEYS.get_or_init(|| {
        [1, 2].map(|seed| {
            let key = rsa::PrivateKey::new(&mut Rng::from_seed([seed; 32]), 2048).unwrap();
            key.to_pkcs8_pem(Default::default()).unwrap().to_string()
        })
    })
}

/// What a keyring is held to with the defaults.
pub fn terms(serve: Serve) -> Terms {
    Terms { serve, publish_ahead: Duration::from_secs(24 * 3600), now: START }
}

pub fn signing_key(pem: &str) -> SigningKey {
    let (_, der) = der::pem::decode_vec(pem.as_bytes()).unwrap();
    SigningKey::from_pkcs8_der(&der).unwrap()
}

/// The host's environment, as the sample configuration wants it.
pub fn environment(name: &str) -> Option<String> {
    (name == "REISSUER_SEALING_KEY").then(|| STANDARD.encode([5; 32]))
}

/// The configuration of a scenario.
pub fn config(edit: impl FnOnce(&mut Value)) -> Config {
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
    Config::from_json(config.to_string().as_bytes(), &|_| None).map_err(|error| error.to_string()).unwrap()
}

pub struct Scenario {
    pub reissuer: Reissuer,
    pub now: Now,
    pub api_server: SigningKey,
    /// What the API server answers; `None`: nothing listens
    pub jwks: Option<String>,
    /// What our own secret holds, where the configuration has it fetched; `None`: nothing listens
    pub keyring: Option<String>,
    /// Of the API server's keys
    pub fetches: usize,
}

impl Scenario {
    pub fn new(edit: impl FnOnce(&mut Value)) -> Self {
        Self::with(Box::new(SoftwareCrypto), edit)
    }

    pub fn with(crypto: Box<dyn Crypto>, edit: impl FnOnce(&mut Value)) -> Self {
        let reissuer =
            Reissuer::new(config(edit), crypto, [3; 32], BEGINNING).map_err(|error| error.to_string()).unwrap();
        let api_server = signing_key(&keys()[0]);
        let jwks =
            json!({ "keys": [serde_json::to_value(api_server.public().to_jwk("cluster-key")).unwrap()] }).to_string();
        Self { reissuer, now: BEGINNING, api_server, jwks: Some(jwks), keyring: Some(keys()[1].clone()), fetches: 0 }
    }

    /// One whose keys have been read, at its beginning.
    pub fn warm() -> Self {
        let mut scenario = Self::new(|_| ());
        scenario.fetch_what_is_due();
        scenario
    }

    pub fn pass(&mut self, seconds: u64) {
        self.now.unix += seconds;
        self.now.monotonic += Duration::from_secs(seconds);
    }

    pub fn fetch_what_is_due(&mut self) {
        while let Some(fetch) = self.reissuer.poll_fetch(self.now) {
            let content = match fetch.id.key {
                SourceKey::Keyring => &self.keyring,
                SourceKey::Jwks(_) => {
                    self.fetches += 1;
                    &self.jwks
                }
            };
            let answer = match content {
                Some(content) => Answer::Response { status: 200, date: None, body: content.as_bytes() },
                None => Answer::Response { status: 503, date: None, body: b"no healthy upstream" },
            };
            self.reissuer.handle_fetched(fetch.id, answer, self.now);
        }
    }

    /// A good token but for what `edit` does to its claims.
    pub fn token(&self, kid: &str, edit: impl FnOnce(&mut Value)) -> String {
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

    /// The same, with a signature that only [`Counted::trusting`] takes.
    pub fn unsigned(&self, edit: impl FnOnce(&mut Value)) -> String {
        let header = json!({ "alg": "RS256", "kid": "cluster-key" });
        let mut claims = json!({
            "iss": "https://kubernetes.default.svc.cluster.local",
            "sub": "system:serviceaccount:payments:ledger",
            "aud": "jwt-reissuer",
            "iat": self.now.unix, "exp": self.now.unix + 3600,
            "jti": "subject",
            "kubernetes.io": { "namespace": "payments", "serviceaccount": { "name": "ledger", "uid": "u" } },
        });
        edit(&mut claims);
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([1; 256]))
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
        let route = Route::of(self.reissuer.routes(), method.as_bytes(), OUR_HOST.as_bytes(), path.as_bytes());
        let headers = headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Request::new(route, Connection::TLS, headers, Body::None)
    }

    /// The answer, with the fetches that it may have to wait for.
    pub fn send(&mut self, request: Request) -> Response {
        match self.reissuer.handle(&request, self.now) {
            Outcome::Respond(response) => response,
            Outcome::Defer(key) => {
                self.reissuer.wait(1, request, key, self.now).unwrap();
                self.fetch_what_is_due();
                self.reissuer.poll_waiting(self.now).expect("the fetches have ended").1
            }
            outcome => panic!("{outcome:?}"),
        }
    }

    pub fn reissue(&mut self, path: &str, token: &str) -> Response {
        let bearer = format!("Bearer {token}");
        self.send(self.request("POST", path, &[("authorization", &bearer)]))
    }

    pub fn status(&mut self, token: &str) -> u16 {
        self.reissue("/reissue", token).status
    }

    /// How a token is answered without waiting for anything, if it is.
    pub fn at_once(&mut self, kid: &str) -> Option<u16> {
        let bearer = format!("Bearer {}", self.token(kid, |_| ()));
        let request = self.request("POST", "/reissue", &[("authorization", &bearer)]);
        match self.reissuer.handle(&request, self.now) {
            Outcome::Respond(response) => Some(response.status),
            Outcome::Defer(_) => None,
            outcome => panic!("{outcome:?}"),
        }
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.reissuer.poll_event()).collect()
    }
}

pub fn claims_of(response: &Response) -> Value {
    let text = std::str::from_utf8(&response.body).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

/// Crypto that is counted.
#[derive(Clone, Default)]
pub struct Counted {
    /// Takes every signature but one of zeros and makes none: for what is about numbers, not about signatures
    trusting: bool,
    verified: Rc<Cell<usize>>,
    signed: Rc<Cell<usize>>,
}

impl Counted {
    pub fn trusting() -> Self {
        Self { trusting: true, ..Self::default() }
    }

    /// Signatures checked and made since the last time.
    pub fn since(&self) -> (usize, usize) {
        (self.verified.replace(0), self.signed.replace(0))
    }

    /// Both together, so far.
    pub fn all(&self) -> usize {
        self.verified.get() + self.signed.get()
    }
}

impl Crypto for Counted {
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.verified.set(self.verified.get() + 1);
        if !self.trusting {
            return SoftwareCrypto.verify(key, message, signature);
        }
        if signature.iter().all(|byte| *byte == 0) { Err(BadSignature) } else { Ok(()) }
    }

    fn sign(&self, key: &SigningKey, message: &[u8], rng: &mut Rng) -> Result<Vec<u8>, SigningFailed> {
        self.signed.set(self.signed.get() + 1);
        if self.trusting { Ok(vec![1; 256]) } else { SoftwareCrypto.sign(key, message, rng) }
    }
}
