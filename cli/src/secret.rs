//! The manifest of the Kubernetes Secret that holds a keyring.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::files::KeyringText;

/// The longest name of an object in Kubernetes.
const LONGEST_NAME: usize = 253;

/// The Secret that a keyring goes into, and the key of its data: `NAMESPACE/NAME/KEY`.
#[derive(Clone, Debug)]
pub struct SecretKey {
    namespace: String,
    name: String,
    key: String,
}

impl FromStr for SecretKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split('/').map(str::to_string);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(name), Some(key), None)
                if [&namespace, &name, &key].into_iter().all(|part| is_name(part)) =>
            {
                Ok(Self { namespace, name, key })
            }
            _ => Err("must be NAMESPACE/NAME/KEY, such as istio-ingress/jwt-reissuer-signing-keys/signing-keys"),
        }
    }
}

impl SecretKey {
    /// The manifest as JSON, on one line. It holds the keyring in base64, so it is as secret as the keyring.
    pub fn manifest(&self, keyring: &KeyringText) -> KeyringText {
        let Self { namespace, name, key } = self;
        // Names have no character that JSON escapes.
        let before = format!(
            r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{name}","namespace":"{namespace}"}},"data":{{"{key}":""#
        );
        let data = Zeroizing::new(STANDARD.encode(&*keyring.text));
        let text = Zeroizing::new([before.as_bytes(), data.as_bytes(), b"\"}}"].concat());
        KeyringText { text, hides_private_keys: keyring.hides_private_keys }
    }
}

/// Whether a text has the characters of names in Kubernetes alone.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(allowed)
}
