//! A token from its text to what is issued for it. Input: one byte of choices, then either the text of a token, or a JOSE
//! header and claims with a NUL between them, which are signed with a key that is trusted: so the code behind the
//! signature is reached, and the fuzzer edits JSON rather than base64.
#![no_main]

use std::sync::OnceLock;

use chacha20::rand_core::SeedableRng as _;
use jwt_reissuer::claims::Claims;
use jwt_reissuer::crypto::{Rng, SoftwareCrypto};
use jwt_reissuer::error::Rejection;
use jwt_reissuer::keyring::{Keyring, Terms};
use jwt_reissuer::token::UnverifiedToken;
use jwt_reissuer::{Config, policy};
use jwt_reissuer_fuzz::issued::{self, Allowed};
use jwt_reissuer_fuzz::{judge, pair};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const NOW: u64 = 1_767_225_600;
const TTL: u64 = 3600;
/// The longest token that is taken
const LONGEST: usize = 8192;
const SIGNED: u8 = 1;
const WITH_RSA: u8 = 2;
const BY_ANOTHER_KEY: u8 = 4;

fuzz_target!(|data: &[u8]| {
    let Some((choices, rest)) = data.split_first() else { return };
    let key = if choices & WITH_RSA == 0 { pair::api_server() } else { pair::api_server_rsa() };
    if choices & SIGNED == 0 {
        let _ = judged(rest, key);
        return;
    }
    let mut halves = rest.splitn(2, |byte| *byte == 0);
    let (header, claims) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
    // A signature costs: whether it would be looked at is asked with one that is none.
    let unsigned = pair::unsigned(header, claims);
    let plausible = UnverifiedToken::parse(unsigned.as_bytes(), LONGEST)
        .and_then(|token| token.examine(&configuration().0.trusted_issuers[0], NOW));
    if plausible.is_err() {
        return;
    }
    assert!(judged(unsigned.as_bytes(), key).is_err(), "taken without a signature");
    let another = choices & BY_ANOTHER_KEY != 0;
    let signer = if another { pair::ours() } else { key };
    let signed = signer.sign(header, claims);
    let verdict = judged(signed.as_bytes(), key);
    // With a signature of RSA it is longer than it was with none.
    let fits = signed.len() <= LONGEST;
    let expected = issued::parts(&unsigned)[0]["alg"] == key.key.public().algorithm().name() && !another && fits;
    assert_eq!(verdict.is_ok(), expected, "{verdict:?}");
});

/// Parses, examines and verifies a token; what is accepted is reissued, and both are held to the rules.
fn judged(token: &[u8], key: &pair::Pair) -> Result<(), Rejection> {
    let (config, keyring, served) = configuration();
    let trusted = &config.trusted_issuers[0];
    let unverified = UnverifiedToken::parse(token, config.max_token_bytes)?;
    let shown = format!("{unverified:?}");
    let plausible = unverified.examine(trusted, NOW)?;
    let kid = plausible.kid().to_string();
    let subject = plausible.verify(key.key.public(), &SoftwareCrypto)?;

    let token = std::str::from_utf8(token).expect("a token is ASCII");
    assert!(!shown.contains(token.rsplit('.').next().expect("a signature")), "a token is shown");
    let [header, claims] = issued::parts(token);
    assert_eq!(header["kid"], kid.as_str());
    assert_eq!(claims["sub"], **subject.sub());
    let age = NOW.saturating_sub(claims["iat"].as_u64().expect("iat"));
    assert!(subject.exp() > NOW && age <= trusted.max_token_age.as_secs(), "{claims}");
    for member in ["crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc"] {
        assert!(header.get(member).is_none(), "{member} in the header");
    }
    if judge::can_judge(&header, &claims) {
        let jwk: Value = serde_json::from_str(&key.key.public().to_jwk(&kid).to_text()).expect("a JWK");
        let audiences: Vec<&str> = trusted.audiences.iter().map(String::as_str).collect();
        judge::verify(token, &jwk, &trusted.issuer, &audiences, NOW, trusted.leeway.as_secs())
            .unwrap_or_else(|why| panic!("taken here and not by the judge, because of {why}: {header} {claims}"));
    }

    let grant = policy::allow(config, trusted, &subject, policy::audience(config, None)?, NOW)?;
    let reissued = Claims::of(&subject, &config.claims, config.issuer.as_text(), &grant, NOW, "fresh jti".into());
    let reissued = keyring.issue(&reissued, NOW, &SoftwareCrypto, &mut Rng::from_seed([5; 32])).expect("signed");
    let allowed = Allowed {
        issuer: "https://reissuer.example.com",
        audiences: &["sts.amazonaws.com"],
        copied: &["kubernetes.io", "extra"],
        set: &[("https://aws.amazon.com/tags", json!({ "principal_tags": { "cluster": ["prod"] } }))],
        ttl: TTL,
    };
    if claims["jti"] != "fresh jti" {
        allowed.check(&reissued.text, token, served, NOW);
    }
    Ok(())
}

fn configuration() -> &'static (Config, Keyring, Value) {
    static CONFIGURATION: OnceLock<(Config, Keyring, Value)> = OnceLock::new();
    CONFIGURATION.get_or_init(|| {
        let config = json!({
            "issuer": "https://reissuer.example.com",
            "audiences": ["sts.amazonaws.com"],
            "ttl": "1h",
            "signing_keys": { "from": { "dangerous_inline": pair::ours().pem } },
            "trusted_issuers": [{
                "name": "prod",
                "issuer": "https://kubernetes.default.svc.cluster.local",
                "audiences": ["jwt-reissuer", "second"],
                "jwks": { "envoy_cluster": "kubernetes", "authority": "kubernetes.default.svc" },
            }],
            "claims": {
                "copy": ["kubernetes.io", "extra"],
                "set": { "https://aws.amazon.com/tags": { "principal_tags": { "cluster": ["prod"] } } },
            },
        });
        let config = Config::from_json(config.to_string().as_bytes(), &|_| None).expect("a good configuration");
        let terms = Terms { serve: config.serve, publish_ahead: config.publish_ahead, now: NOW };
        let keyring = Keyring::parse(pair::ours().pem.as_bytes(), &terms).expect("a good key");
        let served = pair::ours().jwks(&pair::ours().key.public().thumbprint());
        (config, keyring, serde_json::from_str(&served).expect("a JWKS"))
    })
}
