//! The core of JWT Reissuer: takes a Kubernetes service-account token, and gives one that clouds trust.
//!
//! Nothing here does I/O, reads a clock or calls a host. Facts go in by `handle*`, work comes out by `poll*`, and a host
//! (`wasm/envoy` is one) does nothing but carry them:
//!
//! ```text
//! Route::of(method, authority, path)      is it ours?                          routes, path
//! Reissuer::handle(&request, now)         what to do with it                   reissuer
//!   request.connection                    TLS, or tokens are refused           http
//!   request.bearer()                      the token of the Authorization header   http
//!   Repeats::issued(sha256, audience)     what it got before, if all is as it was    repeats
//!   UnverifiedToken::of                   strict compact JWS                   token, jose_header
//!     .examine(issuer, now)               -> PlausibleToken: claims would do   token, subject
//!   KeyCache::find(kid, alg)              Found | Pending | Absent             jwks, source
//!   Budget::turn(sub)                     is there time for signatures?        budget
//!     .verify(key, crypto)                -> SubjectToken, and its cluster     reissuer/verify, token, crypto
//!   policy::allow                         -> Grant: audience and expiry        policy
//!   Claims::of(&subject, rules, grant)    what goes in                         claims
//!   Keyring::issue(&claims, now)          -> IssuedToken, checked              keyring, timetable, our_keys
//! any Err(Rejection) -> Response          in one place                         error
//!
//! Outcome::Pass | Respond | NeedBody -> await_body, take | Defer -> wait; both are answered by poll_waiting in time
//! poll_fetch -> the host fetches -> handle_fetched    sources;  poll_event -> logs and counters    event;  gauges    metrics
//! ```
//!
//! One token's way, from a cold start; the host's part is played by this page:
//!
//! ```
//! use std::time::Duration;
//! use jwt_reissuer::crypto::SoftwareCrypto;
//! use jwt_reissuer::http::{Body, Connection, Request, Route};
//! use jwt_reissuer::{Answer, Config, Now, Outcome, Reissuer, SourceKey};
//!
//! let config = Config::from_json(br#"{
//!     "issuer": "https://reissuer.example.com",
//!     "audiences": ["sts.amazonaws.com"],
//!     "signing_keys": { "from": { "envoy_cluster": "signing_keys" } },
//!     "trusted_issuers": [{
//!         "name": "prod",
//!         "issuer": "https://kubernetes.default.svc.cluster.local",
//!         "audiences": ["jwt-reissuer"],
//!         "jwks": { "envoy_cluster": "kubernetes", "authority": "kubernetes.default.svc" }
//!     }]
//! }"#, &|_| None)?;
//! # let seed = [7; 32]; // a host takes it from a cryptographic random source
//! let now = Now { unix: 1_767_225_600, monotonic: Duration::ZERO };
//! let mut reissuer = Reissuer::new(config, Box::new(SoftwareCrypto), seed, now)?;
//!
//! // A pod's token comes in before there is any key.
//! # let vectors: serde_json::Value = serde_json::from_str(include_str!("../tests/vectors/negative/tokens.json"))?;
//! # let token = vectors["cases"][0]["token"].as_str().unwrap();
//! # let api_server_keys = vectors["jwks"]["main"].to_string().into_bytes();
//! # use rsa::pkcs8::EncodePrivateKey as _;
//! # let mut rng = <chacha20::ChaCha20Rng as chacha20::rand_core::SeedableRng>::from_seed([9; 32]);
//! # let our_key = rsa::PrivateKey::new(&mut rng, 2048)?.to_pkcs8_pem(Default::default())?.as_bytes().to_vec();
//! let route = Route::of(reissuer.routes(), b"POST", b"reissuer.example.com", b"/reissue");
//! let bearer = (b"authorization".to_vec(), format!("Bearer {token}").into_bytes());
//! let request = Request::new(route, Connection::TLS, [bearer], Body::None);
//! let Outcome::Defer(key) = reissuer.handle(&request, now) else { panic!("there are no keys yet") };
//! assert_eq!(key, SourceKey::Jwks(0).into());
//! reissuer.wait(1, request, key, now).expect("there is room");
//!
//! // The host makes the fetches that are due, and reports what came.
//! while let Some(fetch) = reissuer.poll_fetch(now) {
//!     let body = match fetch.id.key {
//!         SourceKey::Keyring => &our_key,
//!         SourceKey::Jwks(_) => &api_server_keys,
//!     };
//!     reissuer.handle_fetched(fetch.id, Answer::Response { status: 200, date: None, body }, now);
//! }
//!
//! // The request that waited is answered.
//! let (stream, response) = reissuer.poll_waiting(now).expect("the keys are there");
//! assert_eq!((stream, response.status), (1, 200));
//! assert_eq!(response.body.iter().filter(|byte| **byte == b'.').count(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod algorithm;
mod budget;
pub mod claims;
pub mod clock;
pub mod config;
pub mod crypto;
mod der;
pub mod discovery;
mod encodings;
pub mod error;
pub mod event;
mod fetch;
pub mod fingerprint;
mod form;
pub mod http;
pub mod issuer;
mod jose_header;
pub mod json;
pub mod jwks;
pub mod keyring;
pub mod keys;
#[cfg(test)]
mod known_answers;
mod loaded;
pub mod metrics;
mod our_keys;
mod path;
pub mod policy;
mod published_keys;
mod reissuer;
mod repeats;
pub mod response;
mod roca;
mod routes;
pub mod sealed;
mod settings;
pub mod sorted;
pub mod source;
mod sources;
mod subject;
pub mod succession;
pub mod text;
pub mod timetable;
pub mod token;
pub mod trusted_issuer;
mod validity;
mod waiting;

pub use clock::Now;
pub use config::{Config, ConfigError};
pub use fetch::{Answer, Fetch, FetchId};
pub use reissuer::{Outcome, Reissuer};
pub use source::SourceKey;
pub use waiting::{MAX_BODIES, MAX_WAITING, StreamId, WaitsFor};
