//! A configuration, of any bytes: only usable values come out, and an error says where.
#![no_main]

use std::time::Duration;

use jwt_reissuer::claims::{ClaimRule, REGISTERED};
use jwt_reissuer::config::{KeysFrom, MAX_TTL};
use jwt_reissuer::crypto::SoftwareCrypto;
use jwt_reissuer::http::Route;
use jwt_reissuer::trusted_issuer::JwksFrom;
use jwt_reissuer::{Config, Now, Reissuer};
use jwt_reissuer_fuzz::{pair, path};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const NOW: Now = Now { unix: 1_767_225_600, monotonic: Duration::ZERO };
/// The members that are called missing.
const REQUIRED: [&str; 11] = [
    "issuer",
    "audiences",
    "signing_keys",
    "from",
    "env",
    "trusted_issuers",
    "name",
    "jwks",
    "envoy_cluster",
    "authority",
    "subject_prefix",
];

fuzz_target!(|data: &[u8]| {
    let environment = |name: &str| (name == "KEY").then(|| pair::ours().pem.clone());
    let config = match Config::from_json(data, &environment) {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.problem.is_empty());
            if let Ok(json) = serde_json::from_slice::<Value>(data) {
                assert!(path::leads_somewhere(&json, &error.path, &REQUIRED), "{error}");
            }
            return;
        }
    };
    let json: Value = serde_json::from_slice(data).expect("strict JSON is JSON");
    check(&config, &json);

    let inline = matches!(config.keys_from, KeysFrom::Inline(_));
    let routes = config.routes.clone();
    match Reissuer::new(config, Box::new(SoftwareCrypto), [1; 32], NOW) {
        Ok(mut reissuer) => {
            // Whatever was configured, a host may run it.
            let now = Now { unix: 1_767_225_600, monotonic: Duration::ZERO };
            while reissuer.poll_fetch(now).is_some() {}
            assert!(reissuer.next_tick(now) > Duration::ZERO, "all that is due has begun");
            assert_eq!(reissuer.poll_waiting(now), None);
        }
        Err(error) => {
            assert!(inline, "{error}");
            assert!(error.path.starts_with("signing_keys.from."), "{error}");
        }
    }
    let named = |host: &Value| host == "not-ours.invalid";
    if !json["extra_hosts"].as_array().is_some_and(|hosts| hosts.iter().any(named)) {
        let is_issuer = json["issuer"].as_str().is_some_and(|issuer| issuer.contains("not-ours.invalid"));
        assert!(is_issuer || Route::of(&routes, b"POST", b"not-ours.invalid", b"/reissue") == Route::NotOurs);
    }
});

fn check(config: &Config, json: &Value) {
    let issuer = config.issuer.as_str();
    assert_eq!(json["issuer"], issuer);
    assert!(issuer.starts_with("https://") || issuer.starts_with("http://"));
    assert!(!issuer.ends_with('/') && !issuer.contains(['?', '#', '@', ' ']));
    assert!(config.routes.is_our_host(config.issuer.host().as_bytes()));
    assert!(config.ttl <= MAX_TTL && config.ttl >= Duration::from_secs(60));
    assert!((1024..=65_536).contains(&config.max_token_bytes));
    assert!(config.serve.documents || config.serve.tokens);
    if config.serve.tokens {
        assert!(!config.audiences.is_empty() && !config.trusted_issuers.is_empty());
    }
    for (index, trusted) in config.trusted_issuers.iter().enumerate() {
        let entry = &json["trusted_issuers"][index];
        assert_eq!(entry["issuer"], trusted.issuer.as_str());
        assert!(entry["audiences"].as_array().is_some_and(|list| !list.is_empty()), "an entry without audiences");
        assert!(!trusted.audiences.is_empty() && !trusted.algorithms.is_empty());
        assert_ne!(trusted.issuer, issuer, "we take no token of ours");
        let others = &config.trusted_issuers[..index];
        assert!(others.iter().all(|other| other.name != trusted.name && other.issuer != trusted.issuer));
        assert!(trusted.leeway <= Duration::from_secs(300));
        match &trusted.jwks {
            JwksFrom::EnvoyCluster(fetch) => {
                assert!(fetch.path.starts_with('/') && fetch.path.is_ascii());
                assert!(fetch.timeout >= Duration::from_secs(1));
            }
            JwksFrom::Inline(keys) => assert!(keys.kids().next().is_some() && keys.refused().is_empty()),
        }
    }
    let is_reserved = |name: &str| REGISTERED.contains(&name);
    for rule in &config.claims {
        match rule {
            ClaimRule::Copy(name) => {
                assert!(!is_reserved(name) && !name.starts_with("https://aws.amazon.com/"), "{name} is copied");
            }
            ClaimRule::Set(name, _) => {
                assert!(!is_reserved(name) && json["claims"]["set"].get(name).is_some(), "{name} is set");
            }
        }
    }
}
