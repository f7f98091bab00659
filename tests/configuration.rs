//! What is refused of configurations and keyrings, with the path that the error names; and whose requests are ours.
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
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20::rand_core::SeedableRng as _;
use jwt_reissuer::Config;
use jwt_reissuer::crypto::{Rng, VerifyingKey};
use jwt_reissuer::error::Rejection;
use jwt_reissuer::http::{Endpoint, Route, Serve};
use jwt_reissuer::keyring::Keyring;
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use scenario::{START, environment, terms};
use serde_json::{Value, json};

const BOTH: Serve = Serve { documents: true, tokens: true };
const DOCUMENTS: Serve = Serve { documents: true, tokens: false };

/// Ids and keys that a keyring publishes now.
fn published(keyring: &Keyring) -> Vec<(&str, &VerifyingKey)> {
    keyring.published(keyring.timetable().at(START).unwrap()).collect()
}

fn sample() -> Value {
    serde_json::from_str(include_str!("../envoy/config.json")).unwrap()
}

fn parse(config: &Value) -> Result<Config, String> {
    Config::from_json(config.to_string().as_bytes(), &environment).map_err(|error| error.to_string())
}

#[test]
fn the_sample_configuration_is_taken() {
    let config = parse(&sample()).unwrap();
    assert_eq!(config.issuer.as_str(), "https://reissuer.example.com");
    assert_eq!(config.ttl.as_secs(), 6 * 3600);
}

#[test]
fn two_names_that_are_one_to_prometheus_are_one() {
    let mut config = sample();
    let mut second = config["trusted_issuers"][0].clone();
    config["trusted_issuers"][0]["name"] = json!("prod-eu");
    second["name"] = json!("prod_eu");
    second["issuer"] = json!("https://elsewhere.example.com");
    config["trusted_issuers"].as_array_mut().unwrap().push(second);
    assert_eq!(parse(&config).err().unwrap(), "trusted_issuers[1].name: is the name of an earlier entry");
}

#[test]
fn an_error_names_the_member_by_its_path() {
    let mut second = sample()["trusted_issuers"][0].clone();
    second["name"] = json!("second");
    let mut namesake = second.clone();
    namesake["name"] = json!("kubernetes");
    namesake["issuer"] = json!("https://elsewhere.example.com");
    let unusable = json!({ "keys": [{ "kty": "oct", "kid": "a", "k": "AAAA" }] });
    let cases: [(&str, Value, &str); 28] = [
        (
            "/trusted_issuers/1",
            second,
            "trusted_issuers[1].issuer: is the issuer of trusted_issuers[0], with the same keys",
        ),
        ("/trusted_issuers/1", namesake, "trusted_issuers[1].name: is the name of an earlier entry"),
        (
            "/trusted_issuers/0/jwks",
            json!({ "inline": unusable }),
            "trusted_issuers[0].jwks.inline: holds a key that is not usable",
        ),
        ("/ttl", json!("13h"), "ttl: must be from 1m to 12h"),
        ("/ttl", json!("6 h"), "ttl: must be a duration such as 30s, 5m, 6h or 7d"),
        ("/ttl", json!("0s"), "ttl: must be from"),
        ("/audiences", json!([]), "audiences: must not be empty"),
        ("/audiences", json!(["a", "a"]), "audiences: names an audience twice"),
        ("/audiences", json!(["a", 1]), "audiences[1]: must be a string"),
        ("/extra_hosts", json!(["a:80"]), "extra_hosts[0]: must have a host name"),
        ("/policies", json!([]), "policies: is not a setting of version"),
        ("/serve", json!(["keys"]), "serve: takes \"documents\" and \"tokens\""),
        ("/signing_keys/from", json!({}), "signing_keys.from: takes exactly one of"),
        ("/signing_keys/from", json!({ "env": "" }), "signing_keys.from.env: must not be empty"),
        ("/signing_keys/publish_ahead", json!("1s"), "signing_keys.publish_ahead: must not be shorter"),
        ("/trusted_issuers/0/audiences", json!([]), "trusted_issuers[0].audiences: must not be empty"),
        ("/trusted_issuers/0/algorithms", json!(["HS256"]), "trusted_issuers[0].algorithms[0]: must be one of"),
        ("/trusted_issuers/0/issuer", json!("https://reissuer.example.com"), "trusted_issuers[0].issuer: is our own"),
        ("/trusted_issuers/0/jwks/path", json!("openid"), "trusted_issuers[0].jwks.path: must begin with /"),
        ("/trusted_issuers/0/jwks/uri", json!("x"), "trusted_issuers[0].jwks.uri: is not a setting"),
        ("/trusted_issuers/0/jwks", json!({ "inline": { "keys": [] } }), "trusted_issuers[0].jwks.inline: no keys"),
        ("/issuer", json!("https://idp.example.com?x=1"), "issuer: must have no query and no fragment"),
        ("/issuer", json!("https://IDP.example.com"), "issuer: must have a host name in lower case"),
        ("/claims", json!({ "set": { "kubernetes.io": 1 } }), "claims.set[\"kubernetes.io\"]: is copied as well"),
        ("/claims/copy", json!(["sub"]), "claims.copy[0]: is always written by us"),
        (
            "/claims/copy",
            json!(["azp"]),
            "claims.copy[0]: may not be in an issued token: AWS compares azp in place of aud",
        ),
        ("/claims", json!({ "set": { "azp": "x" } }), "claims.set[\"azp\"]: may not be in an issued token"),
        ("/claims/copy", json!(["https://aws.amazon.com/tags"]), "claims.copy[0]: may not be set by another"),
    ];
    for (pointer, value, expected) in cases {
        let mut config = sample();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        match config.pointer_mut(parent).unwrap() {
            Value::Array(items) if member == "1" => items.push(value),
            other => match member.parse::<usize>() {
                Ok(index) => other[index] = value,
                Err(_) => other[member] = value,
            },
        }
        let error = parse(&config).err().unwrap_or_else(|| panic!("{pointer} is taken"));
        assert!(error.starts_with(expected), "{error:?} does not begin with {expected:?}");
    }
    let twice = sample().to_string().replacen("\"ttl\":", "\"ttl\":\"1h\",\"ttl\":", 1);
    assert!(Config::from_json(twice.as_bytes(), &|_| None).err().unwrap().problem.contains("twice"));
    for required in ["issuer", "audiences", "signing_keys", "trusted_issuers"] {
        let mut config = sample();
        config.as_object_mut().unwrap().remove(required);
        assert_eq!(parse(&config).err(), Some(format!("{required}: is missing")));
    }
}

#[test]
fn a_key_is_refused_with_its_reason_and_its_place() {
    let key = |bits, seed| rsa::PrivateKey::new(&mut Rng::from_seed([seed; 32]), bits).unwrap();
    let pem = |key: &rsa::PrivateKey| key.to_pkcs8_pem(Default::default()).unwrap().to_string();
    let public = |key: &rsa::PrivateKey| key.as_public_key().to_public_key_pem(Default::default()).unwrap();
    let (good, other, weak) = (key(2048, 1), key(2048, 2), key(1024, 3));

    let one = Keyring::parse(pem(&good).as_bytes(), &terms(BOTH)).map_err(|error| error.to_string()).unwrap();
    assert_eq!(published(&one).len(), 1);
    assert_eq!(published(&one)[0].0, published(&one)[0].1.thumbprint());
    let two = json!({ "keys": [{ "public_key": public(&other), "kid": "key-1" }, { "private_key": pem(&good) }] });
    let two = Keyring::parse(two.to_string().as_bytes(), &terms(BOTH)).map_err(|error| error.to_string()).unwrap();
    assert_eq!(published(&two)[1].0, "key-1", "the key that signs comes first");

    let keyring = |keys: Value| json!({ "keys": keys }).to_string();
    let many: Vec<Value> = (0..17).map(|_| json!({ "public_key": public(&good) })).collect();
    let small_exponent =
        rsa::PrivateKey::new_with_exp(&mut Rng::from_seed([5; 32]), 2048, rsa::BoxedUint::from(3_u8)).unwrap();
    // The private halves of these two are in RFC 7520 section 3.4 and RFC 7515 appendix A.3.
    let published_rsa = pem(&published_rsa_key());
    let published_ec = STANDARD.encode(published_ec_key().to_pkcs8_der().unwrap().as_bytes());
    let p521 = p521::SecretKey::from_slice(&[&[0][..], &[1; 65]].concat()).unwrap();
    let p521 = STANDARD.encode(p521.to_pkcs8_der().unwrap().as_bytes());
    let cases = [
        (String::new(), BOTH, "empty"),
        ("garbage!".into(), BOTH, "neither a JSON keyring"),
        (pem(&weak), BOTH, "an RSA key of 1024 bits"),
        (format!("{}{}", pem(&good), pem(&other)), BOTH, "holds more than one key"),
        (pem(&good).replace("PRIVATE", "ENCRYPTED PRIVATE"), BOTH, "is an encrypted key"),
        (pem(&good).replace("PRIVATE KEY", "CERTIFICATE"), BOTH, "is a PEM of CERTIFICATE"),
        (public(&good), BOTH, "has no private key"),
        (pem(&good), DOCUMENTS, "keys[0].private_key: has no use where documents alone"),
        (keyring(json!([])), BOTH, "keys: must not be empty"),
        (keyring(json!(many)), BOTH, "keys: must not be more than 16"),
        (
            keyring(json!([{ "private_key": pem(&good), "kid": "a" }, { "public_key": public(&other), "kid": "a" }])),
            BOTH,
            "keys[1].kid: is the kid of an earlier key",
        ),
        (published_rsa.clone(), BOTH, "the private half of this key is published"),
        (published_ec, BOTH, "the private half of this key is published"),
        (
            keyring(json!([{ "private_key": published_rsa }])),
            BOTH,
            "keys[0].private_key: the private half of this key is published",
        ),
        (pem(&small_exponent), BOTH, "an RSA public exponent that is even, under 65537"),
        (p521, BOTH, "a key of another curve than P-256 and P-384"),
        (keyring(json!([{ "private_key": pem(&weak) }])), BOTH, "keys[0].private_key: an RSA key of 1024 bits"),
        (keyring(json!([{ "private_key": public(&good) }])), BOTH, "keys[0].private_key: is a public key"),
        (
            keyring(json!([{ "private_key": pem(&good), "algorithm": "ES256" }])),
            BOTH,
            "keys[0].algorithm: must be RS256",
        ),
        (
            keyring(json!([{ "private_key": pem(&good), "sign_at": "2026-01-01" }])),
            BOTH,
            "keys[0].sign_at: must be a time of RFC 3339 in UTC",
        ),
        (
            keyring(json!([{ "private_key": pem(&good), "sign_at": "2026-01-01T00:00:01Z" }])),
            BOTH,
            "keys[0].sign_at: no key signs until 2026-01-01T00:00:01Z",
        ),
        (
            keyring(json!([{ "private_key": pem(&good), "retire_at": "2030-01-01T00:00:00Z" }])),
            BOTH,
            "keys[0].retire_at: no key signs from 2030-01-01T00:00:00Z on",
        ),
        (
            keyring(json!([
                { "private_key": pem(&good) },
                { "public_key": public(&other), "sign_at": "2026-06-01T00:00:00Z" },
            ])),
            BOTH,
            "keys[1].sign_at: has no use without a private_key",
        ),
        (
            keyring(json!([{ "private_key": pem(&good) }, { "private_key": pem(&other) }])),
            BOTH,
            "keys[1].private_key: is a second",
        ),
        (
            keyring(json!([{ "private_key": pem(&good) }, { "public_key": public(&good) }])),
            BOTH,
            "keys[1]: is a key that is there",
        ),
        (keyring(json!([{ "private_key": pem(&good), "d": "x" }])), BOTH, "keys[0].d: is not a setting"),
    ];
    for (document, serve, expected) in cases {
        let error = Keyring::parse(document.as_bytes(), &terms(serve)).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error:?} does not begin with {expected:?}");
    }
}

fn published_rsa_key() -> rsa::PrivateKey {
    let jwk: Value = serde_json::from_str(include_str!("vectors/rfc7520/rsa_private_key.json")).unwrap();
    let number = |name: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        rsa::BoxedUint::from_be_slice_vartime(&bytes)
    };
    let primes = vec![number("p"), number("q")];
    rsa::PrivateKey::from_components(number("n"), number("e"), number("d"), primes).unwrap()
}

fn published_ec_key() -> p256::SecretKey {
    let d = URL_SAFE_NO_PAD.decode("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI").unwrap();
    p256::SecretKey::from_slice(&d).unwrap()
}

#[test]
fn only_exact_paths_on_our_hosts_are_ours_and_everything_else_there_is_not_found() {
    let mut config = sample();
    config["issuer"] = json!("https://reissuer.example.com/tenant");
    let routes = parse(&config).unwrap().routes;
    let route = |host: &str, path: &str| Route::of(&routes, b"POST", host.as_bytes(), path.as_bytes());
    for host in [
        "reissuer.example.com",
        "REISSUER.example.com:8443",
        "reissuer.example.com.",
        "reissuer.infra.svc.cluster.local",
    ] {
        let ours = matches!(route(host, "/reissue?x=1"), Route::Ours { endpoint: Endpoint::Reissue, .. });
        assert!(ours, "{host}");
        for path in [
            "//reissue",
            "/reissue/",
            "/Reissue",
            "/%72eissue",
            "/reissue;x",
            "/reissue%3Fx",
            "/./reissue",
            "/",
            "",
            "/tenant/reissue",
            "/openid/v1/jwks",
            "/tenant/openid/v1/jwks/x",
            "/tenant/.well-known",
            "*",
        ] {
            assert_eq!(route(host, path), Route::Refused(Rejection::NotFound), "{host}{path}");
        }
    }
    for host in ["example.com", "evil.reissuer.example.com", "reissuer.example.com.evil", "", "x@reissuer.example.com"]
    {
        assert_eq!(route(host, "/reissue"), Route::NotOurs, "{host}");
    }
    let wrong_method = |path| Route::of(&routes, b"PUT", b"reissuer.example.com", path);
    assert_eq!(wrong_method(b"/reissue"), Route::Refused(Rejection::MethodNotAllowed { allow: "POST" }));
    let allow = "GET, HEAD, OPTIONS";
    assert_eq!(wrong_method(b"/tenant/openid/v1/jwks"), Route::Refused(Rejection::MethodNotAllowed { allow }));

    config["shared_host"] = json!(true);
    config["serve"] = json!(["documents"]);
    let routes = parse(&config).unwrap().routes;
    let route = |path: &str| Route::of(&routes, b"POST", b"reissuer.example.com", path.as_bytes());
    assert_eq!(route("/app"), Route::NotOurs, "on a shared host other paths pass");
    assert_eq!(route("/reissue"), Route::Refused(Rejection::NotFound), "but never one that carries tokens");
}
