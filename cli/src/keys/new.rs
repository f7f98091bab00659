//! `jwt-reissuer keys new`: a keyring with one fresh key.

use std::time::Duration;

use clap::Args;

use crate::document::KeyringDocument;
use crate::failure::{Failure, say};
use crate::files::{IfExists, Place};
use crate::form::{self, Form, VARIABLE};
use crate::fresh_key::{self, SigningAlgorithm};
use crate::secret::SecretKey;

/// Makes a keyring with one fresh key, which signs at once.
///
/// It withdraws every key before it: use it for a first keyring, or where the signing key has leaked. In every other case use
/// `keys rotate`. The keyring is sealed where REISSUER_SEALING_KEY is set, and base64 on one line otherwise; the file ends
/// without a line break.
#[derive(Args)]
pub struct New {
    /// The algorithm of the key; every cloud takes RS256
    #[arg(long, value_enum, default_value = "RS256", ignore_case = true)]
    algorithm: SigningAlgorithm,
    /// The id of the key; its RFC 7638 thumbprint unless given
    #[arg(long)]
    kid: Option<String>,
    /// Write a JSON document that is not sealed; Envoy's SDS does not take its line breaks
    #[arg(long)]
    json: bool,
    /// The file to make, which must not exist; standard output unless given
    #[arg(short, long, value_name = "FILE", default_value = "-", hide_default_value = true)]
    output: Place,
    /// Write the manifest of this Secret, as kubectl create takes it, in place of the keyring alone
    #[arg(long, value_name = "NAMESPACE/NAME/KEY")]
    kubernetes_secret: Option<SecretKey>,
}

impl New {
    pub fn run(&self, now: u64) -> Result<(), Failure> {
        let sealing_keys = form::sealing_keys()?;
        let form = match (self.json, &sealing_keys) {
            (false, None) => Form::Base64,
            (false, Some(_)) => Form::Sealed,
            (true, None) => Form::Json { pretty: true },
            (true, Some(_)) => {
                return Err(Failure::Unusable(format!(
                    "--json is not sealed, and {VARIABLE} is set: unset one of them"
                )));
            }
        };
        self.output.refuse_terminal(form == Form::Sealed)?;
        self.output.refuse_existing()?;
        let entry = fresh_key::generate(self.algorithm, self.kid.as_deref(), &mut super::rng()?)?;
        let document = KeyringDocument { keys: vec![entry] };
        let keyring = form.write(&document, sealing_keys.as_ref())?;
        let opened = form::open("the new keyring", &keyring.text, sealing_keys.as_ref())?;
        let parsed = super::parse("the new keyring", &opened.plain, true, Duration::ZERO, now)?;
        let written = self.kubernetes_secret.as_ref().map(|secret| secret.manifest(&keyring, None));
        self.output.write(written.as_ref().unwrap_or(&keyring), IfExists::Refuse)?;
        if let Some((kid, key)) = parsed.key(0) {
            say(&format!("key {kid:?} ({}) signs at once", key.algorithm()));
        }
        if form != Form::Sealed {
            say(&format!("the keyring is not sealed: {VARIABLE} is not set"));
        }
        Ok(())
    }
}
