//! The JSON document of a keyring, member by member, so that it can be written back with a key more or less.
//!
//! It is read after the core has parsed it. What is wiped: the text that is read, the PEM of a new key, and the JSON that is
//! written. A private key of the document is borrowed from the text, and written back with its escapes. serde_json would
//! unescape it into a growing buffer, which is not wiped.
//!
//! Two things are not wiped: the other members of a key, which are public, and the buffer into which the core's parser unescapes.

use jwt_reissuer::keyring::{Keyring, MAX_DOCUMENT, decode_base64};
use p256::pkcs8::{LineEnding, SecretDocument};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// A keyring document, which borrows its private keys from the text that it was read from.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringDocument<'a> {
    /// Its keys, in their order
    #[serde(borrow)]
    pub keys: Vec<KeyEntry<'a>>,
}

/// One key of a keyring document. Times are RFC 3339, and stay as they were written.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PrivateKey<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retire_at: Option<String>,
}

/// The private key of an entry.
#[derive(Serialize)]
#[serde(untagged)]
pub enum PrivateKey<'a> {
    /// A JSON string, with its quotes and escapes
    AsRead(&'a RawValue),
    /// A PEM, or base64 of one
    Text(Zeroizing<String>),
}

impl<'de: 'a, 'a> Deserialize<'de> for PrivateKey<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(Self::AsRead)
    }
}

/// A keyring without the base64 around it.
///
/// # Errors
/// [`Failure::Refused`] for a keyring that is not JSON, a PEM or base64.
pub fn without_base64(plain: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let plain = plain.trim_ascii();
    match plain.first() {
        Some(b'{' | b'-') => Ok(Zeroizing::new(plain.to_vec())),
        _ => decode_base64(plain).ok_or_else(unreadable),
    }
}

impl<'a> KeyringDocument<'a> {
    /// Reads the members of a document that the core has parsed as `keyring`: JSON, or the PEM or DER of a key. A key alone
    /// becomes a document of one private key with the kid that the core gave it.
    ///
    /// # Errors
    /// [`Failure::Refused`], without a word of the document.
    pub fn read(plain: &'a [u8], keyring: &Keyring) -> Result<Self, Failure> {
        let plain = plain.trim_ascii();
        let pem = match plain.first() {
            // The error of serde_json can quote the document.
            Some(b'{') => return serde_json::from_slice(plain).map_err(|_| unreadable()),
            Some(b'-') => Zeroizing::new(String::from_utf8(plain.to_vec()).map_err(|_| unreadable())?),
            _ => {
                let der = SecretDocument::try_from(plain).map_err(|_| unreadable())?;
                der.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|_| unreadable())?
            }
        };
        let (kid, key) = keyring.key(0).ok_or_else(unreadable)?;
        let entry = KeyEntry {
            kid: Some(kid.into()),
            algorithm: Some(key.algorithm().name().into()),
            private_key: Some(PrivateKey::Text(pem)),
            ..KeyEntry::default()
        };
        Ok(Self { keys: vec![entry] })
    }

    /// The document as JSON, on one line unless `pretty`.
    ///
    /// # Errors
    /// [`Failure::Refused`] where it cannot be written.
    pub fn to_json(&self, pretty: bool) -> Result<Zeroizing<Vec<u8>>, Failure> {
        // Room for all of it at once: what a growing buffer leaves behind is not wiped.
        let mut json = Zeroizing::new(Vec::with_capacity(MAX_DOCUMENT.saturating_mul(4)));
        let written = if pretty {
            serde_json::to_writer_pretty(&mut *json, self)
        } else {
            serde_json::to_writer(&mut *json, self)
        };
        written.map_err(|_| Failure::Refused("the keyring cannot be written as JSON".into()))?;
        Ok(json)
    }
}

fn unreadable() -> Failure {
    Failure::Refused("the keyring has members that this command does not know".into())
}
