//! The JSON document of a keyring, member by member, so that it can be written back with a key more or less.
//!
//! It is read after the core has taken it. Its texts are wiped when it goes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jwt_reissuer::keyring::{Keyring, MAX_DOCUMENT};
use p256::pkcs8::{LineEnding, SecretDocument};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// A keyring document.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringDocument {
    /// Its keys, in their order
    pub keys: Vec<KeyEntry>,
}

/// One key of a keyring document. Times are RFC 3339, and stay as they were written.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retire_at: Option<String>,
}

impl KeyringDocument {
    /// Reads the members of a document that the core has parsed as `keyring`. A PEM becomes a document of one private key
    /// with the kid that the core gave it.
    ///
    /// # Errors
    /// [`Failure::Refused`], without a word of the document.
    pub fn read(plain: &[u8], keyring: &Keyring) -> Result<Self, Failure> {
        let plain = plain.trim_ascii();
        let decoded = match plain.first() {
            Some(b'{' | b'-') => None,
            _ => Some(decode_base64(plain).ok_or_else(unreadable)?),
        };
        let plain = decoded.as_ref().map_or(plain, |decoded| decoded.trim_ascii());
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
            private_key: Some(pem),
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

/// Decodes standard base64, with or without line breaks.
fn decode_base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut packed = Zeroizing::new(Vec::with_capacity(text.len()));
    packed.extend(text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()));
    let mut decoded = Zeroizing::new(vec![0; text.len()]);
    let length = STANDARD.decode_slice(&*packed, &mut decoded).ok()?;
    decoded.truncate(length);
    Some(decoded)
}
