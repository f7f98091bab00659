//! What may be issued, whatever came in: issuer, audience, algorithm and key are the configuration's, no claim is there
//! that the configuration does not list, and nothing outlives the subject token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::judge;

/// What a configuration allows of a token that is issued by it.
pub struct Allowed<'a> {
    pub issuer: &'a str,
    pub audiences: &'a [&'a str],
    /// Beside the registered claims: those that are copied, and those that are set to a value
    pub copied: &'a [&'a str],
    pub set: &'a [(&'a str, Value)],
    pub ttl: u64,
}

const REGISTERED: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

impl Allowed<'_> {
    /// Panics where an issued token breaks a rule, or where the judge does not verify it. `jwks` is the document served at
    /// this moment. Gives its `jti`.
    pub fn check(&self, issued: &str, subject: &str, jwks: &Value, now: u64) -> String {
        let verified =
            judge::verify(issued, &jwks["keys"][0], self.issuer, self.audiences, now, 0).expect("the judge agrees");
        let jti = self.check_content(issued, subject, jwks, now);
        assert_eq!(verified["jti"], jti.as_str());
        jti
    }

    /// The same of all but the signature.
    pub fn check_content(&self, issued: &str, subject: &str, jwks: &Value, now: u64) -> String {
        let [header, claims] = parts(issued);
        let [_, before] = parts(subject);
        let keys = jwks["keys"].as_array().expect("a list of keys");
        let active = &keys[0];
        let expected = serde_json::json!({ "alg": active["alg"], "kid": active["kid"], "typ": "JWT" });
        assert_eq!(header, expected, "the JOSE header is the key's");

        assert_eq!(claims["iss"], self.issuer);
        assert_eq!(claims["sub"], before["sub"]);
        assert!(self.audiences.contains(&claims["aud"].as_str().expect("one audience")), "{claims}");
        let time = |claims: &Value, name: &str| claims[name].as_u64().expect("a time");
        assert!(time(&claims, "exp") <= time(&before, "exp"), "never past the subject token");
        assert!(time(&claims, "exp") <= now + self.ttl && time(&claims, "exp") > now);
        // Issued now, or given again while half of its life or more is left.
        let (iat, exp) = (time(&claims, "iat"), time(&claims, "exp"));
        assert_eq!(time(&claims, "nbf"), iat);
        assert!(iat <= now && exp - now >= (exp - iat).div_ceil(2), "{claims} at {now}");

        for (name, value) in claims.as_object().expect("an object") {
            if REGISTERED.contains(&name.as_str()) {
                continue;
            }
            match self.set.iter().find(|(set, _)| set == name) {
                Some((_, set)) => assert_eq!(value, set),
                None => {
                    assert!(self.copied.contains(&name.as_str()), "{name} is not listed");
                    assert!(!name.starts_with("https://aws.amazon.com/"), "{name} was copied");
                    assert!(is_copy(value, &before[name]), "{name}: {value} of {}", before[name]);
                }
            }
        }
        for (name, _) in self.set {
            assert!(claims.get(name).is_some(), "{name} is missing");
        }
        let jti = claims["jti"].as_str().expect("a jti").to_string();
        assert_ne!(Some(jti.as_str()), before["jti"].as_str(), "a jti of its own");
        jti
    }
}

/// Header and claims of a token, unverified.
pub fn parts(token: &str) -> [Value; 2] {
    let mut segments = token.split('.').map(|segment| {
        let text = URL_SAFE_NO_PAD.decode(segment).expect("base64url");
        serde_json::from_slice(&text).expect("JSON")
    });
    [segments.next().expect("a header"), segments.next().expect("claims")]
}

/// A number may come out as another text of the same double.
fn is_copy(copy: &Value, of: &Value) -> bool {
    match (copy, of) {
        (Value::Number(copy), Value::Number(of)) => {
            copy == of || {
                let (copy, of) = (copy.as_f64().unwrap_or(f64::NAN), of.as_f64().unwrap_or(f64::NAN));
                (copy - of).abs() <= of.abs() * 1e-12
            }
        }
        (Value::Array(copy), Value::Array(of)) => {
            copy.len() == of.len() && copy.iter().zip(of).all(|(copy, of)| is_copy(copy, of))
        }
        (Value::Object(copy), Value::Object(of)) => {
            copy.len() == of.len() && copy.iter().all(|(name, copy)| of.get(name).is_some_and(|of| is_copy(copy, of)))
        }
        (copy, of) => copy == of,
    }
}
