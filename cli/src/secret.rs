//! The manifest of the Kubernetes Secret that holds a keyring.

use std::num::NonZeroU64;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::files::KeyringText;

/// The longest name of an object in Kubernetes, which is a subdomain of RFC 1123, and the longest key of its data.
const LONGEST_NAME: usize = 253;
/// The longest label of RFC 1123.
const LONGEST_LABEL: usize = 63;

/// The Secret that a keyring goes into, and the key of its data: `NAMESPACE/NAME/KEY`.
#[derive(Clone, Debug)]
pub struct SecretKey {
    namespace: String,
    name: String,
    key: String,
}

/// The `metadata.resourceVersion` of a Secret. It is not 0: the API server compares nothing with that.
#[derive(Clone, Copy, Debug)]
pub struct ResourceVersion(NonZeroU64);

impl FromStr for ResourceVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok());
        number.map(Self).ok_or("must be the metadata.resourceVersion of the Secret: digits, and not 0")
    }
}

impl FromStr for SecretKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let parts: Vec<&str> = text.split('/').collect();
        let [namespace, name, key] = parts.as_slice() else {
            return Err("must be NAMESPACE/NAME/KEY, such as istio-ingress/jwt-reissuer-signing-keys/signing-keys");
        };
        if namespace.len() > LONGEST_LABEL || !is_label(namespace) {
            return Err(
                "the namespace must be a label of RFC 1123: a to z, 0 to 9 and inner hyphens, 63 characters at most",
            );
        }
        if name.len() > LONGEST_NAME || !name.split('.').all(is_label) {
            return Err(
                "the name of the Secret must be labels of RFC 1123 with dots between them: a to z, 0 to 9 and inner \
                        hyphens, 253 characters at most",
            );
        }
        if !is_data_key(key) {
            return Err(
                "the key must have letters, digits, '-', '_' and '.' alone, 253 characters at most, and not begin with '..'",
            );
        }
        Ok(Self { namespace: (*namespace).into(), name: (*name).into(), key: (*key).into() })
    }
}

impl SecretKey {
    /// The manifest as JSON, on one line. It holds the keyring in base64, so it is as secret as the keyring. With a version, the
    /// API server refuses it where the Secret has another one.
    pub fn manifest(&self, keyring: &KeyringText, version: Option<ResourceVersion>) -> KeyringText {
        let Self { namespace, name, key } = self;
        let version =
            version.map(|ResourceVersion(number)| format!(r#","resourceVersion":"{number}""#)).unwrap_or_default();
        // Names and numbers have no character that JSON escapes.
        let before = format!(
            r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{name}","namespace":"{namespace}"{version}}},"data":{{"{key}":""#
        );
        let data = Zeroizing::new(STANDARD.encode(&*keyring.text));
        let text = Zeroizing::new([before.as_bytes(), data.as_bytes(), b"\"}}"].concat());
        KeyringText { text, hides_private_keys: keyring.hides_private_keys }
    }
}

/// Whether a text has the form of a label of RFC 1123, of any length.
fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether the API server takes a text as a key of a Secret's data.
fn is_data_key(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(allowed) && text != "." && !text.starts_with("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_where_the_api_server_takes_its_names() {
        let (label, name) = ("a".repeat(LONGEST_LABEL), "a".repeat(LONGEST_NAME));
        let given = |namespace: &str, name: &str, key: &str| format!("{namespace}/{name}/{key}");
        for good in [
            "istio-ingress/jwt-reissuer-signing-keys/signing-keys".into(),
            "a/b/c".into(),
            "0/1.2-3.4/_A.-".into(),
            "a/b/.c".into(),
            given(&label, &name, &name),
        ] {
            let read: SecretKey = good.parse().unwrap();
            assert_eq!(given(&read.namespace, &read.name, &read.key), good);
        }
        for (refused, why) in [
            (String::new(), "must be NAMESPACE/NAME/KEY"),
            ("a/b".into(), "must be NAMESPACE/NAME/KEY"),
            ("a/b/c/d".into(), "must be NAMESPACE/NAME/KEY"),
            ("A_/B_/key".into(), "the namespace must be"),
            ("/b/c".into(), "the namespace must be"),
            ("A/b/c".into(), "the namespace must be"),
            ("a_b/b/c".into(), "the namespace must be"),
            ("a.b/b/c".into(), "the namespace must be"),
            ("-a/b/c".into(), "the namespace must be"),
            ("a-/b/c".into(), "the namespace must be"),
            (given(&format!("{label}a"), "b", "c"), "the namespace must be"),
            ("a//c".into(), "the name of the Secret must be"),
            ("a/B/c".into(), "the name of the Secret must be"),
            ("a/b_/c".into(), "the name of the Secret must be"),
            ("a/\"b/c".into(), "the name of the Secret must be"),
            ("a/.b/c".into(), "the name of the Secret must be"),
            ("a/b./c".into(), "the name of the Secret must be"),
            ("a/b..b/c".into(), "the name of the Secret must be"),
            ("a/b-.b/c".into(), "the name of the Secret must be"),
            ("a/\u{e9}/c".into(), "the name of the Secret must be"),
            (given("a", &format!("{name}a"), "c"), "the name of the Secret must be"),
            ("a/b/".into(), "the key must have"),
            ("a/b/.".into(), "the key must have"),
            ("a/b/..c".into(), "the key must have"),
            ("a/b/c d".into(), "the key must have"),
            ("a/b/\"c".into(), "the key must have"),
            (given("a", "b", &format!("{name}a")), "the key must have"),
        ] {
            let message = refused.parse::<SecretKey>().map(|_| ()).unwrap_err();
            assert!(message.starts_with(why), "{refused}: {message}");
        }
    }
}
