//! Keyring documents with keys of P-256, which are made quickly.

use p256::pkcs8::EncodePrivateKey as _;
use serde_json::{Value, json};

pub const HOUR: u64 = 3600;
pub const DAY: u64 = 24 * HOUR;

pub fn pem(seed: u8) -> String {
    let key = p256::SecretKey::from_slice(&[seed; 32]).unwrap();
    key.to_pkcs8_pem(Default::default()).unwrap().to_string()
}

pub fn time(unix: u64) -> String {
    let time = der::DateTime::from_unix_duration(std::time::Duration::from_secs(unix)).unwrap();
    time.to_string()
}

pub fn key(kid: &str, seed: u8, sign_at: Option<u64>) -> Value {
    let mut key = json!({ "kid": kid, "private_key": pem(seed) });
    if let Some(sign_at) = sign_at {
        key["sign_at"] = time(sign_at).into();
    }
    key
}

pub fn keyring(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}
