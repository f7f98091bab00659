//! The forms that a keyring has in a file: JSON, base64 on one line, or sealed.

use std::env::{self, VarError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jwt_reissuer::keyring::MAX_DOCUMENT;
use jwt_reissuer::sealed::{NONCE, PREFIX, SealingKeys};
use zeroize::Zeroizing;

use crate::document::KeyringDocument;
use crate::failure::Failure;
use crate::files::KeyringText;

/// The environment variable with the sealing keys.
pub const VARIABLE: &str = "REISSUER_SEALING_KEY";

/// The form of a keyring in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A JSON document; on one line where it is not pretty
    Json {
        /// With line breaks and indentation
        pretty: bool,
    },
    /// Base64 of a JSON document, on one line: what Envoy reads by SDS has one line
    Base64,
    /// Sealed with the first sealing key
    Sealed,
}

/// A keyring as it was read.
pub struct OpenedKeyring {
    /// The document: JSON, a PEM, or base64 of one of them
    pub plain: Zeroizing<Vec<u8>>,
    /// The form to write it back in
    pub form: Form,
}

/// The sealing keys of the environment, if the variable is set.
///
/// # Errors
/// [`Failure::Unusable`] for a variable that holds no sealing key.
pub fn sealing_keys() -> Result<Option<SealingKeys>, Failure> {
    let text = match env::var(VARIABLE) {
        Ok(text) => Zeroizing::new(text),
        Err(VarError::NotPresent) => return Ok(None),
        Err(VarError::NotUnicode(_)) => return Err(Failure::Unusable(format!("{VARIABLE} is no text"))),
    };
    SealingKeys::parse(&text).map(Some).map_err(|why| Failure::Unusable(format!("{VARIABLE} {why}")))
}

/// Opens a keyring that was read from `source`.
///
/// # Errors
/// [`Failure::Unusable`] for a sealed keyring without a sealing key, [`Failure::Refused`] for one that does not open.
pub fn open(source: &str, text: &[u8], keys: Option<&SealingKeys>) -> Result<OpenedKeyring, Failure> {
    let text = text.trim_ascii();
    if text.starts_with(PREFIX.as_bytes()) {
        let keys = keys.ok_or_else(|| {
            Failure::Unusable(format!(
                "{source} is sealed, and {VARIABLE} is not set: it must hold the gateways' sealing key"
            ))
        })?;
        let plain = keys.open(text).map_err(|why| Failure::Refused(format!("{source}: {why}")))?;
        return Ok(OpenedKeyring { plain, form: Form::Sealed });
    }
    let form = if text.starts_with(b"{") { Form::Json { pretty: text.contains(&b'\n') } } else { Form::Base64 };
    Ok(OpenedKeyring { plain: Zeroizing::new(text.to_vec()), form })
}

impl Form {
    /// Writes a document in this form.
    ///
    /// # Errors
    /// [`Failure::Unusable`] without sealing keys or random numbers, [`Failure::Refused`] for a keyring that is too long.
    pub fn write(self, document: &KeyringDocument<'_>, keys: Option<&SealingKeys>) -> Result<KeyringText, Failure> {
        let json = document.to_json(self == Self::Json { pretty: true })?;
        let text = match self {
            Self::Json { .. } => json,
            Self::Base64 => {
                let mut line = Zeroizing::new(vec![0; json.len().div_ceil(3).saturating_mul(4)]);
                STANDARD.encode_slice(&*json, &mut line).map_err(|_| too_long())?;
                line
            }
            Self::Sealed => {
                let keys = keys.ok_or_else(|| Failure::Unusable(format!("{VARIABLE} is not set")))?;
                let mut nonce = [0; NONCE];
                getrandom::fill(&mut nonce).map_err(|why| Failure::Unusable(format!("no random numbers: {why}")))?;
                let line = keys.seal(&json, nonce).map_err(|why| Failure::Refused(format!("the keyring is {why}")))?;
                Zeroizing::new(line.into_bytes())
            }
        };
        if text.len() > MAX_DOCUMENT {
            return Err(too_long());
        }
        Ok(KeyringText { text, hides_private_keys: self == Self::Sealed })
    }
}

fn too_long() -> Failure {
    Failure::Refused(format!("the keyring is too long: a gateway takes {MAX_DOCUMENT} bytes at most"))
}
